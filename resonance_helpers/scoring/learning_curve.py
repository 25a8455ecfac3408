"""What a learning curve says, and the rule that answers "would 30 more recordings help?".

A trial is one training on part of the phrases, judged on the same clips as every other. Known and new phrases are never
pooled: at each size *known* are the clips of phrases which that trial was trained on, *new* those of phrases which no
trial with this seed was ever trained on.

**The rule.** The two largest sizes, S < L phrases, are compared by CER on the same clips with the same seeds (known: of
phrases trained on at both sizes, which nested subsets make possible; new: never trained on). The interval of the
difference is a bootstrap over phrases and over seeds at once (Owen 2007, "The pigeonhole bootstrap"), so it holds the
doubt of the few test phrases and that of which phrases were drawn. Error falls by about the same amount each time the
recordings grow by the same factor, so from L on, 30 more phrases are expected to gain the measured difference times
ln((L + 30) / L) / ln(L / S). Then:

- *probably*: the lower end is above 0 and the middle at least ``WORTH``;
- *probably not*: the upper end is below ``WORTH``;
- *cannot tell*: anything else, and always with fewer than ``FEWEST_PHRASES`` phrases to compare.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np

from .error_rates import Part, Score, diff, score
from .intervals import CONFIDENCE, Interval, wilson
from .text import normalise

MORE_PHRASES = 30  # the question that is asked
WORTH = 0.02  # of CER; one character in fifty is as much as a good adapter may get wrong in all
FEWEST_PHRASES = 10  # a bootstrap over fewer is no interval
RESAMPLES = 2000

Likelihood = Literal["probably", "cannot_tell", "probably_not"]


@dataclass(frozen=True)
class ClipHypothesis:
    """What an adapter made of one clip, and whether it was trained on the clip's phrase (or one that sounds alike)."""

    audio: str
    reference: str
    heard: str
    split: Part


@dataclass(frozen=True)
class Trial:
    """One training on ``phrases`` phrases drawn by ``seed``, and what it made of the test clips."""

    phrases: int
    seed: int
    answers: tuple[ClipHypothesis, ...]


@dataclass(frozen=True)
class CurvePoint:
    """The scores at one size over all seeds; a phrase counts once in the intervals, however many seeds heard it."""

    phrases: int
    seen: Score | None
    unseen: Score | None

    def score_of(self, part: Part) -> Score | None:
        """The score of one part."""
        return self.seen if part == "known" else self.unseen


@dataclass(frozen=True)
class Gain:
    """How far the CER fell from ``smaller`` to ``larger`` phrases on the same clips, and what that says of 30 more."""

    smaller: int
    larger: int
    n: int  # phrases compared
    cer: tuple[float, float]  # at the smaller and at the larger size
    fall: float  # positive: better with more phrases
    fall_ci: Interval
    expected: float  # of MORE_PHRASES more than the larger size
    expected_ci: Interval
    level: Likelihood


def curve_points(trials: Sequence[Trial]) -> tuple[CurvePoint, ...]:
    """The curve from the fewest phrases to the most. Every seed must have a trial of the largest size."""
    by_size: dict[int, list[Trial]] = defaultdict(list)
    for trial in trials:
        by_size[trial.phrases].append(trial)
    never = _never_trained(by_size[max(by_size)])
    return tuple(
        CurvePoint(
            size,
            seen=_score(answer for trial in by_size[size] for answer in trial.answers if answer.split == "known"),
            unseen=_score(
                answer for trial in by_size[size] for answer in trial.answers if answer.audio in never[trial.seed]
            ),
        )
        for size in sorted(by_size)
    )


def gain(trials: Sequence[Trial], part: Part, seed: int = 17) -> Gain | None:
    """The difference between the two largest sizes by the rule of this module; None where no clip can be compared."""
    smaller, larger = sorted({trial.phrases for trial in trials})[-2:]
    by_key = {(trial.phrases, trial.seed): trial for trial in trials}
    pairs = [
        (trial.seed, before, after)
        for trial in trials
        if trial.phrases == larger
        for before, after in _same_clips(by_key[smaller, trial.seed], trial)
        if before.split == after.split == part
    ]
    if not pairs:
        return None
    edits, characters = _counts(pairs)
    totals = edits.sum(axis=(0, 1)) / characters.sum()
    fall = float(totals[0] - totals[1])
    n = edits.shape[1]
    fall_ci = _interval(edits[..., 0] - edits[..., 1], characters, seed)
    further = log((larger + MORE_PHRASES) / larger) / log(larger / smaller)
    expected, expected_ci = further * fall, (further * fall_ci[0], further * fall_ci[1])
    return Gain(
        smaller=smaller,
        larger=larger,
        n=n,
        cer=(float(totals[0]), float(totals[1])),
        fall=fall,
        fall_ci=fall_ci,
        expected=expected,
        expected_ci=expected_ci,
        level=judge_gain(expected, expected_ci, n),
    )


def judge_gain(expected: float, expected_ci: Interval, n: int) -> Likelihood:
    """The rule of this module, for a gain in CER expected from 30 more phrases and ``n`` phrases compared."""
    if n < FEWEST_PHRASES:
        return "cannot_tell"
    if expected_ci[0] > 0 and expected >= WORTH:
        return "probably"
    return "probably_not" if expected_ci[1] < WORTH else "cannot_tell"


def _never_trained(largest: Iterable[Trial]) -> dict[int, set[str]]:
    """seed → the clips of phrases that no trial with this seed was trained on: nested subsets make it the largest's."""
    return {trial.seed: {answer.audio for answer in trial.answers if answer.split == "new"} for trial in largest}


def _score(answers: Iterable[ClipHypothesis]) -> Score | None:
    given = list(answers)
    return score([each.reference for each in given], [each.heard for each in given]) if given else None


def _same_clips(smaller: Trial, larger: Trial) -> list[tuple[ClipHypothesis, ClipHypothesis]]:
    before = {answer.audio: answer for answer in smaller.answers}
    return [(before[answer.audio], answer) for answer in larger.answers if answer.audio in before]


def _counts(pairs: Sequence[tuple[int, ClipHypothesis, ClipHypothesis]]) -> tuple[np.ndarray, np.ndarray]:
    """Edits [seeds, phrases, 2] before and after, and reference characters [seeds, phrases]."""
    seeds = {seed: i for i, seed in enumerate(sorted({seed for seed, _, _ in pairs}))}
    names = [normalise(answer.reference) for _, answer, _ in pairs]
    phrases = {name: i for i, name in enumerate(sorted(set(names)))}
    edits, characters = np.zeros((len(seeds), len(phrases), 2)), np.zeros((len(seeds), len(phrases)))
    for name, (seed, *both) in zip(names, pairs, strict=True):
        cell = seeds[seed], phrases[name]
        edits[cell] += [_edits(answer) for answer in both]
        characters[cell] += len(name)
    return edits, characters


def _edits(answer: ClipHypothesis) -> int:
    pieces = diff(answer.reference, answer.heard)
    return sum(max(len(said), len(heard)) for kind, said, heard in pieces if kind != "equal")


def _interval(fewer: np.ndarray, characters: np.ndarray, seed: int) -> Interval:
    """95 % interval of Σ fewer edits / Σ characters, both [seeds, phrases], seeds and phrases drawn anew together."""
    if not fewer.any():  # drawing anew would say 0–0; characters that stayed as they were are trials without a change
        most = wilson(0.0, int(characters.max(axis=0).sum()))[1]
        return -most, most
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) for n in fewer.shape]
    fall, total = (np.einsum("rs,rp,sp->r", *weights, table) for table in (fewer, characters))
    rates = fall[total > 0] / total[total > 0]  # a draw of phrases that the drawn seeds never heard says nothing
    low, high = np.quantile(rates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
