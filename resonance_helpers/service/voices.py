"""The real voices: one Whisper, and the adapter of whoever is asked for.

Used by one thread only (see ``engine``), because PEFT switches adapters in place: two threads gave 35 of 50 answers in
another patient's voice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from itertools import compress

import numpy as np

from .. import adapter
from ..settings import SAMPLE_RATE
from ..speech_gate import lets_through
from ..whisper import SpeechModel
from ..windows import choose_window
from .registry import AdapterRegistry

log = logging.getLogger("resonance.service")


class WhisperVoices:
    """``Speaks`` with a loaded base model. An adapter is verified and attached when it is first needed, then stays."""

    def __init__(self, speech: SpeechModel, registry: AdapterRegistry) -> None:
        self._speech = speech
        self._registry = registry
        self._attached: dict[str, float] = {}  # patient → window in seconds

    def attach(self, patient_id: str) -> float:
        """Have the patient's adapter in memory; their window in seconds. Raises RZ-061x where it does not fit."""
        if patient_id not in self._attached:
            manifest = adapter.attach(self._speech, self._registry.folder(patient_id), _peft_name(patient_id))
            for warning in adapter.version_warnings(manifest):
                log.warning(warning)
            self._attached[patient_id] = manifest.window_s
        return self._attached[patient_id]

    def recognise(self, samples: Sequence[np.ndarray], patient_id: str) -> list[str]:
        """The text of each 16 kHz mono clip in the voice of ``patient_id``, empty where nobody speaks in it.

        A clip longer than the window of the training gets the next longer one; RZ-0602 when the model has none.
        """
        window_s = self.attach(patient_id)
        longest_s = max(len(clip) for clip in samples) / SAMPLE_RATE
        if longest_s > window_s:
            native_s = self._speech.native_window_s
            window_s = choose_window(min(longest_s, native_s), native_s)
        bar = self._registry.manifest(patient_id).speech_bar
        spoken = lets_through(samples, bar)
        with adapter.using(self._speech, _peft_name(patient_id)):
            heard = iter(self._speech.recognise([*compress(samples, spoken)], window_s=window_s))
        return [next(heard) if is_spoken else "" for is_spoken in spoken]


def _peft_name(patient_id: str) -> str:
    # PEFT finds weights by searching for the adapter's name inside their keys, and an id may be part of another id or a
    # word that torch modules use ("keys", "weight"). Names of one length with a prefix of our own are neither.
    return "patient_" + hashlib.sha256(patient_id.encode()).hexdigest()[:16]
