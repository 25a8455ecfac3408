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
from dataclasses import dataclass, replace

import numpy as np
import torch
from peft.helpers import rescale_adapter_scale

from .messages import ResonanceError
from .scoring import is_endless
from .settings import SECOND_BEAMS, SECOND_SHARE, SECOND_STRENGTH, UNSURE_BELOW
from .whisper import Heard, SpeechModel

_STRENGTHS = (1.0, SECOND_STRENGTH)  # of the adapter
_BATCH = 8


@dataclass(frozen=True)
class Proposal:
    """An answer of the second hearing: the mean log probability of its tokens at full and at ``SECOND_STRENGTH``."""

    text: str
    full: float
    weak: float

    def likely(self, share: float = SECOND_SHARE) -> float:
        """How likely both hold it together; ``share`` of the say is the weaker one's."""
        return (1 - share) * self.full + share * self.weak


def hear(
    speech: SpeechModel,
    samples: Sequence[np.ndarray],
    window_s: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Heard]:
    """What the active adapter of ``speech`` makes of each 16 kHz mono clip of at most ``window_s`` seconds, in order.

    ``Heard.unsure`` marks those that were heard twice. Raises RZ-0602 for a clip that is longer than the window and
    RZ-0631 where the model computes NaN; the adapter is then, and always, left at its full strength.
    """
    answers: list[Heard] = []
    for start in range(0, len(samples), _BATCH):
        clips = samples[start : start + _BATCH]
        for clip, heard in zip(clips, speech.hear(clips, window_s), strict=True):
            if math.isnan(heard.sure):
                raise ResonanceError("RZ-0631")
            doubt = is_unsure(heard)
            answers.append(replace(_again(speech, clip, window_s) or heard, unsure=True) if doubt else heard)
        if on_progress:
            on_progress(len(answers), len(samples))
    return answers


def is_unsure(heard: Heard) -> bool:
    """Whether the first hearing calls for a second."""
    return heard.sure < UNSURE_BELOW or heard.cut or is_endless(heard.text)


def proposals(speech: SpeechModel, clip: np.ndarray, window_s: float, beams: int = SECOND_BEAMS) -> list[Proposal]:
    """What both strengths propose for a 16 kHz mono clip, ``beams`` answers each; only answers that have an end."""
    features = speech.features([clip], window_s)
    encoded: dict[float, torch.Tensor] = {}
    texts: dict[tuple[int, ...], str] = {}
    for strength in _STRENGTHS:
        with rescale_adapter_scale(speech.model, strength):
            encoded[strength] = speech.encode(features)
            answers = speech.likely_answers(encoded[strength], beams)
        texts |= dict(zip(answers, speech.decode(answers), strict=True))
    ended = [tokens for tokens, text in texts.items() if tokens[-1] == speech.end and not is_endless(text)]
    if not ended:
        return []
    likely = []
    for strength in _STRENGTHS:
        with rescale_adapter_scale(speech.model, strength):
            likely.append(speech.mean_logprobs(encoded[strength], ended))
    return [Proposal(texts[tokens], full, weak) for tokens, full, weak in zip(ended, *likely, strict=True)]


def _again(speech: SpeechModel, clip: np.ndarray, window_s: float) -> Heard | None:
    """The answer that both strengths hold most likely together; None where neither proposes one with an end."""
    best = max(proposals(speech, clip, window_s), key=Proposal.likely, default=None)
    return Heard(best.text, cut=False, sure=math.exp(best.likely())) if best else None
