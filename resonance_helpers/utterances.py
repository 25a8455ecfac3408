"""What lesson 05 hands to lessons 06 and 07: which label belongs to which recording, and to which WAV.

A label names a file in one of three ways: a WAV in ``audio/`` that is used as it is, ``audio/x.wav`` while the
recording lies in ``audio_raw/x.m4a``, or ``audio_raw/x.m4a`` itself. The index ``audio/conversion.json`` remembers
which WAV was made from which source, by the hashes of both.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .audio import open_recording
from .labels import Label, read_labels
from .messages import ResonanceError
from .settings import AUDIO_SUFFIXES, MIN_RECORDINGS
from .workspace import Workspace, read_json, require, write_json


@dataclass(frozen=True)
class Conversion:
    """One line of the index; paths are relative to DATA_DIR, with forward slashes.

    ``problem`` is the message code of a source that was left out; ``wav`` is then empty. Where a recording could be
    used as it is, ``wav == source``.
    """

    source: str
    source_sha256: str
    wav: str
    wav_sha256: str
    seconds: float
    problem: str | None = None


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
        conversions = [Conversion(**entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ResonanceError("RZ-0522", path=path) from error
    return {conversion.source: conversion for conversion in conversions}


def write_index(workspace: Workspace, conversions: Iterable[Conversion]) -> None:
    """Write the index whole or not at all."""
    write_json(workspace.conversion_index, {"version": 1, "conversions": [asdict(each) for each in conversions]})


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open_recording(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        workspace = self._workspace
        found = (
            path.relative_to(workspace.data_dir).as_posix()
            for listing in (workspace.data_dir.glob("*"), workspace.audio.rglob("*"), workspace.audio_raw.rglob("*"))
            for path in listing
            if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
        return tuple(sorted(name for name in found if not self.is_ours(name)))

    def is_ours(self, name: str) -> bool:
        """Whether ``name`` is a WAV that lesson 05 wrote and nobody has changed since."""
        source = self._source_of.get(name)
        path = self._workspace.data_dir / name
        return source is not None and path.is_file() and file_hash(path) == self._index[source].wav_sha256

    def find(self, label: Label) -> Match:
        """The recording that ``label`` means. Problems: RZ-0420 (missing), RZ-0423 (several files fit)."""
        root = self._workspace.data_dir
        name = label.audio
        if (root / name).is_file() and not self.is_ours(name):
            return Match(label, name)
        candidates = (
            self._made_from(name)
            or self._by_name.get(repaired(name).casefold())
            or self._raw_of(name)
            or self._all_that_is_left(name)
        )
        if len(candidates) == 1:
            return Match(label, candidates[0])
        if candidates:
            facts = {"audio": label.audio, "candidates": ", ".join(candidates), "example": candidates[0]}
            return Match(label, None, "RZ-0423", facts)
        return Match(label, None, "RZ-0420", {"audio": label.audio})

    def match(self, labels: Sequence[Label]) -> tuple[Match, ...]:
        """``find`` for every label in order. A recording that an earlier label already means is RZ-0424."""
        owners: dict[str, str] = {}
        matches = []
        for label in labels:
            match = self.find(label)
            if match.source is not None and owners.setdefault(match.source, label.audio) != label.audio:
                facts = {"audio": label.audio, "other": owners[match.source], "source": match.source}
                match = Match(label, None, "RZ-0424", facts)
            matches.append(match)
        return tuple(matches)

    def _made_from(self, name: str) -> list[str]:
        """For a WAV of ours: the recording behind it, if that is still there."""
        source = self._source_of.get(name)
        return [source] if source and (self._workspace.data_dir / source).is_file() else []

    def _all_that_is_left(self, name: str) -> list[str]:
        """Our WAV of a recording that is no longer there, as when only ``audio/`` was carried to a server."""
        wav = self._index[name].wav if name in self._index else name
        return [wav] if (self._workspace.data_dir / wav).is_file() and self.is_ours(wav) else []

    def _raw_of(self, name: str) -> list[str]:
        """For ``audio/x.wav``: the recordings ``audio_raw/x.*``."""
        folder, _, file = name.partition("/")
        if folder != self._workspace.audio.name:
            return []
        return self._by_stem.get(_stem(f"{self._workspace.audio_raw.name}/{file}"), [])

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped(self.files, lambda name: repaired(name).casefold())

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped(self.files, _stem)


def repaired(name: str) -> str:
    """``name`` as our copy is called: white space becomes ``_``; characters composed, which macOS takes apart."""
    return re.sub(r"\s+", "_", unicodedata.normalize("NFC", name))


def find_source(workspace: Workspace, label: Label) -> Path | None:
    """The recording that ``label`` means in any of the three layouts, or None. Use ``Recordings`` for many labels."""
    source = Recordings(workspace).find(label).source
    return None if source is None else workspace.data_dir / source


def _stem(name: str) -> str:
    return repaired(name).casefold().rpartition(".")[0]


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


# ── What training and testing read ───────────────────────────────────────────
def load_utterances(workspace: Workspace) -> tuple[Utterance, ...]:
    """The labels joined with the index, in label order; recordings that were left out for a problem are left out here.

    Raises RZ-0006 (lesson 05 has not run), RZ-0521 (recordings changed since), RZ-0406 (fewer than MIN_RECORDINGS
    usable) and what ``read_labels`` raises.
    """
    require(workspace.conversion_index, lesson=5)
    labels = read_labels(workspace.labels)
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
        digest.update(json.dumps([each.text, each.take, file_hash(each.wav)]).encode())
    return digest.hexdigest()


def _is_current(workspace: Workspace, entry: Conversion | None) -> bool:
    if entry is None or entry.source_sha256 != file_hash(workspace.data_dir / entry.source):
        return False
    return entry.problem is not None or (workspace.data_dir / entry.wav).is_file()


def _utterance(workspace: Workspace, label: Label, entry: Conversion) -> Utterance:
    wav = workspace.data_dir / entry.wav
    return Utterance(label.audio, wav, label.text, label.take, label.session, label.split, entry.seconds)
