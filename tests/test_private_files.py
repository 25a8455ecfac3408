"""Recordings, and what is made of them, are for their owner alone, however open the system's defaults are."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from resonance_helpers import Workspace
from resonance_helpers.audio.decode import to_pcm16, write_wav
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE, TrainingSettings
from resonance_helpers.core.workspace import open_workspace
from resonance_helpers.dataset.consent import Consent, write_consent
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.phrases import lists
from resonance_helpers.dataset.takes import add_file, add_take
from resonance_helpers.lessons import export_weights as export
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.convert_audio import logic as lesson_05
from resonance_helpers.lessons.test_model import logic as evaluation
from resonance_helpers.lessons.test_model.report.page import write_html
from resonance_helpers.lessons.upload_recordings import intake, long_recording
from resonance_helpers.lessons.upload_recordings.reading_list import write_reading_list
from resonance_helpers.lessons.upload_recordings.staging import Staging
from resonance_helpers.service.certificates import self_signed
from resonance_helpers.service.keys import KEYS_FILE, make_key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")

NOISE = np.random.default_rng(17).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "given").mkdir(mode=0o755)
    return open_workspace(tmp_path / "given", tmp_path / "made" / "output", "p1")


def open_to_others(folder: Path, but: Path | None = None) -> dict[str, str]:
    found = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*")) if path != but}
    return {str(path.relative_to(folder)): oct(mode) for path, mode in found.items() if mode & 0o077}


def uploaded(workspace: Workspace) -> intake.Plan:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("妈妈录的/开灯.wav", wav_bytes())
    return intake.plan([("我想喝水.wav", wav_bytes()), ("a.zip", zipped.getvalue())], workspace)


def wav_bytes() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, to_pcm16(NOISE), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def a_file(workspace: Workspace) -> None:
    source = workspace.data_dir.parent / "phone.wav"
    source.write_bytes(wav_bytes())
    add_file(workspace, source, "我想喝水")


def convert(workspace: Workspace) -> None:
    add_take(workspace, NOISE, "我想喝水")
    lesson_05.convert(workspace)


WRITERS: dict[str, Callable[[Workspace], object]] = {
    "a take": lambda w: add_take(w, NOISE, "我想喝水"),
    "a file": a_file,
    "a wav": lambda w: write_wav(w.audio / "001.wav", NOISE),
    "conversion": convert,
    "consent": lambda w: write_consent(
        w.consent, Consent("1", "p1", "妈妈", "母亲", True, ("training",), "我的电脑", "2026-11-23")
    ),
    "phrases": lambda w: lists.write(w, lists.everyday()[:3]),
    "a reading list": lambda w: write_reading_list(w, lists.everyday()[:3]),
    "a long recording": lambda w: long_recording.keep(w, "早上.wav", wav_bytes()),
    "staging": lambda w: Staging(w).folder,
    "uploads": uploaded,
    "keys": lambda w: make_key(w.output_dir / KEYS_FILE, ["p1"]),
    "a certificate": lambda w: self_signed(w.cache / "tls", "127.0.0.1"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_each_writer_makes_nothing_that_others_may_open(workspace: Workspace, writer: str) -> None:
    kept = WRITERS[writer](workspace)  # what is staged goes with whoever holds it
    assert not open_to_others(workspace.data_dir, but=workspace.data_dir)
    assert not open_to_others(workspace.output_dir.parent)
    assert oct(workspace.data_dir.stat().st_mode)[-3:] == "755", "a folder of theirs keeps its mode"
    del kept


@pytest.mark.slow
def test_a_small_course_makes_nothing_that_others_may_open(tmp_path: Path) -> None:
    workspace = open_workspace(output_dir=tmp_path / "out")
    lesson_05.convert(workspace)
    settings = TrainingSettings(steps=4, eval_every=2, augment=())
    seen: list[dict[str, str]] = []
    training.train(
        workspace, settings, PRACTICE_MODEL, on_event=lambda _: seen.append(open_to_others(tmp_path / "out"))
    )
    report = evaluation.evaluate(workspace)
    write_html(workspace, report, with_audio=True)
    bundle = export.export_adapter(workspace).zip
    export.import_bundle(bundle, tmp_path / "taken")
    assert len(read_labels(workspace.labels)) > 10 and seen and not any(seen)
    assert not open_to_others(workspace.output_dir) and not open_to_others(tmp_path / "taken")
    assert os.umask(0) == 0, "the umask is given back"
