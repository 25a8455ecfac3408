"""What has arrived from a phone: single files, folders, zips, uploads; how much of it at once, and under which names.

Nothing is listened to here, and the files given stay where and as they are: only uploads and what is in zips are
written, into the caller's staging folder.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.archives import UNPACK_ERRORS, UnpackLimits, unpack
from ...core.messages import ResonanceError, message
from ...core.settings import MAX_CLIP_S
from ...core.workspace import (
    INCOMING,
    Workspace,
    disk_full_is_said,
    files_in,
    is_rubbish,
    make_folder,
    megabytes,
    open_private,
)
from ...dataset.index import name_suffix

Upload = tuple[str, bytes | memoryview]  # a file's name as its sender gave it, and its content


@dataclass(frozen=True)
class IntakeLimits:
    """How much comes in at once. Sizes in bytes."""

    # The upload button sends all that was chosen as one message, and Jupyter's websocket closes above 10 MiB.
    upload_bytes: int = 8_000_000  # of one file
    all_uploads_bytes: int = 9_000_000  # of all that were chosen together
    files: int = 2_000  # in a folder or a zip; a path that is a whole disk is told, not kept waiting
    file_bytes: int = 200_000_000  # half an hour as WAV from a phone
    all_bytes: int = 2_000_000_000
    ratio: float = 200.0  # a zip's; the quietest WAV shrinks to a hundredth
    clip_s: float = MAX_CLIP_S  # what is longer is no single phrase

    def unpacking(self) -> UnpackLimits:
        return UnpackLimits(self.files, self.file_bytes, self.all_bytes, self.ratio)


LIMITS = IntakeLimits()


# ── Before anything is chosen ────────────────────────────────────────────────
def folder(workspace: Workspace) -> Path:
    """Where to drag what is too large for the upload button. Lesson 04 doesn't count what lies there."""
    return workspace.data_dir / INCOMING


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


def _upload_facts(limits: IntakeLimits) -> dict[str, Any]:
    return {"one": megabytes(limits.upload_bytes), "all": megabytes(limits.all_uploads_bytes)}


# ── What came ────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Arrival:
    """A file, the name to show for it, and why it can't be used where that is known already."""

    path: Path
    shown: str
    reason: str = ""


def arrived(
    sources: Path | Sequence[Path | Upload], staging: Path, limits: IntakeLimits = LIMITS
) -> tuple[Arrival, ...]:
    """The files of all ``sources``, zips and uploads unpacked below ``staging``.

    A zip that can't be unpacked is one with its reason. Raises RZ-0453 (no such file or folder), RZ-0454 (too many
    files), RZ-0459 (zips too large together) and RZ-0004 (disk full).
    """
    given = [sources] if isinstance(sources, Path) else list(sources)
    paths = [_staged(staging, each, n) if isinstance(each, tuple) else each for n, each in enumerate(given)]
    return tuple(_found(paths, staging, limits))


def _staged(staging: Path, upload: Upload, number: int) -> Path:
    """An upload as a file. A browser sends plain names, but what it sends need not come from one."""
    name, content = upload
    safe = re.sub(r'[\x00-\x1f\\/:*?"<>|]', "_", name).lstrip(".") or "_"
    path = staging / f"upload{number}" / safe
    with disk_full_is_said(path.parent):
        make_folder(path.parent)
        with open_private(path, "xb") as file:
            file.write(content)
    return path


def _found(paths: Sequence[Path], staging: Path, limits: IntakeLimits) -> Iterator[Arrival]:
    """The files of all ``paths`` within the limits, each under a name of its own."""
    times_shown: Counter[str] = Counter()
    room = _Room(limits)
    for number, path in enumerate(paths):
        for file in _files(path, staging / f"zip{number}", room):
            times_shown[file.shown] += 1
            if times_shown.total() > limits.files:
                raise ResonanceError("RZ-0454", limit=limits.files)
            nth = times_shown[file.shown]
            yield file if nth == 1 else replace(file, shown=f"{file.shown} [{nth}]")


@dataclass
class _Room:
    """What may still come out of zips; it is taken before they are unpacked."""

    limits: IntakeLimits
    taken: int = 0  # bytes

    def take(self, shown: str, size: int) -> None:
        self.taken += size
        if self.taken > self.limits.all_bytes:
            raise ResonanceError("RZ-0459", name=shown, limit=megabytes(self.limits.all_bytes))


def _files(path: Path, unpacked: Path, room: _Room) -> Iterator[Arrival]:
    """The files of one source. What a system puts there (``.DS_Store``, ``__MACOSX``) and links are passed over; a zip
    inside a folder is opened, a zip inside a zip is not."""
    if path.is_dir():
        inside = sorted(each for each in files_in(path) if not each.is_symlink() and each.is_file())
        for number, each in enumerate(inside):
            yield from _opened(each, each.relative_to(path).as_posix(), unpacked / str(number), room)
    elif path.is_file():
        yield from _opened(path, path.name, unpacked, room)
    else:
        raise ResonanceError("RZ-0453", path=path)


def _opened(path: Path, shown: str, unpacked: Path, room: _Room) -> Iterator[Arrival]:
    """The file itself, or what is in it where it is a zip; a bad zip is no reason to refuse what came beside it."""
    if not _is_zip(path):
        yield _as_it_is(path, shown)
        return
    before = room.taken
    try:
        inside = sorted(unpack(path, unpacked, room.limits.unpacking(), partial(room.take, shown)))
    except ResonanceError as error:
        if error.code not in UNPACK_ERRORS:
            raise
        room.taken = before
        yield Arrival(path, shown, str(error))
        return
    for each in inside:
        relative = each.relative_to(unpacked)
        if not any(map(is_rubbish, relative.parts)):
            yield _as_it_is(each, f"{shown}/{relative.as_posix()}")


def _as_it_is(path: Path, shown: str) -> Arrival:
    """What is hidden is not taken in unasked: a phone hides so what was deleted or has not come whole."""
    is_hidden = any(part.startswith(".") for part in PurePosixPath(shown).parts)
    return Arrival(path, shown, message("RZ-0472", name=shown) if is_hidden else "")


def _is_zip(path: Path) -> bool:
    """By its name, or by its content where the name says nothing; an office document is one inside, too."""
    suffix = name_suffix(path.name).lower()
    return suffix == ".zip" or (not suffix and zipfile.is_zipfile(path))
