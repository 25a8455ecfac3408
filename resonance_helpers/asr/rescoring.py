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
from itertools import chain

import numpy as np
import torch
from peft.helpers import rescale_adapter_scale

from ..core.messages import ResonanceError
from ..core.settings import SECOND_BEAMS, SECOND_SHARE, SECOND_STRENGTH, UNSURE_BELOW
from ..scoring.error_rates import is_endless
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
    rescore: bool = True,
) -> list[Heard]:
    """What the active adapter of ``speech`` makes of each 16 kHz mono clip of at most ``window_s`` seconds, in order.

    ``Heard.unsure`` marks those that were heard twice; without ``rescore`` nothing is. Raises RZ-0602 for a clip that
    is longer than the window and RZ-0631 where the model computes NaN; the adapter is then, and always, left at its
    full strength.
    """
    answers: list[Heard] = []
    doubted: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # clip → its features and what was encoded of them
    for start in range(0, len(samples), _BATCH):
        features = speech.features(samples[start : start + _BATCH], window_s)
        encoded = speech.encode(features)
        first = speech.answers(encoded, stop_loops=True)
        if any(math.isnan(heard.sure) for heard in first):
            raise ResonanceError("RZ-0631")
        answers += first
        doubted |= {start + row: (features[row], encoded[row]) for row in range(len(first)) if is_unsure(first[row])}
        is_last = len(answers) == len(samples)
        while rescore and (len(doubted) >= _BATCH or (is_last and doubted)):  # a full batch of them costs the least
            clips = [*doubted][:_BATCH]
            features, encoded = (torch.stack(each) for each in zip(*map(doubted.pop, clips), strict=True))
            for clip, some in zip(clips, proposals(speech, features, encoded), strict=True):
                answers[clip] = replace(_best(some) or answers[clip], unsure=True)
        if on_progress:
            on_progress(len(answers) - len(doubted) * rescore, len(samples))
    return answers


def is_unsure(heard: Heard) -> bool:
    """Whether the first hearing calls for a second."""
    return heard.sure < UNSURE_BELOW or heard.cut or is_endless(heard.text)


def proposals(
    speech: SpeechModel, features: torch.Tensor, encoded: torch.Tensor, beams: int = SECOND_BEAMS
) -> list[list[Proposal]]:
    """What both strengths propose for each clip, ``beams`` answers each at most, all of which have an end.

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
            Proposal(text, *(opinion[clip][tokens] for opinion in opinions))
            for tokens, text in zip(some, speech.decode(some), strict=True)
            if not is_endless(text)
        ]
        for clip, some in enumerate(answers)
    ]


def _best(proposed: Sequence[Proposal]) -> Heard | None:
    """The answer that both strengths hold most likely together; None where neither proposes one with an end."""
    best = max(proposed, key=Proposal.likely, default=None)
    return Heard(best.text, cut=False, sure=math.exp(best.likely())) if best else None
