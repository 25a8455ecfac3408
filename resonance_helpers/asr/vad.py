"""Is somebody speaking? The gate in front of a voice that was trained to hear certain phrases.

A Whisper that was trained on forty phrases may hear them in a knock or a fan too, so what is no speech has to be kept
from it. Two questions, the cheap one first: does the level rise and fall as speech does
(``clip_quality.has_speech``), and does Silero's voice detector (MIT, its weights come with the package) take it for a
voice? Whose voice is not asked: other people's speech, on television or in the room, is let through.

Silero learned from other people's speech. A voice that it hardly takes for one must not be shut out, so the bar is
personal: it lies below the least convincing of the recordings that the person trained with.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import cache
from itertools import compress
from typing import Any

import numpy as np
import torch

from ..audio.quality import has_speech, without_offset
from ..core.settings import SAMPLE_RATE, SPEECH_BAR

FRAME = 512  # samples that the detector judges at a time, 32 ms at 16 kHz
HELD = 2  # frames in a row that must be as sure: a syllable of 0.1 s has them wherever its frames begin


def voice_like(clips: Sequence[np.ndarray]) -> list[float]:
    """How sure the detector is, 0–1, that somebody speaks in each 16 kHz mono clip: its surest ``HELD`` frames."""
    return _surest(clips, enough=math.inf)


def _surest(clips: Sequence[np.ndarray], enough: float) -> list[float]:
    """As ``voice_like``, but it stops listening once every clip has reached ``enough``: most speech does so at once."""
    if not clips:
        return []
    lengths = torch.tensor([max(HELD, math.ceil(len(clip) / FRAME)) for clip in clips])  # in frames
    sound = torch.zeros(len(clips), int(lengths.max()) * FRAME)
    for row, clip in zip(sound, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(without_offset(clip))
    detector = _detector()
    detector.reset_states()
    held: deque[torch.Tensor] = deque(maxlen=HELD)  # what was heard last, [clips] each
    surest = torch.zeros(len(clips))
    with torch.inference_mode():  # all clips at once, frame by frame
        for number, frame in enumerate(sound.split(FRAME, dim=1), start=1):
            held.append(detector(frame, SAMPLE_RATE).squeeze(1).masked_fill(number > lengths, 0.0))
            if len(held) == HELD:
                surest = torch.maximum(surest, torch.stack([*held]).amin(dim=0))
            if (surest >= enough).all():
                break
    return surest.tolist()


def personal_bar(clips: Sequence[np.ndarray]) -> float:
    """The bar for somebody who recorded ``clips``: half of the least sure of them, at most ``SPEECH_BAR``."""
    return min([SPEECH_BAR, *(sure / 2 for sure in voice_like(clips))])


def lets_through(clips: Sequence[np.ndarray], bar: float) -> list[bool]:
    """Whether somebody may be speaking in each clip (16 kHz mono). A ``bar`` of 0 asks only about the level."""
    passes = [has_speech(clip) for clip in clips]
    if bar:
        sure = iter(_surest([*compress(clips, passes)], enough=bar))
        passes = [passed and next(sure) >= bar for passed in passes]
    return passes


@cache
def _detector() -> Any:
    threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad

        return load_silero_vad()
    finally:
        torch.set_num_threads(threads)  # importing it leaves torch with a single one
