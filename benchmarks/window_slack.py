"""How much room does a window need behind the clip? Two figures behind ``settings.WINDOW_SLACK_S``.

    python benchmarks/window_slack.py --data DATA_DIR --output OUTPUT_DIR --patient ID [--base-model FOLDER]

*What it is for*: the share of test clips that are longer than the longest training clip and the slack together, for
training sets of 30, 50 and 100 recordings drawn at random. *What it costs or saves*: the CER of one trained adapter
when every known clip is heard in a window of its own length and the slack; only with ``--base-model``. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resonance_helpers import open_workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.settings import SAMPLE_RATE, TrainingSettings
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.dataset.index import Utterance, load_utterances
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.scoring.error_rates import is_repetition, score

SLACKS_S = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
SIZES, DRAWS = (30, 50, 100), 1000


def longer(train_s: np.ndarray, test_s: np.ndarray) -> dict[int, dict[str, float]]:
    """training recordings → slack → share of ``test_s`` that would need a longer window than theirs."""
    rng = np.random.default_rng(17)
    found: dict[int, dict[str, float]] = {}
    for size in SIZES:
        if size <= len(train_s):
            longest = np.array([rng.choice(train_s, size, replace=False).max() for _ in range(DRAWS)])
            found[size] = {f"{s:g}": round(float((test_s > longest[:, None] + s).mean()), 4) for s in SLACKS_S}
    return found


def cer_by_slack(workspace: Workspace, known: Sequence[Utterance], base_model: str) -> dict[str, Any]:
    """slack → what the adapter of ``workspace`` makes of ``known`` with it."""
    speech = load_speech_model(resolve(base_model, workspace.cache))
    adapter.attach(speech, workspace.adapter)
    clips = [read_wav(u.wav) for u in known]
    found = {}
    with adapter.using(speech, "default"):
        for slack in SLACKS_S:
            windows = [math.ceil((len(clip) / SAMPLE_RATE + slack) * 50) / 50 for clip in clips]  # whole positions
            heard = [speech.recognise([clip], window)[0] for clip, window in zip(clips, windows, strict=True)]
            figures = score([u.text for u in known], heard)
            found[f"{slack:g}"] = {
                "n": figures.n,
                "cer": round(figures.cer, 3),
                "cer_ci": [round(limit, 3) for limit in figures.cer_ci],
                "exact": round(figures.sentence_accuracy, 3),
                "endless": sum(map(is_repetition, heard)),
            }
    return found


def main() -> None:
    """Print both figures for one trained voice."""
    parser = argparse.ArgumentParser(description="How much room a window needs behind the clip.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--patient", required=True)
    parser.add_argument("--base-model")
    options = parser.parse_args()
    workspace = open_workspace(options.data, options.output, options.patient)
    split = split_utterances(load_utterances(workspace), TrainingSettings().seed)
    seconds = [np.array([u.seconds for u in part]) for part in (split.train, split.seen + split.unseen)]
    found: dict[str, Any] = {"longer": longer(*seconds)}
    if options.base_model:
        found["cer"] = cer_by_slack(workspace, split.seen, options.base_model)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
