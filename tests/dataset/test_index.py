from __future__ import annotations

from pathlib import Path

import pytest
from sounds import put

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import MIN_RECORDINGS
from resonance_helpers.dataset.index import (
    Conversion,
    Recordings,
    data_hash,
    file_hash,
    find_source,
    load_utterances,
    read_index,
    repaired,
    write_index,
)
from resonance_helpers.dataset.labels import Label, read_labels


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path / "data", tmp_path / "output", "p1")


def source_of(workspace: Workspace, name: str) -> str | None:
    path = find_source(workspace, Label(name, "我想喝水"))
    return None if path is None else path.relative_to(workspace.data_dir).as_posix()


def entry(workspace: Workspace, source: str, wav: str, problem: str | None = None) -> Conversion:
    data = workspace.data_dir
    wav_hash = file_hash(data / wav) if wav else ""
    return Conversion(source, file_hash(data / source), wav, wav_hash, 2.5, problem)


def converted(workspace: Workspace, count: int = MIN_RECORDINGS) -> list[Conversion]:
    """``count`` labelled files in audio_raw, each with a WAV and a line of the index; their content is not sound."""
    names = [f"{number:03d}" for number in range(count)]
    files = {f"audio_raw/{name}.m4a": f"raw {name}".encode() for name in names}
    put(workspace.data_dir, files | {f"audio/{name}.wav": f"wav {name}".encode() for name in names}, list(files))
    index = [entry(workspace, f"audio_raw/{name}.m4a", f"audio/{name}.wav") for name in names]
    write_index(workspace, index)
    return index


# ── From label to recording ──────────────────────────────────────────────────
def test_the_three_layouts(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio/a.wav": b"1", "audio_raw/b.m4a": b"2", "audio_raw/c.MP3": b"3"})
    assert source_of(workspace, "audio/a.wav") == "audio/a.wav"
    assert source_of(workspace, "audio/b.wav") == "audio_raw/b.m4a"
    assert source_of(workspace, "audio/c.wav") == "audio_raw/c.MP3"
    assert source_of(workspace, "audio_raw/b.m4a") == "audio_raw/b.m4a"
    assert source_of(workspace, "audio_raw/b.wav") is None  # only audio/ stands for what it was made from
    assert source_of(workspace, "audio/d.wav") is None


@pytest.mark.parametrize(
    ("on_disk", "in_label"),
    [
        ("audio_raw/001_我想 喝水.m4a", "audio_raw/001_我想_喝水.m4a"),
        ("audio_raw/001_我想_喝水.m4a", "audio_raw/001_我想 喝水.m4a"),
        ("audio_raw/001_我想\u3000喝水.m4a", "audio/001_我想_喝水.wav"),
        ("audio_raw/001_Cafe\u0301.m4a", "audio_raw/001_Caf\u00e9.m4a"),
        ("audio_raw/001.M4A", "audio_raw/001.m4a"),
    ],
    ids=["space on disk", "space in label", "full-width space", "macOS letters", "case"],
)
def test_names_that_differ_in_spelling_only_are_the_same(workspace: Workspace, on_disk: str, in_label: str) -> None:
    put(workspace.data_dir, {on_disk: b"1"})
    assert source_of(workspace, in_label) == on_disk


def test_a_name_that_fits_two_recordings_is_not_guessed(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/x.m4a": b"1", "audio_raw/x.mp3": b"2"})
    match = Recordings(workspace).find(Label("audio/x.wav", "我想喝水"))
    assert (match.source, match.problem) == (None, "RZ-0423")
    for lang in LANGUAGES:
        sentence = message("RZ-0423", lang, **match.facts)
        assert "audio_raw/x.m4a" in sentence and "audio_raw/x.mp3" in sentence


def test_two_labels_of_one_recording_are_said(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/x.m4a": b"1"})
    labels = [Label("audio_raw/x.m4a", "我想喝水"), Label("audio/x.wav", "我想吃饭")]
    first, second = Recordings(workspace).match(labels)
    assert first.source == "audio_raw/x.m4a" and (second.source, second.problem) == (None, "RZ-0424")
    assert all("audio/x.wav" in message("RZ-0424", lang, **second.facts) for lang in LANGUAGES)


def test_our_wav_stands_for_its_recording(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/x.m4a": b"1", "audio/x.wav": b"2"})
    write_index(workspace, [entry(workspace, "audio_raw/x.m4a", "audio/x.wav")])
    assert source_of(workspace, "audio/x.wav") == "audio_raw/x.m4a"
    assert Recordings(workspace).files == ("audio_raw/x.m4a",)
    (workspace.audio / "x.wav").write_bytes(b"edited by hand")
    assert source_of(workspace, "audio/x.wav") == "audio/x.wav"
    assert Recordings(workspace).files == ("audio/x.wav", "audio_raw/x.m4a")


def test_a_recording_that_was_replaced_in_another_format_is_found(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/x.m4a": b"1", "audio/x.wav": b"2"})
    write_index(workspace, [entry(workspace, "audio_raw/x.m4a", "audio/x.wav")])
    (workspace.audio_raw / "x.m4a").unlink()
    assert source_of(workspace, "audio/x.wav") == "audio/x.wav"  # only our WAV is left
    assert source_of(workspace, "audio_raw/x.m4a") == "audio/x.wav"
    put(workspace.data_dir, {"audio_raw/x.mp3": b"3"})
    assert source_of(workspace, "audio/x.wav") == "audio_raw/x.mp3"


def test_files_that_are_no_recordings_are_not_listed(workspace: Workspace) -> None:
    put(
        workspace.data_dir,
        {"audio_raw/._x.m4a": b"", "audio_raw/.x.wav": b"", "audio_raw/notes.txt": b"", "cover.jpg": b""},
    )
    put(workspace.data_dir, {"x.wav": b"", "audio_raw/day 1/y.amr": b"", "output/runs/z.wav": b""})
    assert Recordings(workspace).files == ("audio_raw/day 1/y.amr", "x.wav")


def test_repaired_names_hold_no_white_space() -> None:
    assert repaired("001 我想\t喝\u00a0水.wav") == "001_我想_喝_水.wav"


# ── The index ────────────────────────────────────────────────────────────────
def test_the_index_survives_a_round_trip(workspace: Workspace) -> None:
    assert read_index(workspace) == {}
    index = converted(workspace)
    assert list(read_index(workspace).values()) == index


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"conversions": [{"source": "x"}]}', '{"conversions": 3}', "{,}"])
def test_an_index_that_is_none_is_said(workspace: Workspace, content: str) -> None:
    put(workspace.data_dir, {"audio/conversion.json": content.encode()})
    with pytest.raises(ResonanceError) as caught:
        read_index(workspace)
    assert caught.value.code == "RZ-0522"
    assert all("conversion.json" in message("RZ-0522", lang, **caught.value.facts) for lang in LANGUAGES)
    assert workspace.conversion_index.read_text() == content


# ── What training and testing read ───────────────────────────────────────────
def test_labels_are_joined_with_their_wavs_in_order(workspace: Workspace) -> None:
    converted(workspace)
    loaded = load_utterances(workspace)
    assert [each.audio for each in loaded] == [each.audio for each in read_labels(workspace.labels)]
    assert all(each.wav.is_absolute() and each.wav.is_file() and each.seconds == 2.5 for each in loaded)


def test_takes_sessions_and_splits_come_along(workspace: Workspace) -> None:
    converted(workspace)
    first = {"audio": "audio_raw/000.m4a", "text": "我想喝水", "take": 2, "session": "周一", "split": "test"}
    put(workspace.data_dir, {}, [first, *(f"audio_raw/{number:03d}.m4a" for number in range(1, MIN_RECORDINGS))])
    each = load_utterances(workspace)[0]
    assert (each.text, each.take, each.session, each.split) == ("我想喝水", 2, "周一", "test")


def test_lesson_05_must_have_run(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/x.m4a": b"1"}, ["audio_raw/x.m4a"])
    with pytest.raises(ResonanceError) as caught:
        load_utterances(workspace)
    assert caught.value.code == "RZ-0006" and caught.value.facts["needs"] == message("lesson.05")


def test_what_has_a_problem_is_left_out(workspace: Workspace) -> None:
    index = converted(workspace, MIN_RECORDINGS + 2)
    write_index(workspace, [entry(workspace, index[0].source, index[0].wav, "RZ-0503"), *index[1:]])
    (workspace.data_dir / index[1].source).unlink()
    (workspace.data_dir / index[1].wav).unlink()
    assert len(load_utterances(workspace)) == MIN_RECORDINGS


def test_too_few_are_said(workspace: Workspace) -> None:
    index = converted(workspace)
    write_index(workspace, [entry(workspace, index[0].source, "", "RZ-0501"), *index[1:]])
    with pytest.raises(ResonanceError) as caught:
        load_utterances(workspace)
    assert caught.value.code == "RZ-0406"
    for lang in LANGUAGES:
        sentence = message("RZ-0406", lang, **caught.value.facts)
        assert str(MIN_RECORDINGS) in sentence and str(MIN_RECORDINGS - 1) in sentence


@pytest.mark.parametrize("change", ["new content", "new label", "WAV gone"])
def test_recordings_that_changed_since_are_said(workspace: Workspace, change: str) -> None:
    converted(workspace)
    if change == "new content":
        put(workspace.data_dir, {"audio_raw/003.m4a": b"recorded again"})
    elif change == "new label":
        names = [label.audio for label in read_labels(workspace.labels)]
        put(workspace.data_dir, {"audio_raw/003b.m4a": b"one more"}, [*names, "audio_raw/003b.m4a"])
    else:
        (workspace.audio / "003.wav").unlink()
    with pytest.raises(ResonanceError) as caught:
        load_utterances(workspace)
    assert caught.value.code == "RZ-0521" and caught.value.facts["count"] == 1
    assert all("003" in message("RZ-0521", lang, **caught.value.facts) for lang in LANGUAGES)


def test_the_data_hash_is_of_words_and_sound_not_of_names(workspace: Workspace, tmp_path: Path) -> None:
    converted(workspace)
    before = data_hash(load_utterances(workspace))
    assert data_hash(load_utterances(workspace)) == before
    moved = workspace.data_dir.rename(tmp_path / "elsewhere")
    elsewhere = Workspace(moved, tmp_path / "output", "p1")
    assert data_hash(load_utterances(elsewhere)) == before
    put(moved, {"audio/000.wav": b"another sound"})
    assert data_hash(load_utterances(elsewhere)) != before
