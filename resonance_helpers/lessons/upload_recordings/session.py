"""One day of recording with the browser: which phrase is next, and what becomes of a take.

What was recorded is read from labels.json each time, so nothing is lost with a browser, a kernel or a day: whoever
stops goes on where the labels end. First every phrase once; a second take is another day's, because a voice differs
from day to day, and it is the last takes that lesson 07 tests with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

import numpy as np

from ...audio import decode as audio
from ...audio import quality as clip_quality
from ...audio.quality import QualityLevel
from ...core.messages import ResonanceError
from ...core.settings import MAX_CLIP_S, SAMPLE_RATE
from ...core.workspace import Workspace
from ...dataset import phrases
from ...dataset.labels import Label, read_labels
from ...dataset.phrases.lists import Phrase
from ...dataset.takes import add_take, are_marked, put_take
from ...scoring.text import normalise

SHORTEST_S = 0.3  # shorter is a touch of the key; 不 alone takes that long
RETRIES = 2  # that are suggested for one take; more would tire
REST_AFTER = 10  # takes of a day

_NO_LABEL = Label("", "")
Stage = Literal["phrase", "tomorrow", "finished"]
_ORDER: Sequence[QualityLevel] = ("ok", "listen", "again")  # best first
_DAY = re.compile(r"\d{4}-\d\d-\d\d")  # the session of a take of ours


@dataclass(frozen=True)
class SavedTake:
    """What became of one recording: ``level`` and ``reasons`` of what was just heard; ``replaced``: whether it took the
    place of an earlier try, None where there was none; ``retry``: whether one more try is suggested."""

    label: Label
    level: QualityLevel
    reasons: tuple[str, ...]
    replaced: bool | None
    retry: bool


@dataclass(frozen=True)
class Progress:
    """Where the set stands: different phrases of the list that are recorded, of how many; takes of today."""

    done: int
    total: int
    today: int

    @property
    def rest(self) -> bool:
        """Whether it is time for a rest."""
        return self.today > 0 and self.today % REST_AFTER == 0


@dataclass
class _Try:
    label: Label
    level: QualityLevel
    rank: tuple[int, int, float]  # the smaller the better
    count: int = 1


@dataclass
class Session:
    """Recordings of ``day``, an ISO date, or of today. ``list_`` is what to record, in order: by default the patient's
    own list or the bundled one.

    Raises what ``phrases.read`` and ``read_labels`` raise.
    """

    workspace: Workspace
    list_: tuple[Phrase, ...] = ()
    day: str = ""
    _position: int = 0
    _tries: dict[str, _Try] = field(default_factory=dict)
    _skipped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.list_ = self.list_ or phrases.read(self.workspace)
        self.day = self.day or date.today().isoformat()
        self.stage: Stage = self._find(0)

    @property
    def phrase(self) -> Phrase:
        """The phrase whose turn it is."""
        return self.list_[self._position]

    @property
    def number(self) -> int:
        """Its place in the list, counted from 1."""
        return self._position + 1

    @property
    def take(self) -> int:
        """Which take of the phrase is recorded now, counted from 1."""
        taken = self._taken().get(normalise(self.phrase.text), ())
        return len(taken) + (0 if self._tried else 1)

    @property
    def for_test(self) -> bool:
        """Whether another take of the phrase judges; where the labels mark what judges, it is trained on."""
        return not are_marked(self._labels())

    @property
    def recorded(self) -> bool:
        """Whether the phrase has a take that can be heard."""
        return normalise(self.phrase.text) in self._taken()

    @property
    def _tried(self) -> bool:
        return self.phrase.text in self._tries

    @property
    def progress(self) -> Progress:
        taken = self._taken()
        done = sum(normalise(each.text) in taken for each in self.list_)
        return Progress(done, len(self.list_), sum(label.session == self.day for label in self._labels()))

    def keep(self, samples: np.ndarray, rate: int = SAMPLE_RATE, *, redo: bool = False) -> SavedTake:
        """Put a recording (n,) at ``rate`` Hz into the patient's folder as a take of ``phrase``.

        Of several tries at a phrase in one session one is kept: with ``redo`` the newest, because somebody chose to say
        it again (then a take of ours of another day is replaced too), else the one whose sound is better. Raises
        RZ-0430 (too short), RZ-0431 (too long), RZ-0432 (no sound), RZ-0434 (no speech), and what ``takes`` raises;
        nothing is written then.
        """
        heard = _checked(samples, rate)
        quality = clip_quality.measure(heard)
        level, codes = clip_quality.judge(quality, MAX_CLIP_S)
        before = self._tries.get(self.phrase.text) or (self._newest() if redo else None)
        new = _Try(_NO_LABEL, level, _rank(level, codes, quality), before.count + 1 if before else 1)
        replaced = None if before is None else redo or new.rank < before.rank
        if before is None:
            label = add_take(self.workspace, heard, self.phrase.text, self.day)
        else:
            label = put_take(self.workspace, heard, before.label) if replaced else before.label
        best = replace(before if before and not replaced else new, label=label, count=new.count)
        self._tries[self.phrase.text] = best
        reasons = tuple(
            clip_quality.explain(code, quality, MAX_CLIP_S, label.audio.rpartition("/")[2]) for code in codes
        )
        return SavedTake(label, level, reasons, replaced, best.level != "ok" and best.count <= RETRIES)

    def next(self) -> Stage:
        """Go on to the next phrase that wants a take."""
        self.stage = self._find(self._position + 1)
        return self.stage

    def skip(self) -> Stage:
        """Go on without this phrase until the next session."""
        self._skipped.add(self.phrase.text)
        return self.next()

    def back(self) -> Stage:
        """Return to the phrase before, to hear it or to record it again."""
        self._position = max(0, self._position - 1)
        self._remember()
        self.stage = "phrase"
        return self.stage

    def sound(self) -> np.ndarray | None:
        """The newest take of the phrase, float32 (n,) at 16 kHz; None where there is none. Raises as ``audio.load``."""
        taken = self._taken().get(normalise(self.phrase.text))
        return audio.load(self.workspace.data_dir / taken[-1].audio, MAX_CLIP_S) if taken else None

    def _remember(self) -> None:
        """A take of today is a try at this phrase that may be recorded again, also after the browser was closed."""
        newest = self._newest()
        if not self._tried and newest and newest.label.session == self.day:
            self._tries[self.phrase.text] = newest

    def _newest(self) -> _Try | None:
        """The newest take of the phrase, if it was recorded here."""
        taken = self._taken().get(normalise(self.phrase.text), ())
        if not taken or not _DAY.fullmatch(taken[-1].session or "") or not taken[-1].audio.endswith(".wav"):
            return None
        quality = clip_quality.measure(audio.load(self.workspace.data_dir / taken[-1].audio, MAX_CLIP_S))
        level, codes = clip_quality.judge(quality, MAX_CLIP_S)
        return _Try(taken[-1], level, _rank(level, codes, quality))

    def _find(self, start: int) -> Stage:
        """Stop at the first phrase from ``start`` on, then from the beginning, that wants a take."""
        taken = self._taken()
        order = [*range(start, len(self.list_)), *range(start)]
        free = [i for i in order if self.list_[i].text not in self._skipped]
        for wanted in (self._wants_first, self._wants_second):
            if (found := next((i for i in free if wanted(self.list_[i], taken)), None)) is not None:
                self._position = found
                return "phrase"
        self._position = min(self._position, len(self.list_) - 1)
        alone = any(len(taken.get(normalise(phrase.text), ())) == 1 for phrase in self.list_)
        return "tomorrow" if alone else "finished"

    def _wants_first(self, phrase: Phrase, taken: Mapping[str, Sequence[Label]]) -> bool:
        return normalise(phrase.text) not in taken

    def _wants_second(self, phrase: Phrase, taken: Mapping[str, Sequence[Label]]) -> bool:
        takes = taken.get(normalise(phrase.text), ())
        return len(takes) == 1 and self._day_of(takes[0]) != self.day

    def _day_of(self, label: Label) -> str:
        """The day of a take; of what came as a file, with no day, the day on which it came."""
        file = self.workspace.data_dir / label.audio
        if (label.session and _DAY.fullmatch(label.session)) or not file.exists():
            return label.session or ""
        return date.fromtimestamp(file.stat().st_mtime).isoformat()

    def _labels(self) -> list[Label]:
        return read_labels(self.workspace.labels) if self.workspace.labels.exists() else []

    def _taken(self) -> dict[str, list[Label]]:
        """The takes that there are, from first to last, by what they say."""
        taken: dict[str, list[Label]] = {}
        for label in sorted(self._labels(), key=lambda label: label.take):
            taken.setdefault(normalise(label.text), []).append(label)
        return taken


def _checked(samples: np.ndarray, rate: int) -> np.ndarray:
    """``samples`` at 16 kHz, if they can be a take at all."""
    seconds = len(samples) / rate
    if seconds < SHORTEST_S:
        raise ResonanceError("RZ-0430", seconds=f"{seconds:.1f}", shortest=SHORTEST_S)
    if seconds > MAX_CLIP_S + 1:  # what is on the way when the browser stops
        raise ResonanceError("RZ-0431", seconds=f"{seconds:.0f}", longest=f"{MAX_CLIP_S:g}")
    heard = audio.resample(samples[: round(MAX_CLIP_S * rate)], rate)
    if clip_quality.judge(clip_quality.measure(heard), MAX_CLIP_S)[0] == "unusable":
        raise ResonanceError("RZ-0432")
    if not clip_quality.has_speech(heard):
        raise ResonanceError("RZ-0434")
    return heard


def _rank(level: QualityLevel, codes: Sequence[str], quality: clip_quality.Quality) -> tuple[int, int, float]:
    """By the verdict, then by how much there is to say against it, then by speech over noise."""
    return _ORDER.index(level), len(codes), -quality.snr_db
