"""Zips that come from elsewhere: unpacked whole or not at all, and nothing outside the folder that was meant.

What an archive says about itself is not believed. Its entries are counted before Python builds a table of them, and a
name has to be one that every system reads alike. What its own table admits to is too much is refused before anything is
written; the sizes that count are those of the bytes that really come out.
"""

from __future__ import annotations

import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .messages import ResonanceError
from .workspace import make_folder, megabytes, open_private, replacing_folder

CHUNK = 1 << 20  # bytes that are read, unpacked or written at once
FREE_OF_RATIO = 1 << 20  # bytes; a small file of zeros is no bomb
LONGEST_NAME = 255  # bytes of one part of a path, on every common file system
UNPACK_ERRORS = {f"RZ-{number:04d}" for number in range(50, 58)}  # what is wrong with an archive itself
_ENTRY = b"PK\x01\x02"  # opens each entry of a zip's table
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks the others without any bound on memory
_ENCRYPTED = 0x2041  # flag bits: encrypted, strongly encrypted, encrypted table
_UTF_8 = 0x800  # flag bit
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control characters, turns of direction, ends of lines
_WINDOWS = 0  # of ``create_system``


@dataclass(frozen=True)
class UnpackLimits:
    """How much may come out of an archive."""

    files: int
    file_bytes: int  # of one file
    all_bytes: int
    ratio: float  # bytes that come out, for each byte of the archive


def unpack(
    archive: Path | BinaryIO, folder: Path, limits: UnpackLimits, may_come: Callable[[int], None] = lambda _: None
) -> tuple[Path, ...]:
    """Unpack the zip ``archive`` into ``folder``, which is new or empty; the files' paths in the archive's order.

    ``may_come`` hears before anything is written how many bytes will come out, and may raise an error of its own.
    ``folder`` appears whole or, on any error, not at all. Empty folders are left out, and so are the times and rights
    of files. Raises RZ-0050 (no zip, damaged), RZ-0051 (a name that leads elsewhere), RZ-0052 (a link, a device),
    RZ-0053 (encrypted, another compression), RZ-0054 (two entries in one place), RZ-0055 (too many), RZ-0056 (too
    large), RZ-0057 (a bomb), RZ-0004 (disk full), FileExistsError (``folder`` holds something).
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(folder)
    size = _check_count(archive, limits.files)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(opened)
            may_come(_admitted(entries, limits, size))
            with replacing_folder(folder) as temporary:
                _write(opened, entries, temporary, limits, size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError) as error:
        raise ResonanceError("RZ-0050", detail=str(error)) from error
    return tuple(folder / name for name in entries)


def _check_count(archive: Path | BinaryIO, most: int) -> int:
    """The archive's size in bytes. Millions of empty entries would fill the memory as soon as ZipFile reads them."""
    if isinstance(archive, Path):
        with archive.open("rb") as file:
            return _check_count(file, most)
    archive.seek(0)
    size = count = 0
    tail = b""
    while chunk := archive.read(CHUNK):
        size += len(chunk)
        seen = tail + chunk
        count += seen.count(_ENTRY)
        tail = seen[1 - len(_ENTRY) :]
    if count > most:
        raise ResonanceError("RZ-0055", count=count, limit=most)
    return size


def _checked(opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of the archive by name, each of them harmless; nothing has been unpacked yet."""
    entries: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    folders: set[str] = set()
    for info in opened.infolist():
        name = _name(info)
        path = _check_path(name.removesuffix("/"))
        _check_kind(info, name)
        if not name.endswith("/"):
            _check_unused(name, taken)
            taken.add(_as_seen(name))
            entries[name] = info
            folders.update(_as_seen(str(parent)) for parent in path.parents)
    for name in entries:
        _check_unused(name, folders)
    return entries


def _admitted(entries: dict[str, zipfile.ZipInfo], limits: UnpackLimits, size: int) -> int:
    """How many bytes the archive says are in it, if that is within ``limits``. No more can come out."""
    total = 0
    for name, info in entries.items():
        total += info.file_size
        _check_size(name, info.file_size, total, limits, size)
    return total


def _write(
    opened: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], folder: Path, limits: UnpackLimits, size: int
) -> None:
    written = 0
    for name, info in entries.items():
        target = folder / name
        make_folder(target.parent)
        mine = 0
        with open_private(target, "xb") as file:
            for chunk in _contents(opened, info):
                mine += len(chunk)
                _check_size(name, mine, written + mine, limits, size)
                file.write(chunk)
        if mine != info.file_size:
            raise ResonanceError("RZ-0050", detail=f"{name}: {mine} ≠ {info.file_size} bytes")
        written += mine


def _contents(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    if info.header_offset < 0:  # the system's own word for it would look like a fault of the disk
        raise zipfile.BadZipFile(f"offset {info.header_offset}")
    with opened.open(info) as file:
        while chunk := file.read(CHUNK):
            yield chunk


# ── What is refused ──────────────────────────────────────────────────────────
def _name(info: zipfile.ZipInfo) -> str:
    """The entry's name as it was meant. Without the flag for UTF-8 Python reads the code page of DOS, while a Chinese
    Windows writes GBK and a Mac writes UTF-8 all the same."""
    name = info.orig_filename  # ``filename`` has lost what stands behind a NUL
    if info.flag_bits & _UTF_8 or name.isascii():
        return name
    try:
        return name.encode("cp437").decode("gb18030" if info.create_system == _WINDOWS else "utf-8")
    except UnicodeDecodeError:
        return name


def _check_path(name: str) -> PurePosixPath:
    parts = name.split("/")  # a leading or doubled slash leaves an empty part
    good = all(part not in ("", ".", "..") and len(part.encode()) <= LONGEST_NAME for part in parts)
    # On Windows a colon opens a drive or a hidden stream, and dots and spaces at the end are cut off.
    portable = not any(part.endswith((".", " ")) for part in parts) and not any(c in name for c in '\\:*?"<>|')
    if not (good and portable) or any(unicodedata.category(c) in _INVISIBLE for c in name):
        raise ResonanceError("RZ-0051", entry=_shown(name))
    return PurePosixPath(name)


def _check_kind(info: zipfile.ZipInfo, name: str) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
        raise ResonanceError("RZ-0052", entry=_shown(name))
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        raise ResonanceError("RZ-0053", entry=_shown(name))


def _check_unused(name: str, taken: set[str]) -> None:
    if _as_seen(name) in taken:
        raise ResonanceError("RZ-0054", entry=_shown(name))


def _check_size(name: str, mine: int, written: int, limits: UnpackLimits, size: int) -> None:
    if mine > limits.file_bytes or written > limits.all_bytes:
        limit = limits.file_bytes if mine > limits.file_bytes else limits.all_bytes
        raise ResonanceError("RZ-0056", entry=_shown(name), limit=megabytes(limit))
    if written > FREE_OF_RATIO + limits.ratio * size:
        raise ResonanceError("RZ-0057", entry=_shown(name), ratio=f"{limits.ratio:g}")


def _as_seen(name: str) -> str:
    """The same for names that Windows or a Mac takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _shown(name: str) -> str:
    """A name that somebody may have made to be looked at."""
    return name[:100].encode("unicode_escape").decode() if not name.isprintable() else name[:100]
