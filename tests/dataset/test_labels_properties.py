"""labels.json and the names of takes, by property: any Unicode, any order, any number of entries."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.dataset.index import repaired
from resonance_helpers.dataset.labels import Label, read_labels, write_labels
from resonance_helpers.dataset.takes import add_take
from resonance_helpers.dataset.transcript import check, clean, has_word, invisible, unfit
from resonance_helpers.scoring.text import normalise

SOUND = np.zeros(160, dtype=np.float32)
ANY = st.text(max_size=20)  # surrogates aside, whatever Unicode has
WORDS = st.text(max_size=12).map(lambda text: clean(f"{text}字")).filter(lambda text: not unfit(text))
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\:."), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=6,
)
OURS = ("audio", "text", "take", "session", "split")
EXTRA = st.dictionaries(ANY.filter(lambda key: key not in OURS), JSON, max_size=3)


@st.composite
def label_lists(draw: st.DrawFn) -> list[Label]:
    """Labels whose files differ, also for macOS, which takes accents apart."""
    names = draw(st.lists(NAMES, max_size=12, unique_by=lambda name: unicodedata.normalize("NFC", name)))
    return [
        Label(
            audio=f"audio_raw/{name}.wav",
            text=draw(WORDS),
            take=draw(st.integers(1, 10**6)),
            session=draw(st.none() | ANY),
            split=draw(st.sampled_from([None, "train", "test"])),
            extra=draw(EXTRA),
        )
        for name in names
    ]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels") / "labels.json"


# ── labels.json ──────────────────────────────────────────────────────────────
@given(label_lists())
def test_what_is_written_is_read_in_its_order(path: Path, labels: list[Label]) -> None:
    write_labels(path, labels)
    assert read_labels(path) == labels
    written = path.read_bytes()
    write_labels(path, read_labels(path))
    assert path.read_bytes() == written, "reading and writing again changes nothing"


@given(label_lists(), st.randoms(use_true_random=False))
def test_unknown_keys_and_their_order_survive_a_change(path: Path, labels: list[Label], chance: random.Random) -> None:
    """Entries with their keys in any order, as other programs write them; then one text is corrected."""
    entries: list[dict[str, Any]] = []
    for label in labels:
        entry = {"audio": label.audio, "text": label.text, "take": label.take, "split": label.split, **label.extra}
        entries.append(dict(chance.sample(list(entry.items()), len(entry))))
    path.write_text(json.dumps(entries), encoding="utf-8")
    read = read_labels(path)
    write_labels(path, [replace(label, text="改过了") for label in read])
    expected = [{key: "改过了" if key == "text" else value for key, value in entry.items()} for entry in entries]
    again = json.loads(path.read_text(encoding="utf-8"))
    assert again == expected
    assert [list(entry) for entry in again] == [list(entry) for entry in expected]


@settings(max_examples=5)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_up_to_ten_thousand_entries(path: Path, n: int, chance: random.Random) -> None:
    labels = [Label(f"audio/{k:05d}_水.wav", f"第{k}句", take=k % 3 + 1, extra={"k": k}) for k in range(n)]
    chance.shuffle(labels)
    write_labels(path, labels)
    assert read_labels(path) == labels


@pytest.mark.parametrize("n", [0, 1, 10_000])
def test_the_ends_of_the_range(path: Path, n: int) -> None:
    labels = [Label(f"audio/{k}.wav", "水", session="家里") for k in range(n)]
    write_labels(path, labels)
    assert read_labels(path) == labels


@given(JSON | st.lists(st.dictionaries(st.sampled_from(OURS), JSON)))
def test_any_json_is_read_or_refused_and_what_is_read_can_be_written(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
    before = path.read_bytes()
    try:
        labels = read_labels(path)
    except ResonanceError:
        assert path.read_bytes() == before
    else:
        write_labels(path, labels)
        assert read_labels(path) == labels


@given(st.binary(max_size=80) | ANY.map(str.encode))
def test_any_bytes_are_read_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read_labels(path)
    except ResonanceError as error:
        assert str(path) in str(error)
    assert path.read_bytes() == content


# ── Texts ────────────────────────────────────────────────────────────────────
UNSEEN = "\u200b\ufeff\0\n\u2028\u202e\u2066\u00ad\ufe0f\u3164\U000e0041\x7f"


@given(st.text(st.sampled_from(UNSEEN) | st.characters(categories=("L", "N", "P", "Z", "Cc", "Cf")), max_size=20))
def test_what_is_read_has_nothing_invisible_and_what_was_written_stays(path: Path, text: str) -> None:
    path.write_text(json.dumps([{"audio": "a.wav", "text": text}]), encoding="utf-8")
    try:
        (label,) = read_labels(path)
    except ResonanceError as error:
        assert error.code in ("RZ-0404", "RZ-0483")
        return
    assert not invisible(label.text) and label.text == clean(label.text) == check(text)
    write_labels(path, [label])
    assert json.loads(path.read_text(encoding="utf-8"))[0]["text"] == text


@given(ANY)
def test_what_says_something_says_something_when_compared(text: str) -> None:
    assert not has_word(text) or normalise(text)


# ── Names ────────────────────────────────────────────────────────────────────
HOSTILE = [
    *("con", "NUL", "ＣＯＮ", "水.", " 水 ", "..", "../水", "a b", "a_b", "A B"),
    *("水" * 300, "𠀀" * 90, "é" * 50, "e\u0301" * 50, "x" * 300, "\u202e水", "水\0", "㊗"),
]
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
FORBIDDEN = set('<>:"/\\|?*')


@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=60), max_size=6), st.booleans())
def test_takes_of_any_text_get_names_that_every_system_bears(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], dragged_in: bool
) -> None:
    folder = tmp_path_factory.mktemp("takes")
    workspace = Workspace(folder, folder / "out", "anna")
    theirs = ["audio_raw/001_a b.m4a", "audio_raw/001_e\u0301.wav", "audio_raw/001_水.WAV"] if dragged_in else []
    workspace.audio_raw.mkdir()
    for name in theirs:
        (folder / name).write_bytes(b"theirs")
    added = []
    for text in texts:
        try:
            added.append(add_take(workspace, SOUND, text))
        except ResonanceError as error:
            assert error.code in ("RZ-0416", "RZ-0480", "RZ-0481", "RZ-0482") and unfit(clean(text))
    files = [path.relative_to(folder).as_posix() for path in workspace.audio_raw.rglob("*")]
    assert sorted(files) == sorted([*theirs, *(label.audio for label in added)])
    assert all((folder / name).read_bytes() == b"theirs" for name in theirs)
    assert len({repaired(file).casefold().rpartition(".")[0] for file in files}) == len(files), "each a name of its own"
    for label in added:
        name = label.audio.removeprefix("audio_raw/")
        assert "/" not in name and name not in (".", "..")
        assert len(name.encode()) <= 255 and len(name.encode("utf-16-le")) <= 2 * 255
        assert not RESERVED.fullmatch(name) and not FORBIDDEN & set(name)
        assert name.endswith(".wav") and not name.removesuffix(".wav").endswith((".", " "))
        assert not any(c.isspace() or unicodedata.category(c).startswith("C") for c in name)
        assert repaired(name) == name, "our own names need no repair"
    if added:
        assert read_labels(workspace.labels) == added


@given(st.text())
def test_repairing_a_name_twice_is_repairing_it_once(name: str) -> None:
    once = repaired(name)
    assert repaired(once) == once
    assert not re.search(r"\s", once)
