"""The same phrase as another day might bring it: tempo, pitch, room, noise and level drawn anew at each use of a clip.

Waveforms in, waveforms out: float32 mono at 16 kHz. Speed perturbation changes tempo and pitch together (Ko et al.
2015, "Audio Augmentation for Speech Recognition"), ``pitch`` changes it alone (librosa's phase vocoder); rooms are
noise that decays exponentially behind a direct sound. Masking the spectrum (SpecAugment, Park et al. 2019) is Whisper's
own and happens in the model: see ``mask_spectrum``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from scipy.signal import fftconvolve

from ..core.messages import message
from ..core.settings import SAMPLE_RATE


@dataclass(frozen=True)
class Augmentation:
    """Ranges that each clip's effects are drawn from, uniformly; each of ``effects`` is applied with ``probability``
    (the gain always)."""

    effects: tuple[str, ...]
    probability: float = 0.7
    speed: tuple[float, float] = (0.85, 1.15)  # × the original tempo
    pitch_semitones: tuple[float, float] = (-2.0, 2.0)
    reverberation_s: tuple[float, float] = (0.1, 0.5)  # RT60: time in which the room's sound falls by 60 dB
    direct_to_room_db: tuple[float, float] = (0.0, 15.0)  # how much louder the direct sound is than the room
    snr_db: tuple[float, float] = (8.0, 35.0)  # speech over added noise
    gain_db: tuple[float, float] = (-12.0, 6.0)

    def apply(self, samples: np.ndarray, rng: np.random.Generator, longest_s: float) -> np.ndarray:
        """``samples`` as another day might bring them, never longer than ``longest_s`` seconds."""
        sound = samples
        if self._draws("speed", rng):
            sound = _change_speed(sound, rng.uniform(*self.speed), longest_s)
        if self._draws("pitch", rng):
            sound = _change_pitch(sound, rng.uniform(*self.pitch_semitones))
        if self._draws("room", rng):
            sound = _in_a_room(sound, rng.uniform(*self.reverberation_s), rng.uniform(*self.direct_to_room_db), rng)
        if self._draws("noise", rng):
            sound = _with_noise(sound, rng.uniform(*self.snr_db), rng)
        if "gain" in self.effects:
            sound = sound * 10 ** (rng.uniform(*self.gain_db) / 20)
        return np.clip(sound, -1, 1).astype(np.float32)

    def _draws(self, effect: str, rng: np.random.Generator) -> bool:
        return effect in self.effects and rng.random() < self.probability


@contextmanager
def mask_spectrum(config: Any, wanted: bool) -> Iterator[None]:
    """Within the block a Whisper model with this ``config`` masks random times and mel bands of what it trains on."""
    masks = {"apply_spec_augment": wanted, "mask_time_prob": 0.05, "mask_feature_prob": 0.05, "mask_feature_length": 8}
    before = {name: getattr(config, name) for name in masks}
    config.update(masks)
    try:
        yield
    finally:
        config.update(before)


def _change_speed(sound: np.ndarray, speed: float, longest_s: float) -> np.ndarray:
    slowest = len(sound) / SAMPLE_RATE / longest_s  # below this the slowed clip would not fit and words would be lost
    changed = soxr.resample(sound, SAMPLE_RATE * max(speed, slowest), SAMPLE_RATE, quality="LQ")
    return changed[: int(longest_s * SAMPLE_RATE)]


def _change_pitch(sound: np.ndarray, semitones: float) -> np.ndarray:
    from librosa.effects import pitch_shift  # takes a second to import

    return pitch_shift(sound, sr=SAMPLE_RATE, n_steps=semitones, n_fft=1024, res_type="soxr_lq")


def _in_a_room(sound: np.ndarray, rt60_s: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(int(rt60_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60_s)
    tail *= 10 ** (-direct_db / 20) / np.linalg.norm(tail)
    tail[0] += 1.0  # the direct sound
    return fftconvolve(sound, tail)[: len(sound)]


def _with_noise(sound: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    white = rng.standard_normal(len(sound))
    colour = rng.uniform(0.0, 0.95)  # 0 is white; near 1 is the low rumble of a street or a fan
    noise = fftconvolve(white, colour ** np.arange(200))[: len(sound)]
    level = np.sqrt(np.mean(sound**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    return sound + level * noise


def effects_in_words(effects: Sequence[str]) -> str:
    """What augmentation changes: "语速、房间"; "否" where it changes nothing."""
    words = [message(f"chart.effect.{effect}") for effect in effects]
    return message("chart.effect.and").join(words) if words else message("chart.no")
