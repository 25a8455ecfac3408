"""No consent, no training; a form that is not understood grants nothing; the person's own no is a no."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.core.messages import LANGUAGES, catalogue
from resonance_helpers.dataset.consent import (
    PURPOSES,
    VERSION,
    Consent,
    other_person,
    read_consent,
    require_consent,
    write_consent,
)

GIVEN = Consent(
    version=VERSION,
    person="patient-01",
    given_by="王芳",
    relationship="母亲",
    assent=True,
    purposes=("training", "evaluation"),
    processor="康复中心，自己的电脑",
    date="2025-03-01",
)


@pytest.fixture(params=LANGUAGES)
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return request.param


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "output", "patient-01")


Refusal = Callable[..., ResonanceError]


@pytest.fixture
def refused(workspace: Workspace, lang: str) -> Refusal:
    """Asks for consent in both languages, expects an error of ours, and holds consent.json to its bytes."""

    def ask(content: bytes | None = None, purpose: str = "training") -> ResonanceError:
        workspace.data_dir.mkdir()
        if content is not None:
            workspace.consent.write_bytes(content)
        with pytest.raises(ResonanceError) as caught:
            require_consent(workspace, purpose)
        assert (workspace.consent.read_bytes() if workspace.consent.exists() else None) == content
        assert str(workspace.consent) in str(caught.value)
        assert {"zh": "第四课", "en": "lesson 04"}[lang] in str(caught.value)
        return caught.value

    return ask


def as_bytes(**changes: object) -> bytes:
    fields = {key: getattr(GIVEN, key) for key in GIVEN.__dataclass_fields__}
    return json.dumps({**fields, **changes}, ensure_ascii=False).encode()


def test_written_and_read_back(workspace: Workspace) -> None:
    write_consent(workspace.consent, GIVEN)
    assert read_consent(workspace.consent) == GIVEN
    assert require_consent(workspace) == GIVEN
    assert "母亲" in workspace.consent.read_text(encoding="utf-8")


def test_a_form_saved_by_notepad(workspace: Workspace) -> None:
    workspace.data_dir.mkdir()
    workspace.consent.write_bytes(b"\xef\xbb\xbf" + as_bytes(note="ours does not know this key"))
    assert read_consent(workspace.consent) == GIVEN


def test_the_sample_needs_none(workspace: Workspace) -> None:
    assert require_consent(replace(workspace, is_sample=True)) is None


def test_missing(refused: Refusal, lang: str) -> None:
    error = refused()
    assert error.code == "RZ-0411"
    assert "DATA_DIR" in str(error)


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        (b"", 1, 1),
        (b'{"version": 1,\n "person" 3}', 2, 11),
        (b"[]", 1, 1),
        ('{"version": 1,\n "person": "王"}'.encode("gbk"), 2, 13),
    ],
)
def test_not_json(refused: Refusal, content: bytes, line: int, column: int) -> None:
    error = refused(content)
    assert (error.code, error.facts["line"], error.facts["column"]) == ("RZ-0412", line, column)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("version", 2, "1"),
        ("version", True, "1"),
        ("person", "", ""),
        ("given_by", "   ", ""),
        ("relationship", None, ""),
        ("assent", "yes", "true"),
        ("assent", 1, "true"),
        ("purposes", "training", "training"),
        ("purposes", ["training", ""], "training"),
        ("purposes", [["training"]], "training"),
        ("processor", 3, ""),
        ("date", "2025-13-01", "2025-03-01"),
        ("date", "yesterday", "2025-03-01"),
        ("date", None, "2025-03-01"),
    ],
)
def test_a_field_that_says_nothing(refused: Refusal, key: str, value: object, allowed: str) -> None:
    error = refused(as_bytes(**{key: value}))
    assert error.code == "RZ-0413"
    for fact in (f'"{key}"', json.dumps(value, ensure_ascii=False), allowed):
        assert fact in str(error)


def test_a_missing_field(refused: Refusal) -> None:
    fields = json.loads(as_bytes())
    del fields["assent"]
    assert refused(json.dumps(fields).encode()).facts["key"] == "assent"


def test_a_consent_of_ours_cannot_be_empty_either() -> None:
    with pytest.raises(ResonanceError, match="RZ-0413"):
        replace(GIVEN, person="")


def test_a_purpose_that_was_not_granted(refused: Refusal, lang: str) -> None:
    error = refused(as_bytes(), purpose="serving")
    assert error.code == "RZ-0414"
    words = {"zh": ("在识别服务中使用", "训练专属模型"), "en": ("recognition service", "training a personal model")}
    assert all(each in str(error) for each in words[lang])


def test_a_form_written_by_hand(workspace: Workspace) -> None:
    """The version as a number; a purpose that we do not know neither stands in the way nor grants anything."""
    workspace.data_dir.mkdir()
    workspace.consent.write_bytes(as_bytes(version=1, purposes=["training", "给老师看"]))
    consent = require_consent(workspace)
    assert consent == replace(GIVEN, purposes=("training", "给老师看"))
    with pytest.raises(ResonanceError, match="给老师看"):
        require_consent(workspace, "serving")


def test_no_purpose_at_all(refused: Refusal, lang: str) -> None:
    assert {"zh": "：无", "en": "nothing"}[lang] in str(refused(as_bytes(purposes=[])))


def test_the_persons_own_no(refused: Refusal) -> None:
    assert refused(as_bytes(assent=False)).code == "RZ-0415"


@pytest.mark.parametrize(
    ("person", "is_theirs"),
    [
        ("patient-01", True),
        (" patient-01 ", True),
        ("patient-0", False),
        ("patient-02", False),
        ("王小明", None),  # a form of an earlier version: neither yes nor no
        ("Wang", None),
        ("patient 01", None),
        ("sample", None),  # nobody
    ],
)
def test_whose_consent_it_is(workspace: Workspace, person: str, is_theirs: bool | None) -> None:
    write_consent(workspace.consent, replace(GIVEN, person=person))
    assert replace(GIVEN, person=person).names("patient-01") is is_theirs
    other = other_person(workspace)
    assert (other is not None) is (is_theirs is False)
    assert other is None or (other.code, other.facts["found"], other.facts["given"]) == (
        "RZ-0981",
        person,
        "patient-01",
    )
    require_consent(workspace)  # a warning, no refusal


def test_every_purpose_has_words() -> None:
    assert {f"consent.purpose.{purpose}" for purpose in PURPOSES} <= catalogue().keys()
