"""The same recording twice, by its sound: another codec, level, name or a little less silence does not hide it.

A speaker who says a phrase twice never makes the same wave twice, however alike the two sound; a copy of a file does,
in any codec that keeps the wave. So two recordings are the same where their low band, moved to where it fits best, is
the same wave. Measured on the 79,800 pairs of 400 recordings (one voice synthetic, one healthy, one impaired by a
program from another's recordings) the most alike reached 0.67; copies as mp3, m4a, aac, ogg and webm, louder, softer,
with silence added or taken away, 0.97 and more. The narrow codec of telephones (amr) keeps less: most copies are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from ..audio.decode import resample
from ..audio.quality import without_offset

_RATE = 2_000  # Hz; keeps the pitch and the lowest formant, the part that no codec spares
_STEP = _RATE // 50  # samples of one value of the outline, 20 ms
_SAME = 0.7  # of 1, how well two waves fit
_WORTH_COMPARING = 0.7  # how well two outlines fit; 1 to 2 of 100 different pairs reach it


@dataclass(frozen=True)
class Fingerprint:
    """``wave`` is the low band at 2 kHz, float32 (n,), with an energy of 1; ``outline`` how its level rises and falls
    every 20 ms, float32 (n // 40 + 1,), likewise."""

    wave: np.ndarray
    outline: np.ndarray


def fingerprint(samples: np.ndarray, rate: int) -> Fingerprint:
    """What one recording (n,) at ``rate`` Hz is compared by. A millisecond or two."""
    samples = without_offset(samples, rate)
    wave = resample(np.pad(samples, (0, max(0, rate // 10 - len(samples)))), rate, _RATE)
    wave = _unit(wave - wave.mean())
    level = np.sqrt(np.square(wave[: len(wave) // _STEP * _STEP]).reshape(-1, _STEP).sum(axis=1))
    return Fingerprint(wave, _unit(np.diff(np.convolve(level, (0.25, 0.5, 0.25), "same"), prepend=0, append=0)))


def same_sound(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Pairs of indices (earlier, later) of recordings that are the same; each later one once, with its first copy."""
    found: dict[int, int] = {}
    for first, second in _candidates([each.outline for each in prints]):
        if second not in found and _best_fit(prints[first].wave, prints[second].wave) >= _SAME:
            found[second] = found.get(first, first)
    return sorted((first, second) for second, first in found.items())


def _candidates(outlines: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs whose outlines fit at some shift, in order."""
    if len(outlines) < 2:
        return
    size = fft.next_fast_len(2 * max(map(len, outlines)), real=True)
    spectra = fft.rfft(np.array([np.pad(each, (0, size - len(each))) for each in outlines]), axis=1)
    for first in range(len(outlines) - 1):
        fits = fft.irfft(spectra[first] * spectra[first + 1 :].conj(), size, axis=1).max(axis=1)
        for later in np.flatnonzero(fits >= _WORTH_COMPARING):
            yield first, first + 1 + int(later)


def _best_fit(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two waves at the shift where it is highest, in [0, 1]; a turned plug makes it negative.

    Shifts go in quarters of a sample: half of one is half a period of the highest tone.
    """
    size = fft.next_fast_len(len(one) + len(other), real=True)
    both = fft.rfft(one, size) * fft.rfft(other, size).conj()
    return 4 * float(np.abs(fft.irfft(both, 4 * size)).max())


def _unit(values: np.ndarray) -> np.ndarray:
    energy = float(np.linalg.norm(values))
    return (values / energy if energy > 0 else values).astype(np.float32)
