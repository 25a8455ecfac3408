"""Recordings that come in as files: one by one, a folder, a zip; under whatever names phones and WeChat gave them.

``plan`` looks and writes nothing into the patient's folder; a person reads its table, corrects the texts, and
``take_in`` then copies: originals stay where and as they are, and nothing is overwritten.
"""

from __future__ import annotations

import re
import secrets
import shutil
import unicodedata
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from filelock import FileLock, Timeout

from .. import audio
from ..archives import UNPACK_ERRORS, UnpackLimits, unpack
from ..labels import Label, read_labels
from ..messages import ResonanceError, message
from ..settings import AUDIO_SUFFIXES, WINDOW_LADDER_S
from ..takes import add_file, next_label
from ..text import normalise
from ..utterances import Recordings, file_hash, repaired
from ..workspace import Workspace, disk_full_is_said, megabytes

Verdict = Literal["ready", "no_text", "same", "long", "broken", "not_audio"]
OnProgress = Callable[[int, int], None]
Upload = tuple[str, bytes | memoryview]  # a file's name as its sender gave it, and its content


@dataclass(frozen=True)
class IntakeLimits:
    """How much comes in at once. Sizes in bytes."""

    # The upload button sends all that was chosen as one message, and Jupyter's websocket closes above 10 MiB.
    upload_bytes: int = 8_000_000  # of one file
    all_uploads_bytes: int = 9_000_000  # of all that were chosen together
    files: int = 2_000  # in a folder or a zip; somebody who names a whole disk is told, not kept waiting
    file_bytes: int = 200_000_000  # half an hour as WAV from a phone
    all_bytes: int = 2_000_000_000
    ratio: float = 200.0  # a zip's; the quietest WAV shrinks to a hundredth
    clip_s: float = WINDOW_LADDER_S[-1]  # what is longer is no single phrase

    def unpacking(self) -> UnpackLimits:
        return UnpackLimits(self.files, self.file_bytes, self.all_bytes, self.ratio)


LIMITS = IntakeLimits()


@dataclass(frozen=True)
class Item:
    """One file that came: ``shown`` is its name as it came, below the folder or zip that was given; no two share one.

    ``text`` is what it may say, by a labels.json that came with it or by its own name, None where neither tells.
    ``name`` is what our copy will be called as things stand, relative to DATA_DIR; None where none will be made.
    ``seconds`` is 0 where it could not be decoded; ``size`` is in bytes. ``reason`` is the sentence of a verdict that
    needs one: ``no_text`` (it can go in once somebody has listened), ``same`` (its content is there already, or came
    twice), ``long`` (no single phrase), ``broken`` (also a zip), ``not_audio``.
    """

    source: Path
    shown: str
    size: int
    verdict: Verdict
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

    def count(self, *verdicts: Verdict) -> int:
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
def folder(workspace: Workspace) -> Path:
    """Where to drag what is too large for the upload button. Lesson 04 doesn't count what lies there."""
    return workspace.data_dir / "incoming"


def upload_hint(place: Path, limits: IntakeLimits = LIMITS) -> str:
    """How much the upload button can carry, and that ``place`` is where the rest goes; to be said before anything is
    chosen, because an upload that is too large never arrives."""
    return message("phone.upload.hint", **_upload_facts(limits), folder=place)


def check_uploads(uploads: Sequence[Upload], place: Path, limits: IntakeLimits = LIMITS) -> None:
    """RZ-0452, with the way to ``place``, where one of ``uploads`` or all together are more than ``limits`` say."""
    sizes = [(name, len(content)) for name, content in uploads]  # several may have one name
    together = sum(size for _, size in sizes)
    too_large = [(name, size) for name, size in sizes if size > limits.upload_bytes]
    if too_large or together > limits.all_uploads_bytes:
        each = (message("phone.upload.one", name=name, size=megabytes(size)) for name, size in too_large)
        all_of_them = message("phone.upload.together", n=len(sizes), size=megabytes(together))
        given = message("list.comma").join(each) or all_of_them
        raise ResonanceError("RZ-0452", given=given, **_upload_facts(limits), folder=place)


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
        given = [sources] if isinstance(sources, Path) else list(sources)
        paths = [_staged(staging.folder, each, n) if isinstance(each, tuple) else each for n, each in enumerate(given)]
        found = list(_found(paths, staging.folder, limits))
        texts, notes = _texts_beside(found)
        items: list[Item] = []
        there = _Contents(workspace)
        for done, file in enumerate(found, start=1):
            if file.path.name != "labels.json":
                items.append(_look(file, texts.get(file.path), there, limits))
            if on_progress:
                on_progress(done, len(found))
        return Plan(workspace, tuple(_named(workspace, items)), tuple(notes), staging)
    except BaseException:
        staging.remove()
        raise


def _upload_facts(limits: IntakeLimits) -> dict[str, Any]:
    return {"one": megabytes(limits.upload_bytes), "all": megabytes(limits.all_uploads_bytes)}


# ── What came ────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class _Found:
    """A file, the name to show for it, and why it can't be used where that is known already."""

    path: Path
    shown: str
    reason: str = ""


class Staging:
    """A folder of one plan's own for what is uploaded or unpacked: where two plans used one path, the texts written
    beside the files of the first would be saved with the sounds of the second.

    It goes with ``remove()``, or when nobody holds this any more, or when the kernel ends.
    """

    def __init__(self, workspace: Workspace) -> None:
        place = _staging_place(workspace)
        with disk_full_is_said(workspace.cache):
            place.mkdir(parents=True, exist_ok=True)
            self.folder = place / secrets.token_hex(8)
            lock = _lock_of(self.folder)
            lock.acquire()  # before there is a folder: one without a lock is abandoned
            self.folder.mkdir()
        self.remove = weakref.finalize(self, _remove, self.folder, lock)


def remove_abandoned(workspace: Workspace) -> None:
    """Remove what a killed kernel left staged; the system took its locks away. What is in use somewhere stays."""
    for folder in _staging_place(workspace).glob("*/"):
        lock = _lock_of(folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _remove(folder, lock)


def _staging_place(workspace: Workspace) -> Path:
    return workspace.cache / "incoming"


def _lock_of(folder: Path) -> FileLock:
    """Beside ``folder``. Whoever lets go of it last may do so in another thread than the one that took it."""
    return FileLock(folder.with_name(f"{folder.name}.lock"), thread_local=False)


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def _staged(staging: Path, upload: Upload, number: int) -> Path:
    """An upload as a file. A browser sends plain names, but what it sends need not come from one."""
    name, content = upload
    safe = re.sub(r'[\x00-\x1f\\/:*?"<>|]', "_", name).lstrip(".") or "_"
    path = staging / f"upload{number}" / safe
    with disk_full_is_said(path.parent):
        path.parent.mkdir()
        path.write_bytes(content)
    return path


def _found(paths: Sequence[Path], staging: Path, limits: IntakeLimits) -> Iterator[_Found]:
    """The files of all ``paths`` within the limits, each under a name of its own."""
    times_shown: Counter[str] = Counter()
    unpacked_bytes = 0
    for number, path in enumerate(paths):
        for file in _files(path, staging / f"zip{number}", limits):
            times_shown[file.shown] += 1
            if times_shown.total() > limits.files:
                raise ResonanceError("RZ-0454", limit=limits.files)
            unpacked_bytes += file.path.stat().st_size if file.path.is_relative_to(staging) else 0
            if unpacked_bytes > limits.all_bytes:
                raise ResonanceError("RZ-0459", name=file.shown, limit=megabytes(limits.all_bytes))
            nth = times_shown[file.shown]
            yield file if nth == 1 else replace(file, shown=f"{file.shown} [{nth}]")


def _files(path: Path, unpacked: Path, limits: IntakeLimits) -> Iterator[_Found]:
    """The files of one source. What a system hides (``.DS_Store``, ``__MACOSX``) and links are passed over; a zip
    inside a folder is opened, a zip inside a zip is not."""
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if not each.is_symlink() and each.is_file())
        for number, each in enumerate(inside):
            if _is_shown(relative := each.relative_to(path)):
                yield from _opened(each, relative.as_posix(), unpacked / str(number), limits)
    elif path.is_file():
        yield from _opened(path, path.name, unpacked, limits)
    else:
        raise ResonanceError("RZ-0453", path=path)


def _opened(path: Path, shown: str, unpacked: Path, limits: IntakeLimits) -> Iterator[_Found]:
    """The file itself, or what is in it where it is a zip; a bad zip is no reason to refuse what came beside it."""
    if path.suffix.lower() != ".zip":
        yield _Found(path, shown)
        return
    try:
        inside = sorted(unpack(path, unpacked, limits.unpacking()))
    except ResonanceError as error:
        if error.code not in UNPACK_ERRORS:
            raise
        yield _Found(path, shown, str(error))
        return
    for each in inside:
        if _is_shown(relative := each.relative_to(unpacked)):
            yield _Found(each, f"{shown}/{relative.as_posix()}")


def _is_shown(relative: Path) -> bool:
    hidden = ("__macosx", "thumbs.db", "desktop.ini")
    return not any(part.startswith((".", "~$")) or part.casefold() in hidden for part in relative.parts)


def _texts_beside(found: Sequence[_Found]) -> tuple[dict[Path, str], list[str]]:
    """What each labels.json among the files says of those below its folder, the nearest counts; a note for each."""
    texts: dict[Path, str] = {}
    notes = []
    sets = [file for file in found if file.path.name == "labels.json"]
    for file in sorted(sets, key=lambda each: len(each.path.parts)):
        try:
            labels = read_labels(file.path)
        except ResonanceError as error:
            notes.append(str(error))
            continue
        folder = file.path.parent
        below = [each.path for each in found if folder in each.path.parents and each not in sets]
        said = _said_of(below, folder, labels)
        texts |= said
        notes.append(message("phone.intake.labels", name=file.shown, n=len(said)))
    return texts, notes


def _said_of(paths: Sequence[Path], folder: Path, labels: Sequence[Label]) -> dict[Path, str]:
    """What ``labels`` say of ``paths`` below ``folder``: of the very file that an entry names or else, in another
    folder or of another kind, of one with its name; only where a single entry and a single file have it. A guess
    among several would be a wrong text."""
    texts: dict[Path, str] = {}
    for spelled in (_whole, _stem):
        names = {path: spelled(path.relative_to(folder).as_posix()) for path in paths}
        files, entries = Counter(names.values()), Counter(spelled(label.audio) for label in labels)
        said = {name: label.text for label in labels if entries[name := spelled(label.audio)] == 1}
        for path, name in names.items():
            if files[name] == 1 and name in said:
                texts.setdefault(path, said[name])
    return texts


def _whole(name: str) -> str:
    return repaired(name).casefold()


def _stem(name: str) -> str:
    return _whole(PurePosixPath(name).stem)


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


def _look(file: _Found, text: str | None, there: _Contents, limits: IntakeLimits) -> Item:
    path, shown = file.path, file.shown
    item = Item(path, shown, path.stat().st_size, "not_audio")
    if file.reason:
        return replace(item, verdict="broken", reason=file.reason)
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        return replace(item, reason=message("RZ-0450", name=shown, suffixes=" ".join(AUDIO_SUFFIXES)))
    if same := there.same_as(path, shown):
        return replace(item, verdict="same", reason=message("RZ-0455", name=shown, same=same))
    try:
        seconds = audio.decode(path, max_seconds=limits.clip_s, name=shown).seconds
    except ResonanceError as error:
        if error.code == "RZ-0504":
            return replace(item, verdict="long", reason=message("RZ-0456", name=shown, limit=limits.clip_s))
        return replace(item, verdict="broken", reason=str(error))
    text = text or guess_text(path.name)
    if text is None:
        return replace(item, verdict="no_text", seconds=seconds, reason=message("RZ-0457", name=shown))
    return replace(item, verdict="ready", seconds=seconds, text=text)


def _named(workspace: Workspace, items: Iterable[Item]) -> Iterator[Item]:
    """The items with the names that their copies will have."""
    labels = read_labels(workspace.labels) if workspace.labels.exists() else []
    for item in items:
        if item.verdict == "ready" and item.text:
            label = next_label(workspace, labels, item.text, suffix=item.source.suffix.lower())
            labels.append(label)
            item = replace(item, name=label.audio)
        yield item


# ── What a name says ─────────────────────────────────────────────────────────
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
_NUMBER_BEFORE = re.compile(r"^(?:\d{1,4}[\s._、．)）-]+|0\d+|\d{3,4})\s*(?=\D)")  # "001_", "12、", "001"; not "3点"
_AFTER = re.compile(
    r"""(?: [\s_-]* [(（] \s*\d+\s* [)）]      # a browser's (1)
        |   [\s_-]+ \d+                        # a take, a date, a time of day
        |   [\s_-]* (?:副本|拷贝|copy)         # a file manager's
    )$""",
    re.VERBOSE | re.IGNORECASE,
)
_DATE = re.compile(r"\d+\s*[年月日号时点分秒]")
_NO_PHRASE = re.compile(  # what recorders and messengers call everything
    r"新建|新的?录音|标准录音|通话录音|录音机?|语音(?:备忘录|消息|通话|转发)?|音频|视频|微信|备忘录|文件|未命名|无标题|会议"
    r"|来自|保存|下载|星期[一二三四五六日天]|周[一二三四五六日]|[上下]午|第?\s*\d+\s*[条段个]"
)


def guess_text(name: str) -> str | None:
    """The phrase that a recording's file name spells, without number, take and date; None where it is only what a
    recorder or messenger wrote. Phrases are looked for in Chinese characters alone: device names are in Latin."""
    stem = unicodedata.normalize("NFKC", Path(name).stem).strip()
    text = _NUMBER_BEFORE.sub("", stem)
    while (shorter := _AFTER.sub("", text)) != text:
        text = shorter
    text = re.sub(r"[\s_]+", " ", text).strip(" -.、")
    text = re.sub(rf"(?<={_HAN.pattern}) (?={_HAN.pattern})", "", text)
    says_something = _HAN.search(_NO_PHRASE.sub("", _DATE.sub("", stem)))
    return text if says_something and _HAN.search(text) else None


# ── After ────────────────────────────────────────────────────────────────────
def take_in(planned: Plan, texts: Sequence[str] | None = None, session: str | None = None) -> Result:
    """Copy what can go in to ``audio_raw`` under the guide's names, each with its entry in labels.json.

    ``texts`` is what each item of the plan says, in its order, an empty one leaves the file out; without them the texts
    of the plan count. A file that is gone or has no text is left out with its sentence. Raises what ``takes.add_file``
    raises but for the text; what was added before stays.
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
    if not normalise(text):
        return message("RZ-0457", name=item.shown)
    if not item.source.is_file():
        return message("RZ-0453", path=item.shown)
    if same := there.same_as(item.source, item.shown):
        return message("RZ-0455", name=item.shown, same=same)
    return ""
