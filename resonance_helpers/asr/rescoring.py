"""Decode with an adapter, and rescore the hypotheses that are not confident with less of the adapter.

An adapter is biased towards the phrases it was trained on and is nearly always confident about those. A hypothesis
with a low confidence often belongs to another phrase, for which the base model's own Chinese is worth more than the
adapter's bias. Such a clip is decoded again with weights interpolated between the base model's and the trained ones
(WiSE-FT, Wortsman and others, arXiv 2109.01903). Beam searches at both strengths give an n-best list; the entry with
the highest joint score is the hypothesis. Confident hypotheses stay as they are; rescored ones stay marked as unsure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from peft.helpers import rescale_adapter_scale

from ..core.messages import ResonanceError
from ..core.settings import SECOND_BEAMS, SECOND_SHARE, SECOND_STRENGTH, UNSURE_BELOW
from ..scoring.error_rates import is_repetition
from .whisper import Hypothesis, SpeechModel

_STRENGTHS = (1.0, SECOND_STRENGTH)  # of the adapter
_BATCH = 8


@dataclass(frozen=True)
class NBestEntry:
    """An entry of the n-best list: the mean log probability of its tokens at full and at ``SECOND_STRENGTH``."""

    text: str
    full: float
    weak: float

    def score(self, share: float = SECOND_SHARE) -> float:
        """The joint score: a mean weighted with ``share`` for the weaker strength."""
        return (1 - share) * self.full + share * self.weak


def transcribe(
    speech: SpeechModel,
    samples: Sequence[np.ndarray],
    window_s: float,
    on_progress: Callable[[int, int], None] | None = None,
    rescore: bool = True,
) -> list[Hypothesis]:
    """Transcribe 16 kHz mono clips of at most ``window_s`` seconds with the active adapter of ``speech``, in order.

    ``Hypothesis.unsure`` marks those that were decoded twice; without ``rescore`` none is. Raises RZ-0602 for a clip
    that is longer than the window and RZ-0631 for NaN. The adapter is always left at full strength.
    """
    answers: list[Hypothesis] = []
    doubted: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # clip → its features and what was encoded of them
    for start in range(0, len(samples), _BATCH):
        features = speech.features(samples[start : start + _BATCH], window_s)
        encoded = speech.encode(features)
        first = speech.answers(encoded, stop_repetition=True)
        if any(math.isnan(heard.confidence) for heard in first):
            raise ResonanceError("RZ-0631")
        answers += first
        doubted |= {start + row: (features[row], encoded[row]) for row in range(len(first)) if is_unsure(first[row])}
        is_last = len(answers) == len(samples)
        while rescore and (len(doubted) >= _BATCH or (is_last and doubted)):  # a full batch of them costs the least
            clips = [*doubted][:_BATCH]
            features, encoded = (torch.stack(each) for each in zip(*map(doubted.pop, clips), strict=True))
            for clip, some in zip(clips, n_best(speech, features, encoded), strict=True):
                answers[clip] = replace(_best(some) or answers[clip], unsure=True)
        if on_progress:
            on_progress(len(answers) - len(doubted) * rescore, len(samples))
    return answers


def is_unsure(heard: Hypothesis) -> bool:
    """Whether the hypothesis of the first pass has to be rescored."""
    return heard.confidence < UNSURE_BELOW or heard.truncated or is_repetition(heard.text)


def n_best(
    speech: SpeechModel, features: torch.Tensor, encoded: torch.Tensor, beams: int = SECOND_BEAMS
) -> list[list[NBestEntry]]:
    """The n-best lists of both strengths for each clip, ``beams`` entries each at most; repetitions are left out.

    ``features`` [clips, mels, frames] of clips that are ``encoded`` at full strength. All clips are searched together.
    """
    if not len(features):
        return []
    heard: list[torch.Tensor] = []  # at each strength
    opinions: list[list[dict[tuple[int, ...], float]]] = []  # of each strength, for each clip
    for strength in _STRENGTHS:
        with rescale_adapter_scale(speech.model, strength):
            heard.append(encoded if strength == 1.0 else speech.encode(features))
            opinions.append(speech.beam_search(heard[-1], beams))
    answers = [[*dict.fromkeys(chain(*each))] for each in zip(*opinions, strict=True)]
    for strength, sound, opinion in zip(_STRENGTHS, heard, opinions, strict=True):
        missing = [[each for each in some if each not in own] for some, own in zip(answers, opinion, strict=True)]
        with rescale_adapter_scale(speech.model, strength):
            weighed = speech.mean_logprobs(sound, missing)
        for own, some, likely in zip(opinion, missing, weighed, strict=True):
            own.update(zip(some, likely, strict=True))
    return [
        [
            NBestEntry(text, *(opinion[clip][tokens] for opinion in opinions))
            for tokens, text in zip(some, speech.decode(some), strict=True)
            if not is_repetition(text)
        ]
        for clip, some in enumerate(answers)
    ]


def _best(proposed: Sequence[NBestEntry]) -> Hypothesis | None:
    """The entry with the highest joint score; None where neither strength gives one that ends."""
    best = max(proposed, key=NBestEntry.score, default=None)
    return Hypothesis(best.text, truncated=False, confidence=math.exp(best.score())) if best else None
