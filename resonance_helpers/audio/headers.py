"""How long a file says its sound is, and how much of that is believed.

A header is written before the sound and often never put right: to a pipe, by a program that was ended, by one that
counts otherwise. So a header that disagrees with the bytes is distrusted, and what is there is decoded. The rule:

- A promise is no promise where its field was never filled in (0, or within 16 MB of 2 or 4 GB), or where it is for
  more than ``_LONGEST_S``.
- Most formats say it twice (the size of the sound and of the whole file; bytes and a duration). An upload that broke
  off leaves both as they were, so both promise more than is there; of two that disagree, the smaller is believed.
- What stands behind the sound (a tag, padding, anything) is no sound.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

_LONGEST_S = 12 * 3600.0  # no recording; a field that was never filled in, or counts in another unit
_NEVER_FILLED = 1 << 24  # bytes; programs that write to a pipe say 2 or 4 GB less a buffer, a block or a header


@dataclass(frozen=True)
class _Chunks:
    """A file made of chunks: where the first begins, the layout of a chunk's header (its name and size), the name of
    the one with the sound; whether the size counts the header; what its end is rounded up to."""

    first: int
    header: str
    sound: bytes
    with_header: bool = False
    step: int = 1


_CHUNKS = {  # by FFmpeg's name
    "wav": _Chunks(12, "<4sI", b"data", step=2),
    "aiff": _Chunks(12, ">4sI", b"SSND", step=2),
    "avi": _Chunks(12, "<4sI", b"LIST", step=2),  # its last list
    "caf": _Chunks(8, ">4sq", b"data"),
    "w64": _Chunks(40, "<16sq", b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a"), True, 8),
    "asf": _Chunks(0, "<16sq", bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"), True),
}
_TOO_FAR = 1 << 62  # to seek to
_MOST_CHUNKS = 1_000  # a file can hold millions of empty ones
_AMR_BYTES = {  # of a frame, by its kind; what is not here is no frame
    b"#!AMR\n": dict(zip((*range(9), 15), (13, 14, 16, 18, 20, 21, 27, 32, 6, 1), strict=True)),
    b"#!AMR-WB\n": dict(zip((*range(10), 14, 15), (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1), strict=True)),
}


class Mended:
    """``file`` as FFmpeg shall read it: to ``size`` and no further, with other bytes where ``patches`` has them."""

    def __init__(self, file: BinaryIO, size: int, patches: Mapping[int, bytes]) -> None:
        self._file, self.size = file, size
        self._patched = {at: byte for start, patch in patches.items() for at, byte in enumerate(patch, start)}
        self.name = getattr(file, "name", "")

    def read(self, count: int = -1) -> bytes:
        here = self._file.tell()
        left = max(0, self.size - here)
        content = bytearray(self._file.read(left if count < 0 else min(count, left)))
        for at, byte in self._patched.items():
            if here <= at < here + len(content):
                content[at - here] = byte
        return bytes(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(*((self.size + offset, io.SEEK_SET) if whence == io.SEEK_END else (offset, whence)))

    def tell(self) -> int:
        return self._file.tell()


# ── Where the sound ends ─────────────────────────────────────────────────────
def mended(file: BinaryIO, head: bytes) -> tuple[Mended, bool]:
    """The file from its beginning, with true sizes in its header and without what follows the last frame or page, where
    FFmpeg would not find out itself; and whether it ends inside that last one."""
    end, is_cut = _last_frame(file, head)
    mended = Mended(file, end, _true_sizes(file, head, end))
    mended.seek(0)
    return mended, is_cut


def _true_sizes(file: BinaryIO, head: bytes, size: int) -> dict[int, bytes]:
    """What to write where in the header of a file of ``size`` bytes: bytes a block, and of sound."""
    kind = _chunked(head)
    if not kind:
        return {8: b"\xff" * 4} if head.startswith(b".snd") else {}  # as long as the file is
    layout, whole = _CHUNKS[kind], _whole(file, kind)
    until = min(size, whole if whole > layout.first else size) if whole else 0  # where another chunk may begin
    sound, wrong, patches = 0, False, {}
    for name, start, end in _chunks(file, kind):
        if sound:
            wrong = wrong or (start <= until and not re.fullmatch(rb"[ -~]{4}", name[:4]))  # sound that goes on
        elif name == layout.sound:
            sound, wrong = start, not start < end < _TOO_FAR
        elif name[:4] == b"fmt ":
            patches = _true_block(file, start)
    if wrong:
        width = layout.header[0] + layout.header[-1]
        length = size - sound + (struct.calcsize(layout.header) if layout.with_header else 0)
        patches |= {sound - struct.calcsize(width): struct.pack(width, min(length, (1 << 32) - 1))}
    return patches


def _true_block(file: BinaryIO, at: int) -> dict[int, bytes]:
    """The bytes of a block of plain samples, which their channels and bits say too; a wrong one tears samples apart."""
    file.seek(at)
    fields = file.read(26).ljust(26, b"\0")
    kind, channels, bits = (int.from_bytes(fields[at : at + 2], "little") for at in (0, 2, 14))
    plain = (int.from_bytes(fields[24:26], "little") if kind == 0xFFFE else kind) in (1, 3, 6, 7)
    block = channels * bits // 8
    return {at + 12: struct.pack("<H", block)} if plain and 0 < block <= 0xFFFF and not bits % 8 else {}


def _chunked(head: bytes) -> str:
    """Which of ``_CHUNKS`` a recording is that begins with ``head``."""
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    return {b"caff": "caf", b"riff": "w64"}.get(head[:4], "")


def _last_frame(file: BinaryIO, head: bytes) -> tuple[int, bool]:
    """Where the last frame or page ends, and whether the file ends inside it; the file's end where FFmpeg finds it."""
    size = file.seek(0, io.SEEK_END)
    if head.startswith(b"OggS"):
        return _ogg_end(file, size)
    magic = next((magic for magic in _AMR_BYTES if head.startswith(magic)), None)
    return _amr_end(file, magic, size) if magic else (size, False)


def _ogg_end(file: BinaryIO, size: int) -> tuple[int, bool]:
    """The last page's table of segments says how long it is. It is searched for from behind."""
    step, at = 1 << 16, size
    while at > 0:
        at = max(0, at - step)
        file.seek(at)
        found = file.read(step + 4).rfind(b"OggS\0")
        if found >= 0:
            file.seek(at + found)
            page = file.read(27 + 255)
            end = at + found + 27 + sum(page[26:27]) + sum(page[27 : 27 + sum(page[26:27])])
            return (end, False) if len(page) >= 27 and end <= size else (size, True)
    return size, False


def _amr_end(file: BinaryIO, magic: bytes, size: int) -> tuple[int, bool]:
    """Frame after frame, while there are any. FFmpeg would make a noise of everything that follows."""
    lengths = _AMR_BYTES[magic]
    at = end = file.seek(len(magic))
    while at < size:
        file.seek(at)
        kind = file.read(1)[0]
        length = 0 if kind & 0x83 else lengths.get(kind >> 3, 0)
        if not length:
            break
        rest, at = file.read(length - 1), at + length
        if kind or any(rest):  # nothing but zeros is padding
            if at > size:
                return size, True
            end = at
    return end, False


# ── What is promised ─────────────────────────────────────────────────────────
def missing_seconds(file: BinaryIO, container: Any, stream: Any, seconds: float, packets: int) -> float:
    """How many more seconds of sound were promised, believably, than the ``seconds`` in ``packets`` that there are."""
    kind = container.format.name.split(",")[0]
    size = file.seek(0, io.SEEK_END)
    start, ends = _sound(file, kind)
    filled = (end for end in ends if _is_filled_in(end - start))
    promised = [seconds * (end - start) / max(1, size - start) for end in filled]
    if kind in ("mov", "matroska", "asf", "aiff", "mp3"):
        promised.append(_duration(file, container, stream, kind))
    if kind == "mov":
        promised.append(seconds * len(stream.index_entries) / max(1, packets))
    believable = [each for each in promised if 0 < each < _LONGEST_S]
    return min(believable, default=seconds) - seconds


def _is_filled_in(length: int) -> bool:
    return length > 0 and all(abs(length - (1 << bits)) > _NEVER_FILLED for bits in (31, 32))


def _sound(file: BinaryIO, kind: str) -> tuple[int, list[int]]:
    """Where the sound begins, and all that the file says about where it ends."""
    if kind == "au":
        file.seek(4)
        start, length = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
        return start, [start + length]
    if kind == "matroska":
        start, end = _segment(file)
        return start, [end]
    if kind == "mp3":
        start, fields = _xing(file)
        return start, [start + fields[1]]
    if kind not in _CHUNKS:
        return 0, []
    sound = _CHUNKS[kind].sound
    found = [(start, end) for name, start, end in _chunks(file, kind) if name == sound]
    if not found:
        return 0, []
    start, end = found[-1]
    file.seek(0)
    if file.read(4) in (b"RF64", b"BW64"):
        file.seek(28)
        end = start + int.from_bytes(file.read(8), "little")
    return start, [end, _whole(file, kind)]


def _chunks(file: BinaryIO, kind: str) -> Iterator[tuple[bytes, int, int]]:
    """The name of every chunk, and where its content begins and ends by its header."""
    return islice(_all_chunks(file, _CHUNKS[kind]), _MOST_CHUNKS)


def _all_chunks(file: BinaryIO, layout: _Chunks) -> Iterator[tuple[bytes, int, int]]:
    at, length = layout.first, struct.calcsize(layout.header)
    while True:
        file.seek(at)
        header = file.read(length)
        if len(header) < length:
            return
        name, size = struct.unpack(layout.header, header)
        start = at + length
        end = at + size if layout.with_header else start + size
        yield name, start, end
        if not start <= end < _TOO_FAR:
            return
        at = end + -end % layout.step


def _whole(file: BinaryIO, kind: str) -> int:
    """Where the whole file ends, as its beginning says it; 0 where nothing does."""
    file.seek(0)
    head = file.read(28)
    if head[:4] in (b"RF64", b"BW64"):
        return int.from_bytes(head[20:28], "little") + 8
    if kind == "w64":
        return int.from_bytes(head[16:24], "little")
    order = {"wav": "little", "avi": "little", "aiff": "big"}.get(kind)
    return int.from_bytes(head[4:8], order) + 8 if order else 0  # type: ignore[arg-type]


def _segment(file: BinaryIO) -> tuple[int, int]:
    """Where the one large element of a Matroska file begins and ends; (0, 0) where it does not say."""
    file.seek(4)
    file.seek(_vint(file), io.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0, 0
    length = _vint(file)
    return file.tell(), file.tell() + length


def _vint(file: BinaryIO) -> int:
    """A number whose first byte says how many more follow; all ones means that it is not known."""
    first = int.from_bytes(file.read(1), "big")
    more = 8 - first.bit_length()
    value = (first ^ 1 << 7 - more if first else 0) << 8 * more | int.from_bytes(file.read(more), "big")
    return 1 << 60 if value == (1 << 7 * (more + 1)) - 1 else value


def _xing(file: BinaryIO) -> tuple[int, tuple[int, int]]:
    """Where an MP3's first frame begins, and how many frames and bytes that frame promises; 0 where it does not."""
    file.seek(0)
    head = file.read(1 << 22)  # a cover picture may stand in front
    found = re.search(rb"(?:Xing|Info)(\0\0\0.)(.{8})", head, re.DOTALL)
    if not found:
        return 0, (0, 0)
    flags, first, second = found[1][3], *struct.unpack(">II", found[2])
    frames = first if flags & 1 else 0
    length = (second if flags & 1 else first) if flags & 2 else 0
    return max(0, found.start() - 36), (frames, length)


def _duration(file: BinaryIO, container: Any, stream: Any, kind: str) -> float:
    """What is written as a duration, in seconds; 0 where nothing is or FFmpeg only guesses."""
    if kind != "mp3":
        return (container.duration or 0) / 1e6
    _, (frames, _) = _xing(file)
    rate = stream.rate
    return frames * (1152 if rate >= 32_000 else 576) / rate
