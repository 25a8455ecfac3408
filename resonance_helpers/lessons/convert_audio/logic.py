"""Lesson 05: every labelled recording becomes a 16 kHz mono 16-bit WAV in ``audio/``; originals are never touched.

Decoding and resampling run in threads (PyAV and soxr let go of the interpreter lock; processes would cost seconds of
start-up on Windows for a second of work), and writing in others, which mostly wait for the disk. Names are given in one
place and in label order, so they are the same on every run, and a WAV that we did not write is never overwritten.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

import numpy as np

from ...audio import decode as audio
from ...audio import quality as clip_quality
from ...audio.quality import Quality, QualityLevel
from ...core.messages import ResonanceError, message
from ...core.settings import MAX_CLIP_S, MIN_RECORDINGS, SAMPLE_RATE
from ...core.workspace import Workspace, locked, remove_leftovers
from ...dataset.index import (
    Conversion,
    Match,
    Recordings,
    Stamp,
    file_hash,
    known_hash,
    labelled,
    name_suffix,
    read_index,
    repaired,
    settled,
    stamp,
    without_suffix,
    write_index,
)
from ...dataset.labels import Label

Status = Literal["converted", "unchanged", "as_is", "left_out"]
OnProgress = Callable[[int, int], None]
_Result = TypeVar("_Result")

_TELEPHONE_RATE = 8_000  # Hz
_WAV_HEADER_BYTES = 44
_WRITERS = 4  # a WAV is on the disk before it gets its name; four that wait for that together wait a quarter of it


@dataclass(frozen=True)
class ConvertedRow:
    """What became of one label's recording. ``as_is``: it was in our format already and is used where it lies.

    ``source`` and ``wav`` are relative to DATA_DIR; ``reasons`` are sentences; a row that is left out has no ``wav``.
    """

    audio: str
    text: str
    source: str | None
    wav: str | None
    status: Status
    quality: Quality | None
    level: QualityLevel
    codes: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ConversionResult:
    """One run: a row for each label, in label order, and ``notes`` (sentences) on WAVs that were not overwritten."""

    rows: tuple[ConvertedRow, ...]
    notes: tuple[str, ...]

    @property
    def converted(self) -> int:
        return self._count("converted")

    @property
    def unchanged(self) -> int:
        return self._count("unchanged")

    @property
    def as_is(self) -> int:
        return self._count("as_is")

    @property
    def left_out(self) -> tuple[ConvertedRow, ...]:
        return tuple(row for row in self.rows if row.status == "left_out")

    @property
    def seconds_total(self) -> float:
        """Seconds of sound that training and testing can use."""
        return sum(row.quality.seconds for row in self.rows if row.quality and row.wav)

    def _count(self, status: Status) -> int:
        return sum(row.status == status for row in self.rows)


def convert(
    workspace: Workspace, on_progress: OnProgress | None = None, workers: int | None = None
) -> ConversionResult:
    """Convert what is new or has changed, and write the index.

    A recording that can't be used is named in ``left_out`` with its code while the rest go on. Raises what
    ``labelled`` raises, and RZ-0004 when the disk is full: what was written until then is whole, and the next run
    goes on from there.
    """
    labels = labelled(workspace)
    with locked(workspace.cache / "conversion"):  # another one's half-written files aren't those of a killed one
        return _convert(workspace, labels, on_progress, workers or min(4, os.cpu_count() or 1))


def _convert(
    workspace: Workspace, labels: Sequence[Label], on_progress: OnProgress | None, workers: int
) -> ConversionResult:
    index = read_index(workspace)
    matches = Recordings(workspace, index).match(labels)
    shelf = _Shelf(workspace, index, matches)
    rows = []
    try:
        with ThreadPoolExecutor(workers) as decoders, ThreadPoolExecutor(_WRITERS) as writers:
            prepared = _in_order((decoders.submit(_prepare, shelf, match) for match in matches), 4 * workers)
            settled = (writers.submit(_settle, shelf, each, shelf.name_for(each)) for each in prepared)
            for row in _in_order(settled, _WRITERS):
                rows.append(row)
                if on_progress:
                    on_progress(len(rows), len(matches))
    finally:
        shelf.remove_leftovers()
        shelf.write_index()
    return ConversionResult(tuple(rows), tuple(shelf.notes))


# ── One recording ────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class _Prepared:
    """One recording after the work that runs beside others.

    ``outcome`` is its line of the index when nothing needs to be written, float32 samples (n,) at 16 kHz when a WAV
    does, or why it is left out.
    """

    match: Match
    source_sha256: str
    source_stamp: Stamp | None
    outcome: Conversion | np.ndarray | ResonanceError
    quality: Quality | None = None


def _in_order(futures: Iterable[Future[_Result]], ahead: int) -> Iterator[_Result]:
    """The results in order; only ``ahead`` futures are taken before the first is waited for: memory stays bounded."""
    waiting: deque[Future[_Result]] = deque()
    for future in futures:
        waiting.append(future)
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _prepare(shelf: _Shelf, match: Match) -> _Prepared:
    """Decode and resample one recording, unless it is unchanged or usable as it is. Reads only."""
    if match.source is None:
        return _Prepared(match, "", None, ResonanceError(match.problem or "RZ-0420", **match.facts))
    path, digest, found = shelf.path(match.source), "", None
    try:
        found, digest = shelf.hash_of(match.source)
        entry = shelf.unchanged(match.source, digest)
        if entry:
            return _Prepared(match, digest, found, entry, entry.quality)
        samples = audio.rounded(audio.load(path, MAX_CLIP_S))  # what is measured is what is written
        quality = clip_quality.measure(samples)
        level, codes = clip_quality.judge(quality, MAX_CLIP_S)
        if level == "unusable":
            raise ResonanceError(codes[0], name=path.name, **clip_quality.facts(quality, MAX_CLIP_S))
    except ResonanceError as error:
        return _Prepared(match, digest, found, error)
    if shelf.is_in_place(match.source):
        in_place = Conversion(match.source, digest, match.source, digest, quality.seconds, quality=quality)
        return _Prepared(match, digest, found, replace(in_place, wav_stamp=found), quality)
    return _Prepared(match, digest, found, samples, quality)


def _settle(shelf: _Shelf, each: _Prepared, wav: str) -> ConvertedRow:
    """Write what has to be written as ``wav``, put it into the index, and say what became of it."""
    label, source, outcome = each.match.label, each.match.source or "", each.outcome
    status: Status
    row = partial(ConvertedRow, label.audio, label.text, each.match.source)
    if isinstance(outcome, ResonanceError):
        if source:
            shelf.record_problem(source, each.source_sha256, outcome.code)
        return row(None, "left_out", each.quality, "unusable", (outcome.code,), (str(outcome),))
    if isinstance(outcome, Conversion):
        entry = shelf.record(outcome, each.source_stamp)
        status = "as_is" if entry.wav == source else "unchanged"
    else:
        entry, status = shelf.write(each, wav, outcome), "converted"
    return row(entry.wav, status, each.quality, *_verdict(each.quality, PurePosixPath(source).name))


def _verdict(quality: Quality | None, name: str) -> tuple[QualityLevel, tuple[str, ...], tuple[str, ...]]:
    assert quality is not None  # whatever was decoded was measured
    level, codes = clip_quality.judge(quality, MAX_CLIP_S)
    return level, codes, tuple(clip_quality.explain(code, quality, MAX_CLIP_S, name) for code in codes)


# ── Names and the index ──────────────────────────────────────────────────────
class _Shelf:
    """The folder ``audio/``: which WAVs there are ours, what a new one may be called, and the index of them."""

    def __init__(self, workspace: Workspace, index: Mapping[str, Conversion], matches: tuple[Match, ...]) -> None:
        self.notes: list[str] = []
        self._workspace = workspace
        self._before = index
        self._after: dict[str, Conversion] = {}
        # Every name that is taken, folded because Windows and macOS do not tell x.wav from X.wav.
        self._owner = {each.wav.casefold(): each.source for each in index.values() if each.wav}
        self._sources = [match.source for match in matches if match.source]
        self._owner |= {source.casefold(): source for source in self._sources}

    def path(self, name: str) -> Path:
        return self._workspace.data_dir / name

    def hash_of(self, source: str) -> tuple[Stamp | None, str]:
        """Stamp and SHA-256 of a source, which is read only where it is new or its stamp has changed."""
        before, found = self._before.get(source), stamp(self.path(source))  # before it is read: a later change shows
        digest = known_hash(self.path(source), *((before.source_sha256, before.source_stamp) if before else ("", None)))
        return settled(found), digest

    def unchanged(self, source: str, source_sha256: str) -> Conversion | None:
        """The earlier conversion of ``source``, if both it and its WAV are what they were; measured, if it was not."""
        entry = self._before.get(source)
        if not entry or entry.problem or entry.source_sha256 != source_sha256 or not self.path(entry.wav).is_file():
            return None
        found = stamp(self.path(entry.wav))
        if not self._holds_ours(entry):
            return None
        quality = entry.quality or clip_quality.measure(audio.read_wav(self.path(entry.wav)))
        return replace(entry, quality=quality, wav_stamp=found if found == entry.wav_stamp else settled(found))

    def is_in_place(self, source: str) -> bool:
        """Whether ``source`` lies in ``audio/`` in our format already, as the guide has it."""
        return source.startswith(f"{self._workspace.audio.name}/") and audio.is_our_format(self.path(source))

    def name_for(self, each: _Prepared) -> str:
        """The name for the WAV of a recording, which overwrites no file of the user's; empty where none is written."""
        source, samples = each.match.source or "", each.outcome
        if not isinstance(samples, np.ndarray):
            return ""
        before = self._before.get(source)
        earlier = [before.wav] if before and before.wav and before.wav != source else []
        names = chain(earlier, _names(self._workspace.audio.name, source))
        wav = next(name for name in names if self._may_take(name, source, samples))
        if earlier and wav != earlier[0]:
            self.notes.append(message("RZ-0520", wav=earlier[0], new=wav))
        self._owner[wav.casefold()] = source
        return wav

    def write(self, each: _Prepared, wav: str, samples: np.ndarray) -> Conversion:
        audio.write_wav(self.path(wav), samples)
        found, sha256 = stamp(self.path(wav)), file_hash(self.path(wav))  # ours: no need to wait until it has settled
        seconds = len(samples) / SAMPLE_RATE
        entry = Conversion(each.match.source or "", each.source_sha256, wav, sha256, seconds, quality=each.quality)
        return self.record(replace(entry, wav_stamp=found), each.source_stamp)

    def record(self, entry: Conversion, source_stamp: Stamp | None) -> Conversion:
        self._after[entry.source] = replace(entry, source_stamp=source_stamp)
        return entry

    def record_problem(self, source: str, source_sha256: str, code: str) -> None:
        """Remember that ``source`` was left out; a WAV that an earlier version of it became stays ours."""
        before = self._before.get(source)
        wav = (before.wav, before.wav_sha256) if before and before.wav != source else ("", "")
        self._after[source] = Conversion(source, source_sha256, *wav, 0.0, code)

    def write_index(self) -> None:
        """Write the index if it says anything new. What is no longer labelled stays in it while its WAV is there."""
        done = {source: self._after[source] for source in self._sources if source in self._after}
        others = (each for each in self._before.values() if each.source not in done)
        kept = {each.source: each for each in others if each.wav and self.path(each.wav).is_file()}
        if (after := done | kept) != dict(self._before) or not self._workspace.conversion_index.exists():
            write_index(self._workspace, after.values())

    def remove_leftovers(self) -> None:
        """Remove what killed conversions left half written: it holds a person's voice."""
        if self._workspace.audio.is_dir():
            wavs = {each.wav for each in (*self._before.values(), *self._after.values()) if each.wav}
            remove_leftovers(self._workspace.conversion_index, *map(self.path, wavs))

    def _holds_ours(self, entry: Conversion) -> bool:
        path = self.path(entry.wav)
        return path.is_file() and known_hash(path, entry.wav_sha256, entry.wav_stamp) == entry.wav_sha256

    def _may_take(self, name: str, source: str, samples: np.ndarray) -> bool:
        folded = name.casefold()
        if folded == source.casefold() or self._owner.get(folded, source) != source:
            return False
        path = self.path(name)
        before = self._before.get(source)
        if not path.exists() or (before and before.wav == name and self._holds_ours(before)):
            return True
        # The very samples that we would write: ours, from a run that was killed before it wrote the index.
        if not audio.is_our_format(path):
            return False
        return np.array_equal(audio.to_pcm16(audio.read_wav(path)), audio.to_pcm16(samples))


def _names(folder: str, source: str) -> Iterator[str]:
    """What the WAV of ``source`` may be called, best first: x.wav, x_m4a.wav (x_16k.wav for a WAV or where the name
    has no suffix), then numbered."""
    name = PurePosixPath(repaired(source)).name
    suffix = name_suffix(name)[1:].lower()
    longer = f"{folder}/{without_suffix(name)}_{'16k' if suffix in ('wav', '') else suffix}"
    yield f"{folder}/{without_suffix(name)}.wav"
    yield f"{longer}.wav"
    yield from (f"{longer}_{number}.wav" for number in count(2))


# ── The same clip at three rates ─────────────────────────────────────────────
@dataclass(frozen=True)
class RateVersion:
    """One way to write down a clip: ``samples`` float32 (channels, n) at ``rate`` Hz.

    ``bits`` is the depth of each sample, None for a lossy format that has none; ``wav_bytes`` is the size as a plain
    WAV (at 16 bits where there is no depth).
    """

    key: Literal["own", "whisper", "telephone"]
    samples: np.ndarray
    rate: int
    bits: int | None
    wav_bytes: int

    @property
    def name(self) -> str:
        """What a picture calls it, in the user's language."""
        return message(f"rates.{self.key}")

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def mono(self) -> np.ndarray:
        """float32 (n,), as ``audio.to_mono`` mixes it."""
        return audio.to_mono(self.samples)


@dataclass(frozen=True)
class RateComparison:
    """A recording as it came, at 16 kHz mono as Whisper hears it, and at 8 kHz mono as a telephone carries it."""

    name: str
    codec: str
    file_bytes: int
    seconds: float
    versions: tuple[RateVersion, RateVersion, RateVersion]

    @property
    def pictured(self) -> tuple[tuple[str, np.ndarray, int], ...]:
        """(name, mono samples (n,), rate) of each version, as the chart takes them."""
        return tuple((version.name, version.mono, version.rate) for version in self.versions)


def compare_rates(path: Path) -> RateComparison:
    """The three versions of one recording for lesson 05's picture. Raises as ``audio.decode`` does."""
    clip = audio.decode_channels(path, max_seconds=MAX_CLIP_S)
    mono = audio.to_mono(clip.samples)
    versions = (
        _version("own", clip.samples, clip.rate, clip.bits),
        _version("whisper", audio.resample(mono, clip.rate)[None], SAMPLE_RATE, 16),
        _version("telephone", audio.resample(mono, clip.rate, _TELEPHONE_RATE)[None], _TELEPHONE_RATE, 16),
    )
    return RateComparison(path.name, clip.codec, path.stat().st_size, clip.seconds, versions)


def example(workspace: Workspace, number: int = 0) -> RateComparison:
    """``compare_rates`` of the ``number``-th labelled recording, counted from 1, or the nearest that can be read; of 0,
    the one of which a telephone loses most.

    Raises RZ-0406 when none can be read, and what ``labelled`` raises.
    """
    labels = labelled(workspace)
    sources = [match.source for match in Recordings(workspace).match(labels) if match.source]
    if number:
        sources = sources[number - 1 :] + sources[: number - 1][::-1]
    else:
        sources.sort(key=lambda source: _telephone_loses(workspace.data_dir / source), reverse=True)
    for source in sources:
        with suppress(ResonanceError):  # the table of this lesson names what cannot be read
            return compare_rates(workspace.data_dir / source)
    raise ResonanceError("RZ-0406", usable=0, labels=len(labels), needed=MIN_RECORDINGS)


def write_versions(comparison: RateComparison, folder: Path) -> tuple[Path, ...]:
    """The three versions as 16-bit WAV files in ``folder``, to be listened to; each at its own rate and channels."""
    paths = []
    for version in comparison.versions:
        path = folder / f"{without_suffix(repaired(comparison.name))}_{version.key}.wav"
        audio.write_wav(path, version.samples, version.rate)
        paths.append(path)
    return tuple(paths)


def _telephone_loses(path: Path) -> tuple[bool, float]:
    """Whether a recording holds more than Whisper hears, and the share of its power that a telephone does not carry."""
    try:
        clip = audio.decode_channels(path, max_seconds=MAX_CLIP_S)
    except ResonanceError:
        return False, 0.0
    power = np.abs(np.fft.rfft(audio.to_mono(clip.samples))) ** 2
    first = math.ceil(_TELEPHONE_RATE / clip.rate * (len(power) - 1))  # the spectrum ends at half the rate, both do
    return clip.rate > SAMPLE_RATE, float(power[first:].sum() / (power.sum() or 1.0))


def _version(
    key: Literal["own", "whisper", "telephone"], samples: np.ndarray, rate: int, bits: int | None
) -> RateVersion:
    return RateVersion(key, samples, rate, bits, _WAV_HEADER_BYTES + samples.size * (bits or 16) // 8)
