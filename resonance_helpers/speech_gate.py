"""Is somebody speaking? The gate in front of a voice that was trained to hear certain phrases.

A Whisper that was trained on forty phrases hears them in a knock and in a television too, so what is no speech has to
be kept from it. Two questions, the cheap one first: does the level rise and fall as speech does (``audio.has_speech``),
and does Silero's voice detector (MIT, its weights come with the package) take it for a voice?

Silero learned from other people's speech. A voice that it hardly takes for one must not be shut out, so the bar is
personal: it lies below the least convincing of the recordings that the person trained with.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch

from .audio import has_speech
from .settings import SAMPLE_RATE, SPEECH_BAR

FRAME = 512  # samples that the detector judges at a time, 32 ms at 16 kHz
HELD = 2  # frames in a row that must be as sure: a syllable of 0.1 s has them wherever its frames begin


def voice_like(samples: np.ndarray) -> float:
    """How sure the detector is, 0–1, that somebody speaks in ``samples`` (16 kHz mono): its surest ``HELD`` frames."""
    frames = torch.from_numpy(np.pad(samples, (0, -len(samples) % FRAME))).split(FRAME)
    detector = _detector()
    detector.reset_states()
    with torch.inference_mode():
        sure = np.array([detector(frame, SAMPLE_RATE).item() for frame in frames if len(frame)])
    held = np.lib.stride_tricks.sliding_window_view(sure, HELD) if len(sure) >= HELD else sure[:, None]
    return float(held.min(axis=1).max(initial=0.0))


def personal_bar(clips: Iterable[np.ndarray]) -> float:
    """The bar for somebody who recorded ``clips``: half of the least sure of them, at most ``SPEECH_BAR``."""
    return min([SPEECH_BAR, *(voice_like(clip) / 2 for clip in clips)])


def lets_through(samples: np.ndarray, bar: float) -> bool:
    """Whether somebody may be speaking in ``samples`` (16 kHz mono). A ``bar`` of 0 asks only about the level."""
    return has_speech(samples) and (bar == 0 or voice_like(samples) >= bar)


@cache
def _detector() -> Any:
    threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad

        return load_silero_vad()
    finally:
        torch.set_num_threads(threads)  # importing it leaves torch with a single one
