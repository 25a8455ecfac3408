"""One recording close up: its wave and its mel picture, which is what the model is given to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import spectrogram

from ...audio import decode as audio
from ...audio import quality as clip_quality
from ...audio.segment import joined
from ...core.settings import MAX_CLIP_S, SAMPLE_RATE
from ...core.workspace import Workspace
from .checking import RecordingRow

_WINDOW, _HOP, _BANDS = 400, 160, 80  # samples, samples and mel bands, as Whisper's own features
_SAME_STRETCH_S = 0.2  # of quiet; a shorter gap is a consonant's closure


@dataclass(frozen=True)
class ClipView:
    """``samples`` float32 (n,) at 16 kHz; ``mel`` float32 (80, frames) in dB below the clip's loudest band, a frame
    every 10 ms; ``sound`` the stretches (start, stop) in seconds where something was found that stands out from the
    background; ``clipped`` the moments in seconds at the clip's ceiling, where the check found it clipped."""

    samples: np.ndarray
    mel: np.ndarray
    sound: tuple[tuple[float, float], ...]
    clipped: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def load_clip_view(workspace: Workspace, row: RecordingRow) -> ClipView | None:
    """The recording of ``row``; None where the check could not read it. Raises what ``audio.load`` raises."""
    if row.source is None or row.quality is None:
        return None
    samples = audio.load(workspace.data_dir / row.source, MAX_CLIP_S)
    sizes = np.abs(samples)
    at_ceiling = sizes >= 0.99 * sizes.max(initial=0.0) if "RZ-0512" in row.codes else np.zeros(len(samples), bool)
    return ClipView(samples, _mel(samples), _stretches(samples), np.flatnonzero(at_ceiling) / SAMPLE_RATE)


def _stretches(samples: np.ndarray) -> tuple[tuple[float, float], ...]:
    stands_out = clip_quality.stands_out(clip_quality.frame_levels(samples))
    frame_s, end = clip_quality.FRAME_S, len(samples) / SAMPLE_RATE
    found = joined(clip_quality.runs(stands_out).tolist(), round(_SAME_STRETCH_S / frame_s))
    return tuple((start * frame_s, min(stop * frame_s, end)) for start, stop in found)


def _mel(samples: np.ndarray) -> np.ndarray:
    from librosa.filters import mel  # takes a moment to import

    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    power = spectrogram(padded, SAMPLE_RATE, "hann", _WINDOW, _WINDOW - _HOP, detrend=False, scaling="spectrum")[2]
    bands = 10 * np.log10(np.maximum(mel(sr=SAMPLE_RATE, n_fft=_WINDOW, n_mels=_BANDS) @ power, 1e-14))
    return (bands - bands.max()).astype(np.float32)
