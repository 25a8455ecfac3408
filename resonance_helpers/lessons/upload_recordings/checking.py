"""Listen to every labelled recording and say, before anything is trained, which are fit for it.

Nothing is changed or written here. A recording that can't be read is a row of the table, not the end of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...audio import decode as audio
from ...audio import quality as clip_quality
from ...audio.quality import Quality, QualityLevel
from ...core.messages import ResonanceError, message
from ...core.settings import LIKELY_WHOLE, LONGEST_TEXT, MAX_CLIP_S, MIN_RECORDINGS
from ...core.workspace import Workspace, misplaced
from ...dataset.consent import other_person
from ...dataset.duplicates import Fingerprint, fingerprint, same_sound
from ...dataset.index import Match, Recordings, labelled, stem, whole
from ...dataset.labels import Label, misnamed
from ...dataset.transcript import invisible, length
from ...scoring.text import normalise
from . import label_import
from .hints import odd_paces, written_differently

OnProgress = Callable[[int, int], None]

_NAMES_SHOWN = 20  # of files in one sentence
_ENVELOPE_POINTS = 200  # enough for a waveform as wide as a table cell


@dataclass(frozen=True)
class Notice:
    """Something about the whole set that a person should know: a code and its sentence."""

    code: str
    sentence: str


@dataclass(frozen=True)
class RecordingRow:
    """One label and what its recording is like.

    ``source`` is relative to DATA_DIR, None where no file was found; ``envelope`` is float32 (200,), the peak of each
    stretch of the clip in [0, 1], empty where it could not be decoded; ``reasons`` are the sentences of ``codes``.
    """

    audio: str
    text: str
    take: int
    split: str | None
    source: str | None
    seconds: float
    envelope: np.ndarray
    quality: Quality | None
    level: QualityLevel
    codes: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Totals:
    """What can be used: recordings, different phrases, the most takes of any one phrase, seconds of sound."""

    recordings: int
    phrases: int
    takes: int
    seconds: float


@dataclass(frozen=True)
class RecordingsCheck:
    """Everything that lesson 04 shows: a row for each label in order, then what concerns the set.

    ``missing`` are labels without a file (as the label names it), ``unlabelled`` recordings without a label, ``others``
    what lies in the folder and is used for nothing: no recordings, or in other folders. Every file but those that the
    system put there is the source of a row or one of these.
    """

    rows: tuple[RecordingRow, ...]
    missing: tuple[str, ...]
    unlabelled: tuple[str, ...]
    others: tuple[str, ...]
    notices: tuple[Notice, ...]
    totals: Totals

    def count(self, level: QualityLevel) -> int:
        return sum(row.level == level for row in self.rows)

    @property
    def is_ready(self) -> bool:
        """Whether enough recordings can be used to train at all."""
        return self.totals.recordings >= MIN_RECORDINGS


def check(
    workspace: Workspace,
    window_s: float = MAX_CLIP_S,
    on_progress: OnProgress | None = None,
    workers: int | None = None,
) -> RecordingsCheck:
    """Decode, measure and judge every labelled recording. Raises only what ``labelled`` raises.

    ``window_s`` is the longest clip in seconds that the model to be trained can hear at once. A folder with neither
    labels.json nor a recording is where everybody begins: no rows, and a notice that says how to go on, or in which
    folder they lie.
    """
    recordings = Recordings(workspace)
    found = tuple(Notice(*each) for each in label_import.found_sentences(workspace))
    if not workspace.labels.exists() and (found or not recordings.files):
        if on_progress:
            on_progress(0, 0)
        notices = found or _nothing(workspace)
        others = recordings.others
        return RecordingsCheck((), (), recordings.files, others, (*notices, *_unused(workspace, others)), _totals([]))
    labels = labelled(workspace)
    matches = recordings.match(labels)
    seen = []
    with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
        for done, row in enumerate(pool.map(partial(_look, workspace.data_dir, window_s), matches), start=1):
            seen.append(row)
            if on_progress:
                on_progress(done, len(matches))
    rows = _compared(*zip(*seen, strict=True)) if seen else []
    missing = tuple(match.label.audio for match in matches if match.problem == "RZ-0420")
    unlabelled = _unlabelled(workspace, recordings.files, matches)
    used = {match.source for match in matches}
    others = tuple(name for name in recordings.others if name not in used)
    totals = _totals([row for row in rows if row.level != "unusable"])
    notices = (
        *_whose(workspace),
        *_few(totals, len(labels)),
        *_invisible(labels),
        *_long(labels),
        *found,
        *(_notice("RZ-0487", names=name) for name in misnamed(workspace.labels)),
        *_same_stem(matches),
        *_without_label(unlabelled),
        *_unused(workspace, others),
        *(_notice("RZ-0463", texts=" / ".join(texts)) for texts in written_differently([row.text for row in rows])),
    )
    return RecordingsCheck(tuple(rows), missing, unlabelled, others, notices, totals)


def _nothing(workspace: Workspace) -> tuple[Notice, ...]:
    error = misplaced(workspace.data_dir) or ResonanceError("RZ-0466", needed=MIN_RECORDINGS)
    return (Notice(error.code, str(error)),)


def _look(data_dir: Path, window_s: float, match: Match) -> tuple[RecordingRow, Fingerprint | None]:
    """The row of one label, and what its sound is compared with the others by, where it can be used."""
    label = match.label
    row = partial(RecordingRow, label.audio, label.text, label.take, label.split, match.source)
    try:
        if match.source is None:
            raise ResonanceError(match.problem or "RZ-0420", **match.facts)
        clip = audio.decode(data_dir / match.source, max_seconds=MAX_CLIP_S)
    except ResonanceError as error:
        return row(0.0, np.zeros(0, np.float32), None, "unusable", (error.code,), (str(error),)), None
    quality = clip_quality.measure(clip.samples, clip.rate)
    level, codes = clip_quality.judge(quality, window_s)
    name = PurePosixPath(match.source).name
    reasons = tuple(clip_quality.explain(code, quality, window_s, name) for code in codes)
    compared_by = None if level == "unusable" else fingerprint(clip.samples, clip.rate)
    return row(clip.seconds, _envelope(clip.samples), quality, level, codes, reasons), compared_by


def _envelope(samples: np.ndarray) -> np.ndarray:
    parts = np.array_split(np.abs(samples), min(_ENVELOPE_POINTS, len(samples)))
    return np.array([part.max() for part in parts], np.float32)


def _compared(rows: Sequence[RecordingRow], prints: Sequence[Fingerprint | None]) -> list[RecordingRow]:
    """The rows with what shows only beside the others: the same sound again, and a text too long or short for it."""
    rows = list(rows)
    usable = [number for number, each in enumerate(prints) if each is not None]
    for first, second in same_sound([each for each in prints if each is not None]):
        one, other = rows[usable[first]], rows[usable[second]]
        if normalise(one.text) == normalise(other.text):
            rows[usable[second]] = _also(other, "RZ-0460", other=one.audio)
        else:
            rows[usable[first]] = _also(one, "RZ-0461", other=other.audio, text=other.text, own=one.text)
            rows[usable[second]] = _also(other, "RZ-0461", other=one.audio, text=one.text, own=other.text)
    paces = odd_paces([(rows[number].text, rows[number].quality) for number in usable])
    for number, pace, usual in ((usable[index], pace, usual) for index, pace, usual in paces):
        rows[number] = _also(rows[number], "RZ-0462", text=rows[number].text, pace=pace, usual=usual)
    return rows


def _also(row: RecordingRow, code: str, **facts: Any) -> RecordingRow:
    """``row`` with one more thing that a person should listen for; said once."""
    if code in row.codes:
        return row
    sentence = message(code, name=PurePosixPath(row.audio).name, **facts)
    level: QualityLevel = "listen" if row.level == "ok" else row.level
    return replace(row, level=level, codes=(*row.codes, code), reasons=(*row.reasons, sentence))


def _totals(usable: Sequence[RecordingRow]) -> Totals:
    phrases = Counter(normalise(row.text) for row in usable)
    return Totals(len(usable), len(phrases), max(phrases.values(), default=0), sum(row.seconds for row in usable))


def _unlabelled(workspace: Workspace, files: Sequence[str], matches: Sequence[Match]) -> tuple[str, ...]:
    """Files without a label, except ``audio_raw/x.mp3`` beside a labelled ``audio/x.wav``, which is its original."""
    sources = {match.source for match in matches if match.source}
    raw, ours = f"{workspace.audio_raw.name}/", f"{workspace.audio.name}/"
    stems = {stem(source) for source in sources}

    def other_side(name: str) -> str:
        own = stem(name)
        if own.startswith(raw):
            return ours + own.removeprefix(raw)
        return raw + own.removeprefix(ours) if own.startswith(ours) else ""

    return tuple(name for name in files if name not in sources and other_side(name) not in stems)


# ── What concerns the set ────────────────────────────────────────────────────
def _whose(workspace: Workspace) -> list[Notice]:
    other = other_person(workspace)
    return [Notice(other.code, str(other))] if other else []


def _few(totals: Totals, labels: int) -> list[Notice]:
    if totals.recordings >= MIN_RECORDINGS:
        return []
    return [_notice("RZ-0406", usable=totals.recordings, labels=labels, needed=MIN_RECORDINGS)]


def _invisible(labels: Sequence[Label]) -> list[Notice]:
    found = {label.audio: characters for label in labels if (characters := invisible(label.written))}
    if not found:
        return []
    kinds = dict.fromkeys(character for characters in found.values() for character in characters)
    return [_notice("RZ-0485", n=len(found), characters=", ".join(kinds), names=", ".join(found))]


def _long(labels: Sequence[Label]) -> list[Notice]:
    """Texts for which an answer may have too few tokens; lesson 06, which has the model, counts them."""
    names = [label.audio for label in labels if length(label.text) > LIKELY_WHOLE]
    return [_notice("RZ-0492", names=", ".join(names), likely=LIKELY_WHOLE, most=LONGEST_TEXT)] if names else []


def _same_stem(matches: Sequence[Match]) -> list[Notice]:
    groups: dict[str, list[str]] = {}
    for match in matches:
        if match.source:
            groups.setdefault(stem(match.source), []).append(match.source)
    return [_alike(sources) for sources in groups.values() if len(sources) > 1]


def _alike(sources: Sequence[str]) -> Notice:
    are_one_elsewhere = len({whole(source) for source in sources}) < len(sources)
    return _notice("RZ-0476" if are_one_elsewhere else "RZ-0422", sources=", ".join(sources))


def _without_label(unlabelled: Sequence[str]) -> list[Notice]:
    return [_notice("RZ-0421", source=source) for source in unlabelled]


def _unused(workspace: Workspace, others: Sequence[str]) -> list[Notice]:
    """``others`` by their reason: they are no recordings, or lie in folders in which none are looked for."""
    here, folders = [], Counter[str]()
    tables = {path.relative_to(workspace.data_dir).as_posix() for path in label_import.find(workspace)}  # RZ-0486
    for name in (each for each in others if each not in tables):
        top, _, inner = name.partition("/")
        if inner and top not in (workspace.audio.name, workspace.audio_raw.name):
            folders[top] += 1
        else:
            here.append(name)
    notices = [_notice("RZ-0474", n=len(here), names=_listed(here))] if here else []
    listed = [f"{folder}/ ({n})" for folder, n in folders.items()]
    return [*notices, _notice("RZ-0475", n=folders.total(), folders=_listed(listed))] if folders else notices


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_NAMES_SHOWN], *(["…"] if len(names) > _NAMES_SHOWN else [])])


def _notice(code: str, **facts: Any) -> Notice:
    return Notice(code, message(code, **facts))
