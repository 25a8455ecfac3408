"""``Seq2SeqTrainer`` with our decoding, and the callback that tells and records what happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    EvalPrediction,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ...asr.whisper import SpeechModel
from ...core.settings import MAX_NEW_TOKENS, TrainingSettings
from ...dataset.index import Utterance
from ...scoring.error_rates import cer
from .data import IGNORED, SimilarLengths, collate
from .records import Event, Guess, Point, RunLog, best_point

SHOWN_CLIPS = 5  # dev clips whose guesses the learner watches
# How torch says it on a CPU under Windows, on a CPU elsewhere, and for the driver of a GPU
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


class SpeechTrainer(Seq2SeqTrainer):
    """Evaluates by decoding with our window-aware greedy loop; ``generate`` would pad every clip to 30 s."""

    def __init__(self, speech: SpeechModel, seconds: Sequence[float], **kwargs: Any) -> None:
        super().__init__(model=speech.model, data_collator=collate, processing_class=speech.processor, **kwargs)
        self.speech, self.seconds = speech, seconds
        # Whisper takes any keyword, so the trainer would think that its loss is already a sum over the batch
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.diverged = False

    def _get_train_sampler(self, train_dataset: Any = None) -> SimilarLengths:
        return SimilarLengths(self.seconds, self.args.train_batch_size, self.args.seed)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Stops the run when the loss is no number any more: nothing that follows would be one."""
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            self.diverged = self.control.should_training_stop = True
        return loss

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **gen_kwargs: Any,
    ) -> tuple[Any, Any, Any]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = model(**inputs).loss.detach()
        tokens = self.speech.greedy(inputs["input_features"])
        missing = MAX_NEW_TOKENS - tokens.shape[1]  # batches end at different lengths and are joined
        return loss, nn.functional.pad(tokens, (0, missing), value=self.speech.end), inputs["labels"]


class TrainingProgress(TrainerCallback):
    """Records every point in the run's folder and passes it on as an ``Event``; stops when the learner asks, and after
    ``patience`` evaluations that brought nothing better."""

    def __init__(
        self,
        log: RunLog,
        total_steps: int,
        on_event: Callable[[Event], None] | None,
        should_stop: Callable[[], bool] | None,
        dev: Sequence[Utterance] = (),
        patience: int = 0,
        not_before: int = 0,
        done_steps: int = 0,
    ) -> None:
        self.log, self.total_steps, self.on_event, self.should_stop = log, total_steps, on_event, should_stop
        self.dev, self.patience, self.not_before, self.done_steps = dev, patience, not_before, done_steps
        self.guesses: tuple[Guess, ...] = ()
        self.was_asked = False
        self.began, self.first_step = time.monotonic(), 0
        self.before = log.history[-1].seconds if log.history else 0.0  # of what this run did earlier

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.first_step = state.global_step  # of a run that is taken up again

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        if "loss" in logs:
            self._tell(state, loss=logs["loss"], learning_rate=logs["learning_rate"])
        elif "eval_cer" in logs:
            guesses, self.guesses = self.guesses, ()
            self._tell(state, guesses, dev_cer=logs["eval_cer"], dev_loss=logs["eval_loss"])

    def best(self) -> Point | None:
        """The evaluation whose weights would be kept if training ended now."""
        return best_point(self.log.history, len(self.dev), self.not_before)

    def is_exhausted(self) -> bool:
        """Whether ``patience`` evaluations brought nothing better."""
        tested = [point for point in self.log.history if point.dev_cer is not None]
        best = self.best() if tested else None
        return best is not None and len(tested) - 1 - tested.index(best) >= self.patience

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_training_stop = control.should_training_stop or self.is_exhausted()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.should_stop and self.should_stop():
            self.was_asked = control.should_training_stop = True
            if args.eval_strategy != "no":
                control.should_evaluate = control.should_save = True  # what was learned since the last look may be best

    def _tell(self, state: TrainerState, guesses: tuple[Guess, ...] = (), **measured: float) -> None:
        elapsed = time.monotonic() - self.began
        step = self.done_steps + state.global_step
        point = Point(step, round(self.before + elapsed, 2), **measured)
        self.log.add(point, guesses)
        if self.on_event:
            left = elapsed / max(state.global_step - self.first_step, 1) * (self.total_steps - step)
            best = self.best() if self.dev else None
            self.on_event(Event(point, self.total_steps, left, guesses, best.step if best else None))


def build(
    speech: SpeechModel,
    settings: TrainingSettings,
    checkpoints: Path,
    train_table: Any,
    seconds: Sequence[float],
    progress: TrainingProgress,
    dev_table: Any = None,
) -> SpeechTrainer:
    """A trainer for ``settings`` and clips that last ``seconds``; with a dev part it evaluates, and keeps a checkpoint
    of every evaluation."""
    looks: dict[str, Any] = {"save_strategy": "no"}
    if dev_table is not None:
        every = min(settings.eval_every, settings.steps)
        looks = {"eval_strategy": "steps", "eval_steps": every, "save_strategy": "steps", "save_steps": every}
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=min(settings.warmup_steps, settings.steps),
        bf16=speech.device.precision == "bf16",
        fp16=speech.device.precision == "fp16",
        use_cpu=speech.device.kind == "cpu",
        seed=settings.seed,
        logging_steps=5,
        label_names=["labels"],  # PEFT's wrapper hides the signature that the trainer would read this from
        remove_unused_columns=False,
        predict_with_generate=True,
        disable_tqdm=True,
        dataloader_pin_memory=speech.device.kind == "cuda",
        report_to="none",
        **looks,
    )

    def score(prediction: EvalPrediction) -> dict[str, float]:
        tokens = torch.as_tensor(prediction.predictions)
        heard = speech.decode(tokens.masked_fill(tokens == IGNORED, speech.end))
        step = progress.done_steps + trainer.state.global_step
        shown = zip(progress.dev[:SHOWN_CLIPS], heard, strict=False)
        progress.guesses = tuple(Guess(step, u.text, text) for u, text in shown)
        return {"cer": cer([u.text for u in progress.dev], heard)}

    trainer = SpeechTrainer(
        speech,
        seconds,
        args=arguments,
        train_dataset=train_table,
        eval_dataset=dev_table,
        compute_metrics=score if dev_table is not None else None,
        callbacks=[progress],
    )
    return trainer


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch has a class for it on a GPU, on a CPU and from the driver it is only words."""
    said = any(words in str(error) for words in OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)
