"""The recogniser: one Whisper model, and the adapter of the patient who is asked for.

The model is used by one thread only (see ``engine``), because an adapter is switched in place: two threads gave 35 of
50 answers in another patient's voice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from ..asr import adapter, rescoring
from ..asr.vad import is_speech
from ..asr.whisper import Hypothesis, SpeechModel
from ..asr.windows import window_for
from ..core.messages import ResonanceError
from ..core.settings import SAMPLE_RATE
from .registry import AdapterRegistry

log = logging.getLogger("resonance.service")
NOTHING = Hypothesis("", truncated=False, unsure=True)  # where there is no speech


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """One patient's adapter in memory."""

    adapter: adapter.Loaded

    @property
    def window_s(self) -> float:
        """The window of the training in seconds."""
        return self.adapter.manifest.window_s

    @property
    def bytes(self) -> int:
        return self.adapter.bytes


class WhisperRecogniser:
    """``engine.Recogniser`` with a loaded base model."""

    def __init__(self, speech: SpeechModel, registry: AdapterRegistry) -> None:
        self._speech = speech
        self._registry = registry
        self._slots = adapter.AdapterSwitch(speech)
        self.longest_s = speech.native_window_s

    def load(self, patient_id: str) -> LoadedAdapter:
        """Read and verify the patient's adapter; the model stays as it is. Raises RZ-0904 (no adapter, or by now one of
        another patient) and RZ-061x (it does not fit)."""
        loaded = adapter.load(self._speech, self._registry.find(patient_id).folder)
        if loaded.manifest.patient_id != patient_id:  # replaced after the registry looked
            raise ResonanceError("RZ-0904", patient=patient_id)
        for warning in adapter.version_warnings(loaded.manifest):
            log.warning(warning)
        return LoadedAdapter(loaded)

    def window_for(self, voice: LoadedAdapter, seconds: float) -> float:
        """The window in seconds for a clip: that of the training, or the next longer one that holds the clip."""
        return voice.window_s if seconds <= voice.window_s else window_for(seconds, self.longest_s)

    def recognise(self, samples: Sequence[np.ndarray], voice: LoadedAdapter, window_s: float) -> list[Hypothesis]:
        """The hypothesis for each 16 kHz mono clip of at most ``window_s`` seconds; ``NOTHING`` without speech."""
        spoken = is_speech(samples, voice.adapter.manifest.speech_bar)
        answers = iter(self._said([*compress(samples, spoken)], voice, window_s))
        return [next(answers) if is_spoken else NOTHING for is_spoken in spoken]

    def clear(self) -> None:
        self._slots.clear()

    def warm_up(self, patient_id: str) -> None:
        """Let the model answer once, so that the first request is fast and a misfit shows at once."""
        voice = self.load(patient_id)
        self._said([np.zeros(SAMPLE_RATE, dtype=np.float32)], voice, voice.window_s)

    def _said(self, clips: Sequence[np.ndarray], voice: LoadedAdapter, window_s: float) -> list[Hypothesis]:
        self._slots.activate(voice.adapter)
        return rescoring.transcribe(self._speech, clips, window_s)
