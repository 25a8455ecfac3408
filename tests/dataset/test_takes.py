"""``takes``: the guide's names, nothing overwritten, and nobody's take lost when several write at once."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from resonance_helpers import ResonanceError, Workspace, open_workspace
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.dataset.labels import Label, read_labels, write_labels
from resonance_helpers.dataset.takes import add_take

SOUND = np.linspace(-0.5, 0.5, 16_000, dtype=np.float32)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, tmp_path / "out", "anna")


def test_the_names_are_the_guides(workspace: Workspace) -> None:
    texts = ["我想喝水", "我想吃饭", "我想喝水", " 我想喝水。", "我想吃饭", "疼！"]
    labels = [add_take(workspace, SOUND, text, "2026-11-23") for text in texts]
    assert [label.audio.removeprefix("audio_raw/") for label in labels] == [
        "001_我想喝水.wav",
        "002_我想吃饭.wav",
        "001_我想喝水_2.wav",
        "001_我想喝水_3.wav",
        "002_我想吃饭_2.wav",
        "003_疼.wav",
    ]
    assert read_labels(workspace.labels) == labels
    assert [label.take for label in labels] == [1, 1, 2, 3, 2, 1]
    assert {label.session for label in labels} == {"2026-11-23"}
    assert {label.split for label in labels} == {None}
    assert np.allclose(read_wav(workspace.data_dir / labels[0].audio), SOUND, atol=1e-4)


def test_numbers_go_on_from_what_is_there(workspace: Workspace) -> None:
    write_labels(workspace.labels, [Label("audio/007_我想喝水.wav", "我想喝水", split="test"), Label("x.m4a", "开灯")])
    assert add_take(workspace, SOUND, "我想喝水").audio == "audio_raw/007_我想喝水_2.wav"
    assert add_take(workspace, SOUND, "开灯").audio == "audio_raw/008_开灯_2.wav"
    assert add_take(workspace, SOUND, "关灯") == Label("audio_raw/009_关灯.wav", "关灯", split="train")


def test_a_file_that_is_there_keeps_its_name(workspace: Workspace) -> None:
    workspace.audio_raw.mkdir()
    theirs = workspace.audio_raw / "001_我想喝水.m4a"
    theirs.write_bytes(b"theirs")
    assert add_take(workspace, SOUND, "我想喝水").audio == "audio_raw/001_我想喝水_2.wav"
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.parametrize("text", ["../../etc/passwd", "a/b\\c:d*e", "con ", "水" * 60, ".隐藏", "🚰水"])
def test_any_text_gives_a_name_inside_the_folder(workspace: Workspace, text: str) -> None:
    label = add_take(workspace, SOUND, text)
    assert (workspace.data_dir / label.audio).resolve().parent == workspace.audio_raw.resolve()
    assert read_labels(workspace.labels)[0].text == text.strip()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (" 。！", "RZ-0416"),
        ("🚰", "RZ-0416"),
        ("\u200b", "RZ-0416"),
        ("我想\ud83d", "RZ-0480"),
        ("<|zh|>我想喝水", "RZ-0481"),
        ("水" * 600, "RZ-0482"),
    ],
)
def test_a_text_that_cannot_be_learned_is_refused_and_nothing_is_written(
    workspace: Workspace, text: str, code: str
) -> None:
    with pytest.raises(ResonanceError, match=code):
        add_take(workspace, SOUND, text)
    assert not list(workspace.data_dir.rglob("*"))


def test_a_take_says_what_can_be_seen(workspace: Workspace) -> None:
    label = add_take(workspace, SOUND, "\ufeff我想\u200b喝\n水\0")
    assert (label.text, label.audio) == ("我想喝 水", "audio_raw/001_我想喝_水.wav")
    assert "\\u" not in workspace.labels.read_text(encoding="utf-8")


def test_the_sample_takes_in_nobodys_voice(tmp_path: Path) -> None:
    rehearsal = open_workspace(output_dir=tmp_path)
    before = rehearsal.labels.read_bytes()
    with pytest.raises(ResonanceError, match="RZ-0417"):
        add_take(rehearsal, SOUND, "我想喝水")
    assert rehearsal.labels.read_bytes() == before


def _adds_ten(folder: Path) -> None:
    for _ in range(10):
        add_take(Workspace(folder, folder, "anna"), SOUND[:160], "我想喝水")


def test_two_processes_lose_nobodys_take(workspace: Workspace) -> None:
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_adds_ten, [workspace.data_dir] * 2))
    labels = read_labels(workspace.labels)
    assert sorted(label.take for label in labels) == list(range(1, 21))
    assert sorted(label.audio for label in labels) == sorted(
        path.relative_to(workspace.data_dir).as_posix() for path in workspace.audio_raw.iterdir()
    )
