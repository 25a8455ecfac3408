"""With how much of the adapter is an answer heard again that was unsure? The figures behind ``SECOND_STRENGTH``.

    python benchmarks/second_hearing.py --data DATA_DIR --output OUTPUT_DIR --patient ID --base-model FOLDER

Every test clip of an adapter (an OUTPUT_DIR after lesson 06) is heard at each strength. Printed as JSON for each
strength: the scores where all answers are taken from it, and where only those are that were unsure at full strength;
for every second clip (to choose by) and for the others (to report).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft.helpers import rescale_adapter_scale

from resonance_helpers import adapter, open_workspace
from resonance_helpers.audio import read_wav
from resonance_helpers.base_models import resolve
from resonance_helpers.scoring import is_endless, score
from resonance_helpers.settings import UNSURE_BELOW, TrainingSettings
from resonance_helpers.splits import split_utterances
from resonance_helpers.utterances import Utterance, load_utterances
from resonance_helpers.whisper import Heard, load_speech_model

STRENGTHS = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4)


def figures(clips: Sequence[Utterance], heard: Sequence[Heard]) -> dict[str, Any]:
    """Exact and CER of every second clip, of the others, and of all."""
    found = {}
    for part, every in (("chosen on", slice(0, None, 2)), ("reported on", slice(1, None, 2)), ("all", slice(None))):
        one = score([clip.text for clip in clips[every]], [each.text for each in heard[every]])
        found[part] = {"n": one.n, "exact": round(one.exact, 3), "cer": round(one.cer, 3)}
    return found


def main() -> None:
    """Hear every test clip at each strength and print what came of it."""
    parser = argparse.ArgumentParser(description="With how much of the adapter is an unsure answer heard again?")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--patient", required=True)
    parser.add_argument("--base-model", required=True)
    options = parser.parse_args()
    workspace = open_workspace(options.data, options.output, options.patient)
    split = split_utterances(load_utterances(workspace), TrainingSettings().seed)
    speech = load_speech_model(resolve(options.base_model, workspace.cache))
    window_s = adapter.attach(speech, workspace.adapter).window_s
    found: dict[str, Any] = {}
    for part, asked in (("known", split.known), ("new", split.new)):
        sounds = [read_wav(clip.wav) for clip in asked]
        with adapter.using(speech, "default"):
            first = speech.hear(sounds, window_s)
            for strength in STRENGTHS:
                with rescale_adapter_scale(speech.model, strength):
                    again = speech.hear(sounds, window_s)
                unsure = [each.sure < UNSURE_BELOW or each.cut or is_endless(each.text) for each in first]
                mixed = [b if doubt else a for a, b, doubt in zip(first, again, unsure, strict=True)]
                found[f"{part} {strength:g}"] = {
                    "everywhere": figures(asked, again),
                    "where unsure": figures(asked, mixed),
                    "unsure": sum(unsure),
                }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
