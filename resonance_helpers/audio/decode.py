"""Sound in and out: decode anything, resample, write our one WAV format.

PyAV brings FFmpeg's decoders inside its wheel, so a phone's m4a works on a laptop without ffmpeg. Files
come from strangers: only known containers are opened (``formats``: a playlist that names other files is not one) and
only known codecs of sound, never a picture or a video; always through an open file; and decoding stops at
``max_seconds`` and at ``MAX_BYTES``, so that neither a forged header nor an hour of silence in a small file fills the
memory. What a header says of itself is believed as far as ``headers`` tells.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
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

from ..core.messages import ResonanceError, message
from ..core.settings import SAMPLE_RATE
from ..core.workspace import replacing
from . import formats, headers

MAX_BYTES = 64 * 1024 * 1024  # of float32 samples that one recording may become: 17 minutes at 16 kHz mono

_RATES = range(4_000, 768_001)  # Hz; below is no speech, above is no microphone but a forged header
# A cut shorter than this is not told apart from encoder padding and rounded durations; it is about one syllable.
_CUT_TOLERANCE_S = 0.2
_SAMPLES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}
_BLOCK = 1 << 20  # values, 4 MB as float32
_HEAD = 4096  # bytes, enough to tell what a file is
_ALAC_FRAME = 1 << 16  # samples in a packet; Apple writes 4096, FFmpeg would make room for 16 million
# The mean of 8 channels that have nothing in common keeps an eighth of the energy of each; less is a loss.
_MEAN_LOSES = 0.1
# A track whose energy is less than this share of another's is silent beside it: 20 dB.
_SILENT_TRACK = 0.01
_MOST_TRACKS = 8  # that are listened to
# Formats without a table of contents: a frame that can't be decoded in front of nothing but such frames is no sound.
_FRAMES_ALONE = ("mp3", "aac", "amr", "flac", "ac3", "eac3", "dts")


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

    ``source`` is a file or a file's bytes; ``name`` is what messages call it (the file's name unless given). Of several
    tracks the first is taken, or the loudest where the first is silent beside it. Raises RZ-0501 (empty), RZ-0502 (not
    audio), RZ-0503 (cut short), RZ-0504 (longer than ``max_seconds``), RZ-0505 (no such file), RZ-0506 (a header that
    no microphone wrote), RZ-0508 (may not be read), RZ-0509 (more than ``MAX_BYTES`` of samples), RZ-0530 (a voice
    message of WeChat) and RZ-0531 (encrypted), and nothing else.
    """
    decoded = _decode(source, max_seconds, name, _Wanted("mean", rate))
    if decoded.instead is not None:
        decoded = _decode(source, max_seconds, name, _Wanted(decoded.instead, rate, decoded.track))
    return decoded.clip


def decode_channels(source: Path | bytes, *, max_seconds: float, name: str | None = None) -> Clip:
    """As ``decode``, but ``samples`` is (channels, n), every channel at the file's own rate."""
    return _decode(source, max_seconds, name, _Wanted("all")).clip


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
    """What to keep of a recording: all channels, their mean, or the one of this index; at ``rate`` or its own; of the
    track of this number, 0 is the one that FFmpeg would play, or of the one with the sound."""

    channels: Literal["all", "mean"] | int
    rate: int | None = None
    track: int | None = None


@dataclass(frozen=True)
class _Decoded:
    """A clip; the index of the channel that ``to_mono`` would take instead of the mean, if any; and its track, of how
    many."""

    clip: Clip
    instead: int | None
    track: int
    tracks: int

    @property
    def power(self) -> float:
        return float(np.var(self.clip.samples, axis=-1).max())


def _decode(source: Path | bytes, max_seconds: float, name: str | None, wanted: _Wanted) -> _Decoded:
    name = name or (source.name if isinstance(source, Path) else message("audio.bytes"))
    with _opened(source, name) as file:
        head = file.read(_HEAD)
        try:
            first = loudest = _decode_track(file, head, max_seconds, name, wanted)
        except ResonanceError as error:
            if error.code == "RZ-0501" and wanted.track is None:  # an empty track, perhaps in front of another
                with suppress(ResonanceError):
                    return _decode_track(file, head, max_seconds, name, replace(wanted, track=1))
            raise
        for number in range(1, min(first.tracks, _MOST_TRACKS) if wanted.track is None else 0):
            with suppress(ResonanceError):
                other = _decode_track(file, head, max_seconds, name, replace(wanted, track=number))
                loudest = max(loudest, other, key=lambda each: each.power)
        return loudest if first.power < _SILENT_TRACK * loudest.power else first


def _decode_track(file: BinaryIO, head: bytes, max_seconds: float, name: str, wanted: _Wanted) -> _Decoded:
    """One track, and whatever goes wrong with it as an error of ours: a stranger's file may break anything."""
    is_cut = False
    try:
        mended, is_cut = headers.mended(file, head)
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused in the end
            decoded = _decode_stream(file, mended, head, max_seconds, name, wanted)
    except ResonanceError as error:
        if is_cut and error.code == "RZ-0501":
            raise ResonanceError("RZ-0503", name=name) from error
        raise
    except MemoryError as error:
        raise _too_large(name) from error
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, FFmpegError):  # the disk, not the file
            raise ResonanceError("RZ-0508", name=name, reason=error.strerror) from error
        raise ResonanceError("RZ-0503", name=name) if is_cut else _unreadable(head, name) from error
    if is_cut:
        raise ResonanceError("RZ-0503", name=name)
    return decoded


def _unreadable(head: bytes, name: str) -> ResonanceError:
    """What to say of a file that can't be opened as sound."""
    if formats.is_silk(head):
        return ResonanceError("RZ-0530", name=name)
    if encrypted := formats.encrypted(head, name):
        return ResonanceError("RZ-0531", name=name, kind=encrypted)
    kind = formats.kind(head)
    if kind == "?" and head[4:8] == b"ftyp":
        # an mp4 keeps its table of contents at the end, so a broken upload is an mp4 that can't be opened
        return ResonanceError("RZ-0503", name=name)
    return _not_audio(name, kind)


def _not_audio(name: str, kind: str) -> ResonanceError:
    return ResonanceError("RZ-0502", name=name, kind=kind, formats=formats.names())


def _too_large(name: str) -> ResonanceError:
    return ResonanceError("RZ-0509", name=name, limit_mb=MAX_BYTES >> 20)


def _decode_stream(
    file: BinaryIO, mended: headers.Mended, head: bytes, max_seconds: float, name: str, wanted: _Wanted
) -> _Decoded:
    is_mp4 = head[4:8] == b"ftyp"
    # tags in GBK are common in Chinese files and must not stop the sound
    with av.open(mended, format=formats.by_name(name), options=formats.OPENING, metadata_errors="replace") as container:
        best: Any = container.streams.best("audio")
        if best is None:
            if is_mp4 and not container.streams.video:
                raise ResonanceError("RZ-0503", name=name)
            raise _without_sound(container, head, name)
        tracks = [stream for stream in (best, *container.streams.audio) if formats.CODECS.fullmatch(_codec(stream))]
        tracks = list(dict.fromkeys(tracks))
        if not tracks:
            raise _without_sound(container, head, name, best)
        stream: Any = tracks[wanted.track or 0]
        codec = _codec(stream)
        if codec == "alac" and int.from_bytes((stream.codec_context.extradata or b"")[12:16], "big") > _ALAC_FRAME:
            raise ValueError("a packet as long as no recorder writes it")
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all  # a phone's video is not even read
        decoder = _Decoder(container, stream, mended.size, max_seconds, name)
        kept = _Kept(wanted, name)
        for block in decoder.blocks():
            kept.add(block, decoder.rate)
        if not decoder.count:
            raise ResonanceError("RZ-0503" if decoder.lost_s or is_mp4 else "RZ-0501", name=name)
        samples = kept.all()
        if not np.isfinite(samples).all():
            raise ValueError("samples that are not numbers")
        seconds = decoder.count / decoder.rate
        missing_s = headers.missing_seconds(file, container, stream, seconds, decoder.packets)
        if decoder.is_cut or missing_s > _CUT_TOLERANCE_S:
            raise ResonanceError("RZ-0503", name=name)
        bits = _bits(stream.codec_context)
        rate = wanted.rate or decoder.rate
        clip = Clip(samples, rate, stream.channels, seconds, codec, container.format.name, bits)
        return _Decoded(clip, kept.instead_of_mean, wanted.track or 0, len(tracks))


def _codec(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def _without_sound(container: Any, head: bytes, name: str, stream: Any = None) -> ResonanceError:
    """What to say where there is no sound in a known container, or none that is decoded."""
    if encrypted := formats.encrypted(head, name):
        return ResonanceError("RZ-0531", name=name, kind=encrypted)
    what = "video only" if container.streams.video else "?"
    if stream is not None:
        what = stream.codec_context.codec.long_name if stream.codec_context else "unknown codec"
    return _not_audio(name, f"{container.format.long_name}: {what}")


class _Decoder:
    """The sound of one stream, within bounds; ``count`` samples of each channel so far, at ``rate`` Hz, of ``packets``;
    the file has ``end`` bytes.

    ``lost_s``: how many seconds could not be decoded, between others or, where there is a table of contents, behind.
    """

    def __init__(self, container: Any, stream: Any, end: int, max_seconds: float, name: str) -> None:
        self.rate, self.count, self.packets, self.lost_s = 0, 0, 0, 0.0
        self._behind_s = 0.0  # that could not be decoded since the last packet that could
        self._last_failed = False
        self._end = end
        self._container, self._stream = container, stream
        self._max_seconds, self._name = max_seconds, name

    @property
    def is_cut(self) -> bool:
        """Whether packets say that the end is not there, when all are read."""
        if self.lost_s > _CUT_TOLERANCE_S:
            return True
        kind = self._container.format.name
        if kind == "flac":
            declared_s = (self._container.duration or 0) / av.time_base
            return self._last_failed and not 0 < declared_s <= self.count / self.rate + _CUT_TOLERANCE_S
        return self._last_failed and kind in ("aac", "amr", "flv", "mpegts", "mpeg")

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
        failed, alone = False, self._container.format.name in _FRAMES_ALONE
        for packet in _packets(self._container, self._stream):
            self.packets += packet.size > 0
            try:
                frames = packet.decode()
            except FFmpegError:
                self._behind_s += float((packet.duration or 0) * (packet.time_base or 0))
                # a frame that the file's end cuts; where others failed before or more follows, it is no frame
                self._last_failed = not failed and (not alone or packet.pos + packet.size == self._end)
                failed = True
                continue
            if packet.size:  # an empty packet only flushes the decoder
                self.lost_s, self._behind_s, failed = self.lost_s + self._behind_s, 0.0, False
            for frame in frames:
                self._count(frame)
                yield frame
        if not alone:
            self.lost_s += self._behind_s

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
            self._mean_energy += sum(_energies(mono[None]))
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
        raise _too_large(name)


def _energies(channels: np.ndarray) -> list[float]:
    """Of each channel of (channels, n), without a constant offset, which is no sound."""
    return [float(np.var(channel, dtype=np.float64) * channel.size) if channel.size else 0.0 for channel in channels]


def _instead_of_mean(energies: Sequence[float], mean_energy: float) -> int | None:
    loudest = max(energies, default=0.0)
    return energies.index(loudest) if mean_energy < _MEAN_LOSES * loudest else None


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream; a file that is cut ends them, as the end of the file does."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, EOFError, BlockingIOError):  # the last of an MPEG stream that ends in padding
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


def rounded(samples: np.ndarray) -> np.ndarray:
    """``samples`` as ``read_wav`` gives them back once they are written: float32 of 16 bits."""
    return to_pcm16(samples).astype(np.float32) / 32768.0


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """float to int16. Clipped, because a plain cast turns a sample above 1.0 into a loud click below zero."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
