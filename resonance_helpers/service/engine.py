"""From the bytes of a recording to text: decode, cut at pauses, wait in a bounded queue, one inference thread.

The event loop never waits for a codec, a disk or the model, and it alone touches the queue, so nothing here needs a
lock. A request that finds the queue full is told when to come back instead of growing a backlog that no client waits
for any more; one that was given up, by its client or by its deadline, leaves the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..audio import segment
from ..core.messages import ResonanceError
from ..core.settings import SAMPLE_RATE, ServiceSettings

if TYPE_CHECKING:
    from ..asr.whisper import Hypothesis
from .adapters import AdapterCache
from .decoding import Decoders
from .metrics import Metrics

LOADING_S = 5  # when to ask again while the model is loading


class Recogniser(Protocol):
    """What can recognise speech in the voice of a patient. ``Any`` is its own kind of voice, which has ``window_s`` and
    ``bytes``."""

    longest_s: float  # that the model hears at once

    def load(self, patient_id: str) -> Any:
        """The patient's voice, read from disk. Called from a thread, at the same time as the others."""
        ...

    def window_for(self, voice: Any, seconds: float) -> float:
        """The window in seconds for a clip of ``seconds``."""
        ...

    def recognise(self, samples: Sequence[np.ndarray], voice: Any, window_s: float) -> list[Hypothesis]:
        """What is said in each clip (float32, 16 kHz mono), in order. Called from one thread at a time."""
        ...

    def clear(self) -> None:
        """Hold no patient's adapter between two calls of ``recognise``, in whose thread this is called."""
        ...


@dataclass(frozen=True)
class Segment:
    """What was said between ``start`` and ``end``, in seconds from the start of the recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Answer:
    """``segments`` as the model wrote them, none where there is no speech; ``duration`` of the recording in seconds;
    ``uncertain``: a person should look at the text first."""

    segments: tuple[Segment, ...]
    duration: float
    uncertain: bool
    samples: np.ndarray = field(repr=False, compare=False)  # the recording, 16 kHz mono


@dataclass(frozen=True, eq=False)
class _Piece:
    """Something to recognise: at most one window of sound, and who waits for it."""

    samples: np.ndarray
    voice: Any
    window_s: float
    said: asyncio.Future[Hypothesis]

    def goes_with(self, other: _Piece) -> bool:
        """One patient in one batch: nothing can then be another patient's."""
        return self.voice is other.voice and self.window_s == other.window_s


class Engine:
    """Answers recordings, with voices that ``load`` gives. Belongs to one event loop.

    ``version`` of a patient changes when another adapter is on disk (``AdapterRegistry``).
    """

    def __init__(
        self,
        load: Callable[[], Recogniser],
        version: Callable[[str], Hashable],
        settings: ServiceSettings,
        metrics: Metrics,
    ) -> None:
        self._load = load
        self._voices: Recogniser | None = None  # until they are loaded
        self._closing = False
        self._settings, self._metrics = settings, metrics
        self._decoders = Decoders(settings.decoders, settings.decode_s, settings.max_audio_s)
        self._adapters: AdapterCache[Any] = AdapterCache(
            self._load_adapter, version, settings.max_adapters, settings.max_adapter_bytes
        )
        self._model = ThreadPoolExecutor(1, thread_name_prefix="inference")  # one: see voices
        self._waiting: deque[_Piece] = deque()
        self._something_waits = asyncio.Event()
        self._starting: asyncio.Future[None] | None = None  # the decoders
        self._answering: asyncio.Task[None] | None = None
        self.inside = 0  # requests that are being answered or wait
        self._last_s = 1.0  # what the last call of the model took: an honest guess for Retry-After
        self._watch(metrics)

    @property
    def ready(self) -> bool:
        return self._voices is not None and not self._closing

    async def load(self) -> None:
        """Load the voices in the thread that will use them; until then every recording is refused."""
        loop = asyncio.get_running_loop()
        self._starting = loop.run_in_executor(None, self._decoders.start)
        voices = await loop.run_in_executor(self._model, self._load)
        await asyncio.shield(self._starting)
        self._answering = asyncio.create_task(self._answer_all(voices))
        self._voices = voices

    async def transcribe(self, recording: bytes, patient_id: str) -> Answer:
        """The words of ``recording``, in any format, spoken by ``patient_id``.

        Raises what ``Decoders.decode`` and the voices raise, RZ-0906 (queue full), RZ-0911 (not ready) and RZ-0914 (the
        deadline).
        """
        if self._voices is None or self._closing:
            raise ResonanceError("RZ-0911", seconds=LOADING_S)
        with self._place():
            try:
                async with asyncio.timeout(self._settings.deadline_s):
                    return await self._hear(self._voices, recording, patient_id)
            except TimeoutError as error:
                self._metrics.dropped("deadline")
                limit = f"{self._settings.deadline_s:g}"
                raise ResonanceError("RZ-0914", limit=limit, seconds=self._soon()) from error
            except asyncio.CancelledError:
                self._metrics.dropped("client")
                raise

    def drop_absent(self, present: Collection[str]) -> None:
        """Free the adapters of patients who are not ``present``, after the requests that are being answered."""
        if self._adapters.drop_absent(present) and self._voices:
            self._model.submit(self._voices.clear)

    async def close(self) -> None:
        """Finish what was accepted, and accept nothing more."""
        self._closing = True
        while self.inside:
            await asyncio.sleep(0.01)
        if self._starting:  # who is stopped while starting would leave processes behind
            await asyncio.wait({self._starting})
        if self._answering:
            self._answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._answering
        await asyncio.to_thread(self._end_threads)

    def _end_threads(self) -> None:
        self._model.shutdown()
        self._adapters.close()
        self._decoders.close()

    def _load_adapter(self, patient_id: str) -> Any:
        assert self._voices  # no request is accepted before
        return self._voices.load(patient_id)

    async def _hear(self, voices: Recogniser, recording: bytes, patient_id: str) -> Answer:
        samples, voice = await asyncio.gather(self._decoders.decode(recording), self._adapters.get(patient_id))
        self._metrics.decoded(len(samples) / SAMPLE_RATE)
        spans = segment.split_to_fit(samples, voice.window_s, voices.longest_s)
        said = await asyncio.gather(*(self._recognised(voices, samples[span], voice) for span in spans))
        spoken = [(span, each) for span, each in zip(spans, said, strict=True) if each.text]
        segments = (Segment(_seconds(span.start), _seconds(span.stop), each.text) for span, each in spoken)
        uncertain = not spoken or any(each.unsure for _, each in spoken)
        return Answer(tuple(segments), _seconds(len(samples)), uncertain, samples)

    async def _recognised(self, voices: Recogniser, samples: np.ndarray, voice: Any) -> Hypothesis:
        window_s = voices.window_for(voice, len(samples) / SAMPLE_RATE)
        piece = _Piece(samples, voice, window_s, asyncio.get_running_loop().create_future())
        self._waiting.append(piece)
        self._something_waits.set()
        return await piece.said

    # ── The inference thread, from the event loop's side ─────────────────────
    async def _answer_all(self, voices: Recogniser) -> None:
        while True:
            await self._something_waits.wait()
            if batch := self._next_batch():
                await self._answer(voices, batch)
            else:
                self._something_waits.clear()

    def _next_batch(self) -> list[_Piece]:
        """The piece that waits longest, and others of the same patient and window, without those that were given up."""
        wanted = [piece for piece in self._waiting if not piece.said.done()]
        batch = [piece for piece in wanted if piece.goes_with(wanted[0])][: self._settings.batch_size]
        self._waiting = deque(piece for piece in wanted if piece not in batch)
        return batch

    async def _answer(self, voices: Recogniser, batch: list[_Piece]) -> None:
        started = time.perf_counter()
        samples = [piece.samples for piece in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                self._model, voices.recognise, samples, batch[0].voice, batch[0].window_s
            )
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0].said, error)
            else:  # one bad recording, or no memory for so many at once: each for itself
                for piece in batch:
                    await self._answer(voices, [piece])
            return
        self._last_s = time.perf_counter() - started
        self._metrics.called(len(batch), self._last_s)
        for piece, answer in zip(batch, answers, strict=True):
            _settle(piece.said, answer)

    # ── The queue ────────────────────────────────────────────────────────────
    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place in the queue for the length of the block."""
        if self.inside >= self._settings.queue_size:
            raise ResonanceError("RZ-0906", waiting=self.inside, seconds=self._soon())
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def _soon(self) -> int:
        """In how many seconds the queue may be empty."""
        return math.ceil(max(1, self.inside) * self._last_s)

    def _watch(self, metrics: Metrics) -> None:
        metrics.watch("queue", "Requests that are being answered or wait.", lambda: self.inside)
        metrics.watch("adapters", "Adapters in memory.", lambda: len(self._adapters))
        metrics.watch("adapter_bytes", "Memory of the adapters.", lambda: self._adapters.bytes)
        metrics.watch("adapter_loads_total", "Adapters read from disk.", lambda: self._adapters.loads)
        metrics.watch("adapter_evictions_total", "Adapters dropped for room.", lambda: self._adapters.evictions)


def _settle(future: asyncio.Future[Hypothesis], outcome: Hypothesis | Exception) -> None:
    if future.done():  # its client has gone
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _seconds(samples: int) -> float:
    return round(samples / SAMPLE_RATE, 3)
