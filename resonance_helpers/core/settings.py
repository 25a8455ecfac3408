"""Every default of the project, once, each with its unit and its reason.

Options are frozen dataclasses that check themselves; facts are constants that carry their unit in the name.
Standard library only: lessons 01–03 read this before anything else is installed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from .messages import ResonanceError

# ── Audio ────────────────────────────────────────────────────────────────────
SAMPLE_RATE = 16_000  # Hz; what Whisper's mel filters were made for
AUDIO_SUFFIXES = (  # the usual ones; whether a file is a recording its content says
    *(".wav", ".mp3", ".m4a", ".ogg", ".opus", ".flac", ".aac", ".amr", ".wma"),
    *(".mp4", ".mov", ".3gp", ".webm"),  # a video is its sound
)
# With one of these, too, a file was meant as a recording although its content can't be read, and is named as such.
RARE_AUDIO_SUFFIXES = (
    *(".oga", ".spx", ".qta", ".3gpp", ".3ga", ".3g2", ".caf", ".aiff", ".aif", ".aifc", ".m4b", ".m4r", ".mpga"),
    *(".mp2", ".weba", ".mka", ".au", ".snd", ".w64", ".ac3", ".ec3", ".dts", ".wv", ".ape", ".tta", ".awb", ".silk"),
    *(".ra", ".rm", ".dss", ".ds2", ".dvf", ".msv", ".mkv", ".avi", ".flv", ".wmv", ".asf", ".m4v", ".mpg", ".mpeg"),
)


@dataclass(frozen=True)
class SoundRules:
    """When a recording deserves a second look. Levels in dB relative to full scale, shares in [0, 1]."""

    silent_dbfs: float = -60.0  # a peak below this is an empty room or a muted microphone
    quiet_dbfs: float = -30.0  # a peak below this leaves under 11 of 16 bits for the voice
    shortest_s: float = 0.1  # of a clip; no syllable is over sooner
    clipped_share: float = 0.002  # of the samples at full scale; a single click is not worth another take
    speech_s: float = 0.2  # one short syllable
    speech_share: float = 0.15  # less speech than this in a clip is mostly silence
    # Of 400 good clips (a program's voice, a healthy and an impaired one, some with noise) none lies below 11 dB, and
    # the first or last moment of one is less than 12 dB below its speech.
    snr_db: float = 10.0  # of the loud frames over the quiet ones
    edge_db: float = -12.0  # beside the loud frames
    above_background_db: float = 6.0  # an edge that is not this much above the background is background
    # Is anybody speaking at all? Of 400 clips of speech the longest rise of the least was 0.225 s; of rumble, 0.075 s.
    background_dbfs: float = -70.0  # a frame quieter than this is a converter's noise, not a room's
    rise_db: float = 9.0  # above the background; brown noise alone wanders by 8 dB
    rise_s: float = 0.125  # at a stretch; a click is over in 0.1 s


SOUND_RULES = SoundRules()
SECOND_STRENGTH = 0.6  # of the adapter, where it was unsure at full strength (benchmarks/second_hearing.py)
SECOND_SHARE = 1 / 3  # of the say in the answer then; with more, phrases that were learned lose
SECOND_BEAMS = 5  # answers that each of the two proposes
UNSURE_BELOW = 0.85  # the model's own probability of its words: below it 57 of 71 wrong answers, 44 of 349 right ones
SPEECH_THRESHOLD = 0.3  # how sure Silero's voice detector must be; the bar of a person it is less sure of lies lower

# ── Windows ──────────────────────────────────────────────────────────────────
WINDOW_LADDER_S = (4.0, 6.0, 8.0, 12.0, 30.0)  # few rungs, so that patients with near windows share compiled shapes
MAX_CLIP_S = WINDOW_LADDER_S[-1]  # of one recording: the model hears no more at once
# Room after the longest recording. Of later takes 0.7 % were longer than the longest of 100 recordings and this
# together (of 30 recordings 1.8 %); without any slack 2.1 % and 5 % (benchmarks/window_slack.py).
WINDOW_SLACK_S = 0.3

# ── Models ───────────────────────────────────────────────────────────────────
DEFAULT_BASE_MODEL = "openai/whisper-small"  # the guide's
PRACTICE_MODEL = "resonance/practice-model"  # bundled in data_sample; for rehearsal only
SAMPLE_PATIENT = "sample"

# ── Data ─────────────────────────────────────────────────────────────────────
MIN_RECORDINGS = 10  # fewer cannot be split into train, dev and test at all
TEST_FRACTION = 0.15  # of all clips, where labels.json marks no test: every phrase held out is one the adapter lacks
LONGEST_TEXT = 60  # Chinese characters, or three times as many letters; more than anybody says in the 30 s of a clip
LIKELY_WHOLE = 32  # Chinese characters; of common ones whisper-base makes 38 tokens, the practice model 40
GUIDE_RECORDINGS = (50, 100)  # what the guide asks for

# How often each recording comes up while the best step is chosen. Measured well at 9–14 (benchmarks/RESULTS.md); a
# model that has seen a clip forty times knows it by heart.
SUITABLE_PASSES, USUAL_PASSES = (5, 40), 12

# ── Judging ──────────────────────────────────────────────────────────────────
OTHER_SOUNDS = 300  # clips without speech; with fewer, 2 % of them could not be told from none
REFUSED_SOUNDS = 60  # of those that the speech gate holds back: decoded all the same, for the figure without it

# ── Decoding ─────────────────────────────────────────────────────────────────
MAX_NEW_TOKENS = 48  # a phrase of 2–5 s has under 25 tokens; a bound is what ends an endless repetition
LOOP_TOKENS = 16  # an answer of which the last so many repeat one stretch goes on so to the bound; no phrase does


def plain(options: Any) -> dict[str, Any]:
    """Options as JSON keeps them (lists instead of tuples), so that what is read equals what was written."""
    return json.loads(json.dumps(asdict(options)))


def _known(name: str, values: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    if not set(values) <= set(allowed):
        raise ResonanceError("RZ-0001", name=name, value=values, allowed=", ".join(allowed))


def _some_of(name: str, values: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    if not isinstance(values, tuple) or not values or len(set(values)) < len(values):
        raise ResonanceError("RZ-0001", name=name, value=values, allowed=", ".join(allowed))
    _known(name, values, allowed)


def _positive(name: str, value: int, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most is not None and value > most):
        raise ResonanceError("RZ-0001", name=name, value=value, allowed=f"≥ 1, ≤ {most}" if most else "≥ 1")


MODEL_PARTS = ("encoder", "decoder")  # of Whisper
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")  # of each layer, attention and feed-forward
MAX_RANK = 256  # more is no small adapter any more, and a file from elsewhere could ask for all the memory
MAX_ALPHA = 4 * MAX_RANK  # twice the rank is usual
EFFECTS = ("speed", "pitch", "room", "noise", "gain", "spectrum")  # of augmentation; spectrum is SpecAugment


@dataclass(frozen=True)
class LoraSettings:
    """Which weights the adapter moves.

    The guide moves q and v alone. At equal steps all linear layers understood 86 of 100 known phrases instead of 66
    and new ones as well or slightly worse (benchmarks/RESULTS.md); the file has 9 MB instead of 2 (whisper-base).
    The guide's dropout of 0.05 is left out: drawing it took a sixth of a step on a CPU, and with three seeds each way
    nothing could be told apart.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ALL_LINEAR
    parts: tuple[str, ...] = MODEL_PARTS

    def __post_init__(self) -> None:
        _some_of("lora.target_modules", self.target_modules, ALL_LINEAR)
        _some_of("lora.parts", self.parts, MODEL_PARTS)
        _positive("lora.r", self.r, MAX_RANK)
        _positive("lora.alpha", self.alpha, MAX_ALPHA)
        if isinstance(self.dropout, bool) or not 0 <= self.dropout < 1:
            raise ResonanceError("RZ-0001", name="lora.dropout", value=self.dropout, allowed="0 ≤ x < 1")


@dataclass(frozen=True)
class TrainingSettings:
    """One training run. Times and counts are in optimiser steps unless the name says otherwise."""

    steps: int = 120
    batch_size: int = 8
    accumulation: int = 1  # batches added up before each step; doubled when memory forces a smaller batch
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    # How training is watched
    eval_every: int = 20
    patience: int = 5  # evaluations without a better one before stopping early; fewer stop while the rate is still high
    dev_fraction: float = 0.12  # of the training phrases, held out to choose the best checkpoint
    dev_max_clips: int = 24  # decoding more than this at every evaluation would cost more than the training
    # How clips are prepared
    window_s: float = 0.0  # 0 = chosen from the longest recording, and each training batch from its own longest
    leave_out_long: bool = False  # go on without recordings longer than the model hears, instead of naming them
    augment: tuple[str, ...] = ("speed", "room", "noise", "gain")  # of ``EFFECTS``, drawn anew at every step
    native_every: int = 10  # batches; then two clips at the model's own 30 s, so that the adapter works there too
    seed: int = 17
    lora: LoraSettings = field(default_factory=LoraSettings)

    @property
    def finishing_steps(self) -> int:
        """Steps on all recordings, after the best step was chosen."""
        return max(1, self.steps // 2)

    @property
    def all_steps(self) -> int:
        return self.steps + self.finishing_steps

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "eval_every", "patience", "dev_max_clips"):
            _positive(name, getattr(self, name))
        _known("augment", self.augment, EFFECTS)
        if not 0 < self.learning_rate < 1:
            raise ResonanceError("RZ-0001", name="learning_rate", value=self.learning_rate, allowed="0 < x < 1")
        if self.native_every < 0:
            raise ResonanceError("RZ-0001", name="native_every", value=self.native_every, allowed="≥ 0")
        if self.window_s and self.window_s not in WINDOW_LADDER_S:
            raise ResonanceError("RZ-0001", name="window_s", value=self.window_s, allowed=f"0, {WINDOW_LADDER_S}")


# The guide's numbers (batch 32 on a 24 GB card, 30 s padding, 500 steps) beside ours, so that lesson 06 can show both.
PRESETS: dict[str, TrainingSettings] = {
    "default": TrainingSettings(),
    "guide": TrainingSettings(
        steps=500,
        batch_size=32,
        warmup_steps=50,
        eval_every=100,
        patience=5,
        window_s=30.0,
        augment=(),
        lora=LoraSettings(dropout=0.05, target_modules=("q_proj", "v_proj")),
    ),
}


@dataclass(frozen=True)
class ServiceSettings:
    """The HTTP service. Loopback by default: a public address is a decision, not an accident."""

    host: str = "127.0.0.1"
    port: int = 8000
    cors_origins: tuple[str, ...] = ()  # web pages from elsewhere that may ask; none
    # Who comes in
    max_connections: int = 4096  # fewer where the system allows few open files
    head_s: float = 10.0  # for TLS, and for the head of a request
    # What comes in
    max_body_bytes: int = 20 * 1024 * 1024  # a minute of CD-quality stereo WAV is 10 MB
    max_held_bytes: int = 256 * 1024 * 1024  # of all bodies that are being read or answered
    body_s: float = 60.0  # for a body to arrive
    max_audio_s: float = 60.0  # what is longer than the patient's window is cut at pauses
    decoders: int = 2  # processes
    decode_s: float = 10.0  # for one recording; a phrase takes milliseconds
    # What waits
    queue_size: int = 32
    deadline_s: float = 30.0  # from the whole upload to the answer; no speaker waits longer for a sentence
    batch_size: int = 8  # pieces of one patient and window, answered together
    # What stays in memory
    max_adapters: int = 64
    max_adapter_bytes: int = 512 * 1024 * 1024


# Ports that AutoDL's "custom service" has opened for personal accounts.
AUTODL_PORTS = (6006, 6008)
