"""From the bytes of a recording to text: decode off the event loop, then one inference thread behind a bounded queue.

The event loop never waits for a codec or the model. A request that finds the queue full is told when to come back
instead of growing a backlog that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .. import audio, text
from ..messages import ResonanceError
from ..settings import SAMPLE_RATE, ServiceSettings

LOADING_S = 5  # when to ask again while the model is loading
DECODERS = 2  # threads; decoding a phrase takes milliseconds beside the model


class Speaks(Protocol):
    """What can recognise speech in the voice of a patient. Called from one thread at a time."""

    def recognise(self, samples: Sequence[np.ndarray], patient_id: str) -> list[str]:
        """The text of each clip (float32, 16 kHz mono), in order."""
        ...


@dataclass(frozen=True)
class Answer:
    """``text`` in simplified characters; ``duration`` of the recording in seconds."""

    text: str
    duration: float


class Engine:
    """Answers recordings one after the other, with voices that ``load`` gives. Belongs to one event loop."""

    def __init__(self, load: Callable[[], Speaks], settings: ServiceSettings) -> None:
        self._load = load
        self._voices: Speaks | None = None  # until they are loaded, and again once they are told to close
        self._settings = settings
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._model = ThreadPoolExecutor(1, thread_name_prefix="inference")  # one: see voices
        self._inside = 0
        self._last_s = 1.0  # what the last answer took: an honest guess for Retry-After

    @property
    def ready(self) -> bool:
        return self._voices is not None

    async def load(self) -> None:
        """Load the voices in the thread that will use them; until then every recording is refused."""
        self._voices = await asyncio.get_running_loop().run_in_executor(self._model, self._load)

    async def transcribe(self, recording: bytes, patient_id: str) -> Answer:
        """The words of ``recording``, in any format, spoken by ``patient_id``.

        Raises what ``audio.decode`` raises, RZ-0602 (longer than the model hears), RZ-0906 (queue full), RZ-0907
        (silent), RZ-0911 (not ready), and whatever the voices raise.
        """
        voices = self._voices
        if voices is None:
            raise ResonanceError("RZ-0911", seconds=LOADING_S)
        with self._place():
            loop = asyncio.get_running_loop()
            samples = await loop.run_in_executor(self._decoders, self._decode, recording)
            words = await loop.run_in_executor(self._model, self._recognise, voices, samples, patient_id)
            return Answer(words, round(len(samples) / SAMPLE_RATE, 3))

    def close(self) -> None:
        """Finish what was accepted, and accept nothing more."""
        self._voices = None
        self._decoders.shutdown()
        self._model.shutdown()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place in the queue for the length of the block. Only the event loop's thread counts, so no lock."""
        if self._inside >= self._settings.queue_size:
            seconds = math.ceil(self._inside * self._last_s)
            raise ResonanceError("RZ-0906", waiting=self._inside, seconds=seconds)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def _decode(self, recording: bytes) -> np.ndarray:
        samples = audio.load(recording, self._settings.max_audio_s, name="file")
        quality = audio.measure(samples)
        if audio.judge(quality, self._settings.max_audio_s)[0] == "unusable":
            facts = {"seconds": f"{quality.seconds:.1f}", "peak_dbfs": f"{quality.peak_dbfs:.0f}"}
            raise ResonanceError("RZ-0907", **facts)
        return samples

    def _recognise(self, voices: Speaks, samples: np.ndarray, patient_id: str) -> str:
        started = time.perf_counter()
        (words,) = voices.recognise([samples], patient_id)
        self._last_s = time.perf_counter() - started
        return text.simplify(words)
