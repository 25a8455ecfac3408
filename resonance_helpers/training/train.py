"""One training run, from the workspace to the adapter.

The test part is never touched here. A dev part is held out of ``train`` to choose the best step. From there the run
finishes on all recordings: nothing that the person recorded may be missing from the adapter they get. A learner who
asked to stop gets the best step as it is.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transformers import set_seed

from .. import adapter
from ..base_models import default_name, resolve
from ..consent import require_consent
from ..settings import TrainingSettings, plain
from ..splits import DevSplit, Split, hold_out_dev, split_utterances
from ..text import normalise
from ..utterances import Utterance, data_hash, load_utterances
from ..whisper import SpeechModel, load_speech_model
from ..windows import choose_window
from ..workspace import Workspace
from .data import augmented_table, feature_table
from .records import CHECKPOINTS, Event, RunLog, TrainingResult, best_point
from .trainer import Teller, build

FINISHING_WEIGHT = 2  # how often a held-out recording comes while another one comes once, to catch up
Phase = dict[str, Any]  # what a phase adds to the facts of the run


def train(
    workspace: Workspace,
    settings: TrainingSettings | None = None,
    base_model: str = "",
    language: str = "zh",
    on_event: Callable[[Event], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Train an adapter for the workspace's patient and write it to ``adapter/``; the run's story goes to ``runs/``.

    ``on_event`` hears of every logged step and every evaluation; ``should_stop`` is asked after each step. Raises
    RZ-0005 (another patient's adapter lies there), RZ-041x (no consent), RZ-0006 (lesson 05 missing), RZ-0406 (too few
    recordings), RZ-0601 (too long for the model), RZ-065x (no base model). An earlier adapter stays until the new one
    is whole.
    """
    settings = settings or TrainingSettings()
    adapter.refuse_other_patient(workspace)
    require_consent(workspace, "training")
    utterances = load_utterances(workspace)
    split = split_utterances(utterances, settings.seed)
    dev = hold_out_dev(split.train, settings.dev_fraction, settings.dev_max_clips, settings.seed)
    speech = load_speech_model(resolve(default_name(workspace, base_model), workspace.cache / "base_models"), language)
    window_s = settings.window_s or choose_window(max(u.seconds for u in utterances), speech.native_window_s)
    window_s = min(window_s, speech.native_window_s)

    began = time.monotonic()
    set_seed(settings.seed)
    trainable, total = adapter.add_fresh(speech, settings.lora).get_nb_trainable_parameters()
    log = RunLog(workspace, _plan(speech, settings, split, window_s))
    log.used(split, dev)
    spent = log.history[-1].seconds if log.history else 0.0  # before the run was killed
    run = _Run(workspace, settings, speech, window_s, dev, log, on_event, should_stop)
    phases = run.choose_steps()
    if phases["stopped"] != "training.stopped.asked":
        phases = phases | run.finish_on_everything()
    result = TrainingResult(
        run_dir=log.folder,
        adapter_dir=workspace.adapter,
        base_model=speech.base.name,
        is_practice=speech.base.is_practice,
        preset=plain(settings),
        dev_by=dev.by,
        recordings=len(split.train),
        phrases=len({normalise(u.text) for u in split.train}),
        audio_seconds=round(sum(u.seconds for u in split.train), 1),
        window_s=window_s,
        device=speech.device.name,
        precision=speech.device.precision,
        precision_reason=speech.device.precision_reason,
        batch_size=settings.batch_size,
        trainable=trainable,
        total_parameters=total,
        wall_seconds=round(spent + time.monotonic() - began, 1),
        resumed_from=log.resumed_from,
        **phases,
    )
    adapter.save(speech, workspace.adapter, _manifest(workspace, speech, settings, split, result))
    return log.finish(result)


@dataclass
class _Run:
    """What the phases of one run share."""

    workspace: Workspace
    settings: TrainingSettings
    speech: SpeechModel
    window_s: float
    dev: DevSplit
    log: RunLog
    on_event: Callable[[Event], None] | None
    should_stop: Callable[[], bool] | None

    def choose_steps(self) -> Phase:
        """Train on what dev left, look at dev's CER every few steps, end with the best checkpoint in the model."""
        checkpoints = self.log.folder / CHECKPOINTS
        phase = self.log.chosen or self._train_on_fit(checkpoints)
        adapter.restore(self.speech, checkpoints / f"checkpoint-{phase['best_step']}")
        self.log.choose(phase)
        return phase

    def _train_on_fit(self, checkpoints: Path) -> Phase:
        dev, settings = self.dev.dev, self.settings
        teller = Teller(self.log, settings.steps, self.on_event, self.should_stop, dev, settings.patience)
        dev_table = feature_table(dev, self.speech, self.window_s, False, self.workspace.cache / "features")
        fit = self._table(self.dev.fit, self.log.resumed_from)
        trainer = build(self.speech, settings, checkpoints, fit, teller, dev_table)
        steps = self.log.resumed_from
        if steps < settings.steps and not teller.is_exhausted():
            trainer.train(resume_from_checkpoint=str(self.log.checkpoint) if self.log.checkpoint else None)
            steps = trainer.state.global_step
        best = best_point(self.log.history, len(dev))
        assert best is not None, "the trainer looks at dev at its last step at the latest"
        early = "training.stopped.early" if steps < settings.steps else "training.stopped.done"
        return {
            "steps": steps,
            "best_step": best.step,
            "best_cer": best.dev_cer,
            "stopped": "training.stopped.asked" if teller.was_asked else early,
            "finishing_steps": 0,
        }

    def finish_on_everything(self) -> Phase:
        """Go on from the best checkpoint with the held-out recordings back in, while the learning rate falls to zero.

        There is nothing left to measure on, so this part has no dev CER.
        """
        settings = self.settings
        table = (*self.dev.fit, *(clip for clip in self.dev.dev for _ in range(FINISHING_WEIGHT)))
        steps = max(1, settings.steps // 2)
        finishing = replace(settings, steps=steps, warmup_steps=1)
        done = self.log.history[-1].step
        teller = Teller(self.log, done + steps, self.on_event, self.should_stop, done_steps=done)
        trainer = build(self.speech, finishing, self.log.folder / CHECKPOINTS, self._table(table, done), teller)
        trainer.train()
        ran = trainer.state.global_step
        asked = {"stopped": "training.stopped.asked"} if teller.was_asked else {}
        return {"steps": done + ran, "finishing_steps": ran} | asked

    def _table(self, utterances: tuple[Utterance, ...], steps_before: int) -> Any:
        drawn = steps_before * self.settings.accumulation
        cut = not self.settings.window_s  # a window that was asked for is kept
        if self.settings.augment:
            return augmented_table(utterances, self.speech, self.window_s, cut, self.settings.seed, drawn)
        return feature_table(utterances, self.speech, self.window_s, cut, self.workspace.cache / "features")


def _plan(speech: SpeechModel, settings: TrainingSettings, split: Split, window_s: float) -> str:
    """A hash of all that decides what a run comes to."""
    facts = [plain(settings), data_hash(split.train), window_s, adapter.identity(speech), speech.language]
    return hashlib.sha256(json.dumps([*facts, adapter.versions()], sort_keys=True).encode()).hexdigest()


def _manifest(
    workspace: Workspace, speech: SpeechModel, settings: TrainingSettings, split: Split, result: TrainingResult
) -> adapter.Manifest:
    return adapter.Manifest(
        patient_id=workspace.patient_id,
        base_model=adapter.identity(speech),
        language=speech.language,
        window_s=result.window_s,
        lora=plain(settings.lora),
        recordings=result.recordings,
        phrases=result.phrases,
        audio_seconds=result.audio_seconds,
        data_sha256=data_hash(split.train),
        run=result.run_dir.name,
        steps=result.steps,
        seed=settings.seed,
        wall_seconds=result.wall_seconds,
        scores={"dev_cer": result.best_cer},
        versions=adapter.versions(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
