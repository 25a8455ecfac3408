"""Augmented clips stay sound: right type, within range, never longer than the window, repeatable."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperModel

from resonance_helpers.asr.augmentation import Augmentation, mask_spectrum
from resonance_helpers.core.settings import EFFECTS, SAMPLE_RATE

WAVEFORM = tuple(effect for effect in EFFECTS if effect != "spectrum")


def tone(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seconds=st.floats(0.2, 4.0), seed=st.integers(0, 2**32))
def test_a_clip_stays_a_clip(seconds: float, seed: int) -> None:
    clip = tone(seconds)
    found = Augmentation(WAVEFORM).apply(clip, np.random.default_rng(seed), longest_s=4.0)
    assert found.dtype == np.float32
    assert np.isfinite(found).all() and np.abs(found).max() <= 1
    assert len(found) <= 4 * SAMPLE_RATE
    assert 0.8 <= len(found) / len(clip) <= 1.25, "no word may be cut off"


def test_the_same_draw_gives_the_same_sound_and_the_clip_itself_stays() -> None:
    clip = tone(1.0)
    kept = clip.copy()
    first, again, other = (Augmentation(WAVEFORM).apply(clip, np.random.default_rng(seed), 4.0) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)
    assert np.array_equal(clip, kept)


def test_noise_comes_at_the_level_that_was_asked_for() -> None:
    clip = tone(2.0)
    only_noise = Augmentation(("noise",), probability=1.0, snr_db=(10.0, 10.0))
    noise = only_noise.apply(clip, np.random.default_rng(3), 4.0) - clip
    assert 10 * np.log10(np.mean(clip**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.5)


def test_slowing_never_pushes_the_end_of_a_word_out_of_the_window() -> None:
    slow = Augmentation(("speed",), probability=1.0, speed=(0.5, 0.5))
    clip = tone(3.5)
    clip[-1600:] = 0.9  # the last tenth of a second is what must survive
    found = slow.apply(clip, np.random.default_rng(0), 4.0)
    assert len(found) == pytest.approx(4 * SAMPLE_RATE, abs=2)
    assert np.abs(found[-800:]).mean() > 0.4


@pytest.mark.parametrize("effect", WAVEFORM)
def test_each_effect_can_be_had_alone(effect: str) -> None:
    clip = tone(1.0)
    found = Augmentation((effect,), probability=1.0).apply(clip, np.random.default_rng(0), 4.0)
    assert (len(found) == len(clip)) == (effect != "speed")
    assert len(found) != len(clip) or not np.allclose(found, clip, atol=1e-3)
    assert np.array_equal(Augmentation(()).apply(clip, np.random.default_rng(0), 4.0), clip)


def test_pitch_moves_the_pitch_and_nothing_else() -> None:
    higher = Augmentation(("pitch",), probability=1.0, pitch_semitones=(2.0, 2.0))
    found = higher.apply(tone(1.0), np.random.default_rng(0), 4.0)
    peak = np.argmax(np.abs(np.fft.rfft(found))) / (len(found) / SAMPLE_RATE)
    assert len(found) == SAMPLE_RATE and peak == pytest.approx(220 * 2 ** (2 / 12), abs=3)


def test_the_spectrum_is_masked_within_the_block_only_and_only_while_training() -> None:
    config = WhisperConfig(mask_time_prob=0.2)
    whisper = WhisperModel._mask_input_features
    features = torch.ones(2, 80, 400)
    model = SimpleNamespace(config=config, training=True)
    with mask_spectrum(config, True):
        masked = whisper(model, features.clone())
        model.training = False
        untouched = whisper(model, features.clone())
    assert (masked == 0).any(dim=(1, 2)).all() and (untouched == 1).all()
    with mask_spectrum(config, False):
        assert not config.apply_spec_augment
    assert (config.mask_time_prob, config.mask_feature_prob) == (0.2, WhisperConfig().mask_feature_prob)
