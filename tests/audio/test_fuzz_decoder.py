"""A short run of ``make fuzz``, and that it finds what it is there for."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from resonance_helpers.audio import decode as audio
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.service import decoding

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a process has held")


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``benchmarks/fuzz_decoder.py``, where its decoder process finds it as well."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import fuzz_decoder

    return fuzz_decoder


def test_the_same_seed_makes_the_same_files(fuzz: ModuleType) -> None:
    first, again, other = (list(islice(fuzz.cases(seed), 40)) for seed in (17, 17, 18))
    assert [case.content for case in first] == [case.content for case in again] != [case.content for case in other]
    kinds = fuzz.whole_files()
    assert {case.kind for case in first} == set(kinds) >= {"m4a", "mp3", "ogg", "flac", "aac", "amr", "webm", "wav 16"}
    assert sum(case.content != kinds[case.kind] for case in first) > 35
    harm = [case for case in first if not case.least_s]
    assert len(harm) == 32 and {change.__name__ for change in fuzz.CHANGES} == {n for c in harm for n in c.changes}


def test_what_is_whole_is_decoded_whole(fuzz: ModuleType) -> None:
    """The files of which ``make fuzz`` asks that, without its processes."""
    wholes = [case for case in islice(fuzz.cases(17), 400) if case.least_s]
    assert {name for case in wholes for name in case.changes} >= {*fuzz.WAV_FIELDS, "ID3v1 behind", "zeros behind"}
    for case in wholes:
        seconds = len(audio.load(case.content, 30.0)) / SAMPLE_RATE
        assert seconds >= case.least_s and (case.kind != "wav 16" or abs(seconds - 0.8) < 0.001), case.changes


@linux
@pytest.mark.slow
def test_nothing_breaks_the_decoder(fuzz: ModuleType, tmp_path: Path) -> None:
    with fuzz.one_decoder() as decoders:
        report = fuzz.run(12.0, 5, tmp_path / "kept", decoders)
    assert report.findings == [] and not (tmp_path / "kept").exists()
    assert report.cases >= 60 and {"sound", "RZ-0502", "RZ-0503"} <= set(report.outcomes)


def crash(recording: bytes, max_audio_s: float) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("unreachable")


def hang(recording: bytes, max_audio_s: float) -> np.ndarray:
    time.sleep(60)
    raise AssertionError("unreachable")


def devour(recording: bytes, max_audio_s: float) -> np.ndarray:
    return np.ones(600_000_000 // 8)[:16_000].astype(np.float32)


def shout(recording: bytes, max_audio_s: float) -> np.ndarray:
    return np.full(16_000, 2.0, np.float32)


def serve_with(decode: object, pipe: Connection, max_audio_s: float) -> None:
    decoding._bound_memory = lambda: None
    decoding._decode = decode
    decoding._serve(pipe, max_audio_s)


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("decode", "problem"),
    [(crash, "crash, exit -11"), (hang, "no answer for 1 s"), (devour, "MB of memory"), (shout, "sound out of bounds")],
)
def test_what_must_not_happen_is_found(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: object, problem: str
) -> None:
    monkeypatch.setattr(fuzz, "LIMIT_S", 1.0 if decode is hang else 60.0)
    with fuzz.one_decoder(partial(serve_with, decode)) as decoders:
        report = fuzz.run(0.5, 5, tmp_path, decoders)
    first = report.findings[0]
    assert problem in first["problem"] and (tmp_path / first["file"]).read_bytes()
