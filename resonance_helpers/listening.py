"""What an adapted model makes of a clip; where it is unsure, it listens once more with less of the adapter.

An adapter pulls towards the phrases it was trained on, and of those it is nearly always sure. Where it is not, the
phrase is often one that it never learned, and then the base model's own Chinese is worth more than that pull. So the
clip is heard again with weights part of the way between the base model's and the trained ones (WiSE-FT, Wortsman and
others, arXiv 2109.01903). Both strengths propose several answers, and said is the one that they hold most likely
together. What was sure at first stays as it was; what was not keeps its mark, whatever came of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from peft.helpers import rescale_adapter_scale

from .scoring import is_endless
from .settings import SECOND_BEAMS, SECOND_SHARE, SECOND_STRENGTH, UNSURE_BELOW
from .whisper import Heard, SpeechModel

_SAY = {1.0: 1 - SECOND_SHARE, SECOND_STRENGTH: SECOND_SHARE}  # strength of the adapter → its say in the answer
_BATCH = 8


def hear(
    speech: SpeechModel,
    samples: Sequence[np.ndarray],
    window_s: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Heard]:
    """What the active adapter of ``speech`` makes of each 16 kHz mono clip of at most ``window_s`` seconds, in order.

    ``Heard.unsure`` marks those that were heard twice. Raises RZ-0602 for a clip that is longer than the window; the
    adapter is then, and always, left at its full strength.
    """
    answers: list[Heard] = []
    for start in range(0, len(samples), _BATCH):
        clips = samples[start : start + _BATCH]
        for clip, heard in zip(clips, speech.hear(clips, window_s), strict=True):
            sure = heard.sure >= UNSURE_BELOW and not heard.cut and not is_endless(heard.text)
            answers.append(heard if sure else replace(_again(speech, clip, window_s) or heard, unsure=True))
        if on_progress:
            on_progress(len(answers), len(samples))
    return answers


def _again(speech: SpeechModel, clip: np.ndarray, window_s: float) -> Heard | None:
    """The answer that both strengths hold most likely together; None where neither proposes one with an end."""
    features = speech.features([clip], window_s)
    encoded: dict[float, torch.Tensor] = {}
    proposed: dict[tuple[int, ...], str] = {}
    for strength in _SAY:
        with rescale_adapter_scale(speech.model, strength):
            encoded[strength] = speech.encode(features)
            answers = speech.likely_answers(encoded[strength], SECOND_BEAMS)
        proposed |= dict(zip(answers, speech.decode(answers), strict=True))
    ended = [tokens for tokens, text in proposed.items() if tokens[-1] == speech.end and not is_endless(text)]
    if not ended:
        return None
    likely = np.zeros(len(ended))
    for strength, say in _SAY.items():
        with rescale_adapter_scale(speech.model, strength):
            likely += say * np.array(speech.mean_logprobs(encoded[strength], ended))
    best = int(likely.argmax())
    return Heard(proposed[ended[best]], cut=False, sure=math.exp(likely[best]))
