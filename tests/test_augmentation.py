"""Augmented clips stay sound: right type, within range, never longer than the window, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance_helpers.augmentation import Augmentation
from resonance_helpers.settings import SAMPLE_RATE


def tone(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seconds=st.floats(0.2, 4.0), seed=st.integers(0, 2**32))
def test_a_clip_stays_a_clip(seconds: float, seed: int) -> None:
    clip = tone(seconds)
    found = Augmentation().apply(clip, np.random.default_rng(seed), longest_s=4.0)
    assert found.dtype == np.float32
    assert np.isfinite(found).all() and np.abs(found).max() <= 1
    assert len(found) <= 4 * SAMPLE_RATE
    assert 0.8 <= len(found) / len(clip) <= 1.25, "no word may be cut off"


def test_the_same_draw_gives_the_same_sound_and_the_clip_itself_stays() -> None:
    clip = tone(1.0)
    kept = clip.copy()
    first, again, other = (Augmentation().apply(clip, np.random.default_rng(seed), 4.0) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)
    assert np.array_equal(clip, kept)


def test_noise_comes_at_the_level_that_was_asked_for() -> None:
    clip = tone(2.0)
    only_noise = Augmentation(
        probability=1.0, speed=(1.0, 1.0), reverberation_s=(0.01, 0.01), direct_to_room_db=(80.0, 80.0),
        snr_db=(10.0, 10.0), gain_db=(0.0, 0.0),
    )  # fmt: skip
    noise = only_noise.apply(clip, np.random.default_rng(3), 4.0) - clip
    assert 10 * np.log10(np.mean(clip**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.5)


def test_slowing_never_pushes_the_end_of_a_word_out_of_the_window() -> None:
    slow = Augmentation(probability=1.0, speed=(0.5, 0.5), gain_db=(0.0, 0.0))
    clip = tone(3.5)
    clip[-1600:] = 0.9  # the last tenth of a second is what must survive
    found = slow.apply(clip, np.random.default_rng(0), 4.0)
    assert len(found) == pytest.approx(4 * SAMPLE_RATE, abs=2)
    assert np.abs(found[-800:]).mean() > 0.4
