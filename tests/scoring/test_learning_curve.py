"""What a learning curve says: which clips are compared, how sure it is, and the rule of the answer."""

from __future__ import annotations

import numpy as np
import pytest

from resonance_helpers.scoring.error_rates import score
from resonance_helpers.scoring.learning_curve import (
    FEWEST_PHRASES,
    MORE_PHRASES,
    WORTH,
    ClipHypothesis,
    Trial,
    curve_points,
    gain,
    judge_gain,
)

WRONG = "错"
DIGITS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕"


def phrase(i: int) -> str:
    return f"请给我{DIGITS[i % len(DIGITS)]}{DIGITS[i // len(DIGITS)]}"


def answers(known: range, new: range, wrong: set[int]) -> tuple[ClipHypothesis, ...]:
    """A clip for each phrase; those in ``wrong`` come out with one wrong character of five."""
    parts = [("known", i) for i in known] + [("new", i) for i in new]
    return tuple(
        ClipHypothesis(f"{i}.wav", phrase(i), phrase(i)[:-1] + WRONG if i in wrong else phrase(i), part)  # type: ignore[arg-type]
        for part, i in parts
    )


def trials(wrong_before: set[int], wrong_after: set[int], seeds: int = 2) -> list[Trial]:
    """Phrases 0–39 known at 40 phrases, 40–79 only at 80, 80–119 never."""
    small = answers(range(40), range(40, 120), wrong_before)
    large = answers(range(80), range(80, 120), wrong_after)
    return [Trial(size, seed, given) for seed in range(seeds) for size, given in ((80, large), (40, small))]


def test_known_are_the_trained_ones_and_new_are_never_trained_at_any_size() -> None:
    small, large = curve_points(trials({0, 50, 90}, set()))
    assert (small.phrases, large.phrases) == (40, 80)
    assert small.seen is not None and small.unseen is not None and large.seen is not None and large.unseen is not None
    assert (small.seen.n, large.seen.n, small.unseen.n, large.unseen.n) == (80, 160, 80, 80)
    said, heard = [phrase(i) for i in range(40)] * 2, [phrase(0)[:-1] + WRONG, *map(phrase, range(1, 40))] * 2
    assert small.seen == score(said, heard)
    assert small.unseen.sentence_accuracy == 39 / 40, (
        "phrase 50 is trained on at the larger size: it is no new phrase of this curve"
    )


def test_only_the_same_clips_are_compared() -> None:
    found = gain(trials({0, 1, 50, 90}, {1, 60}), "known")
    assert found is not None and found.n == 40
    assert found.cer == pytest.approx((2 / 200, 1 / 200)) and found.fall == pytest.approx(1 / 200)
    unseen = gain(trials({0, 1, 50, 90}, {1, 60}), "new")
    assert unseen is not None and unseen.n == 40 and unseen.fall == pytest.approx(1 / 200)


def test_thirty_more_are_worth_what_the_logarithm_says() -> None:
    found = gain(trials(set(range(40)), set()), "known")
    assert found is not None and found.fall == pytest.approx(0.2) and found.fall_ci == pytest.approx((0.2, 0.2))
    assert found.expected == pytest.approx(0.2 * np.log(110 / 80) / np.log(2))
    assert found.level == "probably" and MORE_PHRASES == 30


def test_nothing_changed_is_not_the_proof_that_nothing_would() -> None:
    few = [Trial(size, 1, answers(range(12), range(12, 24), set())) for size in (6, 12)]
    found = gain(few, "known")
    assert found is not None and found.fall == 0 and found.fall_ci[0] < 0 < found.fall_ci[1]
    assert found.level == "cannot_tell", "sixty characters without a change leave room for a few per cent"


def test_no_common_clip_is_no_answer() -> None:
    assert gain([Trial(size, 1, answers(range(0), range(12), set())) for size in (5, 9)], "known") is None


@pytest.mark.parametrize(
    ("expected", "interval", "n", "level"),
    [
        (0.05, (0.01, 0.09), 40, "probably"),
        (0.05, (-0.01, 0.11), 40, "cannot_tell"),
        (0.01, (0.005, 0.015), 40, "probably_not"),
        (0.015, (0.005, 0.03), 40, "cannot_tell"),
        (-0.05, (-0.09, -0.01), 40, "probably_not"),
        (WORTH, (0.001, 0.09), FEWEST_PHRASES, "probably"),
        (0.05, (0.01, 0.09), FEWEST_PHRASES - 1, "cannot_tell"),
    ],
)
def test_the_rule(expected: float, interval: tuple[float, float], n: int, level: str) -> None:
    assert judge_gain(expected, interval, n) == level


def noisy(rng: np.random.Generator, phrases: int, seeds: int, before: float, after: float) -> list[Trial]:
    """Errors with an effect of the phrase: some are hard for every seed, as in life."""
    hard = rng.normal(0, 0.1, phrases)

    def heard(share: float) -> tuple[ClipHypothesis, ...]:
        wrong = {i for i in range(phrases) if rng.random() < share + hard[i]}
        return answers(range(phrases), range(0), wrong)

    return [Trial(n, seed, heard(share)) for seed in range(seeds) for n, share in ((50, before), (100, after))]


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(60):
        found = gain(noisy(rng, 40, 3, 0.5, 0.3), "known")
        assert found is not None
        inside += found.fall_ci[0] <= 0.2 * 0.2 <= found.fall_ci[1]
    assert inside >= 54, "phrases and seeds drawn together are on the careful side"


def test_seeds_that_disagree_widen_the_interval() -> None:
    agreed = trials({*range(20)}, {*range(10)}, seeds=4)
    split = [
        Trial(t.phrases, t.seed, answers(range(80), range(0), set() if t.seed % 2 else {*range(20)}))
        if t.phrases == 80
        else t
        for t in agreed
    ]
    one, other = gain(agreed, "known"), gain(split, "known")
    assert one is not None and other is not None and one.fall == pytest.approx(other.fall)
    assert other.fall_ci[1] - other.fall_ci[0] > 1.3 * (one.fall_ci[1] - one.fall_ci[0])
