"""Does an adapter that was trained at a phrase-length window also work where everybody else runs Whisper, at 30 s?

    python benchmarks/parity_30s.py --data DATA_DIR --output OUTPUT_DIR --patient ID --base-model FOLDER [--clips N]

Three ways to ask the same adapter about the same known phrases: as the package does (its window), in a plain PEFT
script at 30 s with the language given and the answer bounded, and with the guide's bare ``model.generate(**inputs)``.
The second and third use nothing of this package but the files that lesson 06 wrote. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from resonance_helpers import open_workspace
from resonance_helpers.asr import adapter, rescoring
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.scoring.error_rates import is_repetition, score

BOUNDED = {"language": "zh", "task": "transcribe", "max_new_tokens": 48}


def windowed(workspace: Workspace, base_model: str) -> Callable[[np.ndarray], str]:
    """As lesson 07 and the service hear it."""
    speech = load_speech_model(resolve(base_model, workspace.cache))
    window_s = adapter.attach(speech, workspace.adapter).window_s

    def hear(samples: np.ndarray) -> str:
        with adapter.using(speech, "default"):
            return rescoring.transcribe(speech, [samples], window_s)[0].text

    return hear


def plain(workspace: Workspace, base_model: str, **bounds: Any) -> Callable[[np.ndarray], str]:
    """As a script of transformers and PEFT hears it: the guide's step seven, with ``bounds`` for ``generate``."""
    processor = WhisperProcessor.from_pretrained(workspace.adapter)
    base = WhisperForConditionalGeneration.from_pretrained(base_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, workspace.adapter).eval()

    def hear(samples: np.ndarray) -> str:
        inputs = processor(samples, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(**inputs, **bounds)
        return processor.batch_decode(ids, skip_special_tokens=True)[0]

    return hear


def main() -> None:
    """Ask all three about the same clips and print what each came to."""
    parser = argparse.ArgumentParser(description="One adapter, asked in three ways.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--patient", required=True)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--clips", type=int, default=100)
    options = parser.parse_args()
    workspace = open_workspace(options.data, options.output, options.patient)
    known = split_utterances(load_utterances(workspace), 17).seen[: options.clips]
    ways = {
        "windowed": windowed(workspace, options.base_model),
        "plain_30s": plain(workspace, options.base_model, **BOUNDED),
        "bare_30s": plain(workspace, options.base_model),
    }
    found: dict[str, Any] = {}
    for name, hear in ways.items():
        began = time.perf_counter()
        heard = [hear(read_wav(u.wav)) for u in known]
        figures = score([u.text for u in known], heard)
        found[name] = {
            "n": figures.n,
            "cer": round(figures.cer, 3),
            "cer_ci": [round(limit, 3) for limit in figures.cer_ci],
            "exact": round(figures.sentence_accuracy, 3),
            "endless": sum(map(is_repetition, heard)),
            "seconds_per_clip": round((time.perf_counter() - began) / len(known), 2),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
