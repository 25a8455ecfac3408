"""Lesson 10's last cells: a real service, a correction, and what the next training would learn from it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from resonance_helpers import Workspace, service
from resonance_helpers.client import ResonanceClient
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import PRACTICE_MODEL, TrainingSettings
from resonance_helpers.core.workspace import read_json, write_json
from resonance_helpers.dataset.index import Utterance, load_utterances
from resonance_helpers.dataset.labels import Label, read_labels
from resonance_helpers.dataset.splits import Split, split_utterances
from resonance_helpers.lessons import train_model
from resonance_helpers.lessons.connect_app.logic import copy_without, correct
from resonance_helpers.lessons.connect_app.view import check_correction
from resonance_helpers.lessons.convert_audio import convert
from resonance_helpers.lessons.test_model import test_clips as clips_of_the_test


@pytest.fixture(scope="module")
def trained(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The sample's recordings with its consent, and an adapter of them."""
    root = tmp_path_factory.mktemp("correction")
    shutil.copytree(converted_sample.data_dir, root / "data")
    workspace = Workspace(root / "data", root / "output", "alice")
    train_model.train(workspace, TrainingSettings(steps=1, eval_every=1, augment=()), base_model=PRACTICE_MODEL)
    return workspace


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def split_of(copy: Workspace) -> Split:
    convert(copy)
    return split_utterances(load_utterances(copy), seed=17)


def corrected(workspace: Workspace, clip: Utterance) -> tuple[Split, Split, list[Label]]:
    """What the lesson's cells do: the splits before and after, and the labels that were added."""
    copy = copy_without(workspace, clip)
    before, known = split_of(copy), read_labels(copy.labels)
    server = service.start(workspace, PRACTICE_MODEL, corrections=copy.data_dir)
    with ResonanceClient(server.url, server.token) as app:
        answer = app.transcribe(clip.wav, patient_id="alice")
        correct(app, answer, clip.text)
    server.stop()
    return before, split_of(copy), [label for label in read_labels(copy.labels) if label not in known]


def test_a_correction_is_learned_next_and_judges_nothing(
    trained: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    files, clip = files_of(trained.data_dir), clips_of_the_test(trained)[0]
    before, after, added = corrected(trained, clip)
    assert [label.text for label in added] == [clip.text]
    assert len(after.train) == len(before.train) + 1
    assert (after.seen, after.unseen) == (before.seen, before.unseen)
    assert files_of(trained.data_dir) == files, "only the copy was added to"
    check_correction(before, after, added)
    assert "✅" in capsys.readouterr().out
    # what the check guards, broken: a split that takes a correction for one more recording to judge by
    judged = tuple(each for each in after.train if each not in before.train)
    careless = replace(after, train=before.train, seen=(*after.seen, *judged))
    check_correction(before, careless, added)
    assert message("lesson10.once.fix") in capsys.readouterr().out


def test_without_consent_nothing_is_kept(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = replace(trained, data_dir=tmp_path / "data")
    shutil.copytree(trained.data_dir, workspace.data_dir)
    write_json(workspace.consent, read_json(workspace.consent) | {"purposes": ["training"]})
    before, after, added = corrected(workspace, clips_of_the_test(workspace)[0])
    assert added == [] and len(after.train) == len(before.train)
    check_correction(before, after, added)
    said = capsys.readouterr().out
    assert "✅" not in said and message("lesson10.once.no_consent") in said
