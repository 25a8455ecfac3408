"""Scores against independent implementations, and intervals that do not claim more than the clips tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers.scoring import cer, diff, score, wilson
from resonance_helpers.text import normalise

texts = st.text("我想喝水吃饭不疼", max_size=6)
phrases = st.text("我想喝水吃饭不疼", min_size=1, max_size=6)
pairs = st.lists(st.tuples(phrases, texts), min_size=1, max_size=8)


def levenshtein(one: str, other: str) -> int:
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
    assert result.exact == pytest.approx(np.mean([r == h for r, h in pairs]))
    assert result.n == len(pairs)
    for low, high in (result.cer_ci, result.exact_ci):
        assert 0 <= low <= high
    assert result.exact_ci[0] <= result.exact <= result.exact_ci[1] <= 1


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
    assert (result.cer, result.exact) == (0.0, 1.0)


def test_a_worked_example() -> None:
    result = score(["我想喝水", "帮我开灯"], ["我想喝水", "帮我关"])
    assert result.cer == pytest.approx(2 / 8)
    assert result.exact == 0.5


def test_a_hallucination_may_exceed_one_and_silence_is_one() -> None:
    assert cer(["疼"], ["疼" * 30]) == 29
    assert score(["疼", "水"], ["谢谢观看" * 9, "请订阅" * 9]).cer_ci[1] > 1
    result = score(["我想喝水", "疼"], ["", ""])
    assert (result.cer, result.exact) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("references", "hypotheses", "said"),
    [([], [], "no clips"), (["疼"], [], "1 references but 0 hypotheses"), (["。"], ["疼"], "no character")],
)
def test_what_cannot_be_scored_is_said(references: list[str], hypotheses: list[str], said: str) -> None:
    for function in (score, cer):
        with pytest.raises(ValueError, match=said):
            function(references, hypotheses)


# ── Intervals ────────────────────────────────────────────────────────────────
def test_ten_of_ten_is_not_a_hundred_per_cent_for_sure() -> None:
    said = list("一二三四五六七八九十")
    right, wrong = score(said, said), score(said, [""] * 10)
    assert right.exact_ci == pytest.approx((0.722, 1.0), abs=1e-3)  # Wilson's, from the tables
    assert wrong.exact_ci == pytest.approx((0.0, 0.278), abs=1e-3)
    assert right.cer_ci[0] == 0 and right.cer_ci[1] > 0.1


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
    assert thrice.exact_ci == once.exact_ci
    assert thrice.cer_ci == once.cer_ci
    assert score(["二十", "20", "２０"], ["二十"] * 3).exact_ci == wilson(1.0, 1)


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
        held.append(result.exact_ci[0] <= 0.8 <= result.exact_ci[1])
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
    assert kept == {
        "n": 2,
        "cer": 0.2,
        "cer_ci": list(result.cer_ci),
        "exact": 0.5,
        "exact_ci": list(result.exact_ci),
    }


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
