"""Make the sample patient: forty everyday phrases, three takes each, in a voice that belongs to nobody.

    python data_sample/make_sample.py

Writes `audio_raw/`, `labels.json` and `consent.json` beside this file (or under `--out`). Everything is drawn from
`--seed`; the third take of every phrase is recorded in another room. Needs Debian's `espeak-ng` and
`pip install 'setuptools<81' pyworld av soundfile soxr scipy`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from synthetic_voice import Impairment, encode, impair, pad, put_in_room, speak

HERE = Path(__file__).resolve().parent
SEED = 20261123  # drawn once, after severity and model were settled on samples of seeds 1 and 2
TAKES = (1, 2, 3)
OTHER_ROOM_TAKE = 3
PATIENT_VARIANT = "m5"  # the practice model is never trained on this voice
# (suffix, sample rate in Hz, channels): what phones, recorders and chat programmes really hand over.
FIRST = (".m4a", 44_100, 1)
OTHERS = [
    (".mp3", 44_100, 1),
    (".ogg", 48_000, 1),
    (".m4a", 48_000, 2),
    (".mp3", 16_000, 1),
    (".ogg", 48_000, 1),
    (".wav", 16_000, 1),
    (".m4a", 44_100, 1),
    (".mp3", 48_000, 2),
    (".ogg", 48_000, 2),
    (".flac", 16_000, 1),
    (".m4a", 16_000, 1),
]
WITH_A_SPACE = (6, 2)  # phrase number and take whose file name somebody typed carelessly

CONSENT = {
    "version": "1",
    "person": "sample",
    "given_by": "nobody: a stand-in for a synthetic voice (合成语音的占位文件，不涉及任何真人)",
    "relationship": "synthetic voice, no person recorded (合成语音，无真人录音)",
    "assent": True,
    "purposes": ["training", "evaluation", "serving", "corrections"],
    "processor": "whoever runs the rehearsal, on their own computer (演练者本人的电脑)",
    "date": "2026-11-22",
}


def container_of(number: int, take: int) -> tuple[str, int, int]:
    """Choose suffix, sample rate and channels of a file; fixed, so that names never change with the seed."""
    if take == 1:
        return FIRST if number % 4 else (".wav", 16_000, 1)
    return OTHERS[0] if (number, take) == (1, 2) else OTHERS[(2 * number + 3 * take) % len(OTHERS)]


def file_name(number: int, text: str, take: int, suffix: str) -> str:
    """Name a recording as the guide does: 001_我想喝水.m4a, then 001_我想喝水_2.mp3."""
    stem = f"{number:03d}_{text}" + (f"_{take}" if take > 1 else "")
    if (number, take) == WITH_A_SPACE:
        stem = stem.replace("_", " ", 1)
    return stem + suffix


def record(text: str, take: int, rng: np.random.Generator) -> np.ndarray:
    """Let the synthetic patient say `text` once (16 kHz mono)."""
    healthy = speak(text, PATIENT_VARIANT, rate=int(rng.integers(150, 176)), pitch=int(rng.integers(32, 45)))
    wave = impair(healthy, Impairment.draw(rng), rng)
    if take == OTHER_ROOM_TAKE:
        wave = put_in_room(
            pad(wave, 0.08, 0.08),
            rng,
            reverb_s=rng.uniform(0.20, 0.35),
            wet=rng.uniform(0.15, 0.30),
            noise_db=rng.uniform(-30, -24),
            level_db=rng.uniform(-12, -6),
        )
    else:
        wave = put_in_room(
            pad(wave, rng.uniform(0.02, 0.08), 0.06),
            rng,
            reverb_s=0.12,
            wet=0.12,
            noise_db=rng.uniform(-38, -32),
            level_db=rng.uniform(-3, 0),
        )
    return wave


def make_sample(out: Path, seed: int = SEED) -> list[dict]:
    """Write the whole sample under `out` and return the labels."""
    phrases = json.loads((HERE / "phrases.json").read_text(encoding="utf-8"))
    known = phrases["sample_train"]
    (out / "audio_raw").mkdir(parents=True, exist_ok=True)
    labels = []
    for number, text in enumerate(known + phrases["sample_new"], start=1):
        for take in TAKES:
            suffix, sample_rate, channels = container_of(number, take)
            path = out / "audio_raw" / file_name(number, text, take, suffix)
            # one generator per file: adding a phrase later does not change the others
            rng = np.random.default_rng([seed, number, take])
            encode(path, record(text, take, rng), sample_rate, channels)
            learned = text in known and take != OTHER_ROOM_TAKE
            labels.append(
                {
                    "audio": f"audio_raw/{path.name}",
                    "text": text,
                    "take": take,
                    "split": "train" if learned else "test",
                }
            )
    write_json(out / "labels.json", labels)
    write_json(out / "consent.json", CONSENT)
    return labels


def write_json(path: Path, content: object) -> None:
    """Write readable JSON with Chinese characters as they are."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line and make the sample."""
    parser = argparse.ArgumentParser(description="Make the synthetic sample patient.")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    labels = make_sample(options.out, options.seed)
    size = sum(path.stat().st_size for path in (options.out / "audio_raw").iterdir())
    print(f"{len(labels)} recordings, {size / 1e6:.1f} MB, in {options.out / 'audio_raw'}")


if __name__ == "__main__":
    main()
