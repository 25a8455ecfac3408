"""The recordings behind a test: what each was used for, and how it sounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ...audio.decode import read_wav
from ...audio.quality import Quality, QualityLevel, explain, judge, measure
from ...core.workspace import Workspace
from ...dataset.index import load_utterances, read_index
from ...scoring.error_rates import PARTS


@dataclass(frozen=True)
class Take:
    """One recording. ``part`` is ``train``, ``known``, ``new`` or None (not used); ``reasons`` are sentences."""

    audio: str
    text: str
    part: str | None
    quality: Quality
    level: QualityLevel
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Left:
    """A recording that lesson 05 could not use, and the code that says why."""

    source: str
    problem: str


@dataclass(frozen=True)
class Takes:
    """All recordings of a workspace as lesson 05 left them."""

    used: tuple[Take, ...] = ()
    left_out: tuple[Left, ...] = ()

    def levels(self) -> dict[QualityLevel, int]:
        """How many recordings are at each level, the good ones first."""
        counted = Counter(take.level for take in self.used)
        return {level: counted[level] for level in ("ok", "listen", "again", "unusable") if counted[level]}


def examine(workspace: Workspace, parts: Mapping[str, Iterable[str]], window_s: float) -> Takes:
    """Judge every converted recording and say what it was used for.

    ``parts`` is part → recordings, as ``split.json`` has them. Raises what ``load_utterances`` raises.
    """
    part_of = {audio: part for part in ("train", *PARTS) for audio in parts.get(part, ())}
    used = []
    for each in load_utterances(workspace):
        quality = each.quality or measure(read_wav(each.wav))
        level, codes = judge(quality, window_s)
        name = PurePosixPath(each.audio).name
        reasons = tuple(explain(code, quality, window_s, name) for code in codes)
        used.append(Take(each.audio, each.text, part_of.get(each.audio), quality, level, reasons))
    problems = (entry for entry in read_index(workspace).values() if entry.problem)
    return Takes(tuple(used), tuple(Left(entry.source, entry.problem or "") for entry in problems))
