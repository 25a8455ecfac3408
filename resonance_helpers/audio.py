"""Sound in and out: decode anything, resample, write our one WAV format.

PyAV brings FFmpeg's decoders inside its wheel, so a phone's m4a works on a laptop where nobody installed ffmpeg. Files
come from strangers: only known containers are opened (a playlist that names other files is not one) and only known
codecs of sound, never a picture or a video; always through an open file; and decoding stops at ``max_seconds`` and at
``MAX_BYTES``, so that neither a forged header nor an hour of silence in a small file fills the memory.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import numpy as np
import soundfile
import soxr
from av.audio.fifo import AudioFifo
from av.audio.plane import AudioPlane
from av.error import FFmpegError
from av.stream import Discard

from .messages import ResonanceError, message
from .settings import SAMPLE_RATE
from .workspace import replacing

MAX_BYTES = 64 * 1024 * 1024  # of float32 samples that one recording may become: 17 minutes at 16 kHz mono

_CONTAINERS = "wav,w64,mp3,mov,matroska,ogg,flac,aac,amr,asf,aiff,caf,au"
_CODECS = re.compile(
    r"aac|e?ac3|mp2|mp3|opus|vorbis|flac|alac|amr_[nw]b|wma(v1|v2|pro|voice)|gsm(_ms)?|adpcm_(ms|ima_wav|ima_qt)"
    r"|pcm_([suf]\d+\w*|alaw|mulaw)"
)
_OPENING = {
    "format_whitelist": _CONTAINERS,
    # FFmpeg decodes a little of every stream to look at it; with this list, no picture and no video
    "codec_whitelist": "aac,ac3,eac3,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,flac,alac,amrnb,amrwb,wmav1,wmav2",
    "max_probe_packets": "0",  # searching a plain WAV for other formats inside it took 40 ms
}
_RATES = range(4_000, 768_001)  # Hz; below is no speech, above is no microphone but a forged header
# A cut shorter than this is not told apart from encoder padding and rounded durations; it is about one syllable.
_CUT_TOLERANCE_S = 0.2
_SAMPLES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}
_BLOCK = 1 << 20  # values, 4 MB as float32
_ALAC_FRAME = 1 << 16  # samples in a packet; Apple writes 4096, FFmpeg would make room for 16 million
# The mean of 8 channels that have nothing in common keeps an eighth of the energy of each; less is a loss.
_MEAN_LOSES = 0.1


@dataclass(frozen=True)
class Clip:
    """One decoded recording: ``samples`` float32 (n,), mixed to mono, at ``rate`` Hz, around [-1, 1].

    ``channels``, ``codec`` (such as ``aac``, ``pcm_s24le``), ``container`` (such as ``wav``) and ``bits`` for each
    sample are those of the file; a lossy codec has no such depth, its ``bits`` are None.
    """

    samples: np.ndarray
    rate: int
    channels: int
    seconds: float
    codec: str
    container: str
    bits: int | None


# ── Decode ───────────────────────────────────────────────────────────────────
def decode(source: Path | bytes, *, max_seconds: float, name: str | None = None, rate: int | None = None) -> Clip:
    """The whole recording, mixed to mono as ``to_mono`` does, at its own rate, or resampled on the way to ``rate`` Hz.

    ``source`` is a file or a file's bytes; ``name`` is what messages call it (the file's name unless given).
    Raises RZ-0501 (empty), RZ-0502 (not audio), RZ-0503 (cut short), RZ-0504 (longer than ``max_seconds``),
    RZ-0505 (no such file), RZ-0506 (a header that no microphone wrote), RZ-0508 (may not be read) and RZ-0509 (more
    than ``MAX_BYTES`` of samples).
    """
    clip, instead = _decode(source, max_seconds, name, _Wanted("mean", rate))
    if instead is not None:
        clip, _ = _decode(source, max_seconds, name, _Wanted(instead, rate))
    return clip


def decode_channels(source: Path | bytes, *, max_seconds: float, name: str | None = None) -> Clip:
    """As ``decode``, but ``samples`` is (channels, n), every channel at the file's own rate."""
    return _decode(source, max_seconds, name, _Wanted("all"))[0]


def to_mono(channels: np.ndarray) -> np.ndarray:
    """(channels, n) to (n,): the mean of the channels; the strongest one alone where their mean loses the voice.

    That is where channels cancel each other (a plug wired the wrong way round), or where one of many is used.
    """
    mean = channels.mean(axis=0)
    instead = _instead_of_mean(_energies(channels), *_energies(mean[None]))
    return mean if instead is None else channels[instead]


def load(source: Path | bytes, max_seconds: float, name: str | None = None) -> np.ndarray:
    """``decode`` at 16 kHz: float32 (n,) in [-1, 1]."""
    return np.clip(decode(source, max_seconds=max_seconds, name=name, rate=SAMPLE_RATE).samples, -1.0, 1.0)


def resample(samples: np.ndarray, rate: int, to: int = SAMPLE_RATE) -> np.ndarray:
    """``samples`` (n,) from ``rate`` to ``to`` Hz with soxr's high quality, float32."""
    if rate == to:
        return samples.astype(np.float32, copy=False)
    return soxr.resample(samples.astype(np.float32, copy=False), rate, to, quality="HQ")


def open_recording(path: Path) -> io.BufferedReader:
    """``path`` opened for reading; RZ-0508 where the system refuses (no permission, a disk that fails)."""
    try:
        return path.open("rb")
    except OSError as error:
        raise ResonanceError("RZ-0508", name=path.name, reason=error.strerror) from error


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        file: BinaryIO = io.BytesIO(source)
    elif source.is_file():
        opened = open_recording(source)
        opened.raw.name = ""  # type: ignore[attr-defined]  # FFmpeg believes it: a sound called .jpg was none
        file = opened
    else:
        raise ResonanceError("RZ-0505", name=name, path=source)
    with file:
        if not file.seek(0, io.SEEK_END):
            raise ResonanceError("RZ-0501", name=name)
        file.seek(0)
        yield file


@dataclass(frozen=True)
class _Wanted:
    """What to keep of a recording: all channels, their mean, or the one of this index; at ``rate`` or its own."""

    channels: Literal["all", "mean"] | int
    rate: int | None = None


def _decode(source: Path | bytes, max_seconds: float, name: str | None, wanted: _Wanted) -> tuple[Clip, int | None]:
    """The clip, and the index of the channel that ``to_mono`` would take instead of the mean, if any."""
    name = name or (source.name if isinstance(source, Path) else message("audio.bytes"))
    with _opened(source, name) as file:
        head = file.read(12)
        file.seek(0)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused in the end
                return _decode_stream(file, head, max_seconds, name, wanted)
        except (FFmpegError, ValueError, IndexError, UnicodeError) as error:
            # an mp4 keeps its table of contents at the end, so a broken upload is an mp4 that can't be opened
            raise ResonanceError("RZ-0503" if head[4:8] == b"ftyp" else "RZ-0502", name=name) from error


def _decode_stream(
    file: BinaryIO, head: bytes, max_seconds: float, name: str, wanted: _Wanted
) -> tuple[Clip, int | None]:
    is_mp4 = head[4:8] == b"ftyp"
    # tags in GBK are common in Chinese files and must not stop the sound
    with av.open(file, options=_OPENING, metadata_errors="replace") as container:
        stream: Any = container.streams.best("audio")
        if stream is None:
            broken_off = is_mp4 and not container.streams.video
            raise ResonanceError("RZ-0503" if broken_off else "RZ-0502", name=name)
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        if not _CODECS.fullmatch(codec):
            raise ResonanceError("RZ-0502", name=name)
        if codec == "alac" and int.from_bytes((stream.codec_context.extradata or b"")[12:16], "big") > _ALAC_FRAME:
            raise ValueError("a packet as long as no recorder writes it")
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all  # a phone's video is not even read
        decoder = _Decoder(container, stream, max_seconds, name)
        kept = _Kept(wanted, name)
        for block in decoder.blocks():
            kept.add(block, decoder.rate)
        if not decoder.count:
            raise ResonanceError("RZ-0503" if decoder.lost_s or is_mp4 else "RZ-0501", name=name)
        samples = kept.all()
        if not np.isfinite(samples).all():
            raise ValueError("samples that are not numbers")
        seconds = decoder.count / decoder.rate
        missing_s = max(decoder.lost_s, _declared_seconds(file, container) - seconds)
        # FLAC, ADTS and AMR have no table of contents: a last packet that fails is where the file was cut
        cut_packet = decoder.lost_last and container.format.name in ("flac", "aac", "amr")
        if missing_s > _CUT_TOLERANCE_S or cut_packet or _ogg_is_cut(file, head):
            raise ResonanceError("RZ-0503", name=name)
        bits = _bits(stream.codec_context)
        rate = wanted.rate or decoder.rate
        clip = Clip(samples, rate, stream.channels, seconds, codec, container.format.name, bits)
        return clip, kept.instead_of_mean


class _Decoder:
    """The sound of one stream, within bounds; ``count`` samples of each channel so far, at ``rate`` Hz.

    ``lost_s``: how many seconds could not be decoded; ``lost_last``: whether the last packet is among them.
    """

    def __init__(self, container: Any, stream: Any, max_seconds: float, name: str) -> None:
        self.rate, self.count = 0, 0
        self.lost_s, self.lost_last = 0.0, False
        self._container, self._stream = container, stream
        self._max_seconds, self._name = max_seconds, name

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 (channels, n), of many frames at once: numpy takes as long for a few samples as for thousands."""
        waiting, kind = AudioFifo(), ("", 0)
        for frame in self._frames():
            # the fifo itself would read a second channel that a later frame does not have
            if (new := (frame.format.name, frame.layout.nb_channels)) != kind:
                yield from _as_float(waiting)
                waiting, kind = AudioFifo(), new
            frame.pts = None  # a gap in the time stamps is none in the sound
            waiting.write(frame)
            if waiting.samples >= self.rate:
                yield from _as_float(waiting)
        yield from _as_float(waiting)

    def _frames(self) -> Iterator[Any]:
        for packet in _packets(self._container, self._stream):
            try:
                frames = packet.decode()
            except FFmpegError:
                self.lost_s += float((packet.duration or 0) * (packet.time_base or 0))
                self.lost_last = True
                continue
            self.lost_last = self.lost_last and packet.size == 0  # an empty packet only flushes the decoder
            for frame in frames:
                self._count(frame)
                yield frame

    def _count(self, frame: Any) -> None:
        self.rate = self.rate or _plausible(frame.sample_rate, self._name)
        if frame.sample_rate != self.rate:
            raise ValueError("the sample rate changes in the middle")
        self.count += frame.samples
        if self.count > self._max_seconds * self.rate:
            raise ResonanceError("RZ-0504", name=self._name, limit=self._max_seconds)
        _within_bytes(frame.samples * frame.layout.nb_channels, self._name)


class _Kept:
    """What is wanted of the blocks that come from a decoder."""

    def __init__(self, wanted: _Wanted, name: str) -> None:
        self._wanted, self._name = wanted, name
        self._resampler: soxr.ResampleStream | None = None
        self._blocks: list[np.ndarray] = []
        self._energies: list[list[float]] = []  # of each block's channels
        self._mean_energy = 0.0

    def add(self, block: np.ndarray, rate: int) -> None:
        """``block`` is (channels, n) at ``rate`` Hz."""
        if self._wanted.channels == "all":
            self._keep(block)
            return
        if self._wanted.channels == "mean":
            mono = block.mean(axis=0) if len(block) > 1 else block[0]
            self._energies.append(_energies(block))
            self._mean_energy += float(np.dot(mono, mono))
        else:
            mono = block[min(self._wanted.channels, len(block) - 1)]
        if self._wanted.rate and self._wanted.rate != rate:
            self._resampler = self._resampler or soxr.ResampleStream(rate, self._wanted.rate, 1, quality="HQ")
            mono = self._resampler.resample_chunk(np.ascontiguousarray(mono))
        self._keep(mono)

    def all(self) -> np.ndarray:
        """float32 (n,), or (channels, n) where all are wanted."""
        if self._resampler:
            self._keep(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return np.concatenate(self._blocks, axis=-1)

    @property
    def instead_of_mean(self) -> int | None:
        """The index of the channel that ``to_mono`` would take instead of the mean, if any."""
        totals = [sum(each) for each in zip_longest(*self._energies, fillvalue=0.0)]
        return _instead_of_mean(totals, self._mean_energy)

    def _keep(self, block: np.ndarray) -> None:
        self._blocks.append(block)
        _within_bytes(sum(each.size for each in self._blocks), self._name)


def _within_bytes(values: int, name: str) -> None:
    if 4 * values > MAX_BYTES:
        raise ResonanceError("RZ-0509", name=name, limit_mb=MAX_BYTES >> 20)


def _energies(channels: np.ndarray) -> list[float]:
    """Of each channel of (channels, n)."""
    return [float(np.dot(channel, channel)) for channel in channels]


def _instead_of_mean(energies: Sequence[float], mean_energy: float) -> int | None:
    loudest = max(energies, default=0.0)
    return energies.index(loudest) if mean_energy < _MEAN_LOSES * loudest else None


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream; a file that is cut ends them, as the end of the file does."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, EOFError):
            return


def _plausible(rate: int, name: str) -> int:
    if rate not in _RATES:
        raise ResonanceError("RZ-0506", name=name, rate=rate)
    return rate


def _as_float(waiting: AudioFifo) -> Iterator[np.ndarray]:
    """What waits as float32 (channels, n), integers scaled to [-1, 1), no more than _BLOCK values at once."""
    frame = waiting.read()
    if frame is None:
        return
    array = _array(frame)
    channels = len(array)
    step = max(1, _BLOCK // channels)
    for start in range(0, array.shape[1], step):
        block = array[:, start : start + step].astype(np.float32, order="C")
        if array.dtype.kind != "f":
            half = np.float32(2.0 ** (8 * array.dtype.itemsize - 1))
            block -= half if array.dtype.kind == "u" else 0
            block /= half
        yield block


def _array(frame: Any) -> np.ndarray:
    """The samples of a frame, (channels, n).

    ``frame.to_ndarray`` (PyAV 18) looks for the end of a list of channels that has none from eight channels on, and
    reads memory that belongs to others: the sound of a 7.1 video was a crash.
    """
    name, channels = frame.format.name, frame.layout.nb_channels
    dtype = _SAMPLES.get(name.removesuffix("p"))
    if dtype is None:
        raise ValueError(f"samples of the kind {name}")
    packed = frame.format.is_packed
    planes: list[Any] = [AudioPlane(frame, index) for index in range(1 if packed else channels)]
    if packed:
        return np.frombuffer(planes[0], dtype, frame.samples * channels).reshape(-1, channels).T
    return np.stack([np.frombuffer(plane, dtype, frame.samples) for plane in planes])


def _bits(context: Any) -> int | None:
    if pcm := re.fullmatch(r"pcm_[a-z]+(\d+)\D*", context.codec.canonical_name):
        return int(pcm[1])
    # FLAC above 16 bits is decoded into 32 and holds 24
    return min(context.format.bits, 24) if context.codec.lossless else None


# ── Was the file cut short? ──────────────────────────────────────────────────
def _declared_seconds(file: BinaryIO, container: Any) -> float:
    """The length that the file itself declares in seconds; 0 where it declares none or FFmpeg would only guess one.

    A guess from the bit rate (MP3 without a Xing header, ADTS, AMR) is no promise, so it can't be broken.
    """
    kind = container.format.name
    if kind == "wav":
        return _wav_seconds(file)
    if kind == "mp3":
        file.seek(0)
        head = file.read(1 << 22)  # the Xing header stands in the first frame, behind a cover picture perhaps
        if b"Xing" not in head and b"Info" not in head:
            return 0.0
    if kind in ("aac", "amr"):
        return 0.0
    return (container.duration or 0) / av.time_base


def _wav_seconds(file: BinaryIO) -> float:
    """What the data chunk of a RIFF file promises; FFmpeg itself trims the promise to the file's size."""
    file.seek(12)
    bytes_per_second = 0
    while len(header := file.read(8)) == 8:
        kind, size = header[:4], struct.unpack("<I", header[4:])[0]
        if kind == b"fmt ":
            fields = file.read(min(size, 16))  # the size is whatever a forger liked
            bytes_per_second = int.from_bytes(fields[8:12], "little")
            file.seek(size - len(fields), io.SEEK_CUR)
        elif kind == b"data":
            streamed = size in (0, 0x7FFFFFFF, 0xFFFFFFFF)  # written to a pipe: the length was never filled in
            return 0.0 if streamed or not bytes_per_second else size / bytes_per_second
        else:
            file.seek(size, io.SEEK_CUR)
        file.seek(size % 2, io.SEEK_CUR)
    return 0.0


def _ogg_is_cut(file: BinaryIO, head: bytes) -> bool:
    """Whether the last Ogg page is not all there: its table of segments says how long it must be."""
    if not head.startswith(b"OggS"):
        return False
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - (1 << 17)))  # a page has at most 65,307 bytes
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27:
        return True
    segments = page[27 : 27 + page[26]]
    return len(page) < 27 + page[26] + sum(segments)


# ── Our own WAV ──────────────────────────────────────────────────────────────
def read_wav(path: Path) -> np.ndarray:
    """Our own 16 kHz mono 16-bit WAV as float32 (n,). RZ-0505 (no such file), RZ-0507 (another kind of file)."""
    if not path.is_file():
        raise ResonanceError("RZ-0505", name=path.name, path=path)
    if not is_our_format(path):
        raise ResonanceError("RZ-0507", name=path.name)
    return soundfile.read(path, dtype="float32")[0]


def is_our_format(path: Path) -> bool:
    """Whether ``path`` is already a 16 kHz mono 16-bit WAV, by its header."""
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError:
        return False
    return (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", SAMPLE_RATE, 1)


def write_wav(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Write ``samples``, (n,) or (channels, n), as a 16-bit WAV, whole or not at all; what is too loud is clipped."""
    file = io.BytesIO()
    soundfile.write(file, to_pcm16(samples).T, rate, subtype="PCM_16", format="WAV")
    with replacing(path) as temporary:
        temporary.write_bytes(file.getvalue())  # not soundfile: its error on a full disk is only "System error"


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """float to int16. Clipped, because a plain cast turns a sample above 1.0 into a loud click below zero."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
