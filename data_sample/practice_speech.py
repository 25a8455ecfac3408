"""Training clips of the practice model: many espeak-ng voices, lightly varied, as log-mel features.

The patient's own voice and the voices of the healthy test are never used here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soxr
from synthetic_voice import SAMPLE_RATE, put_in_room, speak
from transformers import WhisperProcessor

# espeak-ng's variants of its voice, without the robots, monsters and whisperers
VARIANTS = """
m1 m2 m3 m4 m6 m7 f1 f2 f3 f4 Annie Mike Andrea steph Alex Alicia Denis Diogo Gene Henrique Hugo Jacky Lee Marco
Mario Nguyen adam anika antonio aunty belinda benjamin boris caleb david ed edward gustave iven john kaukovalta
marcelo max michel miguel norbert pablo paul pedro quincy rob robert sandro shelby travis victor zac klatt
klatt2 klatt3
"""
TRAIN_VARIANTS = ("", *VARIANTS.split())  # "" is the plain voice
TEST_VARIANTS = ("f5", "m8", "Michael", "linda")
TRAIN_RATES = (110, 190)  # words per minute
TEST_RATES = (100, 205)  # also slower and faster than anything trained on
COPIES = {"sample_train": 40, "sample_new": 40, "general": 5, "words": 3}  # clips of each phrase
LONGEST_S = 3.9
THROATS = (0.85, 1.18)  # playing a clip this much faster moves pitch and formants, as a shorter throat would


def plan(phrases: dict) -> list[str]:
    """Return the text of every training clip."""
    return [text for part, copies in COPIES.items() for text in phrases[part] for _ in range(copies)]


def record_all(texts: list[str], variants: tuple[str, ...], rates: tuple[int, int], seed: int) -> list[np.ndarray]:
    """Say every text in a voice, at a rate and in a room drawn for it (16 kHz mono each)."""

    def record(job: tuple[int, str]) -> np.ndarray:
        index, text = job
        rng = np.random.default_rng([seed, index])
        voice = variants[rng.integers(len(variants))]
        wave = speak(text, voice, rate=int(rng.integers(*rates)), pitch=int(rng.integers(20, 80)))
        return vary(wave, rng)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(record, enumerate(texts)))


def vary(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another throat, a little later, in some room, with some noise, at some level: enough not to be brittle."""
    wave = 0.5 * wave / max(1e-6, float(np.abs(wave).max()))
    wave = soxr.resample(wave, SAMPLE_RATE * rng.uniform(*THROATS), SAMPLE_RATE)
    wave = np.pad(wave, (int(rng.uniform(0, 0.3) * SAMPLE_RATE), int(rng.uniform(0, 0.2) * SAMPLE_RATE)))
    wave = put_in_room(
        wave[: int(LONGEST_S * SAMPLE_RATE)],
        rng,
        reverb_s=rng.uniform(0.1, 0.5),
        wet=rng.uniform(0, 0.4),
        noise_db=rng.uniform(-50, -18),
        level_db=rng.uniform(-15, 5),
    )
    return wave.astype(np.float32)


def log_mel(processor: WhisperProcessor, waves: list[np.ndarray], at_once: int = 256) -> np.ndarray:
    """Return float16 features (clips, mels, frames) at the processor's window."""
    parts = []
    for start in range(0, len(waves), at_once):
        batch = waves[start : start + at_once]
        features = processor.feature_extractor(batch, sampling_rate=SAMPLE_RATE, return_tensors="np")
        parts.append(features.input_features.astype(np.float16))
    return np.concatenate(parts)
