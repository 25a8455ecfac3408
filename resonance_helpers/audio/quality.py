"""How good one clip is: its level, noise, speech and ends in figures, and what to do with it.

The measures are plain ones of energy, without a model, so that they are the same everywhere and cost a millisecond.
A constant offset (a sound card's) and a slow drift are no sound: ``without_offset`` is in front of every measure here,
of the voice detector and of the model. A file keeps what its recorder wrote: a WAV that is used as it lies has it too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..core.messages import message
from ..core.settings import SAMPLE_RATE, SOUND_RULES

QualityLevel = Literal["ok", "again", "listen", "unusable"]

FRAME_S = 0.025  # over which a level is measured
EDGE_S = 0.02  # at each end of a clip; speech that is still going on there was cut off
_FULL_SCALE = 32767 / 32768
_DRIFT_S = 0.05  # the moving mean, taken twice, is what is below about 10 Hz; the lowest voice begins at 60
_DRIFT_SHARE = 0.01  # of a clip's energy; less hides no pause and no voice, and a clean clip stays bit for bit
_FLAT_TOP_S = 0.00019  # three samples at 16 kHz; the round top of a voice's own wave is left sooner


@dataclass(frozen=True)
class Quality:
    """Plain measures of one clip; levels in dB relative to full scale, ``clipped`` a share of samples in [0, 1].

    ``first_db`` and ``last_db`` are the level of the clip's first and last moment beside that of its speech.
    """

    seconds: float
    peak_dbfs: float
    rms_dbfs: float
    snr_db: float
    speech_s: float
    clipped: float
    first_db: float = -100.0
    last_db: float = -100.0


def measure(samples: np.ndarray, rate: int = SAMPLE_RATE) -> Quality:
    """Level, noise and speech of one clip (n,).

    Energies of frames of ``FRAME_S``: their 90th against their 10th percentile is a plain estimate of speech over
    noise, and a frame counts as speech where it stands out.
    """
    heard = without_offset(samples, rate)
    frames = _levels(heard, rate)
    quiet, loud = np.percentile(frames, [10, 90])
    edge = max(1, round(EDGE_S * rate))
    return Quality(
        seconds=len(samples) / rate,
        peak_dbfs=_db(float(np.abs(heard).max(initial=0.0))),
        rms_dbfs=_db(float(np.sqrt(np.mean(np.square(heard, dtype=np.float64)))) if len(heard) else 0.0),
        snr_db=float(loud - quiet),
        speech_s=float(np.count_nonzero(stands_out(frames))) * len(samples) / rate / len(frames),
        clipped=_clipped(samples, rate),
        first_db=_level(heard[:edge]) - float(loud),
        last_db=_level(heard[-edge:]) - float(loud),
    )


def without_offset(samples: np.ndarray, rate: int = SAMPLE_RATE) -> np.ndarray:
    """``samples`` (n,) without what is no sound: a constant offset and a drift below about 10 Hz.

    The very samples where that is less than ``_DRIFT_SHARE`` of their energy; only their mean less where that will do.
    """
    if not len(samples):
        return samples
    width = max(1, round(_DRIFT_S * rate))
    drift = uniform_filter1d(uniform_filter1d(samples, width, mode="reflect"), width, mode="reflect")
    for moved, slow in ((samples, drift), (samples - samples.mean(), drift - drift.mean())):
        if np.dot(slow, slow) <= _DRIFT_SHARE * np.dot(moved, moved):
            return moved
    return samples - drift


def has_speech(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bool:
    """Whether the clip may hold speech: the level stays well above the clip's own background for a syllable's length.

    Meant to let every voice through, a whisper too, so it asks for no pitch. It refuses silence, hum, steady noise and
    clicks; what swells or rings as long as a syllable (a knock, a beep, a car) passes, and so does other people's talk.
    """
    rules = SOUND_RULES
    frames = np.maximum(frame_levels(samples, rate), rules.background_dbfs)
    rises = frames >= np.percentile(frames, 10) + rules.rise_db
    longest = np.diff(runs(rises)).max(initial=0)
    return bool(longest * FRAME_S >= rules.rise_s)


def judge(quality: Quality, window_s: float) -> tuple[QualityLevel, tuple[str, ...]]:
    """What to do with one clip, and the message codes that say why.

    ``unusable``: it can't be trained on; ``again``: recording it again would help; ``listen``: a person should decide.
    The words are about the recording, never about who speaks.
    """
    rules = SOUND_RULES
    if quality.peak_dbfs < rules.silent_dbfs:
        return "unusable", ("RZ-0510",)
    if quality.seconds < rules.shortest_s:
        return "unusable", ("RZ-0532",)
    # where most frames are silent, the loud ones of a clip are silent too: its noise is not known
    little_speech = quality.speech_s < max(rules.speech_s, rules.speech_share * quality.seconds)
    again = (
        *(["RZ-0511"] if quality.peak_dbfs < rules.quiet_dbfs else []),
        *(["RZ-0512"] if quality.clipped > rules.clipped_share else []),
        *(["RZ-0513"] if quality.seconds > window_s else []),
        *(["RZ-0515"] if quality.snr_db < rules.snr_db and not little_speech else []),
    )
    listen = ("RZ-0514",) if little_speech else _cut_off_ends(quality)
    return "again" if again else "listen" if listen else "ok", again + listen


def _cut_off_ends(quality: Quality) -> tuple[str, ...]:
    """Which ends begin or stop in the middle of speech; what is little above the background tells nothing."""
    rules = SOUND_RULES
    bar = max(rules.edge_db, rules.above_background_db - quality.snr_db)
    ends = (quality.first_db, quality.last_db)
    return tuple(code for code, level in zip(("RZ-0516", "RZ-0517"), ends, strict=True) if level >= bar)


def explain(code: str, quality: Quality, window_s: float, name: str) -> str:
    """The sentence of a code from ``judge`` with this clip's figures."""
    return message(code, name=name, **facts(quality, window_s))


def facts(quality: Quality, window_s: float) -> dict[str, Any]:
    """What the sentence of a code from ``judge`` needs beside the name."""
    return {"window_s": window_s, "shortest_s": SOUND_RULES.shortest_s, **asdict(quality)}


def frame_levels(samples: np.ndarray, rate: int = SAMPLE_RATE) -> np.ndarray:
    """The level of each ``FRAME_S`` of ``samples`` (n,) in dB relative to full scale, one frame at least."""
    return _levels(without_offset(samples, rate), rate)


def _levels(samples: np.ndarray, rate: int) -> np.ndarray:
    length = max(1, round(FRAME_S * rate))
    padded = np.pad(samples, (0, max(0, length - len(samples))))
    frames = padded[: len(padded) // length * length].reshape(-1, length)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    return 10.0 * np.log10(np.maximum(power, 1e-10))  # digital silence counts as −100 dB


def _clipped(samples: np.ndarray, rate: int) -> float:
    """The share of ``samples`` (n,) at full scale; where none is, of those several in a row at the clip's ceiling or
    floor, wherever an offset has moved the two.

    A recorder that was driven too far and turned down afterwards leaves flat tops below full scale. A voice's own
    peaks are round, and differ from each other by more than the hundredth that counts as the ceiling.
    """
    full = np.count_nonzero(np.abs(samples) >= _FULL_SCALE)
    reach = float(np.ptp(samples)) / 2 if len(samples) else 0.0
    if full or not reach:
        return float(full) / max(1, len(samples))
    at_limit = (samples >= samples.max() - 0.01 * reach, samples <= samples.min() + 0.01 * reach)
    tops = np.concatenate([np.diff(runs(limit))[:, 0] for limit in at_limit])
    return float(tops[tops >= max(2, round(_FLAT_TOP_S * rate))].sum()) / len(samples)


def runs(mask: np.ndarray) -> np.ndarray:
    """Where each run of True in ``mask`` (n,) begins and where it has ended: indices, int [runs, 2]."""
    return np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)


def stands_out(frames: np.ndarray) -> np.ndarray:
    """Which of the ``frames`` (levels in dB) are sound and not the clip's own background: bool, same shape."""
    quiet, loudest = np.percentile(frames, 10), frames.max()
    return frames >= max(loudest - 30.0, min(quiet + 6.0, loudest - 10.0))


def _level(samples: np.ndarray) -> float:
    """The level of (n,) in dB relative to full scale, as ``frame_levels`` has it."""
    return 10.0 * float(np.log10(max(np.square(samples, dtype=np.float64).mean(), 1e-10))) if len(samples) else -100.0


def _db(amplitude: float) -> float:
    return 20.0 * float(np.log10(max(amplitude, 1e-5)))
