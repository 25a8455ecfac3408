"""Where to cut a recording: at every long pause of a list that was read aloud, or only as often as a window asks for.

People whose speech is slow pause inside a phrase too. So ``split_to_fit`` never cuts a recording that fits, and cuts
one that does not at its longest pause first, then again only where a piece is still too long. ``split_at_pauses``
takes a list of phrases apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from ..core.messages import ResonanceError
from ..core.settings import SAMPLE_RATE
from .quality import FRAME_S, frame_levels, has_speech, runs, stands_out

PAUSE_S = 0.3  # what is shorter may be the closure of a consonant
_FRAME = round(FRAME_S * SAMPLE_RATE)  # samples
_SYLLABLES_S = 0.3  # sounds nearer than this belong together whatever the pause: the closure of a consonant
_LOUD_SHARE = 99  # per cent of the frames are not louder; above it is a slammed door, which must not hide soft phrases
MARGIN_S = 0.2  # of quiet that stays beside the speech: a soft first or last sound is below the level of a frame


_Frames = tuple[int, int]  # from, to


@dataclass(frozen=True)
class CutOptions:
    """How a long recording is taken apart. Times in seconds."""

    # Of phrases 1.5–3 s apart, some with a hesitation of 1 s inside, 98 % came out whole at this pause, 80 % at 1.0.
    pause_s: float = 1.4  # between two phrases
    shortest_s: float = 0.125  # of sound, alone: a switch or a page turned is over sooner, the shortest syllable later
    margin_s: float = 0.3  # of quiet kept at both ends: a soft first or last sound is below the level of a frame
    max_seconds: float = 1800.0  # 120 phrases at ten seconds, and rests; 115 MB of samples

    def __post_init__(self) -> None:
        for name, least, most in (("pause_s", 0.3, 10.0), ("shortest_s", 0.0, 1.0), ("margin_s", 0.0, 1.0)):
            if not least <= getattr(self, name) <= most:
                raise ResonanceError("RZ-0001", name=name, value=getattr(self, name), allowed=f"{least:g}–{most:g}")


@dataclass(frozen=True)
class Stretch:
    """Samples ``start`` to ``stop`` of a recording: something said, quiet, or a sound too short to be speech."""

    start: int
    stop: int
    kind: Literal["speech", "quiet", "click"]

    @property
    def seconds(self) -> float:
        return (self.stop - self.start) / SAMPLE_RATE


def split_to_fit(samples: np.ndarray, wanted_s: float, longest_s: float) -> list[slice]:
    """Pieces of ``samples`` (n,), 16 kHz mono, in order: at most ``wanted_s`` seconds where there are pauses to cut at,
    never more than ``longest_s``. The quiet at the ends and around a cut may be left out."""
    if len(samples) <= wanted_s * SAMPLE_RATE:
        return [slice(0, len(samples))]
    frames = frame_levels(samples)
    pieces = _split(frames, stands_out(frames), 0, len(frames), wanted_s / FRAME_S, longest_s / FRAME_S)
    return [slice(start * _FRAME, stop * _FRAME) for start, stop in pieces]


def _split(
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
    first, second = (_split(levels, sound, a, b, wanted, longest) for a, b in ((start, middle), (middle, stop)))
    return first + second


def _without_quiet_ends(sound: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    spoken = start + np.flatnonzero(sound[start:stop])
    if not len(spoken):
        return start, stop
    margin = round(MARGIN_S / FRAME_S)
    return max(start, int(spoken[0]) - margin), min(stop, int(spoken[-1]) + 1 + margin)


# ── A list that was read aloud ───────────────────────────────────────────────
def split_at_pauses(samples: np.ndarray, options: CutOptions = CutOptions()) -> tuple[Stretch, ...]:
    """``samples`` (n,), 16 kHz mono, as stretches in order that leave out nothing: what was said between pauses of
    ``options.pause_s``, each with a margin of quiet, and what lies between. Empty for no samples."""
    if not len(samples):
        return ()
    bursts, clicks = _sounds(samples, options)
    spoken = joined(bursts, round(options.pause_s / FRAME_S))
    edges = _with_margins(spoken, len(samples), round(options.margin_s / FRAME_S))
    stretches, end = [], 0
    for start, stop in [*edges, (len(samples), len(samples))]:
        if start > end:
            heard = any(end <= click * _FRAME < start for click, _ in clicks)
            stretches.append(Stretch(end, start, "click" if heard else "quiet"))
        if stop > start:
            stretches.append(Stretch(start, stop, "speech"))
        end = stop
    return tuple(stretches)


def pause_for(samples: np.ndarray, count: int, options: CutOptions = CutOptions()) -> float | None:
    """The pause in seconds at which ``split_at_pauses`` finds ``count`` pieces: halfway between the shortest pause that
    is cut at and the longest that is not. None where no pause does."""
    bursts, _ = _sounds(samples, options)
    if count < 2 or len(bursts) < count:
        return None
    gaps = sorted((after[0] - before[1] for before, after in pairwise(bursts)), reverse=True)
    shortest_cut, longest_left = gaps[count - 2], (*gaps, round(_SYLLABLES_S / FRAME_S))[count - 1]
    if shortest_cut == longest_left:
        return None
    return (shortest_cut + longest_left + 1) // 2 * FRAME_S


def _sounds(samples: np.ndarray, options: CutOptions) -> tuple[list[_Frames], list[_Frames]]:
    """Bursts of syllables, and sounds too short to be one, which must not hide the pause that they fall into."""
    if not has_speech(samples):
        return [], []
    levels = frame_levels(samples)
    sound = stands_out(np.minimum(levels, np.percentile(levels, _LOUD_SHARE)))
    bursts = joined(runs(sound).tolist(), round(_SYLLABLES_S / FRAME_S))
    long_enough = {burst: sound[slice(*burst)].sum() * FRAME_S >= options.shortest_s for burst in bursts}
    return [each for each in bursts if long_enough[each]], [each for each in bursts if not long_enough[each]]


def joined(spoken: Sequence[Sequence[int]], gap: int) -> list[_Frames]:
    """``spoken`` runs, each (start, stop), with those less than ``gap`` apart made one."""
    found: list[_Frames] = []
    for start, stop in spoken:
        if found and start - found[-1][1] < gap:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found


def _with_margins(spoken: Sequence[_Frames], length: int, margin: int) -> list[tuple[int, int]]:
    """``spoken`` frames as samples, wider by ``margin`` frames but never past the middle of a pause."""
    if not spoken:
        return []
    last = length // _FRAME
    stops = [0, *((before[1] + after[0] + 1) // 2 for before, after in pairwise(spoken)), last]
    wider = [
        (max(a - margin, low), min(b + margin, high))
        for (a, b), (low, high) in zip(spoken, pairwise(stops), strict=True)
    ]
    return [(start * _FRAME, stop * _FRAME) for start, stop in wider]
