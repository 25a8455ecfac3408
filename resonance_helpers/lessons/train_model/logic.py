"""One training run, from the workspace to the adapter.

The test part is never touched here. A dev part is held out of ``train`` to choose the best step. From there the run
finishes on all recordings: nothing that the person recorded may be missing from the adapter they get. A learner who
asked to stop gets the best step as it is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transformers import set_seed

from ...asr import adapter
from ...asr.augmentation import Augmentation, mask_spectrum
from ...asr.base_models import default_name, resolve
from ...asr.vad import speaker_threshold
from ...asr.whisper import SpeechModel, load_speech_model
from ...asr.windows import choose_window
from ...audio.decode import read_wav
from ...core.messages import ResonanceError
from ...core.settings import MAX_NEW_TOKENS, TrainingSettings, plain
from ...core.workspace import Workspace, disk_full_is_said
from ...dataset.consent import require_consent
from ...dataset.index import Utterance, data_hash, load_utterances
from ...dataset.splits import DevSplit, Split, hold_out_dev, split_utterances, write_split
from ...scoring.text import normalise
from .data import Draws, augmented_table, feature_table
from .forecast import fewest_steps
from .records import CHECKPOINTS, Event, RunLog, TrainingResult, only_training
from .trainer import SpeechTrainer, TrainingProgress, build, is_out_of_memory

FINISHING_RATE = 0.5  # of the learning rate, to begin with; the whole rate shakes what was learned (loss 0.02 to 0.18)
FINISHING_WEIGHT = 2  # how often a held-out recording comes while another one comes once, to catch up
GOES_ON = ("training.stopped.done", "training.stopped.early")  # reasons after which a run finishes on everything
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
    recordings), RZ-0604 (too long for the model), RZ-0484 (a text that no answer can hold), RZ-065x (no base model),
    RZ-0621 (diverged at once), RZ-0622 (no memory for one clip), RZ-0623 (another process is training), RZ-0004 (the
    disk is full). An earlier adapter stays until the new one is whole.

    A run that was killed is taken up again by the next call with the same recordings, settings and base model;
    ``on_event`` then hears first of what it had done.
    """
    settings = settings or TrainingSettings()
    adapter.refuse_other_patient(workspace)
    require_consent(workspace, "training")
    utterances = load_utterances(workspace)
    speech = load_speech_model(resolve(default_name(workspace, base_model), workspace.cache / "base_models"), language)
    fitting, too_long = _by_length(utterances, settings, speech.native_window_s)
    _refuse_unanswerable(fitting, speech)
    split = split_utterances(fitting, settings.seed)
    dev = hold_out_dev(split.train, settings.dev_fraction, settings.dev_max_clips, settings.seed)
    window_s = _window(fitting, settings, speech.native_window_s)

    began = time.monotonic()
    set_seed(settings.seed)
    weights = adapter.add_fresh(speech, settings.lora).get_nb_trainable_parameters()
    with only_training(workspace):
        log = RunLog(workspace, _plan(speech, settings, split, window_s))
        write_split(log.folder, split.train, dev.dev, split, too_long)
        if on_event:
            log.tell_again(settings.all_steps, on_event)
        spent = log.history[-1].seconds if log.history else 0.0  # before the run was killed
        run = _Run(workspace, settings, speech, window_s, dev, log, on_event, should_stop)
        with disk_full_is_said(log.folder):
            phases = run.choose_steps()
            if phases["stopped"] in GOES_ON:
                phases = phases | run.refit_on_all()
            spent += time.monotonic() - began
            facts = phases | {"left_out": len(too_long), "wall_seconds": round(spent, 1)}
            result = run.result(settings, split, weights, facts)
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
        ripe = fewest_steps(settings, len(self.dev.fit)) if self.dev.by == "phrases" else 0
        progress = TrainingProgress(
            self.log, settings.all_steps, self.on_event, self.should_stop, dev, settings.patience, ripe
        )
        dev_table = feature_table(dev, self.speech, self.window_s, False, self.workspace.cache / "features")

        def make() -> SpeechTrainer:
            fit = self._table(self.dev.fit, self.log.reached)
            seconds = [u.seconds for u in self.dev.fit]
            return build(self.speech, self.settings, checkpoints, fit, seconds, progress, dev_table)

        steps, diverged = self.log.reached, False
        if steps < settings.steps and not progress.is_exhausted():
            steps, diverged = self._fit(make)
        best = progress.best()
        if best is None:  # the trainer looks at dev at its last step at the latest, unless it diverged before
            shutil.rmtree(checkpoints, ignore_errors=True)  # training must not resume from them
            raise ResonanceError("RZ-0621", step=steps, rate=settings.learning_rate)
        return {
            "steps": steps,
            "best_step": best.step,
            "best_cer": best.dev_cer,
            "stopped": _reason(progress, diverged, steps < settings.steps),
            "finishing_steps": 0,
        }

    def refit_on_all(self) -> Phase:
        """Go on from the best checkpoint with the held-out recordings back in, while the learning rate falls to zero.

        There is nothing left to measure on, so this part has no dev CER.
        """
        table = (*self.dev.fit, *(clip for clip in self.dev.dev for _ in range(FINISHING_WEIGHT)))
        chosen = self.log.reached
        steps = self.settings.finishing_steps
        progress = TrainingProgress(self.log, chosen + steps, self.on_event, self.should_stop, done_steps=chosen)

        def make() -> SpeechTrainer:
            rate = FINISHING_RATE * self.settings.learning_rate
            finishing = replace(self.settings, steps=steps, warmup_steps=1, learning_rate=rate)
            seconds = [u.seconds for u in table]
            rows = self._table(table, chosen)
            return build(self.speech, finishing, self.log.folder / CHECKPOINTS, rows, seconds, progress)

        best = adapter.weights_of(self.speech)
        ran, diverged = self._fit(make, from_checkpoint=False)
        if diverged:
            adapter.put_weights(self.speech, best)
            self.log.rewind()
            return {"stopped": _reason(progress, diverged, False)}
        asked = {"stopped": _reason(progress, diverged, False)} if progress.was_asked else {}
        return {"steps": chosen + ran, "finishing_steps": ran} | asked

    def _fit(self, make: Callable[[], SpeechTrainer], from_checkpoint: bool = True) -> tuple[int, bool]:
        """Run the trainer that ``make`` builds: steps done, and whether it diverged.

        Where memory runs out, batches of half the size are added up twice as often, and this part of the run goes on
        from its last checkpoint or begins again.
        """
        start = adapter.weights_of(self.speech)
        while True:
            trainer = make()
            checkpoint = self.log.checkpoint if from_checkpoint else None
            try:
                with mask_spectrum(self.speech.whisper.config, "spectrum" in self.settings.augment):
                    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
                return trainer.state.global_step, trainer.diverged
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.settings.batch_size == 1:
                    raise ResonanceError("RZ-0622", model=self.speech.base.name, window=f"{self.window_s:g}") from error
            del trainer  # and with it what the GPU holds of gradients and moments
            smaller = self.settings.batch_size // 2
            self.settings = replace(self.settings, batch_size=smaller, accumulation=2 * self.settings.accumulation)
            adapter.put_weights(self.speech, start)
            self.log.rewind()

    def result(
        self, preset: TrainingSettings, split: Split, weights: tuple[int, int], facts: dict[str, Any]
    ) -> TrainingResult:
        """What the run came to: ``weights`` are those that were trained and all of the model's, ``facts`` what the
        phases and the clock say."""
        device = self.speech.device
        return TrainingResult(
            run_dir=self.log.folder,
            adapter_dir=self.workspace.adapter,
            base_model=self.speech.base.name,
            is_practice=self.speech.base.is_practice,
            preset=plain(preset),
            dev_by=self.dev.by,
            recordings=len(split.train),
            phrases=len({normalise(u.text) for u in split.train}),
            audio_seconds=round(sum(u.seconds for u in split.train), 1),
            window_s=self.window_s,
            device=device.name,
            precision=device.precision,
            precision_reason=device.precision_reason,
            batch_size=self.settings.batch_size,
            accumulation=self.settings.accumulation,
            trainable=weights[0],
            total_parameters=weights[1],
            resumed_from=self.log.resumed_from,
            **facts,
        )

    def _table(self, utterances: tuple[Utterance, ...], steps_before: int) -> Any:
        drawn = steps_before * self.settings.accumulation
        cut = not self.settings.window_s  # a window that was asked for is kept
        native_every = self.settings.native_every if self.window_s < self.speech.native_window_s else 0
        if not (self.settings.augment or native_every):
            return feature_table(utterances, self.speech, self.window_s, cut, self.workspace.cache / "features")
        draws = Draws(Augmentation(self.settings.augment), self.settings.seed, before=drawn, native_every=native_every)
        return augmented_table(utterances, self.speech, self.window_s, cut, draws)


def _by_length(
    utterances: Sequence[Utterance], settings: TrainingSettings, native_s: float
) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...]]:
    """Recordings that the model can hear at once, and longer ones. RZ-0604 names those, unless asked to go on without
    them."""
    fitting = tuple(u for u in utterances if u.seconds <= native_s)
    too_long = tuple(u for u in utterances if u.seconds > native_s)
    if too_long and not settings.leave_out_long:
        names = ", ".join(f"{u.audio} ({u.seconds:.1f} s)" for u in too_long)
        raise ResonanceError("RZ-0604", window=f"{native_s:g}", names=names)
    return fitting, too_long


def _refuse_unanswerable(utterances: Sequence[Utterance], speech: SpeechModel) -> None:
    """RZ-0484 names texts that take more tokens than an answer has: they would be learned and never said whole."""
    needed = {u: tokens for u in utterances if (tokens := speech.tokens_of(u.text)) > MAX_NEW_TOKENS}
    if needed:
        names = ", ".join(f"{u.audio} ({tokens})" for u, tokens in needed.items())
        raise ResonanceError("RZ-0484", limit=MAX_NEW_TOKENS, names=names)


def _window(utterances: Sequence[Utterance], settings: TrainingSettings, native_s: float) -> float:
    """The window in seconds that holds all of these recordings."""
    return min(settings.window_s or choose_window(max(u.seconds for u in utterances), native_s), native_s)


def _reason(progress: TrainingProgress, diverged: bool, too_few_steps: bool) -> str:
    """Why training ended, as a message key."""
    if diverged:
        return "training.stopped.diverged"
    if progress.was_asked:
        return "training.stopped.asked"
    return "training.stopped.early" if too_few_steps else "training.stopped.done"


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
        speech_bar=speaker_threshold([read_wav(u.wav) for u in split.train]),
    )
