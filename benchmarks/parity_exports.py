"""Do the whole models of lesson 08 say what the adapter says, how large are they, and how long do they take?

    python benchmarks/parity_exports.py --data DATA_DIR --output OUTPUT_DIR --patient ID --base-model FOLDER [--clips N]

Makes the three kinds from ``OUTPUT_DIR/adapter`` and asks each about the same N known and N new test clips. "Same" is
the text that the adapter in PEFT gives at 30 s, letter for letter. CTranslate2's are asked twice: as their README.md
does, which fills a short clip up with silence beforehand, and left to what faster-whisper does by itself.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from resonance_helpers import open_workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.settings import MAX_NEW_TOKENS, SAMPLE_RATE
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.lessons import export_weights as export
from resonance_helpers.scoring.error_rates import score

WINDOW_S = 30
Hear = Callable[[np.ndarray], str]


@dataclass(frozen=True)
class Asked:
    """What one way of running the adapter said, and what that took."""

    bytes: int
    load_s: float
    seconds: list[float]  # for each clip
    texts: list[str]


def with_peft(workspace: Workspace, base_model: str, window_s: float = 0.0) -> Hear:
    """The adapter beside its base model, as the package runs it; ``window_s`` 0 is the adapter's own."""
    speech = load_speech_model(resolve(base_model, workspace.cache))
    own_s = adapter.attach(speech, workspace.adapter).window_s

    def hear(samples: np.ndarray) -> str:
        with adapter.using(speech, "default"):
            return speech.recognise([samples], window_s or own_s)[0]

    return hear


def with_transformers(folder: Path) -> Hear:
    """A merged model, as the script in its README.md runs it."""
    processor: Any = WhisperProcessor.from_pretrained(folder)
    model: Any = WhisperForConditionalGeneration.from_pretrained(folder).eval()

    def hear(samples: np.ndarray) -> str:
        features = processor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        return processor.batch_decode(model.generate(features), skip_special_tokens=True)[0].strip()

    return hear


def with_faster_whisper(folder: Path, numbers: str, language: str = "zh", threads: int = 0, pad: bool = True) -> Hear:
    """A model of CTranslate2, as the script in its README.md runs it; without ``pad`` as faster-whisper alone does."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type=numbers, cpu_threads=threads)

    def hear(samples: np.ndarray) -> str:
        if pad:
            samples = np.pad(samples, (0, max(0, WINDOW_S * SAMPLE_RATE - len(samples))))
        how = {"language": language, "beam_size": 1, "temperature": 0, "max_new_tokens": MAX_NEW_TOKENS}
        how |= {"without_timestamps": True, "no_speech_threshold": None, "condition_on_previous_text": False}
        segments, _ = model.transcribe(samples, **how)
        return "".join(segment.text for segment in segments).strip()

    return hear


def ask(load: Callable[[], Hear], clips: list[np.ndarray], size: int = 0) -> Asked:
    """Load, ask once for nothing (the first answer of anything is slow), then ask about each clip."""
    began = time.perf_counter()
    hear = load()
    load_s = time.perf_counter() - began
    hear(clips[0])
    seconds, texts = [], []
    for clip in clips:
        began = time.perf_counter()
        texts.append(hear(clip))
        seconds.append(time.perf_counter() - began)
    return Asked(size, load_s, seconds, texts)


def compare(
    workspace: Workspace, base_model: str, clips: list[np.ndarray], threads: int = 0, others: bool = True
) -> dict[str, Asked]:
    """Every way of running the adapter of ``workspace``, the one that the others are compared with first. ``others``
    are those that need not say the same: at the adapter's own window, and faster-whisper left to itself."""
    made = {kind: export.export_model(workspace, kind, base_model) for kind in export.KINDS}
    size = sum(path.stat().st_size for path in workspace.adapter.iterdir())
    found = {"adapter, 30 s": ask(lambda: with_peft(workspace, base_model, WINDOW_S), clips, size)}
    if others:
        found["adapter, own window"] = ask(lambda: with_peft(workspace, base_model), clips, size)
    found["merged"] = ask(lambda: with_transformers(made["merged"].folder), clips, made["merged"].bytes)
    for kind in ("ct2-float32", "ct2-int8"):
        for name, pad in ((kind, True), (f"{kind}, no silence added", False))[: 1 + others]:

            def load(kind: str = kind, pad: bool = pad) -> Hear:
                return with_faster_whisper(made[kind].folder, kind.removeprefix("ct2-"), threads=threads, pad=pad)

            found[name] = ask(load, clips, made[kind].bytes)
    return found


def table(found: dict[str, Asked], truths: list[str]) -> str:
    """One line for each way, as Markdown."""
    first, n = next(iter(found.values())), len(truths)
    lines = [
        "| | MB | load | a phrase, median (quartiles) | same text | right | CER |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, asked in found.items():
        low, middle, high = np.percentile(asked.seconds, [25, 50, 75])
        same = sum(one == other for one, other in zip(asked.texts, first.texts, strict=True))
        figures = score(truths, asked.texts)
        lines.append(
            f"| {name} | {asked.bytes / 1e6:.0f} | {asked.load_s:.1f} s | {middle:.2f} s ({low:.2f}–{high:.2f}) "
            f"| {same}/{n} | {round(figures.sentence_accuracy * n)}/{n} | {figures.cer:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Ask everything about the same clips; print one table and every text that differs."""
    parser = argparse.ArgumentParser(description="The whole models of lesson 08 beside the adapter.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--patient", required=True)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--clips", type=int, default=10, help="known ones, and as many new ones")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    workspace = open_workspace(options.data, options.output, options.patient)
    parts = split_utterances(load_utterances(workspace), 17)
    chosen = [*parts.seen[: options.clips], *parts.unseen[: options.clips]]
    clips, truths = [read_wav(each.wav) for each in chosen], [each.text for each in chosen]
    found = compare(workspace, options.base_model, clips, options.threads)
    print(table(found, truths))
    first = next(iter(found.values()))
    for name, asked in found.items():
        for truth, theirs, one in zip(truths, first.texts, asked.texts, strict=True):
            if theirs != one:
                print(f"{name}: {truth}: {theirs} → {one}")


if __name__ == "__main__":
    main()
