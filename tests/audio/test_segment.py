"""Where a long recording is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance_helpers.audio.segment import MARGIN_S, split_to_fit
from resonance_helpers.core.settings import SAMPLE_RATE

RNG = np.random.default_rng(17)


def speech(seconds: float) -> np.ndarray:
    """Something loud that comes and goes like syllables, without a pause that counts."""
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 180 * time_s) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return (1e-4 * RNG.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def seconds(pieces: list[slice]) -> list[tuple[float, float]]:
    return [(piece.start / SAMPLE_RATE, piece.stop / SAMPLE_RATE) for piece in pieces]


def test_what_fits_is_left_whole_with_all_its_pauses() -> None:
    clip = np.concatenate([speech(1), quiet(1), speech(1), quiet(0.9)])
    assert split_to_fit(clip, 4.0, 30.0) == [slice(0, len(clip))]


def test_the_longest_pause_is_cut_first_and_only_that() -> None:
    clip = np.concatenate([speech(1.5), quiet(0.5), speech(1.5), quiet(0.9), speech(2)])
    (a, b), (c, d) = seconds(split_to_fit(clip, 4.0, 30.0))
    assert a == 0 and 3.5 <= b <= c <= 4.4 and d == pytest.approx(6.4, abs=0.03)


def test_a_short_closure_is_not_a_pause() -> None:
    clip = np.concatenate([speech(2.5), quiet(0.2), speech(2.5)])
    assert seconds(split_to_fit(clip, 4.0, 30.0)) == [(0.0, pytest.approx(5.2, abs=0.03))]


def test_quiet_at_the_ends_goes_before_anything_is_cut() -> None:
    clip = np.concatenate([quiet(3), speech(2), quiet(3)])
    ((start, stop),) = seconds(split_to_fit(clip, 4.0, 30.0))
    assert start == pytest.approx(3 - MARGIN_S, abs=0.03) and stop == pytest.approx(5 + MARGIN_S, abs=0.03)


def test_speech_without_a_breath_is_cut_at_its_quietest_moment() -> None:
    clip = np.concatenate([speech(20), 0.05 * speech(0.1), speech(25)])
    first, second = seconds(split_to_fit(clip, 4.0, 30.0))
    assert first[1] == second[0] == pytest.approx(20.05, abs=0.06)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 2)), min_size=1, max_size=8), st.sampled_from([4.0, 6.0, 8.0])
)
def test_every_piece_fits_and_no_speech_is_lost(parts: list[tuple[float, float]], wanted_s: float) -> None:
    clip = np.concatenate([sound for talk, rest in parts for sound in (speech(talk), quiet(rest))])
    pieces = split_to_fit(clip, wanted_s, 12.0)
    assert all(0 < piece.stop - piece.start <= 12.0 * SAMPLE_RATE for piece in pieces)
    assert all(before.stop <= after.start for before, after in pairwise(pieces))
    kept = np.zeros(len(clip), dtype=bool)
    for piece in pieces:
        kept[piece] = True
    loud = np.abs(clip) > 0.01
    assert not (loud & ~kept)[: len(clip) // 400 * 400].any()


@pytest.mark.parametrize("clip", [np.zeros(20 * SAMPLE_RATE, np.float32), quiet(70)])
def test_silence_comes_through(clip: np.ndarray) -> None:
    assert all(piece.stop - piece.start <= 12 * SAMPLE_RATE for piece in split_to_fit(clip, 4.0, 12.0))
