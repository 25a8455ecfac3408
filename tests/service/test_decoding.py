"""Decoding in processes: whatever happens there costs one request."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import bad_decoders
import numpy as np
import pytest
from serving import sound

from resonance_helpers import ResonanceError
from resonance_helpers.audio import decode as audio
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.service import decoding
from resonance_helpers.service.decoding import Decoders
from resonance_helpers.service.problems import STATUS

LIMIT_S = 1.5


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    both = Decoders(2, LIMIT_S, max_audio_s=10.0)
    both.start()
    yield both
    both.close()


def decode(decoders: Decoders, content: bytes) -> np.ndarray:
    return asyncio.run(decoders.decode(content))


def worker_pids(decoders: Decoders) -> set[int]:
    return {process.pid for process in decoders.processes if process.pid}


def outcomes(decoders: Decoders, count: int) -> list[str]:
    """Of so many good recordings that are sent at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda _: _outcome(decoders), range(count)))


def test_samples_are_those_of_the_library(decoders: Decoders) -> None:
    content = sound(2.0, 44_100, 2, "OGG")
    assert np.array_equal(decode(decoders, content), audio.load(content, 10.0))


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "RZ-0501"), (b"no audio" * 99, "RZ-0502"), (sound(11), "RZ-0504"), (sound(1, level=0.0), "RZ-0907")],
)
def test_a_refusal_comes_home_with_its_facts(decoders: Decoders, content: bytes, code: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        decode(decoders, content)
    assert caught.value.code == code
    assert str(caught.value) == str(ResonanceError(code, **caught.value.facts))


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, signal.SIGSTOP], ids=lambda how: how.name)
@pytest.mark.parametrize("how_many", [1, 2])
def test_lost_workers_cost_no_phrase_and_are_replaced(decoders: Decoders, how: signal.Signals, how_many: int) -> None:
    """As a codec ends or stops them. Those that are asked meanwhile are answered by others."""
    before = worker_pids(decoders)
    lost = sorted(before)[:how_many]
    for pid in lost:
        os.kill(pid, how)
    assert outcomes(decoders, 6) == ["fine"] * 6
    _until_replaced(decoders, lost)


def test_a_stopped_worker_is_replaced_though_nobody_asks(decoders: Decoders) -> None:
    pid = min(worker_pids(decoders))
    os.kill(pid, signal.SIGSTOP)
    _until_replaced(decoders, [pid])


def test_a_recording_larger_than_the_pipe_is_not_stuck_in_it(decoders: Decoders) -> None:
    for pid in worker_pids(decoders):
        os.kill(pid, signal.SIGSTOP)
    content = sound(9, 192_000)
    assert len(content) > 5_000_000
    assert len(decode(decoders, content)) == 9 * SAMPLE_RATE


def test_a_recording_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with _one(monkeypatch, bad_decoders.hang) as one:
        started = time.perf_counter()
        assert _outcome(one) == "RZ-0913"
        assert time.perf_counter() - started >= decoding.TRIES * LIMIT_S
        one.wait()


def test_a_worker_that_is_stopped_in_the_middle_of_its_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with _one(monkeypatch, bad_decoders.half_an_answer) as one:
        assert _outcome(one) == "RZ-0913"
        one.wait()


def test_a_worker_that_dies_while_it_starts_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with _one(monkeypatch, partial(bad_decoders.die_once, tmp_path / "died")) as one:
        assert _outcome(one) == "fine"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_workers_that_die_while_no_file_can_be_opened_are_replaced_when_one_can(decoders: Decoders) -> None:
    import resource

    decoders.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(_outcome(decoders)))
    asking.start()  # while it still can make its event loop
    asking.join()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        lost = worker_pids(decoders)  # from here on none can start
        for pid in lost:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(2.5 * decoding.RETRY_S)
        assert not decoders.processes
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert outcomes(decoders, 2) == ["fine"] * 2
    _until_replaced(decoders, list(lost))


def test_losing_workers_leaks_no_files(decoders: Decoders) -> None:
    import psutil

    me = psutil.Process()
    decoders.wait()
    before = me.num_fds()
    for _ in range(3):
        lost = list(worker_pids(decoders))
        for pid in lost:
            os.kill(pid, signal.SIGKILL)
        _until_replaced(decoders, lost)
        decoders.wait()
    assert me.num_fds() <= before
    assert len([child for child in me.children() if child.status() != psutil.STATUS_ZOMBIE]) <= 2 + 1  # and the tracker


@pytest.mark.parametrize(
    "failure",
    [ValueError("我想喝水"), TypeError(), KeyError("x"), RecursionError(), ArithmeticError(), OSError(24, "no file")],
    ids=lambda failure: type(failure).__name__,
)
def test_what_nobody_foresaw_refuses_the_recording_and_is_logged_without_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    monkeypatch.setattr(decoding, "_decode", lambda *_: _raise(failure))
    refusal = decoding._read(decoding._answer(b"", 1.0))
    assert isinstance(refusal, ResonanceError) and refusal.code == "RZ-0970" and STATUS[refusal.code] == 422
    assert type(failure).__name__ in caplog.text and "test_decoding.py" in caplog.text
    assert "喝水" not in caplog.text and "no file" not in caplog.text


def test_a_code_that_no_client_may_read_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = ResonanceError("RZ-0508", name="secret.wav", reason="x")
    monkeypatch.setattr(decoding, "_decode", lambda *_: _raise(secret))
    refusal = decoding._read(decoding._answer(b"", 1.0))
    assert isinstance(refusal, ResonanceError) and refusal.code == "RZ-0970"
    assert "RZ-0508" in caplog.text and "secret" not in caplog.text


def test_a_taken_over_worker_that_answers_nonsense_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with _one(monkeypatch, bad_decoders.nonsense) as one:
        assert _outcome(one) == "RZ-0913"
        one.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by what /proc says")
@pytest.mark.parametrize(("share", "outcome"), [(0.5, "fine"), (2.0, "RZ-0913")])
def test_a_file_that_asks_for_too_much_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, share: float, outcome: str
) -> None:
    monkeypatch.setattr(decoding, "_serve", partial(bad_decoders.serve_greedily, share))
    one = Decoders(1, 20.0, max_audio_s=10.0)
    one.start()
    try:
        assert _outcome(one) == outcome
    finally:
        one.close()


def test_no_worker_outlives_a_killed_service(tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(
        "import os, signal\n"
        "from resonance_helpers.service.decoding import Decoders\n"
        "if __name__ == '__main__':\n"
        "    both = Decoders(2, 5.0, 10.0); both.start()\n"
        "    print(*(process.pid for process in both.processes), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # its output ends when the last of them does
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=40)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    for _ in range(100):
        if not any(_alive(pid) for pid in pids):
            return
        time.sleep(0.1)
    raise AssertionError("a decoder lives on")


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


@contextmanager
def _one(monkeypatch: pytest.MonkeyPatch, serve: Callable[[Connection, float], None]) -> Iterator[Decoders]:
    """One decoder whose process is ``serve``."""
    monkeypatch.setattr(decoding, "_serve", serve)
    monkeypatch.setattr(decoding, "RETRY_S", 0.1)
    one = Decoders(1, LIMIT_S, max_audio_s=10.0)
    one.start()
    try:
        yield one
    finally:
        one.close()


def _raise(error: Exception) -> None:
    raise error


def _until_replaced(decoders: Decoders, lost: Sequence[int]) -> None:
    for _ in range(300):
        now = worker_pids(decoders)
        if len(now) == 2 and not now & {*lost}:
            return
        time.sleep(0.1)
    raise AssertionError("a decoder is not replaced")


def _outcome(decoders: Decoders) -> str:
    try:
        samples = decode(decoders, sound(1))
    except ResonanceError as error:
        return error.code
    assert len(samples) == SAMPLE_RATE
    return "fine"
