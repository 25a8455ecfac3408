"""Workspaces, bundles and keys that the version of 2026-12-01 (2de91ff) wrote still open, and mean the same.

``written/2026_12_01.zip`` holds a patient's two folders after lessons 04–08: twelve clips of the bundled sample with
their conversion, an adapter of the practice model (r 2, three steps), its run, report.json, the bundle and a key file.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from resonance_helpers import Workspace, open_workspace
from resonance_helpers.asr.adapter import read_manifest
from resonance_helpers.core.workspace import SAMPLE_DIR, read_json
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.lessons import convert_audio, export_weights, test_model, train_model, upload_recordings
from resonance_helpers.service.keys import KEYS_FILE, Keyring
from resonance_helpers.service.registry import AdapterRegistry
from resonance_helpers.studies import Erasure

WRITTEN = Path(__file__).parent / "written" / "2026_12_01.zip"
KEY = "J3WWcIQDKhlzaHCXMxDkz5Ch7P1sudGm7ug-E2JTX6g"  # of nothing that ever ran
PRACTICE = str(SAMPLE_DIR / "practice_model")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    with zipfile.ZipFile(WRITTEN) as written:
        written.extractall(folder)
    return folder


@pytest.fixture
def workspace(unpacked: Path) -> Workspace:
    return open_workspace(unpacked / "data", unpacked / "output", "patient-01")


def test_recordings_are_checked_and_nothing_is_converted_again(workspace: Workspace) -> None:
    assert [row.level for row in upload_recordings.check(workspace).rows] == ["ok"] * 12
    result = convert_audio.convert(workspace)
    assert (result.converted, result.unchanged + result.as_is) == (0, 12)


def test_the_run_and_its_split_are_read(workspace: Workspace) -> None:
    run = train_model.read_run(train_model.latest_run(workspace))
    assert (run.best_step, run.is_practice, len(run.history)) == (3, True, 3)
    split = read_json(run.run_dir / "split.json", "train")
    assert {clip.wav.name for clip in test_model.test_clips(workspace)} == {
        f"{number:03d}_{text}_3.wav" for number, text in enumerate(("我想喝水", "我想吃饭", "帮我开灯", "我很疼"), 1)
    }
    assert len(split["train"]) == 8 and len(load_utterances(workspace)) == 12


def test_the_report_is_read(workspace: Workspace) -> None:
    known = test_model.read_report(workspace)["splits"]["known_phrases"]
    assert known["n"] == 4 and known["before"]["exact"] == 0.5 and known["after"]["exact"] == 0.75


def test_the_adapter_answers_what_it_answered(workspace: Workspace) -> None:
    clip = test_model.test_clips(workspace)[0]
    assert test_model.transcribe_one(workspace, clip.wav, PRACTICE) == ("我要喝水", "我想喝水")


def test_the_bundle_is_imported_and_served(workspace: Workspace, tmp_path: Path) -> None:
    export_weights.import_bundle(workspace.output_dir / "export" / "patient-01-adapter.zip", tmp_path / "elsewhere")
    registry = AdapterRegistry(tmp_path / "elsewhere")
    assert registry.patients == ("patient-01",)
    assert registry.find("patient-01").manifest == read_manifest(workspace.adapter)


def test_the_key_opens_what_it_opened(workspace: Workspace) -> None:
    access = Keyring(file=workspace.output_dir / KEYS_FILE).access(KEY, "header")
    assert access is not None and access.covers("patient-01") and not access.covers("patient-02")


def test_forgetting_finds_and_removes_all_of_it(workspace: Workspace) -> None:
    """The last test: what was unpacked is gone behind it."""
    forgetting = Erasure.of(workspace)
    kinds = {piece.kind for piece in forgetting.look().pieces}
    assert {"adapter", "recordings", "runs", "export", "reports", "labels", "consent"} <= kinds
    assert forgetting.remove().is_complete
    for folder in (workspace.data_dir, workspace.output_dir):
        assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "phrases.json"]
