"""How is an answer heard again that was unsure? The figures behind ``SECOND_STRENGTH``, ``_SHARE`` and ``_BEAMS``.

    python benchmarks/second_hearing.py --data DATA_DIR --output OUTPUT_DIR --patient ID --base-model FOLDER

Every test clip of an adapter (an OUTPUT_DIR after lesson 06) is heard once, and where that was unsure again: greedily
at several strengths of the adapter, and with answers that two strengths propose, weighed with several shares.
Printed as JSON for each rule: the scores for every second clip (to choose by), for the others (to report) and for all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft.helpers import rescale_adapter_scale

from resonance_helpers import open_workspace
from resonance_helpers.asr import adapter, rescoring
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.settings import TrainingSettings
from resonance_helpers.dataset.index import Utterance, load_utterances
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.scoring.error_rates import score

STRENGTHS = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4)
SHARES = (0, 1 / 2, 3 / 5, 2 / 3, 3 / 4, 1)
BEAMS = (3, 4, 5)


def figures(clips: Sequence[Utterance], heard: Sequence[str]) -> dict[str, Any]:
    """Exact and CER of every second clip, of the others, and of all."""
    found = {}
    for part, every in (("chosen on", slice(0, None, 2)), ("reported on", slice(1, None, 2)), ("all", slice(None))):
        one = score([clip.text for clip in clips[every]], heard[every])
        found[part] = {"n": one.n, "exact": round(one.sentence_accuracy, 3), "cer": round(one.cer, 3)}
    return found


def main() -> None:
    """Hear every test clip once, and in each way again where that was unsure, and print what came of it."""
    parser = argparse.ArgumentParser(description="How is an answer heard again that was unsure?")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--patient", required=True)
    parser.add_argument("--base-model", required=True)
    options = parser.parse_args()
    workspace = open_workspace(options.data, options.output, options.patient)
    split = split_utterances(load_utterances(workspace), TrainingSettings().seed)
    speech = load_speech_model(resolve(options.base_model, workspace.cache))
    window_s = adapter.attach(speech, workspace.adapter).window_s
    for part, asked in (("known", split.seen), ("new", split.unseen)):
        sounds = [read_wav(clip.wav) for clip in asked]
        with adapter.using(speech, "default"):
            first = speech.transcribe(sounds, window_s)
            unsure = [i for i, each in enumerate(first) if rescoring.is_unsure(each)]
            again = {"once": [each.text for each in first]}
            for strength in STRENGTHS:
                with rescale_adapter_scale(speech.model, strength):
                    again[f"greedy at {strength:g}"] = [each.text for each in speech.transcribe(sounds, window_s)]
            features = speech.features([sounds[i] for i in unsure], window_s)
            for beams in BEAMS:
                proposed = rescoring.n_best(speech, features, speech.encode(features), beams)
                for share in SHARES:
                    texts = [each.text for each in first]
                    for i, each in zip(unsure, proposed, strict=True):
                        texts[i] = max(each, key=lambda one: one.likely(share)).text if each else texts[i]
                    again[f"{beams} beams, share {share:.2f}"] = texts
        for rule, texts in again.items():
            mixed = [text if i in unsure else one.text for i, (one, text) in enumerate(zip(first, texts, strict=True))]
            found = {"everywhere": figures(asked, texts), "where unsure": figures(asked, mixed), "unsure": len(unsure)}
            print(json.dumps({"part": part, "rule": rule, **found}), flush=True)


if __name__ == "__main__":
    main()
