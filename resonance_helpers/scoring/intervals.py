"""How sure a figure is that so few clips gave: 95 % intervals in which the phrase is the unit.

Percentile bootstrap over phrases, all measures from the same draws. A bootstrap of figures that are all alike says that
nothing can be otherwise, so there Wilson's interval takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
_Z = 1.959964  # two-sided normal quantile of CONFIDENCE

Interval = tuple[float, float]


def wilson(share: float, n: float) -> Interval:
    """Wilson's 95 % interval for a ``share`` seen in ``n`` trials: never of zero width, never outside 0–1."""
    spread = _Z * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)))
    centre, scale = share + _Z**2 / (2 * n), 1 + _Z**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def pooled(samples: Sequence[np.ndarray], sizes: Sequence[int]) -> tuple[float, float]:
    """The share of successes in a whole that consists of strata of ``sizes``, from a sample (bool [n]) of each.

    Returns the share and the number of trials that it is worth, for ``wilson``: a sample counts for its whole stratum,
    so that the total is worth less than a simple sample of as many (Kish's effective size). A stratum may be empty.
    """
    total = sum(sizes)
    strata = [(size / total, sample) for size, sample in zip(sizes, samples, strict=True) if size]
    share = sum(weight * float(sample.mean()) for weight, sample in strata)
    return share, 1 / sum(weight**2 / len(sample) for weight, sample in strata)


def draw(phrases: int, seed: int, resamples: int) -> np.ndarray:
    """How often each phrase is drawn in each resample: float [resamples, phrases], each row sums to ``phrases``."""
    drawn = np.random.default_rng(seed).integers(0, phrases, size=(resamples, phrases))
    drawn += phrases * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * phrases).reshape(resamples, phrases).astype(float)


def rate_interval(edits: np.ndarray, units: np.ndarray, drawn: np.ndarray) -> Interval:
    """Interval of Σ edits / Σ units from the sums of each phrase, arrays of shape [phrases]."""
    if len(edits) == 1:  # one phrase says nothing about another
        return 0.0, max(1.0, float(edits[0] / units[0]))
    if not edits.any():  # units without an error are trials without a failure
        return wilson(0.0, int(units.sum()))
    return _quantiles(edits, units, drawn)


def change_interval(change: np.ndarray, units: np.ndarray, drawn: np.ndarray, trials: int) -> Interval:
    """Interval of Σ change / Σ units, where ``change`` [phrases] is what the same phrases gained or lost.

    Where every phrase changed alike, what ``trials`` without an exception leave open is added on both sides.
    """
    low, high = _quantiles(change, units, drawn)
    if np.ptp(change / np.maximum(units, 1)) > 0:
        return low, high
    open_to = wilson(0.0, trials)[1]
    return low - open_to, high + open_to


def _quantiles(sums: np.ndarray, units: np.ndarray, drawn: np.ndarray) -> Interval:
    rates = (drawn @ sums) / np.maximum(drawn @ units, 1)
    low, high = np.quantile(rates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
