"""Does a text fit its recording? By how many characters are said in a second, and by what a base model hears.

Both compare within one set: a slow speaker is compared with themselves, and a model that understands little
of a voice still mishears one phrase in its own way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

import jiwer
import numpy as np

from ...audio import decode as audio
from ...audio.quality import Quality
from ...core.messages import message
from ...core.settings import MAX_CLIP_S, WINDOW_SLACK_S
from ...core.workspace import Workspace
from ...scoring.text import normalise, toneless

_ENOUGH = 10  # recordings; of fewer the usual pace is not known
_BREATH = 0.5  # characters; even a single one takes its time to begin and to end
_FACTOR = 2.5  # times quicker or slower than usual; of 400 recordings with the right text the furthest was 2.3
_SPREADS = 5.0  # or so many of this person's own deviations, where they vary more
# Of 240 recordings of an impaired voice with 10 texts swapped, whisper-base showed 9 of the 10, and 2.5 % of the rest.
_NEARER = 0.3  # of the letters of the pinyin, by which another phrase of the list must fit better than the own
_NEAR = 0.6  # of the letters may differ from it at most; what a model makes up is near to nothing
_STOCK = 2  # phrases in which the same was heard; of more, it is what the model says when it understands nothing
_AGAIN = re.compile(r"(.+?)\1+(.*)")


class Listener(Protocol):
    """What ``hear`` needs of a ``whisper.SpeechModel``."""

    @property
    def native_window_s(self) -> float: ...

    def recognise(
        self,
        samples: Sequence[np.ndarray],
        window_s: float,
        *,
        on_progress: Callable[[int, int], None] | None,
    ) -> list[str]: ...


class Labelled(Protocol):
    """A row of the check, as far as ``hear`` looks."""

    @property
    def audio(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def level(self) -> str: ...


@dataclass(frozen=True)
class Hint:
    """A recording in which ``heard`` is nearer to ``nearer``, another phrase of the list, than to its own ``text``."""

    audio: str
    text: str
    heard: str
    nearer: str

    @property
    def sentence(self) -> str:
        name = PurePosixPath(self.audio).name
        return message("RZ-0464", name=name, own=self.text, heard=self.heard, text=self.nearer)


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


def hear(
    workspace: Workspace,
    rows: Sequence[Labelled],
    speech: Listener,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Hint, ...]:
    """Where two texts may have been swapped, by what a base model hears; hints, never a verdict. ``rows`` are those of
    ``check``; what can't be used or is longer than the model hears at once is left out.

    Base models fail on these voices, so what is heard is only compared with the other phrases of the list.
    """
    from ...asr.windows import window_for  # torch

    fitting = [row for row in rows if row.source and row.level != "unusable" and row.seconds <= speech.native_window_s]
    if not fitting:
        return ()
    window_s = window_for(max(row.seconds for row in fitting) + WINDOW_SLACK_S, speech.native_window_s)
    samples = [audio.load(workspace.data_dir / str(row.source), MAX_CLIP_S) for row in fitting]
    heard = speech.recognise(samples, window_s, on_progress=on_progress)
    phrases = {_letters(row.text): row.text for row in fitting}
    said = Counter(words for words, _ in {(words, row.text) for row, words in zip(fitting, heard, strict=True)})
    hints = []
    for row, words in zip(fitting, heard, strict=True):
        if said[words] > _STOCK:
            continue
        fits = {letters: _distance(letters, _letters(_once(words))) for letters in phrases}
        nearest = min(fits, key=fits.__getitem__)
        if fits[nearest] <= _NEAR and fits[_letters(row.text)] - fits[nearest] >= _NEARER:
            hints.append(Hint(row.audio, row.text, words, phrases[nearest]))
    return tuple(hints)


def _letters(text: str) -> str:
    return "".join(toneless(text))


def _once(text: str) -> str:
    """``text`` without the repetitions that a model falls into: 明星天明星天明星 → 明星天."""
    found = _AGAIN.fullmatch(normalise(text))
    return found[1] if found and found[1].startswith(found[2]) else text


def _distance(letters: str, others: str) -> float:
    """Edits from one spelling to the other, as a share of the longer one."""
    return float(jiwer.cer(letters, others)) * len(letters) / max(len(letters), len(others))
