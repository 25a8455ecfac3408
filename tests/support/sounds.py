"""Sound for the tests: a voice-like tone with pauses, and files of it in every format people send."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

# suffix → (container, codec, rate in Hz, channels)
FORMATS = {
    "m4a": ("ipod", "aac", 44_100, 2),
    "mp4": ("mp4", "aac", 48_000, 1),
    "3gp": ("3gp", "libopencore_amrnb", 8_000, 1),
    "mp3": ("mp3", "libmp3lame", 44_100, 2),
    "ogg": ("ogg", "libopus", 48_000, 1),
    "webm": ("webm", "libopus", 48_000, 2),
    "flac": ("flac", "flac", 48_000, 2),
    "aac": ("adts", "aac", 44_100, 1),
    "amr": ("amr", "libopencore_amrnb", 8_000, 1),
}

_SAME = {"fflags": "+bitexact"}  # the same sound is the same file: no random numbers in its header


def voice(seconds: float = 2.0, rate: int = 48_000, pitch: float = 180.0, level: float = 0.4) -> np.ndarray:
    """float32 (n,): syllables of 0.3 s with short pauses, a tenth of a second of near-silence at both ends."""
    time = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8)) / 2
    syllables = np.clip(np.sin(2 * np.pi * time / 0.6), 0, None)
    edges = (time > 0.1) & (time < seconds - 0.1)
    hiss = np.random.default_rng(7).normal(0, 1e-4, len(time))
    return (level * tone * syllables * edges + hiss).astype(np.float32)


def encoded(suffix: str, samples: np.ndarray | None = None, rate: int = 48_000, without_length: bool = False) -> bytes:
    """``samples`` (n,) at ``rate`` as a file of one of FORMATS, or a 16 kHz mono 16-bit WAV.

    ``without_length``: an MP3 of variable bit rate with no header that says how long it is.
    """
    samples = voice() if samples is None else samples
    if suffix == "wav":
        return wav(soxr.resample(samples, rate, 16_000))
    container, codec, to, channels = FORMATS[suffix]
    layout = "stereo" if channels == 2 else "mono"
    file = io.BytesIO()
    vbr = suffix == "mp3" and without_length
    with av.open(file, "w", format=container, options=_SAME | ({"write_xing": "0"} if vbr else {})) as output:
        stream = output.add_stream(codec, rate=to, layout=layout, options={"q": "9", "flags": "+qscale"} if vbr else {})
        planes = np.tile(soxr.resample(samples, rate, to), (channels, 1)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = to, 0
        for converted in av.AudioResampler(stream.format.name, layout, to).resample(frame):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return file.getvalue()


def filmed(container: str = "mp4", size: tuple[int, int] = (64, 48), video: str = "mpeg4", sound: str = "aac") -> bytes:
    """``voice`` of a second as the sound of a black video of one frame, ``size`` in pixels, as a phone makes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=_SAME) as output:
        picture = output.add_stream(video, rate=5, width=size[0], height=size[1])
        stream = output.add_stream(sound, rate=44_100, layout="mono")
        output.mux(
            picture.encode(av.VideoFrame.from_ndarray(np.zeros((size[1] * 3 // 2, size[0]), np.uint8), "yuv420p"))
        )
        output.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(voice(1.0, 44_100)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        for converted in av.AudioResampler(stream.format.name, "mono", 44_100).resample(frame):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return file.getvalue()


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    """``samples``, (n,) or (n, channels), as a WAV."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format="WAV")
    return file.getvalue()


def put(data_dir: Path, files: dict[str, bytes], labels: list[dict] | list[str] | None = None) -> None:
    """Write files (by path relative to ``data_dir``) and labels.json; a string is an entry that names that file."""
    for name, content in files.items():
        path = data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if labels is not None:
        entries = [{"audio": e, "text": Path(e).stem} if isinstance(e, str) else e for e in labels]
        (data_dir / "labels.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder`` with its content; the index of conversions without the times of its files."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    for index in found.keys() & {"audio/conversion.json"}:
        found[index] = re.sub(rb'"(source|wav)_stamp": (null|\[[^]]*\])', b"", found[index])
    return found
