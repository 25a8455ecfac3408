"""Where to cut a recording that is longer than a window: in the longest pauses, and only as often as needed.

People whose speech is slow pause inside a phrase too. So a recording that fits is never cut, and one that does not is
cut at its longest pause first, then again only where a piece is still too long.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..core.settings import SAMPLE_RATE
from .quality import FRAME_S, frame_levels, stands_out

PAUSE_S = 0.3  # what is shorter may be the closure of a consonant
MARGIN_S = 0.2  # of quiet that stays beside the speech: a soft first or last sound is below the level of a frame


def cut(samples: np.ndarray, wanted_s: float, longest_s: float) -> list[slice]:
    """Pieces of ``samples`` (n,), 16 kHz mono, in order: at most ``wanted_s`` seconds where there are pauses to cut at,
    never more than ``longest_s``. The quiet at the ends and around a cut may be left out."""
    if len(samples) <= wanted_s * SAMPLE_RATE:
        return [slice(0, len(samples))]
    length = round(FRAME_S * SAMPLE_RATE)
    frames = frame_levels(samples)
    pieces = _cut(frames, stands_out(frames), 0, len(frames), wanted_s / FRAME_S, longest_s / FRAME_S)
    return [slice(start * length, stop * length) for start, stop in pieces]


def _cut(
    levels: np.ndarray, sound: np.ndarray, start: int, stop: int, wanted: float, longest: float
) -> list[tuple[int, int]]:
    """Frames ``start`` to ``stop`` in pieces, by the longest pause first."""
    if stop - start <= wanted:
        return [(start, stop)]
    start, stop = _without_quiet_ends(sound, start, stop)
    spoken = (start + np.flatnonzero(sound[start:stop])).tolist()
    pauses = [(after - before - 1, before + 1, after) for before, after in pairwise(spoken)]
    pause, quiet_from, quiet_to = max(pauses, default=(0, 0, 0))
    if stop - start <= wanted or (pause < PAUSE_S / FRAME_S and stop - start <= longest):
        return [(start, stop)]
    if pause >= PAUSE_S / FRAME_S:
        middle = (quiet_from + quiet_to) // 2
    else:  # half a minute without a breath: at the quietest moment that leaves something on both sides
        quarter = (stop - start) // 4
        middle = start + quarter + int(np.argmin(levels[start + quarter : stop - quarter]))
    first, second = (_cut(levels, sound, a, b, wanted, longest) for a, b in ((start, middle), (middle, stop)))
    return first + second


def _without_quiet_ends(sound: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    spoken = start + np.flatnonzero(sound[start:stop])
    if not len(spoken):
        return start, stop
    margin = round(MARGIN_S / FRAME_S)
    return max(start, int(spoken[0]) - margin), min(stop, int(spoken[-1]) + 1 + margin)
