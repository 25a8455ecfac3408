"""Speech without a speaker: espeak-ng's Mandarin voice, an artificial impairment, a room and an encoder.

No recording of a person is used anywhere. `speak` gives a healthy synthetic voice, `impair` makes it slow, slurred
and unsteady with the WORLD vocoder, `put_in_room` moves it somewhere else and `encode` writes it in the format that
a phone or a recorder might have chosen. Waves are mono float32 in [-1, 1] at `SAMPLE_RATE`.

Needs Debian's `espeak-ng` (apt-get install espeak-ng) and
`pip install 'setuptools<81' pyworld av soundfile soxr scipy`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

try:
    import av
    import soundfile
    import soxr
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import fftconvolve
except ImportError as error:  # a plain sentence helps more than a traceback
    sys.exit(f"Missing Python package ({error.name}). Run: pip install av soundfile soxr scipy")

SAMPLE_RATE = 16_000  # Hz, what Whisper listens to
FRAME_MS = 5.0  # WORLD's analysis step
# With the plain `cmn` voice espeak-ng 1.51 reads the pinyin of many characters as English letters.
MANDARIN = "cmn-latn-pinyin"


def speak(text: str, variant: str = "", rate: int = 160, pitch: int = 50) -> np.ndarray:
    """Say `text` with espeak-ng. `variant` such as "f2", `rate` in words per minute, `pitch` 0–99."""
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is missing. On Debian or Ubuntu: apt-get install espeak-ng")
    voice = f"{MANDARIN}+{variant}" if variant else MANDARIN
    command = ["espeak-ng", "-v", voice, "-s", str(rate), "-p", str(pitch), "-b", "1", "--stdout", text]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    wave, rate_hz = soundfile.read(io.BytesIO(spoken), dtype="float32")
    return _trim(soxr.resample(wave, rate_hz, SAMPLE_RATE))


def _trim(wave: np.ndarray, floor: float = 0.01) -> np.ndarray:
    """Cut the silence that espeak-ng leaves at both ends, down to `floor` of the peak."""
    loud = np.flatnonzero(np.abs(wave) > floor * np.abs(wave).max())
    return wave[loud[0] : loud[-1] + 1] if len(loud) else wave


@dataclass(frozen=True)
class Impairment:
    """How one utterance is impaired; drawn anew for every file, around the habits of one speaker."""

    tempo: float  # how many times longer than healthy
    unevenness: float  # spread of the local tempo, log scale
    undershoot_ms: float  # how far articulation is smeared in time
    centring: float  # share of each spectrum replaced by the utterance's mean, 0–1
    blur_hz: float  # how far formants are smeared in frequency
    warp: float  # formants moved to this share of their frequency
    pitch_range: float  # what is left of the pitch movement, 0–1
    tremor_hz: float
    tremor_depth: float  # share of pitch and of loudness
    breath: float  # share of the voice turned into breath, 0–1
    pauses: int
    pause_ms: float
    dullness_db: float  # loss above 3 kHz: weak consonants

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Impairment:
        """Draw the state of this speaker for one file."""
        return cls(
            tempo=rng.uniform(1.4, 1.75),
            unevenness=rng.uniform(0.08, 0.16),
            undershoot_ms=rng.uniform(32, 50),
            centring=rng.uniform(0.27, 0.47),
            blur_hz=rng.uniform(110, 200),
            warp=rng.uniform(0.88, 0.92),
            pitch_range=rng.uniform(0.20, 0.40),
            tremor_hz=rng.uniform(4.5, 7.0),
            tremor_depth=rng.uniform(0.03, 0.07),
            breath=rng.uniform(0.36, 0.68),
            pauses=int(rng.integers(0, 3)),
            pause_ms=rng.uniform(60, 180),
            dullness_db=rng.uniform(5.5, 12.5),
        )


def impair(wave: np.ndarray, how: Impairment, rng: np.random.Generator, longest_s: float = 3.4) -> np.ndarray:
    """Make a healthy voice slow, slurred, flat, trembling and breathy; the result lasts at most `longest_s`."""
    pitch, spectrum, aperiodicity = _analyse(wave)
    log_spectrum = _slur(np.log(spectrum), how)

    pause_frames = round(how.pause_ms / FRAME_MS)
    room_left = longest_s * 1000 / FRAME_MS - how.pauses * pause_frames
    tempo = min(how.tempo, room_left / len(pitch))
    at = _time_map(len(pitch), tempo, how.unevenness, rng)
    nearest = np.round(at).astype(int)
    log_spectrum, aperiodicity = _at(log_spectrum, at), _at(aperiodicity, at)
    pitch = _flatten(pitch, how)[nearest]

    seconds = np.arange(len(at)) * FRAME_MS / 1000
    wobble = how.tremor_depth * np.sin(2 * np.pi * (how.tremor_hz * seconds + rng.random()))
    shake = gaussian_filter1d(rng.normal(0, 0.12, len(at)), 4)
    pitch = pitch * (1 + wobble + shake)
    log_spectrum = log_spectrum + 4 * (wobble + shake)[:, None]
    aperiodicity = 1 - (1 - aperiodicity) * (1 - how.breath)

    for start in sorted(rng.integers(len(at) // 5, len(at) - len(at) // 6, how.pauses), reverse=True):
        _hush(log_spectrum, start)
        pitch = np.insert(pitch, start, np.zeros(pause_frames))
        log_spectrum = np.insert(log_spectrum, [start] * pause_frames, log_spectrum[start], axis=0)
        aperiodicity = np.insert(aperiodicity, [start] * pause_frames, 1.0, axis=0)
    return _synthesise(pitch, np.exp(log_spectrum), aperiodicity)


def _analyse(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pitch (Hz, 0 where unvoiced), power spectrum and aperiodicity, a row every `FRAME_MS`."""
    world = _world()
    double = wave.astype(np.float64)
    coarse, times = world.dio(double, SAMPLE_RATE, frame_period=FRAME_MS)
    pitch = world.stonemask(double, coarse, times, SAMPLE_RATE)
    spectrum = world.cheaptrick(double, pitch, times, SAMPLE_RATE)
    return pitch, np.maximum(spectrum, 1e-12), world.d4c(double, pitch, times, SAMPLE_RATE)


def _synthesise(pitch: np.ndarray, spectrum: np.ndarray, aperiodicity: np.ndarray) -> np.ndarray:
    """Return the wave of these frames at a peak of 0.5."""
    arrays = [np.ascontiguousarray(a, dtype=np.float64) for a in (pitch, spectrum, aperiodicity)]
    wave = _world().synthesize(*arrays, SAMPLE_RATE, FRAME_MS)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def _world():
    """Import pyworld late: only the impaired voice needs it."""
    try:
        with warnings.catch_warnings():  # its version look-up uses the deprecated pkg_resources
            warnings.simplefilter("ignore")
            import pyworld
    except ImportError:
        sys.exit("pyworld is missing. Run: pip install 'setuptools<81' pyworld")
    return pyworld


def _slur(log_spectrum: np.ndarray, how: Impairment) -> np.ndarray:
    """Blur articulation in time and formants in frequency, pull both to the middle, weaken consonants."""
    hz = np.linspace(0, SAMPLE_RATE / 2, log_spectrum.shape[1])
    slurred = gaussian_filter1d(log_spectrum, how.undershoot_ms / FRAME_MS, axis=0)
    slurred = gaussian_filter1d(slurred, how.blur_hz / hz[1], axis=1)
    energy = slurred.mean(axis=1, keepdims=True)
    shape = slurred - energy
    shape = (1 - how.centring) * shape + how.centring * shape.mean(axis=0)
    moved = np.stack([np.interp(hz / how.warp, hz, row) for row in shape])
    dull = how.dullness_db * np.log(10) / 10 * np.clip((hz - 2000) / 2000, 0, 1)
    return moved + energy - dull


def _flatten(pitch: np.ndarray, how: Impairment) -> np.ndarray:
    """Keep only `pitch_range` of the movement around the mean pitch."""
    voiced = pitch > 0
    middle = pitch[voiced].mean() if voiced.any() else 0.0
    return np.where(voiced, middle + how.pitch_range * (pitch - middle), 0.0)


def _time_map(frames: int, tempo: float, unevenness: float, rng: np.random.Generator) -> np.ndarray:
    """For every output frame the (fractional) input frame: `tempo` times as many, unevenly spread."""
    longer = max(2, int(frames * tempo))
    local = np.exp(unevenness * gaussian_filter1d(rng.normal(0, 1, longer), 25) * 8)
    position = np.cumsum(local)
    return (position - position[0]) / (position[-1] - position[0]) * (frames - 1)


def _at(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate `rows` at fractional indices `at`."""
    low = np.minimum(at.astype(int), len(rows) - 2)
    share = (at - low)[:, None]
    return rows[low] * (1 - share) + rows[low + 1] * share


def _hush(log_spectrum: np.ndarray, around: int, width: int = 6) -> None:
    """Fade into and out of a pause at frame `around`, in place."""
    distance = np.abs(np.arange(len(log_spectrum)) - around)
    log_spectrum -= (8 * np.clip(1 - distance / width, 0, 1))[:, None]


def put_in_room(
    wave: np.ndarray,
    rng: np.random.Generator,
    reverb_s: float = 0.3,
    wet: float = 0.3,
    noise_db: float = -35.0,
    level_db: float = 0.0,
) -> np.ndarray:
    """Place `wave` in a room: decaying echoes (`reverb_s` to -60 dB, amount `wet`), noise below the voice, level."""
    length = max(1, int(reverb_s * SAMPLE_RATE))
    decay = 10 ** (-3 * np.arange(length) / length)
    echo = gaussian_filter1d(rng.normal(0, 1, length), 1.0) * decay
    echo[: int(0.004 * SAMPLE_RATE)] = 0  # the first wall is more than a metre away
    echo *= wet / np.sqrt((echo**2).sum() + 1e-12)
    echo[0] = 1.0
    heard = fftconvolve(wave, echo)[: len(wave)]
    hiss = gaussian_filter1d(rng.normal(0, 1, len(wave)), rng.uniform(0.3, 2.0))
    hiss *= np.sqrt((heard**2).mean() / (hiss**2).mean()) * 10 ** (noise_db / 20)
    louder = (heard + hiss) * 10 ** (level_db / 20)
    return (louder / max(1.0, np.abs(louder).max() / 0.98)).astype(np.float32)


def pad(wave: np.ndarray, before_s: float, after_s: float) -> np.ndarray:
    """Add digital silence at both ends (seconds)."""
    return np.pad(wave, (int(before_s * SAMPLE_RATE), int(after_s * SAMPLE_RATE)))


CODECS = {
    ".m4a": ("mp4", "aac", "fltp"),
    ".mp3": ("mp3", "libmp3lame", "fltp"),
    ".ogg": ("ogg", "libopus", "flt"),
}


def encode(path: Path, wave: np.ndarray, sample_rate: int, channels: int, bit_rate: int = 32_000) -> None:
    """Write `wave` (16 kHz mono) in the format of the suffix, at `sample_rate` Hz with 1 or 2 channels."""
    out = soxr.resample(wave, SAMPLE_RATE, sample_rate) if sample_rate != SAMPLE_RATE else wave
    out = np.clip(np.stack([out] * channels), -1, 1).astype(np.float32)
    if path.suffix in (".wav", ".flac"):
        soundfile.write(path, out.T, sample_rate, subtype="PCM_16")
        return
    container_format, codec, sample_format = CODECS[path.suffix]
    planar = sample_format.endswith("p")
    samples = out if planar else np.ascontiguousarray(out.T).reshape(1, -1)
    layout = "stereo" if channels == 2 else "mono"
    # bitexact keeps version strings and random stream numbers out, so that a rerun gives the same bytes
    with av.open(str(path), "w", format=container_format, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=sample_rate, layout=layout)
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout=layout)
        frame.sample_rate = sample_rate
        resampler = av.AudioResampler(stream.format, layout, sample_rate, frame_size=stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def decode(path: Path) -> np.ndarray:
    """Read any of these formats as 16 kHz mono float32."""
    resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
