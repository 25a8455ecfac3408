"""The guide's step six, changed only as far as today's libraries force: the yardstick of ``make bench-training``.

    python benchmarks/guide_train.py --data DATA_DIR --base-model FOLDER --output DIR --steps 20 --batch 8

Kept: 30 s of padding for every clip, its LoRA, its optimiser and its schedule. Changed, and why:

- audio is read with soundfile from the converted WAVs: ``datasets.Audio()`` needs torchcodec by now;
- a collator: without one, labels of different lengths cannot be stacked; it pads with −100;
- the tokenizer's start token is cut from the labels: the model puts its own in front, and two of them are another task;
- ``eval_strategy``, ``processing_class`` and ``dtype`` are today's names;
- ``remove_unused_columns`` and ``label_names``: PEFT's wrapper hides the signature that the trainer would read;
- bf16 only on a GPU that has it; paths, base model, steps and batch come from the command line.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import soundfile
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainerControl,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    set_seed,
)

LANGUAGE = "zh"


def load(base_model: str) -> tuple[Any, WhisperProcessor]:
    """The base model with the guide's LoRA on it, and its processor."""
    processor = WhisperProcessor.from_pretrained(base_model, language=LANGUAGE, task="transcribe")
    model = WhisperForConditionalGeneration.from_pretrained(base_model, dtype=torch.float32)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], lora_dropout=0.05, bias="none")
    return get_peft_model(model, lora), processor


def prepare(processor: WhisperProcessor, wav: Path, text: str) -> dict[str, Any]:
    """One row: log-mel features of 30 s, and label ids without the start token."""
    samples, rate = soundfile.read(wav, dtype="float32")
    features = processor(samples, sampling_rate=rate, return_tensors="pt").input_features[0]
    return {"input_features": features, "labels": torch.tensor(processor.tokenizer(text).input_ids[1:])}


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stack the features, pad the labels with −100."""
    labels = torch.nn.utils.rnn.pad_sequence([row["labels"] for row in rows], batch_first=True, padding_value=-100)
    return {"input_features": torch.stack([row["input_features"] for row in rows]), "labels": labels}


class StepTimes(TrainerCallback):
    """Seconds of every optimiser step; ends the training when they come to ``limit``."""

    def __init__(self, limit: float) -> None:
        self.seconds: list[float] = []
        self.limit = limit
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)
        control.should_training_stop = control.should_training_stop or sum(self.seconds) >= self.limit


def train(
    clips: list[tuple[Path, str]], base_model: str, output: Path, steps: int, batch: int, seed: int, limit: float
) -> StepTimes:
    """Train as the guide does, for ``limit`` seconds at most; return what every step took."""
    set_seed(seed)
    model, processor = load(base_model)
    args = Seq2SeqTrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=1,
        max_steps=steps,
        learning_rate=1e-3,
        warmup_steps=50,
        save_steps=100,
        logging_steps=25,
        predict_with_generate=True,
        bf16=uses_bf16(),
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
    times = StepTimes(limit)
    trainer = Seq2SeqTrainer(
        model=model,
        args=args,
        data_collator=collate,
        train_dataset=[prepare(processor, wav, text) for wav, text in clips],
        processing_class=processor,
        callbacks=[times],
    )
    trainer.train()
    model.save_pretrained(output)
    processor.save_pretrained(output)
    return times


def uses_bf16() -> bool:
    """On a GPU that has it, as the guide's first FAQ says; nowhere else."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def read_clips(data: Path) -> list[tuple[Path, str]]:
    """The training clips of a folder with labels.json and WAVs, as lesson 05 leaves it."""
    records = json.loads((data / "labels.json").read_text(encoding="utf-8-sig"))
    return [(data / record["audio"], record["text"]) for record in records if record.get("split") != "test"]


def main() -> None:
    """Read the command line, train, print the step times as JSON."""
    parser = argparse.ArgumentParser(description="The guide's training, repaired.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many seconds of steps")
    options = parser.parse_args()
    clips = read_clips(options.data)
    times = train(
        clips, options.base_model, options.output, options.steps, options.batch, options.seed, options.seconds
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB
    precision = "bf16" if uses_bf16() else "fp32"
    print(json.dumps({"step_seconds": times.seconds, "peak_mb": peak, "precision": precision}))


if __name__ == "__main__":
    main()
