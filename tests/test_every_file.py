"""Every file that lies in a folder is taken, or named with the reason, or known as nobody's work; whatever its suffix.

Content decides what a recording is. A folder that was named one level too high or too low is recognised, and a label
finds the file that it means.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sounds import encoded, put, snapshot, voice, wav

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import is_rubbish, misplaced, remove_leftovers
from resonance_helpers.dataset.index import Recordings, is_recording, name_suffix, repaired, without_suffix
from resonance_helpers.dataset.labels import Label, read_labels
from resonance_helpers.dataset.takes import add_file
from resonance_helpers.lessons import upload_recordings
from resonance_helpers.lessons.convert_audio import logic as conversion
from resonance_helpers.lessons.upload_recordings import intake, long_recording
from resonance_helpers.lessons.upload_recordings.intake_form import TakeIn
from resonance_helpers.lessons.upload_recordings.long_recording_form import LongRecordingForm
from resonance_helpers.lessons.upload_recordings.view import check_recordings
from resonance_helpers.studies.erase.forget import Erasure
from resonance_helpers.ui import lesson
from resonance_helpers.ui import output as lines
from resonance_helpers.ui.lesson import show_workspace


def _written(kind: str) -> Callable[[np.ndarray], bytes]:
    def write(samples: np.ndarray) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, samples, SAMPLE_RATE, format=kind, subtype="PCM_16")
        return file.getvalue()

    return write


def _encoded(suffix: str) -> Callable[[np.ndarray], bytes]:
    return lambda samples: encoded(suffix, samples, SAMPLE_RATE)


OGG, MP4, MP3, WEBM, AMR = map(_encoded, ("ogg", "m4a", "mp3", "webm", "3gp"))
ENDINGS = {
    **dict.fromkeys((".oga", ".spx", ".opus", ".download"), OGG),
    **dict.fromkeys((".m4a", ".qta", ".m4b", ".m4r", ".M4A", ".txt"), MP4),
    **dict.fromkeys((".3gpp", ".3ga", ".3g2"), AMR),
    **dict.fromkeys((".mpga", ".mp2", ".jpg"), MP3),
    **dict.fromkeys((".weba", ".mka", ".mkv"), WEBM),
    **dict.fromkeys((".aiff", ".aif", ".aifc"), _written("AIFF")),
    ".caf": _written("CAF"),
    ".w64": _written("W64"),
    **dict.fromkeys((".au", ".snd"), _written("AU")),
    **dict.fromkeys((".WAV", "", ".silk", ".我的", ".html"), wav),
}
# each with a sound of its own, for what has the content of another is not taken in twice
SOUNDS = {
    f"{n:03d}_x{n}{ending}": write(voice(0.6 + 0.02 * n, SAMPLE_RATE, pitch=140 + 5 * n))
    for n, (ending, write) in enumerate(ENDINGS.items())
}
RAW = {f"audio_raw/{name}": content for name, content in SOUNDS.items()}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "我的训练数据").mkdir()
    return Workspace(tmp_path / "我的训练数据", tmp_path / "out", "anna")


def texts(names: list[str]) -> list[dict]:
    return [{"audio": name, "text": chr(0x4E00 + n) * 3} for n, name in enumerate(names)]


def stem(name: str) -> str:
    return without_suffix(name)


# ── Whatever the suffix ──────────────────────────────────────────────────────
LABELLED: dict[str, Callable[[str], str]] = {
    "exactly": lambda name: f"audio_raw/{name}",
    "as a WAV of audio": lambda name: f"audio/{stem(name)}.wav",
    "without folder": lambda name: name,
    "without suffix": lambda name: f"audio_raw/{stem(name)}",
    "without suffix, in audio": lambda name: f"audio/{stem(name)}",
    "without folder and suffix": stem,
    "as a WAV without folder": lambda name: f"{stem(name)}.wav",
    "with a space behind it": lambda name: f"audio_raw/{name} ",
    "in capitals": lambda name: f"audio_raw/{name.upper()}",
    "with the folder's own name": lambda name: f"我的训练数据/audio_raw/{name}",
}


@pytest.mark.parametrize("way", LABELLED)
def test_a_label_finds_its_recording_whatever_its_suffix(workspace: Workspace, way: str) -> None:
    put(workspace.data_dir, RAW, texts([LABELLED[way](name) for name in SOUNDS]))
    matches = Recordings(workspace).match(read_labels(workspace.labels))
    assert [match.source for match in matches] == list(RAW)


def test_every_suffix_is_checked_and_converted(workspace: Workspace) -> None:
    put(workspace.data_dir, RAW, texts(list(RAW)))
    checked = upload_recordings.check(workspace)
    assert [row.source for row in checked.rows if row.level != "unusable"] == list(RAW)
    assert not (checked.missing or checked.unlabelled or checked.others)
    result = conversion.convert(workspace)
    assert result.converted == len(RAW) and len({row.wav for row in result.rows}) == len(RAW)
    assert not upload_recordings.check(workspace).unlabelled
    assert {name: content for name, content in snapshot(workspace.data_dir).items() if name in RAW} == RAW


def test_every_suffix_without_a_label_is_named(workspace: Workspace) -> None:
    put(workspace.data_dir, RAW | {"audio_raw/0.wav": wav(voice(0.5, SAMPLE_RATE))}, texts(["audio_raw/0.wav"]))
    checked = upload_recordings.check(workspace)
    assert checked.unlabelled == tuple(sorted(RAW)) and not checked.others
    said = [notice.sentence for notice in checked.notices if notice.code == "RZ-0421"]
    assert len(said) == len(RAW) and all(any(name in each for each in said) for name in RAW)


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("way", ["folder", "zip", "zip without suffix", "upload"])
def test_every_suffix_is_taken_in(workspace: Workspace, tmp_path: Path, way: str) -> None:
    put(tmp_path / "came", SOUNDS)
    put(tmp_path, {"set.zip": zipped(SOUNDS), "set": zipped(SOUNDS)})
    sources = {"zip": tmp_path / "set.zip", "zip without suffix": tmp_path / "set", "upload": list(SOUNDS.items())}
    planned = intake.plan(sources.get(way, tmp_path / "came"), workspace)
    assert [item.shown for item in planned.items if not item.can_go_in] == []
    said = [chr(0x4E00 + n) * 3 for n in range(len(SOUNDS))]
    added = intake.take_in(planned, said).added
    copies = {(workspace.data_dir / label.audio).read_bytes() for label in added}
    assert copies == set(SOUNDS.values())
    assert {name_suffix(label.audio) for label in added}.isdisjoint({".txt", ".jpg", ".html", ".download"})
    checked = upload_recordings.check(workspace)
    assert len(checked.rows) == len(SOUNDS) and checked.count("unusable") == 0
    assert not (checked.missing or checked.unlabelled or checked.others)


def test_no_button_hides_a_file_for_its_suffix(workspace: Workspace) -> None:
    assert TakeIn(workspace).upload.accept == LongRecordingForm(workspace).upload.accept == ""


def test_every_suffix_can_be_a_long_recording(workspace: Workspace) -> None:
    put(workspace.data_dir, {f"long_recordings/{name}": content for name, content in SOUNDS.items()})
    put(workspace.data_dir, {"long_recordings/清单.pdf": b"%PDF", "long_recordings/.DS_Store": b""})
    put(workspace.data_dir, {"long_recordings/新/1.m4a": next(iter(SOUNDS.values()))})
    assert [path.name for path in long_recording.listed(workspace)] == sorted(SOUNDS)
    assert long_recording.unlisted(workspace) == ("新/1.m4a", "清单.pdf")
    news = LongRecordingForm(workspace).news.value
    assert "新/1.m4a" in news and "清单.pdf" in news
    for name, content in SOUNDS.items():
        assert long_recording.keep(workspace, name, content).read_bytes() == content


def test_every_suffix_is_forgotten_and_nothing_of_others(workspace: Workspace) -> None:
    places = ("", "audio/", "audio_raw/", "audio_raw/第一天/", "long_recordings/", "incoming/")
    put(workspace.data_dir, {place + name: content for place in places for name, content in SOUNDS.items()})
    theirs = {"audio_raw/海边.jpg": b"\xff\xd8\xff\xe0", "笔记.txt": "药".encode(), "audio_raw/无": b"?"}
    put(workspace.data_dir, theirs)
    (workspace.data_dir / "consent.json").write_text(
        json.dumps(
            {"version": "1", "person": "anna", "given_by": "妈妈", "relationship": "母亲", "assent": True}
            | {"purposes": ["training"], "processor": "x", "date": "2026-11-23"}
        )
    )
    Erasure("anna", workspace.data_dir).remove()
    assert snapshot(workspace.data_dir) == theirs


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        "我想喝水".encode() * 500,
        b"%PDF-1.7" + bytes(3000),
        b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
        zipped({"a.txt": b"x" * 999}),
        bytes(50_000),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(5000),
        b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n",
    ],
    ids=["empty", "text", "Chinese", "PDF", "JPEG", "PNG", "zip", "zeros", "HEIC", "playlist"],
)
def test_what_is_no_sound_is_a_recording_only_where_its_name_says_so(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, {"a": content, "a.txt": content, "a.qta": content, "a.wav": content})
    assert [is_recording(tmp_path / name) for name in ("a", "a.txt", "a.qta", "a.wav")] == [False, False, True, True]
    assert not is_recording(content, "a.pdf") and is_recording(content, "a.wav")
    assert not is_recording(tmp_path) and not is_recording(tmp_path / "missing.wav")


def test_pipes_links_and_names_that_are_too_long_stop_nothing(workspace: Workspace) -> None:
    put(workspace.data_dir, RAW, texts([*RAW, "audio_raw/" + "很" * 300 + ".wav"]))
    os.mkfifo(workspace.audio_raw / "pipe.wav")
    (workspace.audio_raw / "nowhere.wav").symlink_to(workspace.data_dir / "nothing")
    (workspace.audio_raw / "linked").symlink_to(workspace.data_dir)
    checked = upload_recordings.check(workspace)
    assert (
        [row.codes for row in checked.rows if row.level == "unusable"]
        == [("RZ-0420",)]
        == [("RZ-0420",)] * len(checked.missing)
    )
    assert checked.others == ("audio_raw/linked", "audio_raw/nowhere.wav", "audio_raw/pipe.wav")


# ── Every file ───────────────────────────────────────────────────────────────
RUBBISH = (
    ".DS_Store",
    "._x.wav",
    "Thumbs.db",
    "desktop.ini",
    "~$笔记.docx",
    ".x.wav.ab12cd34.wav",
    ".labels.json.lock",
)
CONTENTS = (wav(voice(0.5, SAMPLE_RATE)), MP4(voice(0.5, SAMPLE_RATE)), b"", b"text", b"\xff\xd8\xff\xe0 photo")
names = st.sampled_from(
    [f"{base}{ending}" for base in ("x", "X", "1.我", "y ") for ending in ("", ".wav", ".qta", ".txt")]
)
files = st.dictionaries(
    st.tuples(
        st.sampled_from(["", "audio", "audio_raw", "audio_raw/day 1", "audio_raw/__MACOSX", "其他/里面", ".藏"]),
        st.one_of(names, st.sampled_from([*RUBBISH, ".hidden.wav", ".hidden", "x.zip", "metadata.csv"])),
    ).map(lambda parts: str(PurePosixPath(*parts))),
    st.sampled_from(CONTENTS),
    min_size=1,
    max_size=8,
)
labels = st.lists(
    st.tuples(st.sampled_from(["", "audio/", "audio_raw/", "其他/里面/", ".藏/"]), names).map("".join), unique=True
)


def is_known(name: str) -> bool:
    return name == "labels.json" or any(map(is_rubbish, PurePosixPath(name).parts))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files, labels)
@example({"audio_raw/x.oga": CONTENTS[0], "audio_raw/notes": b"text", ".藏/x.wav": CONTENTS[0]}, ["audio/x.wav"])
def test_every_file_is_taken_or_named_or_rubbish(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], labels: list[str]
) -> None:
    root = tmp_path_factory.mktemp("any")
    put(root / "data", files, texts(labels))
    before = snapshot(root / "data")
    checked = upload_recordings.check(Workspace(root / "data", root / "out", "p1"))
    taken = {row.source for row in checked.rows if row.source}
    originals = {name for name in before if repaired(stem(name)).casefold() in _other_sides(taken)}
    assert set(before) - {name for name in before if is_known(name)} <= {
        *taken,
        *checked.unlabelled,
        *checked.others,
        *originals,
    }
    assert not {*checked.others, *checked.unlabelled} & taken
    said = "\n".join(notice.sentence for notice in checked.notices)
    for name in (*checked.unlabelled, *checked.others):
        assert name in said or f"{name.split('/')[0]}/ (" in said
    assert set(checked.missing) == {row.audio for row in checked.rows if "RZ-0420" in row.codes}
    assert snapshot(root / "data") == before


def _other_sides(taken: set[str]) -> set[str]:
    swapped = {"audio": "audio_raw", "audio_raw": "audio"}
    halves = [repaired(stem(name)).casefold().partition("/") for name in taken]
    return {f"{swapped[folder]}/{inner}" for folder, _, inner in halves if folder in swapped}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files)
def test_every_file_that_came_is_a_row_or_rubbish(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("any")
    put(root / "came", files)
    (root / "data").mkdir()
    planned = intake.plan(root / "came", Workspace(root / "data", root / "out", "p1"))
    came = {name for name in snapshot(root / "came") if not is_known(name)}
    shown, said = {item.shown for item in planned.items}, " ".join(planned.notes)
    assert shown <= came
    for name in came - shown:  # a table says what is in other files, and a note what became of it
        assert PurePosixPath(name).name in said and files[name] not in CONTENTS[:2]
    assert all(item.reason for item in planned.items if item.verdict != "ready")
    hidden = {name for name in came if any(part.startswith(".") for part in PurePosixPath(name).parts)}
    assert not {item.shown for item in planned.items if item.can_go_in} & hidden


# ── A level too high or too low ──────────────────────────────────────────────
@pytest.mark.parametrize("below", ["我的训练数据", "下载/我的训练数据", "audio_raw"])
def test_a_folder_one_level_too_high_names_the_right_one(workspace: Workspace, below: str) -> None:
    right = workspace.data_dir / below
    put(right, {"audio_raw/1.m4a": b"1"}, ["audio_raw/1.m4a"])
    put(workspace.data_dir, {"__MACOSX/我的训练数据/._labels.json": b"", "__MACOSX/labels.json": b"[]"})
    put(workspace.data_dir, {"incoming/labels.json": b"[]", ".x/labels.json": b"[]"})
    assert str(misplaced(workspace.data_dir)).count("DATA_DIR = ") == 1
    for act in (conversion.convert, conversion.example):
        with pytest.raises(ResonanceError, match="RZ-0470") as refused:
            act(workspace)
        assert f'DATA_DIR = "{right}"' in str(refused.value)


def test_lesson_04_offers_the_right_folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    right = workspace.data_dir / "我的训练数据"
    put(right, {"audio_raw/1.m4a": b"1"}, ["audio_raw/1.m4a"])
    checked = upload_recordings.check(workspace)
    assert checked.rows == () and [notice.code for notice in checked.notices] == ["RZ-0470", "RZ-0475"]
    shown: list[str] = []
    for module in (lesson, lines):
        monkeypatch.setattr(module, "display", lambda *things: shown.extend(thing.alt for thing in things))
    show_workspace(workspace)
    check_recordings(workspace, checked)
    assert [str(right) in text and text.startswith("❌") for text in shown[1:3]] == [True, True]
    corrected = Workspace(right, workspace.output_dir, "anna")
    assert [row.source for row in upload_recordings.check(corrected).rows] == ["audio_raw/1.m4a"]


@pytest.mark.parametrize("named", ["audio", "audio_raw"])
def test_a_folder_one_level_too_low_names_the_right_one(workspace: Workspace, named: str) -> None:
    put(workspace.data_dir, {f"{named}/1.wav": b"1"}, [f"{named}/1.wav"])
    inside = Workspace(workspace.data_dir / named, workspace.output_dir, "anna")
    with pytest.raises(ResonanceError, match="RZ-0470") as refused:
        upload_recordings.check(inside)
    assert f'DATA_DIR = "{workspace.data_dir}"' in str(refused.value)


def test_several_folders_are_all_named_and_recordings_without_labels_too(workspace: Workspace) -> None:
    put(workspace.data_dir, {"bob/audio_raw/1.m4a": b"1", "小红/audio/2.wav": b"2", "小红/audio_raw/2.m4a": b"2"})
    (notice, _) = upload_recordings.check(workspace).notices
    assert notice.code == "RZ-0471" and "bob" in notice.sentence and "小红" in notice.sentence
    put(workspace.data_dir / "bob", {}, ["audio_raw/1.m4a"])
    (notice, _) = upload_recordings.check(workspace).notices
    assert notice.code == "RZ-0470" and "bob" in notice.sentence and "小红" not in notice.sentence


def test_an_empty_folder_and_one_of_our_own_are_a_beginning(workspace: Workspace) -> None:
    put(workspace.data_dir, {"incoming/audio_raw/1.m4a": b"1", "long_recordings/1.m4a": b"1", "phrases.csv": b"x"})
    put(workspace.data_dir, {"sample_data/labels.json": b"[]"})  # OUTPUT_DIR is the same
    workspace = Workspace(workspace.data_dir, workspace.data_dir, "anna")
    assert [notice.code for notice in upload_recordings.check(workspace).notices] == ["RZ-0466"]


# ── Which file a label means ─────────────────────────────────────────────────
def found(workspace: Workspace, *names: str) -> list[str | None]:
    matches = Recordings(workspace).match([Label(name, "我想喝水") for name in names])
    return [match.source or match.problem for match in matches]


@pytest.mark.parametrize(
    ("on_disk", "in_label"),
    [
        ("audio_raw/001.m4a ", "audio_raw/001.m4a"),
        ("audio_raw/001 .m4a", "audio/001.wav"),
        ("audio_raw/001.m4a", "audio_raw /001.m4a"),
        ("audio_raw/001.m4a", "audio_raw/\u200b001.m4a"),
        ("001.m4a", "audio/001.wav"),
        ("audio/001.m4a", "audio/001.wav"),
        ("audio_raw/001", "audio/001.wav"),
        ("audio_raw/001", "audio_raw/001.m4a"),
        ("audio_raw/1.我想喝水", "audio/1.我想喝水.wav"),
        ("audio_raw/2026.11.23", "2026.11.23"),
        ("audio_raw/Dr.Wang", "audio/Dr.Wang.wav"),
        ("audio_raw/第一天/001.m4a", "001.m4a"),
        ("audio_raw/第一天/001.m4a", "第一天/001.m4a"),
        ("audio_raw/第一天/001.m4a", "audio/第一天/001.wav"),
        ("audio_raw/audio_raw/001.m4a", "audio_raw/001.m4a"),
        ("audio_raw/001.m4a", "Audio_Raw/001.M4A"),
        ("audio_raw/001.m4a", "AUDIO/001.wav"),
        ("audio_raw/a.wav", "audio_raw/a.WAV"),
        ("audio_raw/Cafe\u0301.m4a", "Caf\u00e9"),
        ("别处/001.m4a", "别处/001.m4a"),
    ],
)
def test_a_label_finds_the_only_file_that_it_can_mean(workspace: Workspace, on_disk: str, in_label: str) -> None:
    put(workspace.data_dir, {on_disk: CONTENTS[0], "audio_raw/002.m4a": CONTENTS[1], "audio_raw/b": CONTENTS[0]})
    assert found(workspace, in_label) == [on_disk]
    assert on_disk not in upload_recordings.check(_labelled(workspace, [in_label])).unlabelled


def _labelled(workspace: Workspace, names: list[str]) -> Workspace:
    put(workspace.data_dir, {}, texts(names))
    return workspace


@pytest.mark.parametrize(
    ("on_disk", "in_label"),
    [
        (["audio_raw/001.m4a", "audio/001.m4a"], "001.m4a"),
        (["audio_raw/1/001.m4a", "audio_raw/2/001.m4a"], "001.m4a"),
        (["audio_raw/001.m4a", "audio_raw/001.mp3"], "audio_raw/001"),
        (["audio_raw/001.m4a", "audio_raw/001"], "audio/001.wav"),
        (["audio_raw/A.wav", "audio_raw/a.wav"], "audio_raw/a.WAV"),
        (["audio_raw/a b.wav", "audio_raw/a_b.wav"], "audio_raw/a  b.wav"),
    ],
)
def test_what_may_be_two_files_is_named(workspace: Workspace, on_disk: list[str], in_label: str) -> None:
    put(workspace.data_dir, dict.fromkeys(on_disk, CONTENTS[0]))
    (match,) = Recordings(workspace).match([Label(in_label, "我想喝水")])
    assert match.problem == "RZ-0423"
    for lang in LANGUAGES:
        assert all(name in message("RZ-0423", lang, **match.facts) for name in on_disk)


@pytest.mark.parametrize(
    ("on_disk", "in_label"),
    [
        ("audio_raw/b.m4a", "audio_raw/b.wav"),
        ("audio_raw/day/b.m4a", "audio_raw/b.m4a"),
        ("audio/b.txt", "audio/b.wav"),
    ],
)
def test_what_says_otherwise_is_missing(workspace: Workspace, on_disk: str, in_label: str) -> None:
    put(workspace.data_dir, {on_disk: b"text"})
    assert found(workspace, in_label) == ["RZ-0420"]


def test_twins_in_upper_and_lower_case(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/a.wav": CONTENTS[0]})
    assert found(workspace, "audio_raw/A.wav", "audio_raw/a.wav") == ["RZ-0473", "audio_raw/a.wav"]
    (row, _) = upload_recordings.check(_labelled(workspace, ["audio_raw/A.wav", "audio_raw/a.wav"])).rows
    assert row.codes == ("RZ-0473",) and "大小写" in row.reasons[0]
    put(workspace.data_dir, {"audio_raw/A.wav": CONTENTS[1]})
    assert found(workspace, "audio_raw/A.wav", "audio_raw/a.wav") == ["audio_raw/A.wav", "audio_raw/a.wav"]
    notices = {notice.code: notice.sentence for notice in upload_recordings.check(workspace).notices}
    assert "大小写" in notices["RZ-0476"] and "RZ-0422" not in notices
    assert len({row.wav for row in conversion.convert(workspace).rows}) == 2


def test_a_text_beside_a_recording_makes_nothing_ambiguous(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/001.m4a": CONTENTS[1], "audio_raw/001.txt": "我想喝水".encode()})
    assert found(workspace, "audio/001.wav") == ["audio_raw/001.m4a"]


# ── Whole paths in labels.json ───────────────────────────────────────────────
def written(workspace: Workspace, name: str) -> str:
    put(workspace.data_dir, {}, [{"audio": name, "text": "我想喝水"}])
    return read_labels(workspace.labels)[0].audio


@pytest.mark.parametrize(
    "whole",
    [
        "{data}/audio_raw/001.m4a",
        "{data}/其他/../audio_raw/001.m4a",
        r"C:\Users\妈妈\我的训练数据\audio_raw\001.m4a",
        "D:/我的训练数据/audio_raw/001.m4a",
        "\u202aC:\\Users\\妈妈\\我的训练数据\\audio_raw\\001.m4a",
        '"C:\\我的训练数据\\audio_raw\\001.m4a"',
        r"\\server\share\我的训练数据\audio_raw\001.m4a",
        "/root/data/我的训练数据/audio_raw/001.m4a",
    ],
)
def test_a_whole_path_into_the_data_folder_is_what_it_is_there(workspace: Workspace, whole: str) -> None:
    put(workspace.data_dir, {"audio_raw/001.m4a": CONTENTS[1]})
    if ".." in whole:
        with pytest.raises(ResonanceError, match="RZ-0409"):
            written(workspace, whole.format(data=workspace.data_dir))
        return
    assert written(workspace, whole.format(data=workspace.data_dir)) == "audio_raw/001.m4a"


def test_a_whole_path_through_a_link_is_inside_too(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(workspace.data_dir)
    through = Workspace(tmp_path / "link", tmp_path / "out", "anna")
    assert written(through, f"{tmp_path}/link/audio/1.wav") == written(through, f"{workspace.data_dir}/audio/1.wav")


@pytest.mark.parametrize(
    "whole",
    [
        "{data}/../别人/audio/001.wav",
        "{beside}/我的训练数据/audio/001.wav",
        r"C:\我的训练数据\我的训练数据\audio\001.wav",
        r"C:\我的训练数据\别的\001.wav",
        r"C:\别的\audio\001.wav",
        "/etc/passwd",
        "C:我的训练数据/audio/001.wav",
    ],
)
def test_a_whole_path_that_leads_elsewhere_or_may_is_refused(workspace: Workspace, tmp_path: Path, whole: str) -> None:
    put(tmp_path / "beside", {"我的训练数据/audio/001.wav": CONTENTS[0]})  # another person's, on this computer
    with pytest.raises(ResonanceError, match="RZ-0409"):
        written(workspace, whole.format(data=workspace.data_dir, beside=tmp_path / "beside"))


def test_the_same_file_by_its_whole_path_is_twice(workspace: Workspace) -> None:
    put(workspace.data_dir, {}, texts(["audio/1.wav", f"{workspace.data_dir}/audio/1.wav"]))
    with pytest.raises(ResonanceError, match="RZ-0405"):
        read_labels(workspace.labels)


# ── What a killed conversion left ────────────────────────────────────────────
def test_the_next_conversion_removes_what_a_killed_one_left_and_nothing_else(workspace: Workspace) -> None:
    long = "我" * 50
    put(workspace.data_dir, {"audio_raw/x.m4a": CONTENTS[1], f"audio_raw/{long}.m4a": CONTENTS[0]})
    put(workspace.data_dir, {}, texts(["audio_raw/x.m4a", f"audio_raw/{long}.m4a"]))
    left = (".x.wav.ab12cd34.wav", f".{long[:40]}.k_3j4h5g.wav", ".conversion.json.ab12cd34.json")
    theirs = (
        ".x.wav",
        ".x.wav.bak",
        ".x.wav.notes",
        ".x.wav.recorded.m4a",
        ".y.wav.ab12cd34.wav",
        "x.wav.ab12cd34.wav",
    )
    put(workspace.data_dir, {f"audio/{name}": b"half" for name in (*left, *theirs)})
    conversion.convert(workspace)
    names = {path.name for path in workspace.audio.iterdir()}
    assert names == {*theirs, "x.wav", f"{long}.wav", "conversion.json"}


def test_leftovers_of_folders_go_too(tmp_path: Path) -> None:
    put(tmp_path, {".a.ab12cd34/x": b"", ".a.ab12cd34.old/x": b"", ".a.notes/x": b"", "a/x": b"", ".b.ab12cd34/x": b""})
    remove_leftovers(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} == {".a.notes", "a", ".b.ab12cd34"}


def test_a_copy_bears_no_suffix_that_is_wrong(workspace: Workspace, tmp_path: Path) -> None:
    put(tmp_path, {"录音.txt": CONTENTS[1], "1.我想喝水": CONTENTS[0]})
    assert add_file(workspace, tmp_path / "录音.txt", "我想喝水").audio == "audio_raw/001_我想喝水"
    assert add_file(workspace, tmp_path / "1.我想喝水", "我想喝水").audio == "audio_raw/001_我想喝水_2"
    assert (
        intake.plan(tmp_path / "1.我想喝水", Workspace(tmp_path / "b", tmp_path / "c", "b")).items[0].text == "我想喝水"
    )
