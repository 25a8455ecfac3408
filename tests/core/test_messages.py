"""Every sentence in both languages, every code in use, and no sentence that stumbles over a missing fact."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

import resonance_helpers
from resonance_helpers import ResonanceError
from resonance_helpers.core.messages import LANGUAGES, catalogue, language, message

PACKAGE = Path(resonance_helpers.__file__).parent
NOTEBOOKS = PACKAGE.parent / "notebooks"
CODE = re.compile(r"RZ-\d{4}")
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,.;!?][\u4e00-\u9fff]")


@cache
def sources() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def placeholders(sentence: str) -> set[str]:
    names = (name for _, name, _, _ in Formatter().parse(sentence) if name is not None)
    return {re.split(r"[.\[]", name)[0] for name in names}


def calls(*names: str) -> Iterator[tuple[str, ast.Call, str]]:
    """(place, call, key) of every call in the package of one of ``names`` with a literal key."""
    for path, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in names and isinstance(node.args[0].value, str):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node, node.args[0].value


# ── The catalogue ────────────────────────────────────────────────────────────
def test_both_languages_say_the_same_facts() -> None:
    for key, both in catalogue().items():
        assert set(both) == set(LANGUAGES), key
        assert all(sentence.strip() for sentence in both.values()), key
        assert placeholders(both["zh"]) == placeholders(both["en"]), key
        assert "" not in placeholders(both["zh"]), f"{key}: a placeholder without a name"
        assert key.startswith("RZ-") == bool(CODE.fullmatch(key)), f"{key}: a code is RZ- and four digits"


def test_chinese_is_punctuated_as_chinese_and_says_you_plainly() -> None:
    for key, both in catalogue().items():
        assert not HALF_WIDTH.search(both["zh"]), key
        assert "您" not in both["zh"], key


# ── The code ─────────────────────────────────────────────────────────────────
def test_every_code_in_the_source_has_a_sentence() -> None:
    literals = {
        node.value
        for source in sources().values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }
    assert not literals - catalogue().keys()


def test_every_key_that_is_asked_for_is_there() -> None:
    assert not {f"{place}: {key}" for place, _, key in calls("message", "ResonanceError") if key not in catalogue()}


def test_every_sentence_gets_its_facts() -> None:
    """A fact left out would raise KeyError instead of the error that was meant."""
    lacking = []
    for place, call, key in calls("message", "ResonanceError"):
        given = {keyword.arg for keyword in call.keywords}
        missing = (
            placeholders(catalogue().get(key, {}).get("zh", "")) - given - {"resonance", "pip"}
        )  # which fill themselves
        if missing and None not in given:  # None stands for **facts
            lacking.append(f"{place}: {key} lacks {sorted(missing)}")
    assert not lacking


def test_every_code_is_used() -> None:
    notebooks = [path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("*.ipynb")]
    used = set(CODE.findall("\n".join([*sources().values(), *notebooks])))
    assert not {key for key in catalogue() if CODE.fullmatch(key)} - used


# ── The module ───────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("variable", "expected"), [(None, "zh"), ("zh", "zh"), ("en", "en"), ("EN_us", "en"), ("fr", "zh"), ("", "zh")]
)
def test_the_language_is_chinese_unless_it_says_english(
    variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESONANCE_LANG", raising=False)
    if variable is not None:
        monkeypatch.setenv("RESONANCE_LANG", variable)
    assert language() == expected
    assert message("lesson.01") == catalogue()["lesson.01"][expected]
    assert message("lesson.01", "en") == catalogue()["lesson.01"]["en"]


def test_an_error_shows_its_code_and_its_facts_and_survives_a_process() -> None:
    error = ResonanceError("RZ-0002", value="张三{x}")
    assert str(error).startswith("[RZ-0002] ") and "张三{x}" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.facts, str(again)) == (ResonanceError, "RZ-0002", error.facts, str(error))
