"""How well texts were recognised: error rates with the doubt that so few clips leave.

Everything is compared after ``text.normalise``. Edits are counted by jiwer; the error rate is *micro* (all edits over
all reference characters), so a hallucination may push it over 1. Clips of one phrase are not independent, so the phrase
is the unit of every interval.

- ``cer_ci``: percentile bootstrap over phrases.
- ``exact_ci``: Wilson's interval with the number of phrases as its n. The bootstrap of 10 right out of 10 is
  "100–100 %"; Wilson says 72–100 %. With several clips of a phrase it errs on the wide side, as if they added nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jiwer
import numpy as np

from ..text import normalise

CONFIDENCE = 0.95
_Z = 1.959964  # two-sided normal quantile of CONFIDENCE

Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """Rates are shares, not per cent; the intervals are 95 %."""

    n: int  # clips
    cer: float
    cer_ci: Interval
    exact: float  # clips without an edit
    exact_ci: Interval

    def as_json(self) -> dict[str, Any]:
        """As report.json keeps it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def score(references: Sequence[str], hypotheses: Sequence[str], seed: int = 17, resamples: int = 2000) -> Score:
    """The score of ``hypotheses``, one for each of ``references``. A hypothesis may be empty.

    Raises ValueError on no clips, on lists of different length, and on references that hold no character at all.
    """
    normalised = [normalise(text) for text in references]
    edits, characters = _count(normalised, [normalise(text) for text in hypotheses])
    exact = edits == 0
    phrases = np.unique(normalised, return_inverse=True)[1]
    return Score(
        n=len(edits),
        cer=float(edits.sum() / characters.sum()),
        cer_ci=_cer_interval(np.bincount(phrases, edits), np.bincount(phrases, characters), seed, resamples),
        exact=float(exact.mean()),
        exact_ci=wilson(float(exact.mean()), int(phrases.max()) + 1),
    )


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Micro character error rate after normalisation. Raises ValueError as ``score`` does."""
    edits, characters = _count([normalise(t) for t in references], [normalise(t) for t in hypotheses])
    return float(edits.sum() / characters.sum())


def diff(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    """How the two normalised texts align: (operation, piece of reference, piece of hypothesis).

    The operation is ``equal``, ``substitute``, ``delete`` (missing in the hypothesis) or ``insert``. The pieces joined
    give the normalised texts back, and every character of a piece that is not ``equal`` is one edit of ``score``.
    """
    said, heard = normalise(reference), normalise(hypothesis)
    if not said and not heard:
        return []
    chunks = jiwer.process_characters(said, heard).alignments[0]
    return [(c.type, said[c.ref_start_idx : c.ref_end_idx], heard[c.hyp_start_idx : c.hyp_end_idx]) for c in chunks]


def wilson(share: float, n: int) -> Interval:
    """Wilson's 95 % interval for a ``share`` seen in ``n`` trials: never of zero width, never outside 0–1."""
    spread = _Z * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)))
    centre, scale = share + _Z**2 / (2 * n), 1 + _Z**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _count(references: list[str], hypotheses: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Edits and reference characters of each pair of normalised texts, two integer arrays of shape [clips]."""
    if not references:
        raise ValueError("There are no clips to score.")
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses: one is needed for each.")
    characters = np.array([len(text) for text in references])
    if not characters.any():
        raise ValueError("The references hold no character after normalisation.")
    alignments = jiwer.process_characters(references, hypotheses).alignments
    edits = [
        sum(max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx) for c in chunks if c.type != "equal")
        for chunks in alignments
    ]
    return np.array(edits), characters


def _cer_interval(edits: np.ndarray, characters: np.ndarray, seed: int, resamples: int) -> Interval:
    """95 % interval of Σ edits / Σ characters from the sums of each phrase, arrays of shape [phrases]."""
    if len(edits) == 1:  # one phrase says nothing about another
        return 0.0, max(1.0, float(edits[0] / characters[0]))
    if not edits.any():  # resampling would say 0–0; characters without an error are trials without a failure
        return wilson(0.0, int(characters.sum()))
    drawn = np.random.default_rng(seed).integers(0, len(edits), size=(resamples, len(edits)))
    rates = edits[drawn].sum(axis=1) / np.maximum(characters[drawn].sum(axis=1), 1)
    low, high = np.quantile(rates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
