"""How much faster is converting than the guide's loop? Both sides in one run: ``make bench-conversion``.

    python benchmarks/bench_conversion.py --repeats 9 --workers 2

100 seeded clips of 2 to 4 s in the formats that people send (``MIX``). The guide's loop (step five of the guide:
``librosa.load`` and ``soundfile.write``, one file after another) stands as it is; where librosa can't read a file
without ffmpeg (m4a, aac, amr, webm, video), the guide gets the same sound as a 16-bit WAV of the same rate and
channels, which spares it the decoding. So ``all`` counts 100 files on both sides and is to our disadvantage;
``read_by_both`` are the files that both read as they are; ``guide_with_ffmpeg``, where the system has ffmpeg, are those
whose names the guide's loop knows, m4a among them: librosa then starts ffmpeg for what libsndfile can't read, which is
the only way for that loop to read what a phone sends. Ours does all that lesson 05 does: hashes, measures, index.
The two take turns, warm, in one process, so that a slow minute of the machine strikes both. Prints JSON; ``q1`` and
``q3`` are quartiles; ``ratio`` is the median of the ratios of neighbouring runs, with its own quartiles.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import soxr

from resonance_helpers import open_workspace
from resonance_helpers.audio import decode as audio
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import REPOSITORY, Workspace
from resonance_helpers.lessons.convert_audio import logic as conversion

sys.path.append(str(REPOSITORY / "tests" / "support"))
from sounds import encoded, put, voice, wav  # the files that the tests use

LONGEST_S = 30.0
GUIDE_SUFFIXES = (".mp3", ".m4a", ".wav", ".ogg", ".flac")
# What to make, and how many. (suffix, WAV: rate, channels, subtype); the phone's m4a comes first, as in life.
MIX: dict[tuple[Any, ...], int] = {
    ("m4a",): 30,
    ("mp3",): 15,
    ("ogg",): 15,
    ("wav", 44_100, 2, "PCM_16"): 10,
    ("wav", 48_000, 1, "PCM_24"): 5,
    ("wav", 48_000, 2, "FLOAT"): 3,
    ("wav", 8_000, 1, "PCM_U8"): 2,
    ("flac",): 6,
    ("aac",): 5,
    ("amr",): 4,
    ("webm",): 3,
    ("mp4",): 1,
    ("3gp",): 1,
}


def make(kind: tuple[Any, ...], seconds: float, pitch: float) -> bytes:
    """One file of the mix."""
    if kind[0] != "wav":
        return encoded(kind[0], voice(seconds, pitch=pitch))
    _, rate, channels, subtype = kind
    return wav(np.tile(voice(seconds, rate, pitch)[:, None], (1, channels)), rate, subtype)


def for_the_guide(content: bytes) -> tuple[bytes, bool]:
    """The same file, or the same sound as WAV, and whether librosa reads the file itself."""
    try:
        soundfile.info(io.BytesIO(content))
        return content, True
    except soundfile.SoundFileError:
        clip = audio.decode_channels(content, max_seconds=LONGEST_S)
        return wav(clip.samples.T, clip.rate), False


class Sides:
    """The same clips in two folders, and what each side does with its own."""

    def __init__(self, folder: Path, files: dict[str, bytes], theirs: dict[str, bytes], workers: int) -> None:
        self.raw, self.audio = folder / "guide" / "audio_raw", folder / "guide" / "audio"
        put(folder / "guide", {f"audio_raw/{name}": content for name, content in theirs.items()})
        put(folder / "data", {f"audio_raw/{name}": c for name, c in files.items()}, [f"audio_raw/{n}" for n in files])
        self.workspace: Workspace = open_workspace(folder / "data", folder / "output", "bench")
        self.count, self.workers = len(files), workers

    def guide(self) -> None:
        """Step five of the guide, without its printing."""
        for name in os.listdir(self.raw):  # noqa: PTH208, its own words
            if name.endswith(GUIDE_SUFFIXES):
                sound, _ = librosa.load(str(self.raw / name), sr=SAMPLE_RATE, mono=True)
                soundfile.write(self.audio / f"{Path(name).stem}.wav", sound, SAMPLE_RATE)

    def ours(self) -> None:
        """Lesson 05."""
        conversion.convert(self.workspace, workers=self.workers)

    def fresh(self) -> None:
        """Nothing is converted yet."""
        for folder in (self.audio, self.workspace.audio):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def check(self) -> None:
        """Both have made as many WAVs as there are files."""
        counts = [len(list(folder.glob("*.wav"))) for folder in (self.audio, self.workspace.audio)]
        if counts != [self.count, self.count]:
            sys.exit(f"the guide made {counts[0]} and ours {counts[1]} of {self.count}")


def timed(work: Callable[[], None]) -> float:
    """Its seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": round(middle, digits), "q1": round(low, digits), "q3": round(high, digits), "n": len(values)}


def measure(sides: Sides, repeats: int) -> dict[str, Any]:
    """Both in turns, after one round that does not count; and ours again on the folder that has not changed."""
    rounds = []
    for _ in range(repeats + 1):
        sides.fresh()
        rounds.append((timed(sides.guide), timed(sides.ours), timed(sides.ours)))
        sides.check()
    guide, ours, again = zip(*rounds[1:], strict=True)
    return {
        "files": sides.count,
        "guide_s": spread(guide),
        "ours_s": spread(ours),
        "ours_unchanged_s": spread(again),
        "ratio": spread([g / o for g, o in zip(guide, ours, strict=True)], 2),
    }


def main() -> int:
    """Read the command line, run both sides, print one JSON object."""
    parser = argparse.ArgumentParser(description="Converting: the guide's loop and this package, in one run.")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    kinds = [kind for kind, count in MIX.items() for _ in range(count)]
    files, theirs, both = {}, {}, set()
    for number, kind in enumerate(kinds, start=1):
        name = f"{number:03d}.{kind[0]}"
        files[name] = make(kind, random.uniform(2.0, 4.0), random.uniform(100.0, 300.0))
        content, read = for_the_guide(files[name])
        theirs[name if read else f"{number:03d}.wav"] = content
        both |= {name} if read else set()
    found: dict[str, Any] = {
        "workers": options.workers,
        "seed": options.seed,
        "soxr": soxr.__version__,
        "librosa": librosa.__version__,
    }
    with tempfile.TemporaryDirectory() as folder:
        everything = Sides(Path(folder, "all"), files, theirs, options.workers)
        some = {name: files[name] for name in both}
        shared = Sides(Path(folder, "both"), some, some, options.workers)
        found |= {"all": measure(everything, options.repeats), "read_by_both": measure(shared, options.repeats)}
        if shutil.which("ffmpeg"):
            some = {name: content for name, content in files.items() if name.endswith(GUIDE_SUFFIXES)}
            known_names = Sides(Path(folder, "ffmpeg"), some, some, options.workers)
            warnings.simplefilter("ignore")  # librosa says for every m4a that it does so for the last time
            found["guide_with_ffmpeg"] = measure(known_names, options.repeats)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
