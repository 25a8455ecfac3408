"""Strangers' files are decoded in processes of their own: a codec that crashes or hangs costs one request.

A worker reads bytes from a pipe and answers with bytes: plain samples or a refusal as JSON, never a pickle, so that a
file which takes a decoder over has not taken over the service. Its memory is bounded, and when the service is gone, the
pipe ends and so does the worker.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import queue
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from .. import audio, clip_quality
from ..messages import ResonanceError

MEMORY = 512 * 1024 * 1024  # bytes, beyond what a worker has when it starts
START_S = 60  # for a process to import its libraries, on a very busy machine
_HELLO = b"hello"
_SAMPLES, _REFUSED = b"samples:", b"r"  # the first bytes of an answer; eight keep the samples where numpy wants them
_SPAWN = multiprocessing.get_context("spawn")  # a fork would carry torch's threads and the sockets along


class Decoders:
    """``count`` processes that decode recordings of at most ``max_audio_s`` within ``limit_s`` each, in seconds."""

    def __init__(self, count: int, limit_s: float, max_audio_s: float) -> None:
        self._make = lambda: _Worker(limit_s, max_audio_s)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")  # as many as workers: one always is idle
        self._count = count

    def start(self) -> None:
        """Start the processes and wait until they can work."""
        workers = [self._make() for _ in range(self._count)]
        for worker in workers:
            worker.wait()
            self._idle.put(worker)

    async def decode(self, recording: bytes) -> np.ndarray:
        """float32 (n,) at 16 kHz mono, of a file in any common format.

        Raises what ``audio.load`` raises, RZ-0532 (too short), RZ-0907 (silent), RZ-0913 (the decoder crashed or took
        too long).
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, recording)

    def close(self) -> None:
        """End the processes, after what they are decoding now."""
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().end()

    def _decode(self, recording: bytes) -> np.ndarray:
        worker = self._idle.get()
        try:
            return worker.ask(recording)
        finally:
            self._idle.put(worker if worker.process.is_alive() else self._make())


class _Worker:
    """This side of one process."""

    def __init__(self, limit_s: float, max_audio_s: float) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._limit_s = limit_s
        self._can_work = False
        self.process = _SPAWN.Process(target=_serve, args=(theirs, max_audio_s), name="decoder", daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, recording: bytes) -> np.ndarray:
        """What ``Decoders.decode`` promises. After RZ-0913 the process is gone."""
        try:
            self.wait()
            self._pipe.send_bytes(recording)
            if not self._pipe.poll(self._limit_s):
                raise TimeoutError
            answer = self._pipe.recv_bytes()
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            self.end()
            raise ResonanceError("RZ-0913", seconds=f"{self._limit_s:g}") from error
        if answer[:1] == _REFUSED:
            refusal = json.loads(answer[1:])
            raise ResonanceError(refusal["code"], **refusal["facts"])
        return np.frombuffer(
            answer, dtype=np.float32, offset=len(_SAMPLES)
        ).copy()  # torch wants to be allowed to write

    def wait(self) -> None:
        """Return when the process has its libraries and can work; that is not the recording's time."""
        if not self._can_work:
            self._can_work = self._pipe.poll(START_S) and bool(self._pipe.recv_bytes())

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self._pipe.close()


def _serve(pipe: Connection, max_audio_s: float) -> None:
    """The other side of the pipe, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl + C is for the service, which then ends the pipe
    _bound_memory()
    pipe.send_bytes(_HELLO)
    while True:
        try:
            recording = pipe.recv_bytes()
        except EOFError:
            return
        try:
            pipe.send_bytes(_SAMPLES + _decode(recording, max_audio_s).tobytes())
        except ResonanceError as error:
            facts = {
                name: value if isinstance(value, int | float) else str(value) for name, value in error.facts.items()
            }
            pipe.send_bytes(_REFUSED + json.dumps({"code": error.code, "facts": facts}).encode())


def _decode(recording: bytes, max_audio_s: float) -> np.ndarray:
    samples = audio.load(recording, max_audio_s, name="file")
    quality = clip_quality.measure(samples)
    level, codes = clip_quality.judge(quality, max_audio_s)
    if level == "unusable":
        if codes != ("RZ-0510",):
            raise ResonanceError(codes[0], name="file", **clip_quality.facts(quality, max_audio_s))
        raise ResonanceError("RZ-0907", seconds=f"{quality.seconds:.1f}", peak_dbfs=f"{quality.peak_dbfs:.0f}")
    return samples


def _bound_memory() -> None:
    """A file that asks for more than ``MEMORY`` ends this process and nothing else. Only where /proc says how much it
    has (Linux); elsewhere the bounds of ``audio`` alone hold."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
