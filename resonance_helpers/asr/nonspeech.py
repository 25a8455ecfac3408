"""Sounds without speech, to test a trained adapter with: does it hear the patient's phrases where there are none?

Synthetic, so that anybody gets the same ones from a seed and no recording of a home is needed: what a microphone beside
a bed picks up in between. They stand for such sounds and do not replace the room where the voice will be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.settings import SAMPLE_RATE

SHORTEST_S = 1.0


@dataclass(frozen=True)
class Sound:
    """One clip without speech: ``samples`` float32 (n,), 16 kHz mono; ``kind`` is a key of ``KINDS``."""

    kind: str
    samples: np.ndarray


def sounds(count: int, longest_s: float, seed: int = 17) -> tuple[Sound, ...]:
    """``count`` clips of ``SHORTEST_S`` to ``longest_s`` seconds, all kinds in turn; the same for the same arguments.

    Levels, pitches and moments are drawn for each clip, so that a kind is many rooms and not one.
    """
    return tuple(_sound(index, longest_s, np.random.default_rng([seed, index])) for index in range(count))


def _sound(index: int, longest_s: float, rng: np.random.Generator) -> Sound:
    kind = tuple(KINDS)[index % len(KINDS)]
    time = np.arange(round(rng.uniform(SHORTEST_S, longest_s) * SAMPLE_RATE)) / SAMPLE_RATE  # seconds
    return Sound(kind, np.clip(KINDS[kind](time, rng), -1, 1).astype(np.float32))


# ── The kinds: from time in seconds (n,) to samples (n,) ─────────────────────
def _silence(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A muted microphone: nothing at all, or the last bits of a converter."""
    return np.zeros_like(time) if rng.random() < 0.25 else _noise(time, rng, 0, (-95, -65))


def _noise(
    time: np.ndarray, rng: np.random.Generator, slope: float, rms_dbfs: tuple[float, float] = (-60, -25)
) -> np.ndarray:
    """Noise whose power falls with frequency to the power of ``slope`` (0 white, 1 pink, 2 brown)."""
    frequency = np.fft.rfftfreq(len(time), 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(len(time))) * np.maximum(frequency, 20) ** (-slope / 2)
    spectrum[0] = 0
    return _at_level(np.fft.irfft(spectrum, len(time)), rng.uniform(*rms_dbfs))


def _hum(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mains and its harmonics, from a transformer or a bad cable."""
    tones = np.stack([rng.uniform(0, 1) / n * _tone(time, 50 * n, rng) for n in range(1, 9)])
    return _at_level(tones.sum(axis=0), rng.uniform(-50, -20)) + _noise(time, rng, 0, (-75, -55))


def _fan(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moving air with the tone of the blades, slowly breathing: a fan, a ventilator, an air conditioner."""
    air = _noise(time, rng, 1.5) * (1 + rng.uniform(0.1, 0.4) * _tone(time, rng.uniform(0.2, 2), rng))
    blades = _tone(time, rng.uniform(40, 180), rng)
    return air + np.sqrt(np.mean(air**2)) * rng.uniform(0.1, 1) * blades


def _clicks(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mouse, a keyboard, a light switch: a few milliseconds each."""
    return _events(time, rng, (1, 8), lambda since: np.exp(-since / 0.002) * rng.standard_normal(len(since)))


def _knocks(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A door, a cup put down, a footstep: something that rings and dies away within a tenth of a second or two."""
    pitch, decay_s = rng.uniform(80, 600), rng.uniform(0.015, 0.06)
    return _events(time, rng, (1, 5), lambda since: np.exp(-since / decay_s) * np.sin(2 * np.pi * pitch * since))


def _beeps(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An appliance or a monitor beside the bed."""
    pitch, length_s = rng.uniform(700, 2500), rng.uniform(0.08, 0.3)
    return _events(time, rng, (1, 4), lambda since: (since < length_s) * np.sin(2 * np.pi * pitch * since))


def _passing(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A car or a gust of wind: noise that swells and fades within the clip."""
    middle, width = rng.uniform(0, time[-1]), rng.uniform(0.3, 1.5)
    swell = np.exp(-0.5 * ((time - middle) / width) ** 2)
    return _noise(time, rng, 1.5, (-40, -20)) * swell + _noise(time, rng, 1, (-65, -50))


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "silence": _silence,
    "white": lambda time, rng: _noise(time, rng, 0),
    "pink": lambda time, rng: _noise(time, rng, 1),
    "brown": lambda time, rng: _noise(time, rng, 2),
    "hum": _hum,
    "fan": _fan,
    "clicks": _clicks,
    "knocks": _knocks,
    "beeps": _beeps,
    "passing": _passing,
}


# ── What they are made of ────────────────────────────────────────────────────
def _events(
    time: np.ndarray, rng: np.random.Generator, how_many: tuple[int, int], event: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """``event``, a function of the seconds since it began, now and then at a level drawn, over faint noise."""
    sound = _noise(time, rng, 1, (-70, -45))
    for begin in rng.uniform(0, time[-1], rng.integers(*how_many, endpoint=True)):
        since = time[time >= begin] - begin
        sound[len(time) - len(since) :] += 10 ** (rng.uniform(-30, -6) / 20) * event(since)
    return sound


def _tone(time: np.ndarray, hertz: float, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * (hertz * time + rng.random()))


def _at_level(sound: np.ndarray, rms_dbfs: float) -> np.ndarray:
    return sound * 10 ** (rms_dbfs / 20) / np.sqrt(np.mean(sound**2))
