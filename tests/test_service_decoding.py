"""Decoding in processes: whatever happens there costs one request."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import sound

from resonance_helpers import ResonanceError, audio
from resonance_helpers.service import decoding
from resonance_helpers.service.decoding import Decoders
from resonance_helpers.settings import SAMPLE_RATE

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
    workers = [decoders._idle.get() for _ in range(decoders._count)]
    for worker in workers:
        decoders._idle.put(worker)
    return {worker.process.pid for worker in workers if worker.process.pid}


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


def test_a_crash_costs_one_request(decoders: Decoders) -> None:
    before = worker_pids(decoders)
    for pid in before:  # as a codec's segmentation fault would end it
        os.kill(pid, signal.SIGSEGV)
    time.sleep(0.2)
    answers = [_outcome(decoders) for _ in range(4)]
    assert answers.count("RZ-0913") <= len(before) and answers[-1] == "fine"
    assert not before & worker_pids(decoders)


def test_a_hang_is_ended_and_the_other_worker_goes_on_meanwhile(decoders: Decoders) -> None:
    assert _outcome(decoders) == "fine"
    stuck = decoders._idle.get()
    assert stuck.process.pid
    os.kill(stuck.process.pid, signal.SIGSTOP)  # hangs, as far as anybody can see
    try:
        started = time.perf_counter()
        with pytest.raises(ResonanceError, match="RZ-0913"):
            stuck.ask(sound(1))
        assert LIMIT_S <= time.perf_counter() - started < LIMIT_S + 5  # a busy test machine
        assert not stuck.process.is_alive()
    finally:
        decoders._idle.put(decoders._make())


def test_other_requests_are_decoded_while_one_hangs(decoders: Decoders) -> None:
    pid = min(worker_pids(decoders))
    os.kill(pid, signal.SIGSTOP)
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda: outcomes.append(_outcome(decoders))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["RZ-0913", *["fine"] * 5]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by what /proc says")
@pytest.mark.parametrize(("share", "outcome"), [(0.5, "fine"), (2.0, "RZ-0913")])
def test_a_file_that_asks_for_too_much_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, share: float, outcome: str
) -> None:
    monkeypatch.setattr(decoding, "_serve", partial(_serve_greedily, share))
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
        "    workers = [both._idle.get() for _ in range(2)]\n"
        "    [worker.wait() for worker in workers]\n"
        "    print(*(w.process.pid for w in workers), flush=True)\n"
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


def _serve_greedily(share: float, pipe: Connection, max_audio_s: float) -> None:
    real = audio.load

    def greedy(*args: Any, **names: Any) -> np.ndarray:
        assert np.ones(round(share * decoding.MEMORY / 8)).any()
        return real(*args, **names)

    audio.load = greedy
    decoding._serve(pipe, max_audio_s)


def _outcome(decoders: Decoders) -> str:
    try:
        samples = decode(decoders, sound(1))
    except ResonanceError as error:
        return error.code
    assert len(samples) == SAMPLE_RATE
    return "fine"
