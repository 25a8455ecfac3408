"""What an adapted model makes of a clip; where it is unsure, it listens once more with less of the adapter.

An adapter pulls towards the phrases it was trained on, and of those it is nearly always sure. Where it is not, the
phrase is often one that it never learned, and then the base model's own Chinese is worth more than that pull. So the
clip is heard again with weights part of the way between the base model's and the trained ones (WiSE-FT, Wortsman and
others, arXiv 2109.01903). What was sure at first stays as it was; what was not keeps its mark, whatever came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from peft.helpers import rescale_adapter_scale

from .scoring import is_endless
from .settings import SECOND_STRENGTH, UNSURE_BELOW
from .whisper import Heard, SpeechModel


def hear(
    speech: SpeechModel,
    samples: Sequence[np.ndarray],
    window_s: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Heard]:
    """What the active adapter of ``speech`` makes of each 16 kHz mono clip of at most ``window_s`` seconds, in order.

    ``Heard.unsure`` marks those that were heard twice. A second hearing that finds no end does not count. Raises
    RZ-0602 for a clip that is longer than the window; the adapter is then, and always, left at its full strength.
    """
    heard = speech.hear(samples, window_s, on_progress=on_progress)
    doubtful = [i for i, first in enumerate(heard) if _has_no_end(first) or first.sure < UNSURE_BELOW]
    if doubtful:
        with rescale_adapter_scale(speech.model, SECOND_STRENGTH):
            again = speech.hear([samples[i] for i in doubtful], window_s)
        for i, second in zip(doubtful, again, strict=True):
            heard[i] = replace(heard[i] if _has_no_end(second) else second, unsure=True)
    return heard


def _has_no_end(heard: Heard) -> bool:
    return heard.cut or is_endless(heard.text)
