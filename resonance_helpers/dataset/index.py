"""What lesson 05 hands to lessons 06 and 07: which label belongs to which recording, and to which WAV.

A label names a file in one of three ways: a WAV in ``audio/`` that is used as it is, ``audio/x.wav`` while the
recording lies in ``audio_raw/x.m4a``, or ``audio_raw/x.m4a`` itself. Where it leaves out the folder or the suffix, or
spells a name otherwise, it still means a file if it can mean no other. The index ``audio/conversion.json`` remembers
which WAV was made from which source, by the hashes of both.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from ..audio.decode import decode, open_recording
from ..audio.quality import Quality
from ..core.messages import ResonanceError
from ..core.settings import AUDIO_SUFFIXES, MIN_RECORDINGS, RARE_AUDIO_SUFFIXES
from ..core.workspace import (
    INCOMING,
    LONG_RECORDINGS,
    Workspace,
    files_in,
    is_rubbish,
    misplaced,
    read_json,
    require,
    write_json,
)
from .labels import Label, read_labels

Stamp = tuple[int, int, int]  # bytes; in ns the time of writing and that of the last change (of creation on Windows)

_CLOCK_NS = 2_000_000_000
_OURS = ("labels.json", "consent.json", "phrases.csv", "audio/conversion.json", ".forgetting.json")
_SUFFIX = re.compile(r"(?<=[^/])\.(?=\w*[a-z])[a-z0-9]{1,5}$", re.IGNORECASE)  # not in 1.我想喝水, nor in 2023.10.05
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")  # comes along where a name is copied
# A photo from an iPhone looks like half a video (RZ-0503).
_NO_SOUND = ("RZ-0501", "RZ-0502", "RZ-0503", "RZ-0505", "RZ-0508")
_MOST_ELSEWHERE = 2_000  # files in one folder that are looked at only to be named


@dataclass(frozen=True)
class Conversion:
    """One line of the index; paths are relative to DATA_DIR, with forward slashes.

    ``problem`` is the message code of a source that was left out; ``wav`` is then empty. Where a recording could be
    used as it is, ``wav == source``. ``quality`` is that of the WAV. By the stamps a file is known without reading it;
    indexes written before 2026-12 have neither.
    """

    source: str
    source_sha256: str
    wav: str
    wav_sha256: str
    seconds: float
    problem: str | None = None
    source_stamp: Stamp | None = None
    wav_stamp: Stamp | None = None
    quality: Quality | None = None


@dataclass(frozen=True)
class Utterance:
    """One recording ready for training or testing: ``wav`` is 16 kHz mono 16-bit, ``audio`` what the label calls it."""

    audio: str
    wav: Path
    text: str
    take: int
    session: str | None
    split: str | None
    seconds: float
    wav_sha256: str = field(default="", compare=False)  # of the WAV while its stamp is ``wav_stamp``
    wav_stamp: Stamp | None = field(default=None, compare=False)
    quality: Quality | None = field(default=None, compare=False)  # of the WAV, where the conversion has measured it


@dataclass(frozen=True)
class Match:
    """A label and the recording it means, relative to DATA_DIR, or the code and facts of why there is none."""

    label: Label
    source: str | None
    problem: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


# ── The index ────────────────────────────────────────────────────────────────
def read_index(workspace: Workspace) -> dict[str, Conversion]:
    """The conversions known so far by source; empty before the first. RZ-0522 where the file is not an index."""
    path = workspace.conversion_index
    if not path.exists():
        return {}
    try:
        entries = read_json(path)["conversions"]
        conversions = [_conversion(**entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ResonanceError("RZ-0522", path=path) from error
    return {conversion.source: conversion for conversion in conversions}


def _conversion(
    source_stamp: Sequence[int] | None = None,
    wav_stamp: Sequence[int] | None = None,
    quality: Mapping[str, float] | None = None,
    **entry: Any,
) -> Conversion:
    return Conversion(
        **entry,
        source_stamp=_stamp_of(source_stamp),
        wav_stamp=_stamp_of(wav_stamp),
        quality=None if quality is None else Quality(**quality),
    )


def _stamp_of(numbers: Sequence[int] | None) -> Stamp | None:
    if numbers is None:
        return None
    size, written, changed = map(int, numbers)
    return size, written, changed


def write_index(workspace: Workspace, conversions: Iterable[Conversion]) -> None:
    """Write the index whole or not at all."""
    write_json(workspace.conversion_index, {"version": 1, "conversions": [asdict(each) for each in conversions]})


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open_recording(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> Stamp:
    """Size, time of writing and time of the last change of a file: another one when it is written anew or replaced."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def settled(found: Stamp) -> Stamp | None:
    """``found`` for the index; None where others changed the file just now: within the clock of its disk (two seconds
    on some) another change could leave the same stamp."""
    return found if time.time_ns() - max(found[1:]) >= _CLOCK_NS else None


def is_known(path: Path, before: Stamp | None) -> bool:
    """Whether a file is as it was when its stamp was ``before``, without reading it; OSError where there is none."""
    return before is not None and stamp(path) == before


def known_hash(path: Path, sha256: str, before: Stamp | None) -> str:
    """``sha256`` of a file that ``is_known``; else ``file_hash``."""
    return sha256 if is_known(path, before) else file_hash(path)


# ── What is a recording ──────────────────────────────────────────────────────
def is_recording(source: Path | bytes | memoryview, name: str | None = None) -> bool:
    """Whether a file is a recording: by its content, whatever it is called, or because its name says so, so that one
    that is empty or broken is named as such. ``name`` is that of the file unless given."""
    if isinstance(source, Path) and not _is_file(source):
        return False
    if is_named_as_recording(name or (source.name if isinstance(source, Path) else "")):
        return True
    try:
        decode(source if isinstance(source, Path) else bytes(source), max_seconds=0.0)
    except ResonanceError as error:  # RZ-0504 where there is any sound
        return error.code not in _NO_SOUND
    return True


def is_named_as_recording(name: str) -> bool:
    """Whether ``name`` has the suffix of a recording; one may have none."""
    return name_suffix(name).lower() in (*AUDIO_SUFFIXES, *RARE_AUDIO_SUFFIXES)


def name_suffix(name: str) -> str:
    """What stands behind the name of a file and says its kind, with its dot; empty where nothing does."""
    return "".join(_SUFFIX.findall(name.rstrip()))


def without_suffix(name: str) -> str:
    """``name`` without its ``name_suffix``."""
    return _SUFFIX.sub("", name.rstrip())


def repaired(name: str) -> str:
    """``name`` as our copy is called: white space becomes ``_``, at the ends it goes; characters composed, which macOS
    takes apart; and none that are invisible."""
    seen = _INVISIBLE.sub("", unicodedata.normalize("NFC", name))
    parts = (re.sub(r"\s+(\.\w+)$", r"\1", part.strip()) for part in seen.split("/"))
    return re.sub(r"\s+", "_", "/".join(parts))


def whole(name: str) -> str:
    """``name`` as names are compared: neither white space nor upper case tells two apart."""
    return repaired(name).casefold()


def stem(name: str) -> str:
    """As ``whole``, without the suffix."""
    return without_suffix(whole(name))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


# ── From label to recording ──────────────────────────────────────────────────
class Recordings:
    """The recordings that lie in a workspace, listed once, and the labels matched to them."""

    def __init__(self, workspace: Workspace, index: Mapping[str, Conversion] | None = None) -> None:
        self._workspace = workspace
        self._index = read_index(workspace) if index is None else index
        made = (each for each in self._index.values() if each.wav and each.wav != each.source)
        self._source_of = {each.wav: each.source for each in made}

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Every recording in DATA_DIR, ``audio/`` and ``audio_raw/``, relative and sorted, without our conversions."""
        found = ((name, self._path(name)) for name in self._lying)
        return tuple(name for name, path in found if not path.name.startswith(".") and is_recording(path))

    @cached_property
    def others(self) -> tuple[str, ...]:
        """What else lies in DATA_DIR, but what systems put there: no recordings, hidden ones, and whatever is in
        folders in which none are looked for; of a folder at most some thousands."""
        root, out = self._workspace.data_dir, self._workspace.output_dir
        rest = {*self._lying} - {*self.files, *_OURS}
        if root == out:  # what else is there is ours
            return tuple(sorted(name for name in rest if "/" in name))
        passed_over = {self._workspace.audio, self._workspace.audio_raw, out, root / INCOMING, root / LONG_RECORDINGS}
        folders = (each for each in self._top if each not in passed_over and each.is_dir())
        below = (islice(files_in(folder, passed_over), _MOST_ELSEWHERE) for folder in folders)
        return tuple(sorted({path.relative_to(root).as_posix() for found in below for path in found} | rest))

    @cached_property
    def _top(self) -> list[Path]:
        try:
            return [path for path in self._workspace.data_dir.iterdir() if not is_rubbish(path.name)]
        except OSError:
            return []

    @cached_property
    def _lying(self) -> tuple[str, ...]:
        """Whatever lies where recordings are looked for, without our conversions."""
        workspace = self._workspace
        places = (place for place in (workspace.audio, workspace.audio_raw) if place.is_dir())
        found = [path for path in self._top if not path.is_dir()]
        found += (path for place in places for path in files_in(place))
        names = (path.relative_to(workspace.data_dir).as_posix() for path in found)
        return tuple(sorted(name for name in names if not self.is_ours(name)))

    def _path(self, name: str) -> Path:
        return self._workspace.data_dir / name

    def is_ours(self, name: str) -> bool:
        """Whether ``name`` is a WAV that lesson 05 wrote and that has not changed since."""
        source = self._source_of.get(name)
        path = self._path(name)
        if source is None or not _is_file(path):
            return False
        entry = self._index[source]
        return known_hash(path, entry.wav_sha256, entry.wav_stamp) == entry.wav_sha256

    def find(self, label: Label) -> Match:
        """The recording that ``label`` means. Problems: RZ-0420 (missing), RZ-0423 (several files fit)."""
        candidates: Sequence[str] = next(filter(None, self._meanings(label.audio)), ())
        if len(candidates) == 1:
            return Match(label, candidates[0])
        if candidates:
            facts = {"audio": label.audio, "candidates": ", ".join(candidates), "example": candidates[0]}
            return Match(label, None, "RZ-0423", facts)
        return Match(label, None, "RZ-0420", {"audio": label.audio})

    def match(self, labels: Sequence[Label]) -> tuple[Match, ...]:
        """``find`` for every label in order. A recording that another label already means is RZ-0424, or RZ-0473 where
        the two are one but for upper case: it belongs to the label that spells its name or else to the first."""
        found = [self.find(label) for label in labels]
        owners: dict[str, str] = {}
        for match in sorted(found, key=lambda match: match.label.audio != match.source):
            if match.source is not None:
                owners.setdefault(match.source, match.label.audio)
        return tuple(_unless_taken(match, owners) for match in found)

    def _meanings(self, name: str) -> Iterator[Sequence[str]]:
        """The files that ``name`` may mean, as it is read more and more loosely."""
        spelled = self._by_name.get(whole(name), [])
        # where upper case tells no names apart the system finds a file by a name that it hasn't
        if name in spelled or (not spelled and _is_file(self._path(name)) and not self.is_ours(name)):
            yield [name]
        yield self._made_from(name)
        yield spelled
        yield from self._not_as_named(name)
        yield self._all_that_is_left(name)

    def _not_as_named(self, name: str) -> Iterator[Sequence[str]]:
        """Files of the same name but for their suffix, for ``audio/`` or ``audio_raw/``, or for a folder left out."""
        raw, ours = self._workspace.audio_raw.name, self._workspace.audio.name
        place, inner = self._placed(whole(name))
        alike = [each for key in {inner, without_suffix(inner)} for each in self._by_inner.get(key, ())]
        where = {each: self._placed(whole(each)) for each in sorted(set(alike))}
        same = [each for each, (_, other) in where.items() if other == inner]
        bare = [each for each, (_, other) in where.items() if not (name_suffix(inner) and name_suffix(other))]
        yield [each for each in bare if where[each][0] == place]
        if place != ours:
            yield same
            yield bare
        if place != raw:  # whatever it was made from
            yield [each for each in where if where[each][0] == raw]
            yield list(where)
        if "/" not in name:
            yield self._by_last.get(inner, [])
            yield self._by_last.get(without_suffix(inner), [])

    def _placed(self, name: str) -> tuple[str, str]:
        """``audio``, ``audio_raw`` or nothing, and what ``name`` is there; where a folder was unpacked into itself its
        name stands twice."""
        places = (self._workspace.audio.name, self._workspace.audio_raw.name)
        first, _, inner = name.partition("/")
        if not inner or first not in (*places, whole(self._workspace.data_dir.name)):
            return "", name
        place, inner = self._placed(inner)
        return (first if first in places else place), inner

    def _made_from(self, name: str) -> list[str]:
        """For a WAV of ours: the recording behind it, if that is still there."""
        source = self._source_of.get(name)
        return [source] if source and _is_file(self._path(source)) else []

    def _all_that_is_left(self, name: str) -> list[str]:
        """Our WAV of a recording that is no longer there, as when only ``audio/`` was carried to a server."""
        wav = self._index[name].wav if name in self._index else name
        return [wav] if _is_file(self._path(wav)) and self.is_ours(wav) else []

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped((whole(name), name) for name in self.files)

    @cached_property
    def _by_inner(self) -> dict[str, list[str]]:
        """By the name below ``audio/`` or ``audio_raw/``, with and without suffix."""
        placed = [(self._placed(whole(name))[1], name) for name in self.files]
        return _grouped((key, name) for inner, name in placed for key in {inner, without_suffix(inner)})

    @cached_property
    def _by_last(self) -> dict[str, list[str]]:
        """By the name of the file alone, with and without suffix."""
        lasts = [(PurePosixPath(whole(name)).name, name) for name in self.files]
        return _grouped((key, name) for last, name in lasts for key in {last, without_suffix(last)})


def _unless_taken(match: Match, owners: Mapping[str, str]) -> Match:
    owner, audio = owners.get(match.source or ""), match.label.audio
    if owner is None or owner == audio:
        return match
    code = "RZ-0473" if owner.casefold() == audio.casefold() else "RZ-0424"
    return Match(match.label, None, code, {"audio": audio, "other": owner, "source": match.source})


def find_source(workspace: Workspace, label: Label) -> Path | None:
    """The recording that ``label`` means in any of the three layouts, or None. Use ``Recordings`` for many labels."""
    source = Recordings(workspace).find(label).source
    return None if source is None else workspace.data_dir / source


def _grouped(keyed: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in keyed:
        groups.setdefault(key, []).append(name)
    return groups


def labelled(workspace: Workspace) -> list[Label]:
    """``read_labels`` of the workspace; where its files lie in another folder, the ``misplaced`` that names it."""
    if not workspace.labels.is_file() and (error := misplaced(workspace.data_dir)):
        raise error
    return read_labels(workspace.labels)


# ── What training and testing read ───────────────────────────────────────────
def load_utterances(workspace: Workspace) -> tuple[Utterance, ...]:
    """The labels joined with the index, in label order; recordings that were left out for a problem are left out here.

    Raises RZ-0006 (lesson 05 has not run), RZ-0521 (recordings changed since), RZ-0406 (fewer than MIN_RECORDINGS
    usable) and what ``labelled`` raises.
    """
    require(workspace.conversion_index, lesson=5)
    labels = labelled(workspace)
    index = read_index(workspace)
    matches = [match for match in Recordings(workspace, index).match(labels) if match.source is not None]
    stale = [match.source for match in matches if not _is_current(workspace, index.get(match.source or ""))]
    if stale:
        raise ResonanceError("RZ-0521", count=len(stale), name=stale[0])
    joined = [(match.label, index[match.source or ""]) for match in matches]
    utterances = tuple(_utterance(workspace, label, entry) for label, entry in joined if entry.problem is None)
    if len(utterances) < MIN_RECORDINGS:
        raise ResonanceError("RZ-0406", usable=len(utterances), labels=len(labels), needed=MIN_RECORDINGS)
    return utterances


def data_hash(utterances: Sequence[Utterance]) -> str:
    """SHA-256 over text, take and WAV bytes of every utterance in order, whatever its files are called."""
    digest = hashlib.sha256()
    for each in utterances:
        content = known_hash(each.wav, each.wav_sha256, each.wav_stamp)
        digest.update(json.dumps([each.text, each.take, content]).encode())
    return digest.hexdigest()


def _is_current(workspace: Workspace, entry: Conversion | None) -> bool:
    if entry is None:
        return False
    if entry.source_sha256 != known_hash(workspace.data_dir / entry.source, entry.source_sha256, entry.source_stamp):
        return False
    return entry.problem is not None or (workspace.data_dir / entry.wav).is_file()


def _utterance(workspace: Workspace, label: Label, entry: Conversion) -> Utterance:
    wav = workspace.data_dir / entry.wav
    quality = entry.quality if is_known(wav, entry.wav_stamp) else None
    known = (entry.wav_sha256, entry.wav_stamp, quality)
    return Utterance(label.audio, wav, label.text, label.take, label.session, label.split, entry.seconds, *known)
