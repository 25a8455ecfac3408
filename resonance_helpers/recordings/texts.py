"""Does a text fit its recording? By how many characters are said in a second, and by what a base model hears.

Both compare within one set: somebody who speaks slowly is compared with themselves, and a model that understands little
of a voice still mishears one phrase in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..audio import Quality
from ..text import normalise

_ENOUGH = 10  # recordings; of fewer the usual pace is not known
_BREATH = 0.5  # characters; even a single one takes its time to begin and to end
_FACTOR = 2.5  # times quicker or slower than usual; of 400 recordings with the right text the furthest was 2.3
_SPREADS = 5.0  # or so many of this person's own deviations, where they vary more


def written_differently(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The groups of texts that are one phrase in other characters (喝水, 喝水。, ＯＫ, ok), as they are written."""
    groups: dict[str, dict[str, None]] = {}
    for text in texts:
        groups.setdefault(normalise(text), {})[text.strip()] = None
    return [tuple(group) for group in groups.values() if len(group) > 1]


def odd_paces(recordings: Sequence[tuple[str, Quality | None]]) -> list[tuple[int, float, float]]:
    """Recordings whose text is far too long or too short for them: index, characters a second, this person's usual.

    Only time with sound counts. The usual pace is the median, so that a few wrong texts do not move it.
    """
    known = [
        (i, text, quality.speech_s) for i, (text, quality) in enumerate(recordings) if quality and quality.speech_s
    ]
    if len(known) < _ENOUGH:
        return []
    paces = np.array([(len(normalise(text)) + _BREATH) / seconds for _, text, seconds in known])
    usual = float(np.median(paces))
    off = np.abs(np.log(paces / usual))
    bar = max(np.log(_FACTOR), _SPREADS * 1.4826 * float(np.median(off)))
    return [(known[place][0], float(paces[place]), usual) for place in np.flatnonzero(off > bar).tolist()]
