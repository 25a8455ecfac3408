"""Broken and forged recordings of every format against the decoder: ``make fuzz``.

    python benchmarks/fuzz_decoder.py --seconds 600 --seed 17

Files of every format are cut, their bits are flipped, bytes taken out, put in or exchanged with another format's, and
numbers in their headers set to the extremes that a forger would choose. Each goes through the service's own killable
decoder process, here without its bound on memory, so that a file which would take more is found and not merely
refused. The outcome has to be sound within its bounds or a clear refusal: a crash, ``LIMIT_S`` without an answer, or a
process that held more than ``MAX_MB`` is a finding, and its file is kept in ``--keep``. Prints JSON; the exit
status is 1 when anything was found. The same seed makes the same files in the same order. Every fifth file is a whole
recording whose header says something else (sizes, bytes a second and a block) or that has something behind it: FFmpeg
plays it whole, so anything but all of its sound is a finding too.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from resonance_helpers import ResonanceError
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.service import decoding
from resonance_helpers.service.decoding import Decoders

sys.path.append(str(REPOSITORY / "tests" / "support"))
from sounds import FORMATS, encoded, filmed, voice, wav  # the files that the tests use

MAX_MB = 500
LIMIT_S = 20.0  # for a file of a second; a shared machine stands still for seconds
LONGEST_S = 30.0
EXTREMES = (0, 1, 2, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0xFFFFFF, 0x10000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
Change = Callable[[bytearray, np.random.Generator, bytes], None]


# ── Files ────────────────────────────────────────────────────────────────────
def whole_files() -> dict[str, bytes]:
    """A short recording in every format and in the commonest kinds of WAV."""
    stereo = np.stack([voice(0.5, 44_100), voice(0.5, 44_100, pitch=250)], axis=1)
    wavs = {
        "wav 16": wav(voice(0.8, 16_000)),
        "wav 8": wav(voice(0.8, 8_000), 8_000, "PCM_U8"),
        "wav 24": wav(stereo, 44_100, "PCM_24"),
        "wav float": without_date(wav(stereo, 44_100, "FLOAT")),
        "wav adpcm": wav(voice(0.8, 16_000), subtype="MS_ADPCM"),
    }
    films = {
        "mp4 video": filmed("mp4"),
        "mov alac": filmed("mov", sound="alac"),
        "mkv ac3": filmed("matroska", sound="ac3"),
    }
    return wavs | films | {suffix: encoded(suffix, voice(0.8)) for suffix in FORMATS}


def without_date(file: bytes) -> bytes:
    """A WAV of floats says when it was written; here the same seed makes the same bytes."""
    at = file.index(b"PEAK") + 12
    return file[:at] + bytes(4) + file[at + 4 :]


def cut(file: bytearray, random: np.random.Generator, other: bytes) -> None:
    del file[random.integers(len(file)) :]


def flip_bits(file: bytearray, random: np.random.Generator, other: bytes) -> None:
    for at in random.integers(0, len(file), 2 ** random.integers(0, 8)):
        file[at] ^= 1 << random.integers(8)


def flip_bits_in_front(file: bytearray, random: np.random.Generator, other: bytes) -> None:
    for at in random.integers(0, min(len(file), 512), 2 ** random.integers(0, 5)):
        file[at] ^= 1 << random.integers(8)


def forge_numbers(file: bytearray, random: np.random.Generator, other: bytes) -> None:
    """A number at either end, where headers and tables stand, becomes an extreme, in either byte order."""
    for _ in range(random.integers(1, 4)):
        width, order = 2 ** int(random.integers(3)), "little" if random.random() < 0.5 else "big"
        span = min(len(file), 1024)
        at = int(random.integers(span))
        at = at if random.random() < 0.5 else len(file) - span + at
        value = int(random.choice(EXTREMES)) % 256**width
        file[at : at + width] = value.to_bytes(width, order)


def take_out(file: bytearray, random: np.random.Generator, other: bytes) -> None:
    at = random.integers(len(file))
    del file[at : at + random.integers(1, 2000)]


def repeat(file: bytearray, random: np.random.Generator, other: bytes) -> None:
    at = random.integers(len(file))
    piece = file[at : at + random.integers(1, 2000)]
    file[at:at] = piece * int(random.integers(1, 50))


def mix_in(file: bytearray, random: np.random.Generator, other: bytes) -> None:
    """A piece of another format in the middle of this one."""
    at, start, length = random.integers(len(file)), random.integers(len(other)), random.integers(1, 4000)
    file[at : at + length] = other[start : start + length]


CHANGES: tuple[Change, ...] = (
    cut,
    flip_bits,
    flip_bits_in_front,
    forge_numbers,
    forge_numbers,  # twice as often: this is what a forger does
    take_out,
    repeat,
    mix_in,
)


@dataclass(frozen=True)
class Case:
    """One damaged file, and what was done to which."""

    number: int
    kind: str
    changes: tuple[str, ...]
    content: bytes
    least_s: float = 0.0  # of sound that must come out; 0 where a refusal will do


def cases(seed: int) -> Iterator[Case]:
    """Damaged files without end, format after format."""
    files = whole_files()
    return (whole(files, seed, number) if number % 5 == 4 else damaged(files, seed, number) for number in count())


WAV_FIELDS = {
    "size of the file": (4, 4),
    "bytes a second": (28, 4),
    "bytes a block": (32, 2),
    "size of the sound": (40, 4),
}
BEHIND = {
    "ID3v1": b"TAG" + bytes(range(1, 126)),
    "APE": b"APETAGEX" + (2_000).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(4) + bytes(12),
    "zeros": bytes(4_096),
    "text": b"-- the end --\n" * 50,
}
WHOLE_S = 0.45  # every one of ``whole_files`` that is used here is longer


def whole(files: dict[str, bytes], seed: int, number: int) -> Case:
    """A recording of which nothing is missing, whatever its header says or stands behind it."""
    random, kinds = np.random.default_rng([seed, number]), list(files)
    if random.random() < 0.5:
        field = str(random.choice(list(WAV_FIELDS)))
        at, width = WAV_FIELDS[field]
        value = int(random.choice(EXTREMES)) if random.random() < 0.5 else int(random.integers(1 << 32))
        content = bytearray(files["wav 16"])
        content[at : at + width] = (value % 256**width).to_bytes(width, "little")
        return Case(number, "wav 16", (field,), bytes(content), WHOLE_S)
    kind, what = kinds[random.integers(len(kinds))], str(random.choice(list(BEHIND)))
    return Case(number, kind, (f"{what} behind",), files[kind] + BEHIND[what], WHOLE_S)


def damaged(files: dict[str, bytes], seed: int, number: int) -> Case:
    random, kinds = np.random.default_rng([seed, number]), list(files)
    kind = kinds[number % len(kinds)]
    content, done = bytearray(files[kind]), []
    for change in random.choice(len(CHANGES), random.integers(1, 3)):
        if content:
            CHANGES[change](content, random, files[kinds[random.integers(len(kinds))]])
            done.append(CHANGES[change].__name__)
    return Case(number, kind, tuple(done), bytes(content))


# ── Decoding ─────────────────────────────────────────────────────────────────
@dataclass
class Report:
    """What came of the cases so far."""

    seed: int
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    peak_case: int = 0

    def as_json(self) -> dict[str, Any]:
        """For people and scripts; every format's share of the cases is the same."""
        rounded = {"slowest_s": round(self.slowest_s, 2), "peak_mb": round(self.peak_mb, 1)}
        return vars(self) | rounded | {"outcomes": dict(self.outcomes.most_common())}


def serve_without_bound(pipe: Connection, max_audio_s: float) -> None:
    """A decoder process that may take what it wants: how much that is, is what is looked at."""
    decoding._bound_memory = lambda: None
    decoding._serve(pipe, max_audio_s)


@contextmanager
def one_decoder(serve: Callable[[Connection, float], None] = serve_without_bound) -> Iterator[Decoders]:
    """The service's decoder, in one process that is not bounded."""
    with patch.object(decoding, "_serve", serve):
        decoders = Decoders(1, LIMIT_S, LONGEST_S)
        decoders.start()
        try:
            yield decoders
        finally:
            decoders.close()


def run(seconds: float, seed: int, keep: Path, decoders: Decoders) -> Report:
    """Case after case for ``seconds``; files that are findings go to ``keep``."""
    report = Report(seed)
    endless = cases(seed)
    ends = time.monotonic() + seconds
    for case in endless:
        if time.monotonic() > ends:
            break
        process = its_process(decoders)
        forget_peak(process)
        began = time.monotonic()
        outcome = decoded(decoders, case.content, case.least_s)
        report.slowest_s = max(report.slowest_s, time.monotonic() - began)
        problem = wrong(outcome, process) or (f"refused: {outcome}" if case.least_s and outcome != "sound" else "")
        report.cases += 1
        report.outcomes[outcome] += 1
        if process.is_alive() and (peak := peak_mb(process)) > report.peak_mb:
            report.peak_mb, report.peak_case = peak, case.number
        if problem:
            keep.mkdir(parents=True, exist_ok=True)
            name = f"{case.kind.replace(' ', '_')}_{hashlib.sha256(case.content).hexdigest()[:12]}"
            (keep / name).write_bytes(case.content)
            report.findings.append(
                {"problem": problem, "file": name, "case": case.number, "kind": case.kind, "changes": case.changes}
            )
    return report


def its_process(decoders: Decoders) -> BaseProcess:
    """That of the one worker, which is idle between two cases."""
    decoders.wait()
    return decoders.processes[0]


def decoded(decoders: Decoders, content: bytes, least_s: float = 0.0) -> str:
    """The code of the refusal, "sound", or what is wrong with the sound."""
    try:
        samples = asyncio.run(decoders.decode(content))
    except ResonanceError as error:
        return error.code
    if not (np.isfinite(samples).all() and np.abs(samples).max(initial=0.0) <= 1.0):
        return "sound out of bounds"
    if len(samples) < least_s * SAMPLE_RATE:
        return "sound lost"
    return "sound" if len(samples) <= LONGEST_S * SAMPLE_RATE + 1 else "sound too long"


def wrong(outcome: str, process: BaseProcess) -> str:
    """What must not happen, or nothing."""
    if outcome == "RZ-0913":
        return f"crash, exit {process.exitcode}" if process.exitcode != -9 else f"no answer for {LIMIT_S:g} s"
    if outcome.startswith("sound "):
        return outcome
    if not process.is_alive():
        return f"gone after its answer, exit {process.exitcode}"
    peak = peak_mb(process)
    return f"{peak:.0f} MB of memory" if peak > MAX_MB else ""


def forget_peak(process: BaseProcess) -> None:
    """What ``peak_mb`` says counts from here (Linux)."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mb(process: BaseProcess) -> float:
    """The most that a process has held since ``forget_peak``, in MB (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def main() -> int:
    """Read the command line, run, print one JSON object."""
    parser = argparse.ArgumentParser(description="Broken and forged recordings against the decoder.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    options = parser.parse_args()
    with one_decoder() as decoders:
        report = run(options.seconds, options.seed, options.keep, decoders)
    print(json.dumps(report.as_json(), indent=1))
    return int(bool(report.findings))


if __name__ == "__main__":
    sys.exit(main())
