"""Scores against independent implementations, and intervals that do not claim more than the clips tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers.scoring.error_rates import cer, diff, difference, is_repetition, of_ten, score
from resonance_helpers.scoring.intervals import pooled, wilson
from resonance_helpers.scoring.text import normalise, toned, toneless

texts = st.text("我想喝水吃饭不疼", max_size=6)
phrases = st.text("我想喝水吃饭不疼", min_size=1, max_size=6)
pairs = st.lists(st.tuples(phrases, texts), min_size=1, max_size=8)


def levenshtein(one: Sequence[str], other: Sequence[str]) -> int:
    """The textbook table, one row at a time."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


@given(pairs)
def test_cer_is_all_edits_over_all_characters(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = zip(*pairs, strict=True)
    edits = sum(levenshtein(r, h) for r, h in pairs)
    expected = edits / sum(len(r) for r in references)
    result = score(references, hypotheses, resamples=50)
    assert result.cer == cer(references, hypotheses) == pytest.approx(expected)
    assert result.sentence_accuracy == pytest.approx(np.mean([r == h for r, h in pairs]))
    assert result.n == len(pairs)
    for low, high in (result.cer_ci, result.sentence_accuracy_ci):
        assert 0 <= low <= high
    assert result.sentence_accuracy_ci[0] <= result.sentence_accuracy <= result.sentence_accuracy_ci[1] <= 1


@given(texts, texts)
def test_a_diff_gives_both_texts_back_and_counts_the_edits(reference: str, hypothesis: str) -> None:
    pieces = diff(reference, hypothesis)
    assert "".join(said for _, said, _ in pieces) == reference
    assert "".join(heard for _, _, heard in pieces) == hypothesis
    assert all((op == "equal") == (said == heard) for op, said, heard in pieces)
    assert sum(max(len(s), len(h)) for op, s, h in pieces if op != "equal") == levenshtein(reference, hypothesis)


def test_a_diff_by_hand() -> None:
    assert diff("我想喝水。", "我要喝水了") == [
        ("equal", "我", "我"),
        ("substitute", "想", "要"),
        ("equal", "喝水", "喝水"),
        ("insert", "", "了"),
    ]
    assert diff("20", "") == [("delete", "二十", "")]
    assert diff("", "") == []


def test_script_numerals_and_punctuation_are_no_errors() -> None:
    result = score(["幫我開燈", "我要20个", "喝水"], ["帮我开灯。", "我要二十個", "喝 水"])
    assert (result.cer, result.sentence_accuracy) == (0.0, 1.0)


def test_a_worked_example() -> None:
    result = score(["我想喝水", "帮我开灯"], ["我想喝水", "帮我关"])
    assert result.cer == pytest.approx(2 / 8)
    assert result.sentence_accuracy == 0.5


def test_a_hallucination_may_exceed_one_and_silence_is_one() -> None:
    assert cer(["疼"], ["疼" * 30]) == 29
    assert score(["疼", "水"], ["谢谢观看" * 9, "请订阅" * 9]).cer_ci[1] > 1
    result = score(["我想喝水", "疼"], ["", ""])
    assert (result.cer, result.sentence_accuracy) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("references", "hypotheses", "said"),
    [([], [], "no clips"), (["疼"], [], "1 references but 0 hypotheses"), (["。"], ["疼"], "no character")],
)
def test_what_cannot_be_scored_is_said(references: list[str], hypotheses: list[str], said: str) -> None:
    for function in (score, cer):
        with pytest.raises(ValueError, match=said):
            function(references, hypotheses)


# ── Syllables, and texts as they were written ────────────────────────────────
def test_a_homophone_is_no_syllable_error_and_a_tone_is_one_with_tones_only() -> None:
    result = score(["请买水", "是"], ["请卖水", "事"])  # mǎi, mài; shì, shì
    assert result.cer == pytest.approx(2 / 4)
    assert result.syllable_error_rate == pytest.approx(1 / 4)
    assert result.toneless_syllable_error_rate == 0.0
    assert result.toneless_syllable_error_rate_ci == wilson(0.0, 4)


@given(pairs)
def test_syllable_errors_are_edits_of_lists_of_syllables(pairs: list[tuple[str, str]]) -> None:
    result = score(*zip(*pairs, strict=True), resamples=20)
    for rate, interval, of in (
        (result.syllable_error_rate, result.syllable_error_rate_ci, toned),
        (result.toneless_syllable_error_rate, result.toneless_syllable_error_rate_ci, toneless),
    ):
        edits = sum(levenshtein(of(said), of(heard)) for said, heard in pairs)
        assert rate == pytest.approx(edits / sum(len(of(said)) for said, _ in pairs))
        assert 0 <= interval[0] <= interval[1]
    assert (
        result.toneless_syllable_error_rate <= result.syllable_error_rate <= result.cer
    )  # one character, one syllable in these texts


def test_raw_counts_what_normalising_forgives() -> None:
    result = score(["幫我開燈", "我要20个", "喝水"], [" 帮我开灯。\n", "我要二十個", "喝 水"])
    assert (result.cer, result.sentence_accuracy, result.syllable_error_rate) == (0.0, 1.0, 0.0)
    assert result.raw.sentence_accuracy == 0.0
    # 幫開燈 and a full stop; 20个 against 二十個; a space
    assert result.raw.cer == pytest.approx((4 + 3 + 1) / 11)
    # the full stop; 20 against two syllables. 20 is one syllable as written
    assert result.raw.syllable_error_rate == result.raw.toneless_syllable_error_rate == pytest.approx((1 + 2) / 10)


def test_raw_takes_off_white_space_around_and_nothing_else() -> None:
    result = score(["我想喝水。"], ["\t我想喝水。 "])
    assert result.raw == score(["我想喝水。"], ["我想喝水。"]).raw
    assert result.raw.cer == 0.0 < score(["我想喝水。"], ["我想喝水"]).raw.cer


# ── Answers without an end ───────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "endless"),
    [
        ("疼疼疼疼", True),
        ("疼疼疼", False),
        ("我想喝水，我想喝水，我想喝水，我想喝水。", True),
        ("我想喝水" * 3, False),
        ("请开灯" + "喝水" * 6 + "喝", True),  # cut off within a stretch
        ("哈哈哈哈，我想喝水", False),  # it found its end
        ("10000", False),
        ("", False),
    ],
)
def test_an_answer_is_endless_when_its_tail_repeats_four_times(text: str, endless: bool) -> None:
    assert is_repetition(text) == endless
    assert score(["不要"], [text]).repetitions == endless


def test_answers_that_the_bound_cut_are_endless_too_and_counted_once() -> None:
    heard = ["不要", "疼" * 9, "我想", ""]
    assert score(["不要"] * 4, heard).repetitions == 1
    assert score(["不要"] * 4, heard, truncated=[False, True, True, False]).repetitions == 2


def test_who_laughs_four_times_is_no_machine() -> None:
    assert score(["哈哈哈哈"], ["哈哈哈哈！"]).repetitions == 0


# ── Before and after ─────────────────────────────────────────────────────────
def test_a_difference_by_hand() -> None:
    result = difference(["我想喝水", "帮我开灯"], ["我要", "帮我开灯"], ["我想喝水", "帮我开"])
    assert result.cer == pytest.approx((1 - 3) / 8)
    assert result.sentence_accuracy == 0.0
    assert result.cer_ci[0] <= -2 / 8 <= result.cer_ci[1] and result.sentence_accuracy_ci == (-1.0, 1.0)


@given(st.lists(st.tuples(phrases, texts, texts), min_size=1, max_size=8))
def test_a_difference_is_that_of_the_scores_and_turns_its_sign(triples: list[tuple[str, str, str]]) -> None:
    said, was, now = zip(*triples, strict=True)
    there, back = difference(said, was, now, resamples=50), difference(said, now, was, resamples=50)
    before, after = score(said, was, resamples=1), score(said, now, resamples=1)
    assert there.cer == pytest.approx(after.cer - before.cer) == -back.cer
    assert (
        there.sentence_accuracy
        == pytest.approx(after.sentence_accuracy - before.sentence_accuracy)
        == -back.sentence_accuracy
    )
    assert there.cer_ci == pytest.approx((-back.cer_ci[1], -back.cer_ci[0]))
    for low, high in (there.cer_ci, there.sentence_accuracy_ci):
        assert low <= high
    assert -1 <= there.sentence_accuracy_ci[0] <= there.sentence_accuracy <= there.sentence_accuracy_ci[1] <= 1


def test_a_paired_interval_against_a_plain_loop_and_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(5)
    said = [f"第{n}句话在这里" for n in range(60)]
    was = [text[: rng.integers(1, len(text) + 1)] for text in said]
    now = [text if rng.random() < 0.2 else old for text, old in zip(said, was, strict=True)]
    characters = np.array([len(normalise(s)) for s in said])
    change = np.array(
        [
            levenshtein(normalise(s), normalise(n)) - levenshtein(normalise(s), normalise(w))
            for s, w, n in zip(said, was, now, strict=True)
        ]
    )
    rates = []
    for _ in range(20_000):
        drawn = rng.choice(60, 60)
        rates.append(change[drawn].sum() / characters[drawn].sum())
    found = difference(said, was, now, resamples=20_000).cer_ci
    assert found == pytest.approx(np.quantile(rates, [0.025, 0.975]), abs=0.004)
    apart = (
        score(said, now).cer_ci[1]
        - score(said, was).cer_ci[0]
        - (score(said, now).cer_ci[0] - score(said, was).cer_ci[1])
    )
    assert found[1] - found[0] < apart / 2


def test_ten_of_ten_mended_is_no_certainty() -> None:
    said = list("一二三四五六七八九十")
    mended, same = difference(said, [""] * 10, said), difference(said, said, said)
    assert (mended.cer, mended.sentence_accuracy) == (-1.0, 1.0)
    assert mended.sentence_accuracy_ci == pytest.approx((0.722, 1.0), abs=1e-3)
    assert mended.cer_ci[0] < -1 < mended.cer_ci[1] < -0.6
    assert same.sentence_accuracy_ci == pytest.approx((-0.278, 0.278), abs=1e-3)


def test_takes_of_one_phrase_make_no_difference_surer() -> None:
    said = [f"第{n}句" for n in range(1, 11)]
    was, now = ["", *said[1:8], "", ""], [*said[:9], ""]
    once, thrice = difference(said, was, now), difference(said * 3, was * 3, now * 3)
    assert once == thrice
    mended = difference(said * 3, [""] * 30, said * 3)
    assert mended.sentence_accuracy_ci == difference(said, [""] * 10, said).sentence_accuracy_ci


def test_a_difference_is_reproducible_and_needs_as_many_clips_on_both_sides() -> None:
    said, was = ["我想喝水", "疼", "不要"], ["我想", "疼", "要"]
    assert difference(said, was, said) == difference(said, was, said)
    assert json.loads(json.dumps(difference(said, was, said).as_json()))["exact"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="3 references but 1 hypotheses"):
        difference(said, was, said[:1])


# ── Intervals ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("right", "n", "said"), [(34, 34, 10), (33, 34, 9), (8, 10, 8), (1, 1000, 1), (0, 34, 0)])
def test_all_or_none_of_ten_is_said_only_when_it_is_all_or_none(right: int, n: int, said: int) -> None:
    assert of_ten(right / n) == said


def test_ten_of_ten_is_not_a_hundred_per_cent_for_sure() -> None:
    said = list("一二三四五六七八九十")
    right, wrong = score(said, said), score(said, [""] * 10)
    assert right.sentence_accuracy_ci == pytest.approx((0.722, 1.0), abs=1e-3)  # Wilson's, from the tables
    assert wrong.sentence_accuracy_ci == pytest.approx((0.0, 0.278), abs=1e-3)
    assert right.cer_ci[0] == 0 and right.cer_ci[1] > 0.1


def test_a_sample_of_a_stratum_counts_for_all_of_it() -> None:
    """Over many draws the pooled share is the true one, and its variance that of as many trials as it says."""
    rng = np.random.default_rng(3)
    whole = [rng.random(60) < 0.5, rng.random(240) < 0.5]
    share, trials = pooled(whole, [60, 240])
    assert share == pytest.approx(np.concatenate(whole).mean()) and trials == pytest.approx(300)
    assert pooled([whole[0], whole[1][:0]], [60, 0]) == (pytest.approx(whole[0].mean()), pytest.approx(60))
    shares = [pooled([rng.random(60) < 0.5, rng.random(60) < 0.5], [60, 240]) for _ in range(4000)]
    found, (trials,) = np.array([share for share, _ in shares]), {round(trials, 6) for _, trials in shares}
    assert found.mean() == pytest.approx(0.5, abs=0.005)
    assert found.var() == pytest.approx(0.25 / trials, rel=0.1) and 60 < trials < 120


def test_wilson_against_its_definition() -> None:
    """Its ends are the shares from which what was seen is just 1.96 standard errors away."""
    for hits, n in ((0, 3), (1, 7), (8, 10), (55, 100)):
        share = hits / n
        for end in wilson(share, n):
            assert (end - share) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, abs=1e-9)


def test_takes_of_one_phrase_are_one_phrase() -> None:
    """Saying ten phrases three times each gives no narrower an interval than saying them once."""
    said = [f"第{n}句" for n in range(1, 11)]
    heard = [*said[:8], "", ""]
    once, thrice = score(said, heard), score(said * 3, heard * 3)
    assert thrice.sentence_accuracy_ci == once.sentence_accuracy_ci
    assert thrice.cer_ci == once.cer_ci
    assert score(["二十", "20", "２０"], ["二十"] * 3).sentence_accuracy_ci == wilson(1.0, 1)


def test_one_phrase_says_nothing_about_another() -> None:
    assert score(["我想喝水"] * 5, ["我想喝水"] * 4 + ["我想"]).cer_ci == (0.0, 1.0)


def test_the_bootstrap_against_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    said = [f"第{n}句话在这里" for n in range(60)]
    heard = [text[: rng.integers(1, len(text) + 1)] for text in said]
    edits = np.array([levenshtein(normalise(s), normalise(h)) for s, h in zip(said, heard, strict=True)])
    characters = np.array([len(normalise(s)) for s in said])
    rates = []
    for _ in range(20_000):
        drawn = rng.choice(60, 60)
        rates.append(edits[drawn].sum() / characters[drawn].sum())
    assert score(said, heard, resamples=20_000).cer_ci == pytest.approx(np.quantile(rates, [0.025, 0.975]), abs=0.004)


def test_the_intervals_hold_what_they_promise() -> None:
    """Of many trials of 12 phrases, about 95 in 100 intervals hold the true share."""
    rng, said = np.random.default_rng(3), [f"第{n}句" for n in range(1, 13)]
    held = []
    for _ in range(200):
        result = score(said, [text if rng.random() < 0.8 else "" for text in said], resamples=1)
        held.append(result.sentence_accuracy_ci[0] <= 0.8 <= result.sentence_accuracy_ci[1])
    assert 0.90 <= np.mean(held) <= 1.0


def test_same_seed_same_score_and_it_is_fast() -> None:
    rng = np.random.default_rng(1)
    said = [f"第{n}句话" for n in range(300)]
    heard = [text if rng.random() < 0.7 else text[:2] for text in said]
    assert score(said, heard, seed=4) == score(said, heard, seed=4)
    assert score(said, heard, seed=4).cer_ci != score(said, heard, seed=5).cer_ci
    started = time.process_time()
    score(said, heard, resamples=2000)
    assert time.process_time() - started < 0.1


def test_as_json_is_what_the_report_keeps() -> None:
    result = score(["我想喝水", "疼"], ["我想喝水", ""])
    kept = json.loads(json.dumps(result.as_json()))
    assert kept == result.as_json()
    names = ("sentence_accuracy", "syllable_error_rate", "toneless_syllable_error_rate")
    measures = {"cer", "exact", "ser_toned", "ser_toneless", *names}  # the first names stay beside the new ones
    rates = measures | {f"{name}_ci" for name in measures}
    assert set(kept) == rates | {"n", "phrases", "endless", "repetitions", "raw"} and set(kept["raw"]) == rates
    assert (kept["n"], kept["phrases"], kept["cer"], kept["exact"]) == (2, 2, 0.2, 0.5)
    assert kept["cer_ci"] == list(result.cer_ci) and kept["raw"]["exact_ci"] == list(result.raw.sentence_accuracy_ci)


# ── The evaluate metric ──────────────────────────────────────────────────────
_COMPUTE = """
import socket, sys
def no_network(*args, **kwargs): raise AssertionError("a socket was opened")
socket.socket.connect = no_network
socket.getaddrinfo = no_network
from resonance_helpers.scoring.metric import ChineseCER
metric = ChineseCER()
print(metric.compute(predictions=["幫我關燈。", ""], references=["帮我开灯", "20"]))
metric.add_batch(predictions=["水"], references=["水"])
print(metric.compute())
"""


@pytest.mark.slow  # importing evaluate takes seconds
def test_the_metric_needs_no_hub_and_leaves_no_folder(tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_"))}
    home = {**kept, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", _COMPUTE], env=home, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["{'cer': 0.5}", "{'cer': 0.0}"], done.stderr
    assert not (tmp_path / ".cache" / "huggingface" / "metrics").exists()


def test_scoring_itself_does_not_wait_for_evaluate() -> None:
    code = "import sys, resonance_helpers.scoring; print('evaluate' in sys.modules)"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], env=path, text=True).strip() == "False"
