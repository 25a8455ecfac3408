"""Recordings that come in as files: one by one, a folder, a zip; under whatever names phones and WeChat gave them.

``plan`` looks and writes nothing into the patient's folder; a person reads its table, corrects the texts, and
``take_in`` then copies: originals stay where and as they are, and nothing is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ...audio import decode as audio
from ...core.messages import ResonanceError, message
from ...core.settings import AUDIO_SUFFIXES
from ...core.workspace import Workspace
from ...dataset.index import Recordings, file_hash, is_recording
from ...dataset.labels import Label, read_labels
from ...dataset.takes import add_file, next_label, suffix_of_copy
from ...dataset.transcript import check, clean
from .arrivals import LIMITS, Arrival, IntakeLimits, Upload, arrived
from .file_texts import guess_text, says_texts, texts_beside
from .staging import Staging, remove_abandoned

FileState = Literal["ready", "no_text", "same", "long", "broken", "not_audio"]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Item:
    """One file that came: ``shown`` is its name as it came, below the folder or zip that was given; no two share one.

    ``text`` is what it may say, by a labels.json or table beside it or by its own name, None where neither tells.
    ``name`` is what our copy will be called as things stand, relative to DATA_DIR; None where none will be made.
    ``seconds`` is 0 where it could not be decoded; ``size`` is in bytes, ``modified`` in nanoseconds. ``reason`` is the
    sentence of a verdict that needs one: ``no_text`` (a person has to listen first), ``same`` (its content
    is there already, or came twice), ``long`` (no single phrase), ``broken`` (also a zip), ``not_audio``.
    """

    source: Path
    shown: str
    size: int
    modified: int
    verdict: FileState
    text: str | None = None
    name: str | None = None
    seconds: float = 0.0
    reason: str = ""

    @property
    def can_go_in(self) -> bool:
        return self.verdict in ("ready", "no_text")


@dataclass(frozen=True)
class Plan:
    """Every file that came, in the order of their names; ``notes`` are sentences about the whole; ``staging`` holds
    what was uploaded or unpacked, None where nothing came."""

    workspace: Workspace
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    staging: Staging | None = None

    def count(self, *verdicts: FileState) -> int:
        return sum(item.verdict in verdicts for item in self.items)

    def discard(self) -> None:
        """Remove what was uploaded or unpacked for this plan; it can't go in any more."""
        if self.staging:
            self.staging.remove()


@dataclass(frozen=True)
class Result:
    """What ``take_in`` did: the new entries of labels.json, and of every other file its name and why not."""

    added: tuple[Label, ...]
    left_out: tuple[tuple[str, str], ...]


# ── Before ───────────────────────────────────────────────────────────────────
def plan(
    sources: Path | Sequence[Path | Upload],
    workspace: Workspace,
    limits: IntakeLimits = LIMITS,
    on_progress: OnProgress | None = None,
) -> Plan:
    """What would become of every file of ``sources``: recordings, folders, zips, uploads.

    Zips and uploads are unpacked below ``workspace.cache``, where they lie until ``take_in``, ``discard``, or nobody
    holds the plan. A zip that can't be unpacked is an item with its reason. Raises RZ-0453 (no such file or folder),
    RZ-0454 (too many files), RZ-0459 (zips too large together) and RZ-0004 (disk full); then nothing stays unpacked.
    """
    remove_abandoned(workspace)
    staging = Staging(workspace)
    try:
        found = arrived(sources, staging.folder, limits)
        texts, notes = texts_beside(found)
        items: list[Item] = []
        there = _Contents(workspace)
        for done, file in enumerate(found, start=1):
            if not says_texts(file.path):
                items.append(_look(file, texts.get(file.path), there, limits))
            if on_progress:
                on_progress(done, len(found))
        return Plan(workspace, tuple(_named(workspace, items)), tuple(notes), staging)
    except BaseException:
        staging.remove()
        raise


class _Contents:
    """What was seen so far, by content: in the patient's folder and among the files that came."""

    def __init__(self, workspace: Workspace) -> None:
        self._by_size: dict[int, list[tuple[Path, str]]] = {}
        for name in Recordings(workspace).files:
            self._note(workspace.data_dir / name, name)

    def _note(self, path: Path, name: str) -> None:
        self._by_size.setdefault(path.stat().st_size, []).append((path, name))

    def same_as(self, path: Path, name: str) -> str | None:
        """The name of what has the content of ``path``; from now on that is known as ``name``."""
        candidates = self._by_size.get(path.stat().st_size, [])
        mine = file_hash(path) if candidates else ""
        known = next((shown for other, shown in candidates if file_hash(other) == mine), None)
        if known is None:
            self._note(path, name)
        return known


def _look(file: Arrival, text: str | None, there: _Contents, limits: IntakeLimits) -> Item:
    path, shown = file.path, file.shown
    item = Item(path, shown, *_stamp(path), "not_audio")
    if file.reason:
        return replace(item, verdict="broken", reason=file.reason)
    if not is_recording(path):
        return replace(item, reason=message("RZ-0450", name=shown, suffixes=" ".join(AUDIO_SUFFIXES)))
    if same := there.same_as(path, shown):
        return replace(item, verdict="same", reason=message("RZ-0455", name=shown, same=same))
    try:
        seconds = audio.decode(path, max_seconds=limits.clip_s, name=shown).seconds
    except ResonanceError as error:
        if error.code == "RZ-0504":
            return replace(item, verdict="long", reason=message("RZ-0456", name=shown, limit=limits.clip_s))
        return replace(item, verdict="broken", reason=str(error))
    text = clean(text or guess_text(path.name) or "")
    if not text:
        return replace(item, verdict="no_text", seconds=seconds, reason=message("RZ-0457", name=shown))
    return replace(item, verdict="ready", seconds=seconds, text=text)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time, by which a file that was written anew under its name is known."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _named(workspace: Workspace, items: Iterable[Item]) -> Iterator[Item]:
    """The items with the names that their copies will have."""
    labels = read_labels(workspace.labels) if workspace.labels.exists() else []
    for item in items:
        if item.verdict == "ready" and item.text:
            label = next_label(workspace, labels, item.text, suffix=suffix_of_copy(item.source))
            labels.append(label)
            item = replace(item, name=label.audio)
        yield item


# ── After ────────────────────────────────────────────────────────────────────
def take_in(planned: Plan, texts: Sequence[str] | None = None, session: str | None = None) -> Result:
    """Copy what can go in to ``audio_raw`` under the guide's names, each with its entry in labels.json.

    ``texts`` is what each item of the plan says, in its order, an empty one leaves the file out; without them the texts
    of the plan count. A file that is gone, was replaced or has no text is left out with its sentence. Raises what
    ``takes.add_file`` raises but for the text; what was added before stays.
    """
    texts = [item.text or "" for item in planned.items] if texts is None else texts
    added, left_out = [], []
    there = _Contents(planned.workspace)
    for item, given in zip(planned.items, texts, strict=True):
        text = given.strip()
        if reason := _why_not(item, text, there):
            left_out.append((item.shown, reason))
        else:
            added.append(add_file(planned.workspace, item.source, text, session))
    planned.discard()
    return Result(tuple(added), tuple(left_out))


def _why_not(item: Item, text: str, there: _Contents) -> str:
    """Why ``item`` does not go in, empty where it does. The folder may have changed since the plan was made."""
    if not item.can_go_in:
        return item.reason
    if not clean(text):
        return message("RZ-0457", name=item.shown)
    try:
        check(text)
    except ResonanceError as error:
        return str(error)
    if not item.source.is_file():
        return message("RZ-0453", path=item.shown)
    if _stamp(item.source) != (item.size, item.modified):  # the preview was of another sound
        return message("RZ-0467", name=item.shown)
    if same := there.same_as(item.source, item.shown):
        return message("RZ-0455", name=item.shown, same=same)
    return ""
