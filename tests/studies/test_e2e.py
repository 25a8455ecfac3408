"""The whole way once: a real service, a correction, and what the next training would learn from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from resonance_helpers import Workspace
from resonance_helpers import studies as workflows
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import PRACTICE_MODEL, TrainingSettings
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.labels import CORRECTIONS
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.connect_app.view import check_whole_way
from resonance_helpers.lessons.test_model import logic as evaluation
from resonance_helpers.studies import e2e as once


@pytest.fixture(scope="module")
def trained(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The sample's recordings with its consent, and an adapter of them."""
    root = tmp_path_factory.mktemp("once")
    shutil.copytree(converted_sample.data_dir, root / "data")
    workspace = Workspace(root / "data", root / "output", "alice")
    training.train(workspace, TrainingSettings(steps=1, eval_every=1, augment=()), base_model=PRACTICE_MODEL)
    return workspace


def lying(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_said_is_put_right_learned_next_and_judges_nothing(
    trained: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lying(trained.data_dir)
    clip = evaluation.test_clips(trained)[0]
    way = workflows.whole_way(trained, PRACTICE_MODEL)
    assert way.said == clip.text and way.take
    assert way.duration == pytest.approx(clip.seconds, abs=0.05) and way.seconds > 0
    assert way.trained[1] == way.trained[0] + 1 and way.learns_it
    assert way.tested[1] == way.tested[0] == len(evaluation.test_clips(trained)) - 1 and way.same_test
    assert lying(trained.data_dir) == before, "only a copy was added to"
    assert not list(trained.cache.glob("whole-way-*"))
    check_whole_way(way)
    assert way.take in capsys.readouterr().out


def test_without_consent_the_way_ends_at_the_text(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = replace(trained, data_dir=tmp_path / "data")
    shutil.copytree(trained.data_dir, workspace.data_dir)
    given = json.loads(workspace.consent.read_text(encoding="utf-8"))
    workspace.consent.write_text(json.dumps(given | {"purposes": ["training"]}), encoding="utf-8")
    way = workflows.whole_way(workspace, PRACTICE_MODEL)
    assert way.take is None and not way.learns_it
    assert way.trained[0] == way.trained[1] and way.same_test
    check_whole_way(way)
    said = capsys.readouterr().out
    assert "✅" not in said and message("lesson10.once.no_consent") in said


def test_a_correction_that_judged_would_be_seen(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the lesson's check guards, broken: a split that takes a correction for one more recording to judge by."""

    def careless(workspace: Workspace) -> object:
        once.conversion.convert(workspace)
        utterances = load_utterances(workspace)
        split, added = split_utterances(utterances, 17), [u for u in utterances if u.session == CORRECTIONS]
        return replace(split, train=tuple(u for u in split.train if u not in added), seen=(*split.seen, *added))

    monkeypatch.setattr(once, "_next_split", careless)
    way = workflows.whole_way(trained, PRACTICE_MODEL)
    assert way.take and not way.learns_it and not way.same_test
    check_whole_way(way)
    assert message("lesson10.once.fix") in capsys.readouterr().out
