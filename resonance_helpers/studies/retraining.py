"""Training again on some of a person's recordings, only to learn from the score.

Every retraining has a folder of its own. It reads the person's recordings where they lie, through a labels.json that
names some of them; the adapter that the person uses is never touched. Folders are named by what went in (recordings,
settings, base model), so a finished one is found again, and nothing of other recordings or settings can be taken for
it. Once judged, its adapter is deleted: it is a person's voice and not needed any more.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import __version__
from ..asr import adapter
from ..asr.base_models import default_name, resolve
from ..asr.base_models.weights import tensors_sha256
from ..core.settings import TrainingSettings, plain
from ..core.workspace import Workspace, read_json, write_json
from ..dataset.consent import require_consent
from ..dataset.index import Utterance, data_hash, load_utterances
from ..dataset.labels import read_labels, write_labels
from ..dataset.splits import split_utterances
from ..lessons import train_model as training
from ..lessons.convert_audio import logic as conversion
from ..lessons.test_model import logic as evaluation
from ..scoring.learning_curve import ClipHypothesis

ANSWERS = "answers.json"  # written last: where it lies, the retraining is finished

OnProgress = Callable[[float, int, str], None]
"""Retrainings done (with the share of the one that runs), how many in all, and what is done now, in words."""


@dataclass(frozen=True, kw_only=True)
class Selection(Workspace):
    """A person's recordings seen through a labels.json in the output folder, with the caches of their own workspace."""

    shared_cache: Path

    @property
    def labels(self) -> Path:
        return self.output_dir / "labels.json"

    @property
    def cache(self) -> Path:
        return self.shared_cache


@dataclass(frozen=True)
class Study:
    """What the retrainings of one study share. ``folder`` is named by the hash of all that decides their outcome."""

    workspace: Workspace
    settings: TrainingSettings
    base_model: str
    base_name: str
    is_practice: bool
    language: str
    train: tuple[Utterance, ...]  # whatever no label keeps for lesson 07
    test: tuple[Utterance, ...]
    folder: Path


def prepare(workspace: Workspace, name: str, steps: int | None, base_model: str = "", language: str = "zh") -> Study:
    """Convert what is not converted yet, make the split that all retrainings share, and find the base model.

    The split is that of a default training: its test part stays the same for every size and seed. Raises what
    ``training.train`` would raise, before anything is trained.
    """
    adapter.refuse_other_patient(workspace)
    require_consent(workspace, "training")
    conversion.convert(workspace)
    utterances = load_utterances(workspace)
    settings = TrainingSettings()
    split = split_utterances(utterances, settings.seed)
    settings = replace(settings, steps=settings.steps if steps is None else steps)
    base = resolve(default_name(workspace, base_model), workspace.cache / "base_models")
    test = split.seen + split.unseen
    key = [__version__, language, plain(settings), base.name, base.revision, tensors_sha256(base.folder)]
    key += [data_hash(split.train), data_hash(test)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return Study(
        workspace=workspace,
        settings=settings,
        base_model=base_model,
        base_name=base.name,
        is_practice=base.is_practice,
        language=language,
        train=split.train,
        test=test,
        folder=workspace.output_dir / name / digest[:12],
    )


def share_of(on_progress: OnProgress | None, done: int, total: int, doing: str) -> Callable[[float], None]:
    """``on_progress`` of a whole study, as what one retraining calls with the share of its steps that is done.

    A training that finishes on all recordings learns of those steps late; the bar then waits instead of going back.
    """
    furthest = 0.0

    def on_share(share: float) -> None:
        nonlocal furthest
        furthest = max(furthest, share)
        if on_progress:
            on_progress(done + furthest, total, doing)

    on_share(0.0)
    return on_share


def retrain(
    study: Study,
    name: str,
    train: Sequence[Utterance],
    test: Sequence[Utterance],
    seed: int,
    on_share: Callable[[float], None],
) -> tuple[ClipHypothesis, ...]:
    """Train from scratch on ``train`` and give the answers to ``test``; those of a finished retraining are read.

    ``on_share`` hears which share of the steps is done.
    """
    folder = study.folder / name
    finished = folder / ANSWERS
    if finished.exists():
        return tuple(ClipHypothesis(**answer) for answer in read_json(finished))
    mine = study.workspace
    selection = Selection(mine.data_dir, folder, mine.patient_id, mine.is_sample, shared_cache=mine.cache)
    labels = {label.audio: label for label in read_labels(mine.labels)}
    chosen = [replace(labels[u.audio], split="train") for u in train]
    write_labels(selection.labels, chosen + [replace(labels[u.audio], split="test") for u in test])
    training.train(
        selection,
        replace(study.settings, seed=seed),
        study.base_model,
        study.language,
        on_event=lambda event: on_share(min(1.0, event.step / event.total_steps)),
    )
    answers = evaluation.hear_test(selection, study.base_model, study.language)
    for voice in (selection.adapter, *selection.runs.glob("*/checkpoints")):  # those of a run that was killed, too
        shutil.rmtree(voice)
    write_json(finished, [asdict(answer) for answer in answers])
    return answers
