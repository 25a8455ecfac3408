from __future__ import annotations

import errno
import io
import json
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import FORMATS, encoded, filmed, voice, wav

from resonance_helpers import ResonanceError
from resonance_helpers.audio import decode as audio
from resonance_helpers.audio import formats, headers
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.service.problems import STATUS

LONGEST_S = 30.0
CACHE: dict[str, bytes] = {}
JUNK = np.random.default_rng(3).bytes(200_000)


def file_of(suffix: str) -> bytes:
    if suffix not in CACHE:
        CACHE[suffix] = encoded(suffix)
    return CACHE[suffix]


def refused(source: Path | bytes, name: str = "我想 喝水.m4a", max_seconds: float = LONGEST_S) -> ResonanceError:
    """The error of a refused file, after checking that both languages name the file."""
    with pytest.raises(ResonanceError) as caught:
        audio.decode(source, max_seconds=max_seconds, name=name)
    for lang in LANGUAGES:
        assert name in message(caught.value.code, lang, **caught.value.facts)
    return caught.value


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The best correlation over shifts: codecs delay by a few milliseconds."""
    n = min(len(one), len(other))
    spectrum = np.fft.rfft(one[:n], 2 * n) * np.conj(np.fft.rfft(other[:n], 2 * n))
    return float(np.fft.irfft(spectrum).max() / (np.linalg.norm(one[:n]) * np.linalg.norm(other[:n])))


# ── Decode ───────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("suffix", [*FORMATS, "wav"])
def test_every_format_gives_back_the_sound(suffix: str) -> None:
    clip = audio.decode(file_of(suffix), max_seconds=LONGEST_S)
    rate, channels = FORMATS[suffix][2:] if suffix in FORMATS else (SAMPLE_RATE, 1)
    assert (clip.rate, clip.channels) == (rate, channels)
    assert clip.samples.dtype == np.float32 and clip.samples.ndim == 1
    assert clip.seconds == pytest.approx(2.0, abs=0.1) and clip.seconds == len(clip.samples) / rate
    # AMR keeps how a voice sounds rather than its waveform
    alike = 0.6 if suffix in ("amr", "3gp") else 0.95
    assert likeness(audio.resample(clip.samples, rate), audio.resample(voice(), 48_000)) > alike


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_of_any_rate_and_width(rate: int, subtype: str) -> None:
    sound = voice(0.5, rate)
    clip = audio.decode(wav(sound, rate, subtype), max_seconds=1)
    assert clip.rate == rate and len(clip.samples) == len(sound)
    np.testing.assert_allclose(clip.samples, sound, atol=1 / 127 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "6.1", "7.1"])
def test_every_channel_of_a_lossy_format_is_read(layout: str) -> None:
    """PyAV's own way to numpy crashes at eight channels, so this may end the test run."""
    channels, file = av.AudioLayout(layout).nb_channels, io.BytesIO()
    time = np.arange(48_000) / 48_000
    tones = [np.sin(2 * np.pi * (300 + 100 * c) * time).astype(np.float32) / 4 for c in range(channels)]
    with av.open(file, "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=48_000, layout=layout, bit_rate=64_000 * channels)
        packed = av.AudioFrame.from_ndarray(np.stack(tones, axis=1).reshape(1, -1), format="flt", layout=layout)
        packed.sample_rate, packed.pts = 48_000, 0
        for frame in av.AudioResampler(stream.format.name, layout, 48_000).resample(packed):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    samples = audio.decode_channels(file.getvalue(), max_seconds=2).samples
    assert len(samples) == channels and samples.shape[1] == pytest.approx(48_000, abs=2_048)
    spectra = np.abs(np.fft.rfft(samples[:, 1_024:], 48_000))  # a bin for each Hz
    heard = {round(int(pitch), -1) for pitch in np.argmax(spectra, axis=1)}
    assert heard >= {300 + 100 * c for c in range(channels) if c != 3}  # the fourth is for what is felt, not heard
    assert len(audio.load(file.getvalue(), 2)) == pytest.approx(SAMPLE_RATE, abs=700)


@pytest.mark.parametrize("sound", ["aac", "alac", "ac3"])
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_a_video_is_its_sound(container: str, sound: str) -> None:
    clip = audio.decode(filmed(container, sound=sound), max_seconds=LONGEST_S)
    assert (clip.codec, clip.rate, clip.seconds) == (sound, 44_100, pytest.approx(1.0, abs=0.1))
    assert likeness(clip.samples, voice(1.0, 44_100)) > 0.95


def test_a_codec_that_nobody_records_in_is_not_tried() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("wavpack", rate=16_000, layout="mono", format="fltp")
        frame = av.AudioFrame.from_ndarray(voice(1.0, 16_000)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert refused(file.getvalue()).code == "RZ-0502"


@pytest.mark.parametrize(("suffix", "bits"), [("m4a", None), ("mp3", None), ("flac", 16), ("wav", 16)])
def test_depth_is_told_where_there_is_one(suffix: str, bits: int | None) -> None:
    assert audio.decode(file_of(suffix), max_seconds=LONGEST_S).bits == bits


def test_depth_of_pcm() -> None:
    depths = {"PCM_U8": 8, "PCM_24": 24, "FLOAT": 32, "DOUBLE": 64}
    assert {s: audio.decode(wav(voice(0.2), 48_000, s), max_seconds=1).bits for s in depths} == depths


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_mixed_by_their_mean(channels: int) -> None:
    planes = np.stack([voice(0.5, 16_000, pitch=150 + 40 * c) for c in range(channels)], axis=1)
    file = wav(planes, subtype="FLOAT")
    np.testing.assert_allclose(audio.decode(file, max_seconds=1).samples, planes.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(audio.decode_channels(file, max_seconds=1).samples, planes.T, atol=1e-6)


TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([TONE, TONE], TONE),
        ([TONE, 0 * TONE], TONE / 2),
        ([TONE, -TONE], TONE),
        ([0.6 * TONE, -TONE], -TONE),
        ([0 * TONE] * 2 + [TONE] + [0 * TONE] * 5, TONE),
    ],
    ids=["both", "one side", "out of phase", "nearly so", "one of 7.1"],
)
def test_a_voice_is_not_lost_between_channels(channels: list[np.ndarray], expected: np.ndarray) -> None:
    file = wav(np.stack(channels, axis=1), subtype="FLOAT")
    every = audio.decode_channels(file, max_seconds=1).samples
    for samples in (audio.decode(file, max_seconds=1).samples, audio.load(file, 1), audio.to_mono(every)):
        np.testing.assert_allclose(samples, expected, atol=1e-6)


def test_eight_voices_that_have_nothing_in_common_stay_together() -> None:
    planes = np.random.default_rng(5).normal(0, 0.1, (16_000, 8)).astype(np.float32)
    mixed = audio.decode(wav(planes, subtype="FLOAT"), max_seconds=1).samples
    np.testing.assert_allclose(mixed, planes.mean(axis=1), atol=1e-6)


def test_a_path_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "%d concat:a|b.m4a"  # a name that FFmpeg would take for a pattern or a protocol
    path.write_bytes(file_of("m4a"))
    from_path = audio.decode(path, max_seconds=LONGEST_S)
    np.testing.assert_array_equal(from_path.samples, audio.decode(file_of("m4a"), max_seconds=LONGEST_S).samples)


def test_load_is_16_khz_within_bounds() -> None:
    samples = audio.load(wav(10.0 * voice(1.0), 48_000, "FLOAT"), LONGEST_S)
    assert samples.dtype == np.float32 and len(samples) == SAMPLE_RATE
    assert np.abs(samples).max() == 1.0


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 655_350])
def test_resampled_on_the_way_is_resampled_as_a_whole(rate: int) -> None:
    file = wav(voice(2.3, rate), rate, "FLOAT")
    whole = audio.decode(file, max_seconds=3)
    on_the_way = audio.decode(file, max_seconds=3, rate=SAMPLE_RATE)
    assert (on_the_way.rate, on_the_way.seconds) == (SAMPLE_RATE, whole.seconds)
    np.testing.assert_allclose(on_the_way.samples, audio.resample(whole.samples, rate), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_pitch_level_and_length(rate: int, subtype: str, channels: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(rate) / rate)
    samples = audio.load(wav(np.tile(tone[:, None], (1, channels)), rate, subtype), 2.0)
    assert abs(len(samples) - SAMPLE_RATE) <= 1
    middle = samples[1_000:15_000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 18))
    assert np.argmax(spectrum) * SAMPLE_RATE / (1 << 18) == pytest.approx(1_000, abs=0.1)
    level = 20 * np.log10(np.sqrt(np.mean(middle**2)) / (0.5 / np.sqrt(2)))
    assert abs(level) < (0.1 if subtype != "PCM_U8" else 0.15)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_what_is_above_8_khz_does_not_come_back_below(rate: int) -> None:
    for pitch in (8_500, 10_000, 12_000, 15_900, 20_000):
        tone = 0.5 * np.sin(2 * np.pi * pitch * np.arange(rate) / rate)
        samples = audio.load(wav(tone, rate, "FLOAT"), 2.0)[1_000:15_000]
        assert 20 * np.log10(np.sqrt(np.mean(samples**2)) / (0.5 / np.sqrt(2))) < -90, pitch


@pytest.mark.parametrize("suffix", [*FORMATS, "wav"])
def test_no_format_changes_the_level(suffix: str) -> None:
    time = np.arange(2 * 48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 1_000 * time)).astype(np.float32)
    samples = audio.load(encoded(suffix, tone), LONGEST_S)
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.05)  # what an encoder puts before and behind
    level = 20 * np.log10(np.sqrt(np.mean(samples[8_000:24_000].astype(np.float64) ** 2)) / (0.5 / np.sqrt(2)))
    of_the_encoder = {"mp3": 20 * np.log10(0.95)}.get(suffix, 0.0)  # LAME makes everything that much quieter
    assert abs(level - of_the_encoder) < (0.1 if suffix not in ("amr", "3gp") else 1.5)  # AMR is made for voices


# ── Refusals ─────────────────────────────────────────────────────────────────
def test_empty_files_are_said() -> None:
    assert refused(b"").code == "RZ-0501"
    assert refused(wav(np.zeros(0))).code == "RZ-0501"


@pytest.mark.parametrize(
    "content",
    [
        "今天录音".encode() * 100,
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"PK\x03\x04" + bytes(500),
        bytes(10_000),
        b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
    ],
    ids=["text", "picture", "zip", "zeros", "playlist"],
)
def test_what_is_not_audio_is_said(content: bytes) -> None:
    assert refused(content).code == "RZ-0502"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("今天录音".encode() * 100, "TXT"),
        ("今天录音".encode("gbk") * 2_000, "TXT"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>404</html>", "HTML/XML"),
        (b'{"error": "expired"}', "TXT"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "PNG"),
        (b"PK\x03\x04" + bytes(500), "ZIP"),
        (b"%PDF-1.7\n" + bytes(500), "PDF"),
        (b"\0\0\0\x18ftypheic" + bytes(500), "HEIC"),
        (b"MThd\0\0\0\x06\0\x01\0\x02\0`" + bytes(500), "MIDI"),
        (b".RMF\0\0\0\x12" + bytes(500), "RealMedia"),
        (b"MAC \x96\x0f" + bytes(500), "Monkey's Audio (APE)"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "M3U"),
        (bytes(10_000), "?"),
    ],
)
def test_what_a_file_is_instead_is_named(content: bytes, kind: str) -> None:
    error = refused(content)
    assert (error.code, error.facts["kind"]) == ("RZ-0502", kind)
    for lang in LANGUAGES:
        said = message(error.code, lang, **error.facts)
        assert kind in said and all(suffix in said for suffix in [*FORMATS, "wav", "spx", "g722", "avi"])


@pytest.mark.parametrize("name", ["我想喝水.amr", "语音.silk", "x.mp3", "file"])
@pytest.mark.parametrize("head", [b"#!SILK_V3", b"\x02#!SILK_V3"])
def test_a_voice_message_of_wechat_has_a_sentence_of_its_own(name: str, head: bytes) -> None:
    error = refused(head + b"\x17\0" + np.random.default_rng(1).bytes(3_000), name)
    assert error.code == "RZ-0530"
    zh, en = (message(error.code, lang, **error.facts) for lang in LANGUAGES)
    assert "SILK" in zh and "微信" in zh and "重新录" not in zh and "再录一" not in zh
    assert "SILK" in en and "record it again" not in en.lower()


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (b"CTENFDAM\x01\x70" + bytes(600), "歌.mp3", "NCM"),
        (JUNK[:5_000], "歌.qmcflac", "QMCFLAC"),
        (JUNK[:5_000], "歌.mgg1", "MGG1"),
        (b"\0\0\0\x20ftypM4P " + bytes(600), "歌.m4p", "M4P"),
    ],
)
def test_what_is_encrypted_is_said(content: bytes, name: str, kind: str) -> None:
    error = refused(content, name)
    assert (error.code, error.facts["kind"]) == ("RZ-0531", kind)


# ── Formats that people send now and then ────────────────────────────────────
SELDOM = {
    "ts": ("mpegts", "aac", 44_100),
    "ts of a camera": ("mpegts", "ac3", 48_000),
    "mpg": ("mpeg", "mp2", 48_000),
    "vob": ("vob", "ac3", 48_000),
    "avi": ("avi", "mp3", 44_100),
    "avi pcm": ("avi", "pcm_s16le", 44_100),
    "flv": ("flv", "aac", 44_100),
    "ac3": ("ac3", "ac3", 48_000),
    "eac3": ("eac3", "eac3", 48_000),
    "mp2": ("mp2", "mp2", 44_100),
    "wav g722": ("wav", "g722", 16_000),
    "wav a-law": ("wav", "pcm_alaw", 8_000),
    "ogg flac": ("ogg", "flac", 44_100),
    "caf alac": ("caf", "alac", 44_100),
    "w64": ("w64", "pcm_s16le", 44_100),
    "voc": ("voc", "pcm_u8", 10_000),  # whose rates are those of a clock of 1 MHz
    "mka": ("matroska", "aac", 44_100),
}


def seldom(container: str, codec: str, rate: int) -> bytes:
    """``voice`` of two seconds in any format that FFmpeg writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(voice(2.0, rate)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for converted in av.AudioResampler(stream.format.name, "mono", rate).resample(frame):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("kind", SELDOM)
def test_what_ffmpeg_decodes_is_decoded(kind: str) -> None:
    file = seldom(*SELDOM[kind])
    clip = audio.decode(file, max_seconds=LONGEST_S)
    assert clip.seconds == pytest.approx(2.0, abs=0.1) and clip.rate == SELDOM[kind][2]
    assert likeness(audio.resample(clip.samples, clip.rate), audio.resample(voice(), 48_000)) > 0.9
    assert whole_anyway(file + BEHIND["ID3v1"]) and whole_anyway(file + bytes(1_000))


def whole_anyway(file: bytes) -> bool:
    return audio.decode(file, max_seconds=LONGEST_S).seconds == pytest.approx(2.0, abs=0.1)


def test_speex_is_decoded() -> None:
    file = (Path(__file__).parent / "voice.spx").read_bytes()
    clip = audio.decode(file, max_seconds=LONGEST_S)
    assert (clip.codec, clip.rate, clip.seconds) == ("speex", 8_000, pytest.approx(2.0, abs=0.05))
    assert likeness(audio.resample(clip.samples, clip.rate), audio.resample(voice(), 48_000)) > 0.6
    assert refused(file[: len(file) // 2]).code == "RZ-0503"


def test_raw_g722_is_known_by_its_name_alone(tmp_path: Path) -> None:
    file = seldom("g722", "g722", SAMPLE_RATE)
    path = tmp_path / "x.G722"
    path.write_bytes(file)
    for clip in (audio.decode(path, max_seconds=3), audio.decode(file, max_seconds=3, name="y.g722")):
        assert (clip.codec, clip.seconds) == ("adpcm_g722", 2.0)
    assert refused(file).code == "RZ-0502"


def test_the_sentence_names_what_is_opened() -> None:
    opened = set(formats.OPENING["format_whitelist"].split(","))
    assert opened == set(formats.FORMATS) and not opened & {"concat", "hls", "image2", "m3u8", "dash", "sdp", "rtsp"}
    decoders = formats.OPENING["codec_whitelist"].split(",")
    assert all(av.Codec(name, "r").type == "audio" for name in decoders)
    assert all(formats.CODECS.fullmatch(av.Codec(name, "r").canonical_name) for name in decoders)


# ── Several tracks ───────────────────────────────────────────────────────────
def tracks(*sounds: np.ndarray, container: str = "mov") -> bytes:
    """A file with a track for each of ``sounds`` (n,) at 48 kHz, the first marked as the one to play."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = [output.add_stream("pcm_s16le", rate=48_000, layout="mono") for _ in sounds]
        for stream, sound in zip(streams, sounds, strict=True):
            if len(sound):
                frame = av.AudioFrame.from_ndarray(audio.to_pcm16(sound)[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48_000, 0
                output.mux(stream.encode(frame))
                output.mux(stream.encode(None))
    return file.getvalue()


HISS = np.random.default_rng(2).normal(0, 1e-3, 96_000).astype(np.float32)


@pytest.mark.parametrize("container", ["mov", "matroska"])
@pytest.mark.parametrize(
    ("sounds", "taken"),
    [
        ([np.zeros(96_000, np.float32), voice()], 1),
        ([HISS, voice()], 1),
        ([HISS, 0 * HISS, voice(), HISS], 2),
        ([HISS + 0.3, voice()], 1),
        ([voice(), voice(pitch=300.0)], 0),
        ([voice(level=0.2), voice(pitch=300.0, level=0.8)], 0),
        ([voice(), np.zeros(96_000, np.float32)], 0),
    ],
    ids=["silent", "hiss", "third", "offset", "both", "louder", "second silent"],
)
def test_the_track_with_the_sound_is_taken(sounds: list[np.ndarray], taken: int, container: str) -> None:
    file = tracks(*sounds, container=container)
    for clip in (audio.decode(file, max_seconds=3), audio.decode_channels(file, max_seconds=3)):
        np.testing.assert_allclose(clip.samples.ravel(), sounds[taken], atol=2e-4)


# ── Whatever goes wrong ──────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "RZ-0509"),
        (OSError(errno.EIO, "Input/output error"), "RZ-0508"),
        *((kind("?"), "RZ-0502") for kind in (OverflowError, RecursionError, KeyError, struct.error, RuntimeError)),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "?"), "RZ-0502"),
        (av.error.BugError(1, "?"), "RZ-0502"),
        (ZeroDivisionError(), "RZ-0502"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("where", ["_as_float", "_array", "_plausible"])
def test_what_nobody_foresaw_is_an_error_of_the_recording(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, where: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(audio, where, fail)
    assert refused(file_of("mp3")).code == code
    assert STATUS.get(code, 422) < 500


def test_one_block_of_millions_of_samples_is_refused_within_bounds() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("pcm_s16le", rate=655_350, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 18_000_000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 655_350, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    content = file.getvalue()
    tracemalloc.start()
    code = refused(content).code
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code in ("RZ-0504", "RZ-0509") and STATUS[code] < 500
    assert peak < 200_000_000


def test_a_list_that_names_another_file_does_not_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.wav").write_bytes(file_of("wav"))
    monkeypatch.chdir(tmp_path)
    playlist = b"ffconcat version 1.0\nfile secret.wav\n"
    with av.open(io.BytesIO(playlist)) as container:  # what FFmpeg does by default
        assert sum(frame.samples for frame in container.decode(audio=0)) == 2 * SAMPLE_RATE
    assert refused(playlist).code == "RZ-0502"


def test_video_without_sound_is_not_audio() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=5, width=32, height=32)
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert refused(file.getvalue()).code == "RZ-0502"


@pytest.mark.parametrize("share", [0.6, 0.85])
@pytest.mark.parametrize("suffix", [*FORMATS, "wav"])
def test_a_file_that_breaks_off_is_said(suffix: str, share: float) -> None:
    whole = file_of(suffix)
    assert refused(whole[: int(share * len(whole))]).code == "RZ-0503"


def test_an_mp4_with_its_table_in_front_that_breaks_off_is_said(tmp_path: Path) -> None:
    path, source = tmp_path / "x.m4a", av.open(io.BytesIO(file_of("m4a")))
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    assert refused(whole[: int(0.6 * len(whole))]).code == "RZ-0503"


def patched(file: bytes, at: int, *numbers: int, form: str = "<I") -> bytes:
    """``file`` with ``numbers`` from ``at`` on."""
    content = b"".join(struct.pack(form, number) for number in numbers)
    return file[:at] + content + file[at + len(content) :]


def whole(file: bytes, suffix: str = "wav", seconds: float = 2.0) -> audio.Clip:
    """The clip of a file that FFmpeg plays whole, after checking that nothing of the sound is lost or added."""
    clip = audio.decode(file, max_seconds=LONGEST_S)
    assert clip.seconds == pytest.approx(seconds, abs=0.05)
    alike = 0.6 if suffix in ("amr", "3gp") else 0.95
    assert likeness(audio.resample(clip.samples, clip.rate), audio.resample(voice(seconds), 48_000)) > alike
    return clip


# What programs write that do not know the length: SoX, arecord, GStreamer, FFmpeg, a header never touched again, …
PLACEHOLDERS = [
    *(0, 0x7FFFF000, 0x80000000, 0x7FFF0000, 0x7F000000, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF, 0x7FFFFFFF - 36),
    *(0x7FFFF000 - 0x7FFFF000 % 6, 0xFFFFFFF0, 0xFFFFF000, 0x80000024, 0xFF000000),
]


@pytest.mark.parametrize("number", PLACEHOLDERS, ids=hex)
def test_a_wav_whose_length_was_never_filled_in_is_whole(number: int) -> None:
    file = file_of("wav")
    at = file.index(b"data") + 4
    for forged in (patched(file, at, number), patched(patched(file, at, number), 4, min(number + 36, 0xFFFFFFFF))):
        assert len(whole(forged).samples) == 2 * SAMPLE_RATE


@settings(max_examples=80, deadline=None)
@given(
    field=st.sampled_from([4, 28, 32, 40]),  # the file's size, bytes a second, bytes a block, the sound's size
    number=st.integers(0, 0xFFFFFFFF) | st.sampled_from(PLACEHOLDERS) | st.integers(0, 70_000),
)
def test_a_field_of_a_wav_that_disagrees_with_its_bytes_is_distrusted(field: int, number: int) -> None:
    forged = patched(
        file_of("wav"), field, number if field != 32 else number & 0xFFFF, form="<H" if field == 32 else "<I"
    )
    clip = audio.decode(forged, max_seconds=LONGEST_S)
    # FFmpeg leaves out what is less than a chunk's header at the end
    assert len(clip.samples) == pytest.approx(2 * SAMPLE_RATE, abs=4)
    assert np.array_equal(clip.samples[:1_000], audio.decode(file_of("wav"), max_seconds=LONGEST_S).samples[:1_000])


def pcm(container: str, codec: str) -> bytes:
    """``voice`` of two seconds at 16 kHz in another container than WAV."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        sound = audio.to_pcm16(audio.resample(voice(), 48_000))
        frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


NEVER_64 = (0, 2**63 - 1, 2**64 - 1)


@pytest.mark.parametrize(
    ("container", "codec", "field", "form", "numbers"),
    [
        ("w64", "pcm_s16le", lambda file: file.index(b"data\xf3") + 16, "<Q", (*NEVER_64, 24, 1_000, 1 << 28)),
        ("w64", "pcm_s16le", lambda file: 16, "<Q", (1_000, 2**64 - 1, 1 << 28)),
        ("aiff", "pcm_s16be", lambda file: file.index(b"SSND") + 4, ">I", (*PLACEHOLDERS, 1_000, 1 << 28)),
        ("aiff", "pcm_s16be", lambda file: 4, ">I", (1_000, 0x7F000000, 0xFFFFFFFF, 1 << 28)),
        ("aiff", "pcm_s16be", lambda file: file.index(b"COMM") + 10, ">I", (0, 1_000, 0x7F000000, 1 << 28)),
        ("au", "pcm_s16be", lambda file: 8, ">I", (*PLACEHOLDERS, 1_000)),
        ("caf", "pcm_s16be", lambda file: file.index(b"data") + 4, ">Q", NEVER_64),
    ],
    ids=["w64 sound", "w64 file", "aiff sound", "aiff file", "aiff samples", "au", "caf"],
)
def test_a_length_that_was_never_filled_in_is_none_elsewhere_either(
    container: str, codec: str, field: Callable[[bytes], int], form: str, numbers: tuple[int, ...]
) -> None:
    file = pcm(container, codec)
    for number in numbers:
        assert len(whole(patched(file, field(file), number, form=form)).samples) == 2 * SAMPLE_RATE, hex(number)
    assert refused(file[: len(file) // 2]).code == "RZ-0503"


@pytest.mark.parametrize("number", [0, 1_000, 0x10000, 0xFFFFFFFF])
def test_a_number_of_frames_or_bytes_that_an_mp3_does_not_have_is_distrusted(number: int) -> None:
    file = file_of("mp3")
    at = file.index(b"Info") + 8
    for field in (at, at + 4):
        whole(patched(file, field, number, form=">I"), "mp3")


@pytest.mark.parametrize("number", [0, 10, 1_000_000, 2**36 - 1])
def test_a_number_of_samples_that_a_flac_does_not_have_is_distrusted(number: int) -> None:
    file = file_of("flac")
    upper = int.from_bytes(file[18:26], "big") >> 36 << 36
    whole(patched(file, 18, upper | number, form=">Q"), "flac")


@pytest.mark.parametrize("seconds", [0.001, 1e3, 1e6])
def test_a_duration_that_a_webm_does_not_have_is_distrusted(seconds: float) -> None:
    file = file_of("webm")
    at = file.index(b"\x44\x89\x88") + 3
    whole(file[:at] + struct.pack(">d", 1_000 * seconds) + file[at + 8 :], "webm")


@pytest.mark.parametrize("box", [b"mvhd", b"mdhd", b"tkhd"])
@pytest.mark.parametrize("number", [0, 1, 1_000_000, 0xFFFFFFFF])
def test_a_duration_that_an_mp4_does_not_have_is_distrusted(box: bytes, number: int) -> None:
    file = file_of("m4a")
    whole(patched(file, file.index(box) + (24 if box == b"tkhd" else 20), number, form=">I"), "m4a")


BEHIND = {
    "ID3v1": b"TAG" + "我的录音".encode("gbk").ljust(125, b"\0"),
    "APE": b"APETAGEX"
    + struct.pack("<4I", 2_000, 52, 1, 0xA0000000)
    + bytes(8)
    + bytes(20)
    + b"APETAGEX"
    + struct.pack("<4I", 2_000, 52, 1, 0x80000000)
    + bytes(8),
    "zeros": bytes(4_096),
    "many zeros": bytes(100_000),
    "text": b"-- written by a recorder --\n" * 40,
    "junk": JUNK[:3_000],
    "much junk": JUNK,
    "LIST": b"LIST" + struct.pack("<I", 14) + b"INFOINAM" + struct.pack("<I", 2) + b"a\0",
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("suffix", [*FORMATS, "wav"])
def test_bytes_behind_the_sound_do_not_make_it_incomplete(suffix: str, behind: str) -> None:
    whole(file_of(suffix) + BEHIND[behind], suffix)


@pytest.mark.parametrize("odd", [1, 2, 3])
def test_a_wav_with_half_a_sample_and_chunks_behind_is_whole(odd: int) -> None:
    file = file_of("wav")
    sound = file[44:] + bytes(odd)
    longer = file[:40] + struct.pack("<I", len(sound)) + sound + bytes(len(sound) % 2) + BEHIND["LIST"]
    whole(patched(longer, 4, len(longer) - 8))


def test_tags_in_gbk_do_not_stop_the_sound() -> None:
    title = "我想喝水".encode("gbk")
    tags = b"INFOINAM" + struct.pack("<I", len(title)) + title
    whole = file_of("wav")
    tagged = whole[:36] + b"LIST" + struct.pack("<I", len(tags)) + tags + whole[36:]
    assert audio.decode(tagged, max_seconds=LONGEST_S).seconds == 2.0


@pytest.mark.parametrize("suffix", ["aac", "amr", "mp3"])
def test_a_length_that_is_only_guessed_is_no_promise(suffix: str) -> None:
    # Silence first: from its bit rate FFmpeg guesses that the AAC lasts a minute, and the MP3 twice its length.
    noise = np.random.default_rng(0).normal(0, 0.3, 2 * 48_000).astype(np.float32)
    file = encoded(suffix, np.concatenate([np.zeros(4 * 48_000, np.float32), noise]), without_length=True)
    with av.open(io.BytesIO(file)) as container:
        guessed = (container.duration or 0) / 1e6
    assert suffix == "amr" or guessed > 8
    assert audio.decode(file, max_seconds=LONGEST_S).seconds == pytest.approx(6.0, abs=0.6)


def test_too_long_stops_while_decoding() -> None:
    half_an_hour = io.BytesIO()
    soundfile.write(half_an_hour, np.zeros(1_800 * 16_000, np.int16), 16_000, format="FLAC")
    assert len(half_an_hour.getvalue()) < 200_000
    tracemalloc.start()
    error = refused(half_an_hour.getvalue(), max_seconds=30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.code == "RZ-0504" and error.facts["limit"] == 30
    assert peak < 10_000_000  # 30 s in float32 are 2 MB; the whole file would be 115 MB


def test_exactly_as_long_as_allowed_is_allowed() -> None:
    assert audio.decode(wav(voice(2.0, 16_000)), max_seconds=2.0).seconds == 2.0
    assert refused(wav(voice(2.001, 16_000)), max_seconds=2.0).code == "RZ-0504"


@pytest.mark.parametrize("rate", [1, 100, 1_000_000, 4_000_000_000])
def test_a_rate_that_no_recorder_writes_is_said(rate: int) -> None:
    file = bytearray(file_of("wav"))
    file[24:28] = struct.pack("<I", rate)
    error = refused(bytes(file))
    assert error.code in {"RZ-0506", "RZ-0502"}


def test_a_forged_length_costs_no_memory() -> None:
    file = patched(file_of("wav"), file_of("wav").index(b"data") + 4, 0x70000000)
    tracemalloc.start()
    whole(file)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_forged_chunk_in_front_of_the_sound_costs_no_memory(tmp_path: Path) -> None:
    whole, path = file_of("wav"), tmp_path / "x.wav"
    path.write_bytes(whole + b"fmt " + struct.pack("<I", 0x7FFFFFF0) + whole[44:48])
    head = bytearray(path.read_bytes())
    head[36:40] = b"junk"  # so that the search for the sound comes to the forged chunk
    path.write_bytes(bytes(head))
    tracemalloc.start()
    with path.open("rb") as file:
        assert headers.mended(file, bytes(head[:64]))[1] is False
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_more_than_a_recording_may_hold_is_said() -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 655_350, 8, "PCM_16", format="FLAC") as flac:
        for _ in range(4):
            flac.write(np.zeros((655_350, 8), np.int16))
    error = refused(file.getvalue(), max_seconds=2.0)
    assert error.code == "RZ-0504"
    with pytest.raises(ResonanceError, match="RZ-0509"):
        audio.decode_channels(file.getvalue(), max_seconds=LONGEST_S, name="x.flac")
    assert len(audio.load(file.getvalue(), LONGEST_S)) == 4 * SAMPLE_RATE  # which keeps what it needs, at 16 kHz


# What a stranger may send, and the code of the refusal; None where there is nothing to refuse.
BOMBS: dict[str, str | None] = {
    "rate_and_channels": None,
    "channels": "RZ-0501",  # there is not a single sample of that many
    "length": None,
    "hour": "RZ-0504",
    "video": None,
    "cover": None,
    "alac": "RZ-0503",
}
MEASURE = """
import json, sys
from pathlib import Path
from resonance_helpers import ResonanceError
from resonance_helpers.audio import decode as audio
found = {}
for path in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")
    outcomes = []
    for read in (audio.load, lambda path, seconds: audio.decode_channels(path, max_seconds=seconds)):
        try:
            read(Path(path), 30.0)
            outcomes.append(None)
        except ResonanceError as error:
            outcomes.append(error.code)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000
    found[Path(path).name] = [*outcomes, peak]
print(json.dumps(found))
"""


def bombs() -> dict[str, bytes]:
    """Small files that unpack to very much, or say so."""
    eight = bytearray(wav(np.zeros((50_000, 8), np.float32)))
    eight[24:28] = struct.pack("<I", 655_350)  # and so 16 times the seconds that the bytes for a second promise
    many = bytearray(file_of("wav"))
    many[22:24] = b"\xff\xff"
    long = bytearray(file_of("wav"))
    at = long.index(b"data") + 4
    long[at : at + 4] = struct.pack("<I", 0x7FFFFFF0)
    hour = io.BytesIO()
    with soundfile.SoundFile(hour, "w", 16_000, 1, "PCM_16", format="FLAC") as flac:
        for _ in range(60):
            flac.write(np.zeros(960_000, np.int16))
    return {
        "rate_and_channels": bytes(eight),
        "channels": bytes(many),
        "length": bytes(long),
        "hour": hour.getvalue(),
        "video": filmed("mp4", (7_680, 4_320)),
        "cover": with_cover(file_of("mp3"), black_png(14_000)),
        "alac": forged_alac(),
    }


def forged_alac() -> bytes:
    """Its packets may hold 16 million samples, it says."""
    file = bytearray(filmed("mov", sound="alac"))
    at = file.rindex(b"alac") + 8
    assert file[at : at + 4] == struct.pack(">I", 4096)
    file[at : at + 4] = struct.pack(">I", 4096 * 4096)
    return bytes(file)


def test_a_forged_packet_length_is_refused_before_room_is_made_for_it() -> None:
    assert "packet" in str(refused(forged_alac()).__cause__)


def black_png(size: int) -> bytes:
    packer, row = zlib.compressobj(1), bytes(1 + 3 * size)
    pixels = b"".join(packer.compress(row) for _ in range(size)) + packer.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def with_cover(mp3: bytes, png: bytes) -> bytes:
    """An MP3 with a picture of its singer."""
    content = b"\0image/png\0\x03\0" + png
    frame = b"APIC" + struct.pack(">I", len(content)) + b"\0\0" + content
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frame + mp3[mp3.index(b"\xff\xfb") :]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a process has held")
def test_nothing_that_is_sent_fills_the_memory(tmp_path: Path) -> None:
    for name, content in bombs().items():
        assert len(content) < 4_000_000
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in BOMBS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: outcome for name, (outcome, *_) in found.items()} == BOMBS
    assert {name: outcome for name, (_, outcome, _) in found.items()} == BOMBS
    assert all(peak < 150 for *_, peak in found.values()), found  # MB; 500 are allowed


def test_samples_that_are_not_numbers_are_said() -> None:
    sound = voice(0.5, 16_000)
    sound[100] = np.nan
    assert refused(wav(sound, subtype="FLOAT")).code == "RZ-0502"


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    assert refused(tmp_path / "没有.wav").code == "RZ-0505"
    assert refused(tmp_path).code == "RZ-0505"


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(file_of("wav"))

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(ResonanceError, match=r"RZ-0508.*x\.wav.*Permission denied"):
        audio.decode(path, max_seconds=1)


def test_bytes_without_a_name_are_called_the_upload() -> None:
    with pytest.raises(ResonanceError) as caught:
        audio.decode(b"", max_seconds=1)
    assert caught.value.facts["name"] == message("audio.bytes")


@pytest.mark.parametrize("suffix", [*FORMATS, "wav"])
def test_damaged_bytes_give_a_result_or_a_sentence(suffix: str) -> None:
    random = np.random.default_rng(3)
    whole = file_of(suffix)
    for _ in range(15):
        damaged = bytearray(whole)
        for at in random.integers(0, len(damaged), 12):
            damaged[at] ^= 1 << random.integers(8)
        try:
            clip = audio.decode(bytes(damaged), max_seconds=LONGEST_S)
            assert np.isfinite(clip.samples).all() and clip.seconds <= LONGEST_S
        except ResonanceError as error:
            assert error.code.startswith("RZ-05")


# ── Our own WAV ──────────────────────────────────────────────────────────────
@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=400))
def test_what_is_written_is_read_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, values: list[int]) -> None:
    path = tmp_path_factory.mktemp("wav") / "x.wav"
    samples = np.array(values, np.float32) / 32768
    audio.write_wav(path, samples)
    np.testing.assert_array_equal(audio.read_wav(path), samples)
    assert audio.is_our_format(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_loud_is_clipped_and_never_wraps(values: list[float]) -> None:
    samples = np.array(values, np.float32)
    pcm = audio.to_pcm16(samples)
    assert (np.sign(pcm) * np.sign(samples) >= 0).all()
    assert (np.abs(pcm / 32768 - np.clip(samples, -1, 1)) <= 1.01 / 32768).all()


def test_another_wav_is_not_ours(tmp_path: Path) -> None:
    for name, content in {
        "44100.wav": wav(voice(0.2, 44_100), 44_100),
        "stereo.wav": wav(np.zeros((100, 2))),
        "deep.wav": wav(voice(0.2, 16_000), subtype="PCM_24"),
        "not.wav": b"not a wav",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ResonanceError, match=f"RZ-0507.*{name}"):
            audio.read_wav(tmp_path / name)
    with pytest.raises(ResonanceError, match="RZ-0505"):
        audio.read_wav(tmp_path / "none.wav")


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    audio.write_wav(path, voice(0.2, 16_000))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResonanceError) as caught:
        audio.write_wav(path, voice(0.4, 16_000))
    assert caught.value.code == "RZ-0004"
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000])
def test_resampling_keeps_length_level_and_pitch(rate: int) -> None:
    time = np.arange(rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * 1_000 * time)).astype(np.float32)
    out = audio.resample(tone, rate)
    assert abs(len(out) - SAMPLE_RATE) <= 1
    middle = out[2_000:14_000]
    expected = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(2_000, 14_000) / SAMPLE_RATE)
    np.testing.assert_allclose(middle, expected, atol=2e-3)


def test_resampling_removes_what_16_khz_cannot_hold() -> None:
    tone = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(audio.resample(tone, 48_000)[1_000:-1_000]).max() < 1e-3


def test_soundfile_agrees_with_what_we_wrote(tmp_path: Path) -> None:
    audio.write_wav(tmp_path / "x.wav", voice(0.5, SAMPLE_RATE))
    info = soundfile.info(tmp_path / "x.wav")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (SAMPLE_RATE, 1, "PCM_16", SAMPLE_RATE // 2)
