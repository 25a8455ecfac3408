"""Untrusted files are decoded in processes of their own: a codec that crashes or hangs costs no other request anything.

A worker reads bytes from a pipe and answers with bytes: plain samples or a refusal as JSON, never a pickle, so that a
file which takes a decoder over has not taken over the service. Its memory is bounded, and when the service is gone, the
pipe ends and so does the worker.

Each worker has a thread that keeps it: gives it recordings, looks whether it still lives while there are none, ends
it where something takes too long, and starts another in its place, again and again where none can be started now. A
recording whose worker was lost is tried once more with another: it may have been an ordinary phrase.

No library's pool does this: the workers of pebble and of the standard library share one pipe and its lock, so that one
which is stopped in the middle of an answer silences all others (pebble 5.2: for good), and they answer with pickles.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import decode as audio
from ..audio import quality as clip_quality
from ..core.messages import ResonanceError

MEMORY = 512 * 1024 * 1024  # bytes, beyond what a worker has when it starts
START_S = 60  # for a process to import its libraries, on a very busy machine
TAKE_S = 5.0  # for a worker to have read a recording, which takes milliseconds
CHECK_S = 2.0  # how often one that has nothing to do is looked at
RETRY_S = 1.0  # until the next attempt where no worker could be started
TRIES = 2  # workers that one recording may cost which they have taken
_HELLO, _TAKEN = b"hello", b"taken"
_SAMPLES, _REFUSED = b"samples:", b"r"  # the first bytes of an answer; eight keep the samples where numpy wants them
_SPAWN = multiprocessing.get_context("spawn")  # a fork would carry torch's threads and the sockets along
log = logging.getLogger("resonance.service")


@dataclass
class _Job:
    """One recording, and who waits for its samples."""

    recording: bytes
    samples: Future[np.ndarray] = field(default_factory=Future)
    tries: int = 0

    def settle(self, outcome: np.ndarray | ResonanceError) -> None:
        with suppress(InvalidStateError):  # given up meanwhile
            if isinstance(outcome, ResonanceError):
                self.samples.set_exception(outcome)
            else:
                self.samples.set_result(outcome)


class Decoders:
    """``count`` processes that decode recordings of at most ``max_audio_s`` within ``limit_s`` each, in seconds."""

    def __init__(self, count: int, limit_s: float, max_audio_s: float) -> None:
        self._count, self._limit_s, self._max_audio_s = count, limit_s, max_audio_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()  # None ends a thread
        self._threads = [threading.Thread(target=self._keep_one, name="decode", daemon=True) for _ in range(count)]
        self._closing = threading.Event()
        self._at_work: set[_Worker] = set()
        self._changed = threading.Condition()

    @property
    def processes(self) -> list[BaseProcess]:
        """Those that can work now."""
        with self._changed:
            return [worker.process for worker in self._at_work]

    def start(self) -> None:
        """Start the processes and wait until they can work."""
        for thread in self._threads:
            thread.start()
        self.wait()

    def wait(self) -> None:
        """Return when all of them can work. Raises TimeoutError after ``START_S``."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._at_work) == self._count, START_S):
                raise TimeoutError(f"{len(self._at_work)} of {self._count} decoders can work")

    async def decode(self, recording: bytes) -> np.ndarray:
        """float32 (n,) at 16 kHz mono, of a file in any common format.

        Raises what ``audio.load`` raises, RZ-0532 (too short), RZ-0907 (silent), RZ-0913 (the decoder crashed or took
        too long) and RZ-0970 (anything else that went wrong there).
        """
        job = _Job(recording)
        self._jobs.put(job)
        return await asyncio.wrap_future(job.samples)

    def close(self) -> None:
        """End the processes, after what they are decoding now."""
        self._closing.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            if thread.ident:  # was started
                thread.join()

    # ── A worker's thread ────────────────────────────────────────────────────
    def _keep_one(self) -> None:
        """Have a worker at work until ``close``: whatever ends it, another takes its place."""
        while not self._closing.is_set():
            try:
                with _Worker(self._max_audio_s) as worker, self._counted(worker):
                    self._feed(worker)
            except Exception as error:  # it died or hung; or there is no file, thread or memory for another
                log.warning("a decoder is replaced: %s", type(error).__name__)
                self._closing.wait(RETRY_S)

    @contextmanager
    def _counted(self, worker: _Worker) -> Iterator[None]:
        try:
            with self._changed:
                self._at_work.add(worker)
                self._changed.notify_all()
            yield
        finally:
            with self._changed:
                self._at_work.discard(worker)

    def _feed(self, worker: _Worker) -> None:
        """Give ``worker`` one recording after the other. Raises what ended it."""
        while True:
            try:
                job = self._jobs.get(timeout=CHECK_S)
            except queue.Empty:
                job = _Job(b"")  # refused by a living worker
            if job is None:
                return
            if not job.samples.cancelled():
                self._ask(worker, job)

    def _ask(self, worker: _Worker, job: _Job) -> None:
        try:
            worker.give(job.recording)
            job.tries += 1  # from here on it may be the recording that ends the worker
            outcome = _read(worker.answer(self._limit_s))
        except Exception:
            if job.tries < TRIES:
                self._jobs.put(job)
            else:
                job.settle(ResonanceError("RZ-0913", seconds=f"{self._limit_s:g}"))
            raise
        job.settle(outcome)


class _Worker:
    """This side of one process. What takes too long ends the process, since nothing else ends a ``send`` to, or a
    ``recv`` from, one that is stopped."""

    def __init__(self, max_audio_s: float) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        try:
            self.process = _SPAWN.Process(target=_serve, args=(theirs, max_audio_s), name="decoder", daemon=True)
            self.process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> _Worker:
        """Wait until the process has its libraries and can work; that is no recording's time."""
        try:
            with self._within(START_S):
                self._pipe.recv_bytes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self._pipe.close()

    def give(self, recording: bytes) -> None:
        """Return when the process has read it. Raises OSError or EOFError when the process is gone, by itself or for
        its time."""
        with self._within(TAKE_S):
            self._pipe.send_bytes(recording)
            self._pipe.recv_bytes()

    def answer(self, limit_s: float) -> bytes:
        """What ``_answer`` says of the recording. Raises as ``give`` does."""
        with self._within(limit_s):
            return self._pipe.recv_bytes()

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _read(answer: bytes) -> np.ndarray | ResonanceError:
    """The samples or the refusal in a worker's answer. What no client may read becomes RZ-0970, and a line in the
    log."""
    from .problems import STATUS  # the processes, which import this module, start sooner without it

    if answer[:1] != _REFUSED:
        # a copy, because torch wants to be allowed to write
        return np.frombuffer(answer, dtype=np.float32, offset=len(_SAMPLES)).copy()
    refusal = json.loads(answer[1:])
    if refusal["code"] in STATUS:
        return ResonanceError(refusal["code"], **refusal["facts"])
    log.error("a recording could not be decoded: %a", refusal["what"])
    return ResonanceError("RZ-0970")


# ── The process ──────────────────────────────────────────────────────────────
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
        pipe.send_bytes(_TAKEN)
        pipe.send_bytes(_answer(recording, max_audio_s))


def _answer(recording: bytes, max_audio_s: float) -> bytes:
    refusal: dict[str, Any] = {"code": ""}
    try:
        return _SAMPLES + _decode(recording, max_audio_s).tobytes()
    except MemoryError:
        raise  # who has run into the bound starts afresh
    except ResonanceError as error:
        facts = {name: value if isinstance(value, int | float) else str(value) for name, value in error.facts.items()}
        refusal |= {"code": error.code, "facts": facts, "what": error.code}
    except Exception as error:  # its words might quote what is in the recording
        place = traceback.extract_tb(error.__traceback__)[-1]
        refusal["what"] = f"{type(error).__name__}, {Path(place.filename).name}:{place.lineno}"
    return _REFUSED + json.dumps(refusal).encode()


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
