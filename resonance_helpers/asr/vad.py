"""Voice activity detection in front of the recogniser.

A Whisper model that was trained on forty phrases may write them for a knock or a fan, so clips without speech are kept
from it. Two tests, the cheap one first: whether the level varies as in speech (``quality.has_speech``), and whether
Silero's detector (MIT, weights in its package) finds a voice. It does not tell speakers apart: other people's speech,
on television or in the room, passes.

Silero was trained on typical speech and may score impaired speech low, so the threshold is the speaker's own: below the
lowest score of the recordings that the adapter was trained on.
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
from ..core.settings import SAMPLE_RATE, SPEECH_THRESHOLD

FRAME = 512  # samples that the detector judges at a time, 32 ms at 16 kHz
HELD = 2  # consecutive frames that must reach the score: a syllable of 0.1 s has them wherever its frames begin


def speech_probability(clips: Sequence[np.ndarray]) -> list[float]:
    """The speech probability of each 16 kHz mono clip, 0–1: the highest that ``HELD`` frames in a row reach."""
    return _max_probability(clips, enough=math.inf)


def _max_probability(clips: Sequence[np.ndarray], enough: float) -> list[float]:
    """As ``speech_probability``, but stops as soon as every clip has reached ``enough``."""
    if not clips:
        return []
    lengths = torch.tensor([max(HELD, math.ceil(len(clip) / FRAME)) for clip in clips])  # in frames
    sound = torch.zeros(len(clips), int(lengths.max()) * FRAME)
    for row, clip in zip(sound, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(without_offset(clip))
    detector = _detector()
    detector.reset_states()
    held: deque[torch.Tensor] = deque(maxlen=HELD)  # the probabilities of the last frames, [clips] each
    highest = torch.zeros(len(clips))
    with torch.inference_mode():  # all clips at once, frame by frame
        for number, frame in enumerate(sound.split(FRAME, dim=1), start=1):
            held.append(detector(frame, SAMPLE_RATE).squeeze(1).masked_fill(number > lengths, 0.0))
            if len(held) == HELD:
                highest = torch.maximum(highest, torch.stack([*held]).amin(dim=0))
            if (highest >= enough).all():
                break
    return highest.tolist()


def speaker_threshold(clips: Sequence[np.ndarray]) -> float:
    """The threshold for the speaker of ``clips``: half of the lowest probability, at most ``SPEECH_THRESHOLD``."""
    return min([SPEECH_THRESHOLD, *(probability / 2 for probability in speech_probability(clips))])


def is_speech(clips: Sequence[np.ndarray], threshold: float) -> list[bool]:
    """Whether each 16 kHz mono clip may hold speech. With a ``threshold`` of 0 only the level is tested."""
    passes = [has_speech(clip) for clip in clips]
    if threshold:
        probability = iter(_max_probability([*compress(clips, passes)], enough=threshold))
        passes = [passed and next(probability) >= threshold for passed in passes]
    return passes


@cache
def _detector() -> Any:
    threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad

        return load_silero_vad()
    finally:
        torch.set_num_threads(threads)  # importing it leaves torch with a single one
