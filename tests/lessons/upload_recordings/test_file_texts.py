"""Which text belongs to which file: what a labels.json tells, what a name tells, and nothing where neither is clear."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import put

from resonance_helpers.lessons.upload_recordings.arrivals import arrived
from resonance_helpers.lessons.upload_recordings.file_texts import guess_text, says_texts, texts_beside


def told(folder: Path) -> dict[str, str | None]:
    """What is said of each file of ``folder`` but its own labels.json."""
    found = arrived(folder, folder / "no zips")
    texts, _ = texts_beside(found)
    return {file.shown: texts.get(file.path) for file in found if file.shown != "labels.json"}


# ── What a labels.json says ──────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("entries", "texts"),
    [
        # of the very files that it names, though their names are the same
        ({"a/001.wav": "我很疼", "b/001.wav": "不要"}, {"a/001.wav": "我很疼", "b/001.wav": "不要", "a/002.wav": None}),
        # which of the two 001 is meant nobody knows; 002 is one alone, in another folder and of another kind
        ({"audio_raw/001.wav": "我很疼", "x/002.m4a": "停"}, {"a/001.wav": None, "b/001.wav": None, "a/002.wav": "停"}),
        # two entries for one name
        ({"x/002.wav": "我很疼", "y/002.wav": "不要"}, {"a/001.wav": None, "b/001.wav": None, "a/002.wav": None}),
    ],
    ids=["named", "ambiguous files", "ambiguous entries"],
)
def test_a_labels_file_is_believed_only_where_it_is_clear_which_file_it_means(
    tmp_path: Path, entries: dict[str, str], texts: dict[str, str | None]
) -> None:
    put(tmp_path / "set", dict.fromkeys(texts, b""), [{"audio": name, "text": text} for name, text in entries.items()])
    assert told(tmp_path / "set") == texts


def test_the_labels_file_nearest_to_a_recording_is_believed(tmp_path: Path) -> None:
    put(tmp_path / "set", {"a/001.wav": b""}, [{"audio": "a/001.wav", "text": "我很疼"}])
    put(tmp_path / "set" / "a", {}, [{"audio": "001.wav", "text": "不要"}])
    assert told(tmp_path / "set") == {"a/001.wav": "不要", "a/labels.json": None}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,transcription\na/001.wav,我很疼\n".encode()),
        ("metadata.jsonl", '{"file_name": "001.wav", "text": "我很疼"}\n'.encode()),
        ("表.csv", "录音,文字\r\na\\001.wav,我很疼\r\n".encode("gbk")),
    ],
)
def test_a_table_of_another_program_that_came_along_is_believed(tmp_path: Path, name: str, content: bytes) -> None:
    put(tmp_path, {"a/001.wav": b"", "a/002.wav": b"", name: content, "prices.csv": b"a,b\n1,2"})
    found = arrived(tmp_path, tmp_path / "no zips")
    texts, notes = texts_beside(found)
    assert {path.name: text for path, text in texts.items()} == {"001.wav": "我很疼"}
    assert name in notes[0] and ("GBK" in notes[-1]) == (name == "表.csv")
    assert [file.shown for file in found if says_texts(file.path)] == [name]


# ── What a name says ─────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("001_我想喝水.m4a", "我想喝水"),
        ("001 我想喝水_2.m4a", "我想喝水"),
        ("我想喝水 (1).m4a", "我想喝水"),
        ("我想喝水（2）.M4A", "我想喝水"),
        ("我想喝水 - 副本.wav", "我想喝水"),
        ("我想喝水_20261123_101500.m4a", "我想喝水"),
        ("12、不要.mp3", "不要"),
        ("12.不要.mp3", "不要"),
        ("003停.wav", "停"),
        ("我想 喝水.m4a", "我想喝水"),
        ("我要 WiFi.m4a", "我要 WiFi"),
        ("3点了.m4a", "3点了"),
        ("打开微信.m4a", "打开微信"),
        ("我要录音.m4a", "我要录音"),
        ("wx_camera_1699000000000.mp4", None),
        ("mmexport1699000000.mp4", None),
        ("语音 001.m4a", None),
        ("录音_20261123_101500.m4a", None),
        ("新录音 12.m4a", None),
        ("微信语音_20261123.mp3", None),
        ("标准录音 3.mp3", None),
        ("2026年11月23日 上午10点15分.m4a", None),
        ("20261123 10时15分.m4a", None),
        ("第3条.m4a", None),
        ("New Recording 7.m4a", None),
        ("AUD-20261123-WA0001.opus", None),
        ("20261123_101500.amr", None),
        ("(1).m4a", None),
    ],
)
def test_the_text_that_a_file_name_tells(name: str, text: str | None) -> None:
    assert guess_text(name) == text


@given(st.text(min_size=1, max_size=60))
def test_any_name_gives_a_text_or_none(name: str) -> None:
    text = guess_text(name.replace("/", "_").replace("\0", "_") + ".m4a")
    assert text is None or text == text.strip() != ""
