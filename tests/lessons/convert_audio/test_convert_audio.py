from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import FORMATS, encoded, filmed, put, snapshot, voice, wav

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.audio import decode as audio
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import SAMPLE_DIR, read_json, write_json
from resonance_helpers.dataset import index
from resonance_helpers.dataset.index import Recordings, load_utterances, read_index
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.lessons import test_model
from resonance_helpers.lessons.convert_audio import logic as conversion

IMPAIRED = Path(__file__).resolve().parents[4] / "shared" / "speech" / "impaired_speaker"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path / "data", tmp_path / "output", "p1")


def wavs_of(workspace: Workspace) -> dict[str, str | None]:
    """What ``convert`` makes: label → WAV."""
    return {row.audio: row.wav for row in conversion.convert(workspace).rows}


def ten_wavs(folder: str = "audio_raw") -> dict[str, bytes]:
    return {f"{folder}/{n:03d}.wav": wav(voice(1.0, SAMPLE_RATE, pitch=150 + n)) for n in range(10)}


# ── Formats and layouts ──────────────────────────────────────────────────────
def test_every_format_becomes_our_wav_and_originals_stay(workspace: Workspace) -> None:
    files = {f"audio_raw/{suffix}_录音.{suffix}": encoded(suffix) for suffix in [*FORMATS, "wav"]}
    put(workspace.data_dir, files, list(files))
    times = {name: (workspace.data_dir / name).stat().st_mtime_ns for name in files}
    seen: list[tuple[int, int]] = []
    result = conversion.convert(workspace, on_progress=lambda done, total: seen.append((done, total)))
    assert result.converted == len(files) == len(seen) and seen[-1] == (len(files), len(files))
    assert result.seconds_total == pytest.approx(2.0 * len(files), abs=0.1 * len(files)) and not result.left_out
    for row in result.rows:
        path = workspace.data_dir / str(row.wav)
        assert audio.is_our_format(path) and row.level == "ok" and row.quality is not None
        assert len(audio.read_wav(path)) / SAMPLE_RATE == pytest.approx(row.quality.seconds)
    assert {name: (workspace.data_dir / name).read_bytes() for name in files} == files
    assert {name: (workspace.data_dir / name).stat().st_mtime_ns for name in files} == times
    assert len(load_utterances(workspace)) == len(files)


def test_a_video_of_a_phone_is_its_sound(workspace: Workspace) -> None:
    files = {f"audio_raw/{name}.{name}": filmed(name, (640, 360)) for name in ("mp4", "mov", "3gp")}
    put(workspace.data_dir, files, ["audio/mp4.wav", "audio_raw/mov.mov", "audio/3gp.wav"])
    result = conversion.convert(workspace)
    assert [row.wav for row in result.rows] == ["audio/mp4.wav", "audio/mov.wav", "audio/3gp.wav"]
    assert all(row.quality and row.quality.seconds == pytest.approx(1.0, abs=0.1) for row in result.rows)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_names_and_index_do_not_depend_on_how_many_work(workspace: Workspace, workers: int) -> None:
    files = {f"audio_raw/{n % 7}.{suffix}": encoded(suffix, voice(0.5)) for n, suffix in enumerate(FORMATS)}
    files |= {f"audio_raw/{n}.wav": wav(voice(0.4, 44_100), 44_100) for n in range(12)}
    put(workspace.data_dir, files, sorted(files))
    result = conversion.convert(workspace, workers=workers)
    assert [row.audio for row in result.rows] == list(read_index(workspace)) == sorted(files)
    alone = Workspace(workspace.data_dir.parent / "alone", workspace.output_dir, "p1")
    put(alone.data_dir, files, sorted(files))
    conversion.convert(alone, workers=1)
    assert snapshot(alone.data_dir) == snapshot(workspace.data_dir)


def test_several_are_decoded_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files, list(files))
    together, real = threading.Barrier(2, timeout=30), audio.load

    def meet(*args: object) -> np.ndarray:
        together.wait()  # breaks unless two come
        return real(*args)

    monkeypatch.setattr(audio, "load", meet)
    assert conversion.convert(workspace, workers=2).converted == 10


def test_a_voice_out_of_phase_is_heard_in_the_picture_too(workspace: Workspace) -> None:
    sound = voice(1.0, 16_000)
    put(workspace.data_dir, {"audio_raw/x.wav": wav(np.stack([sound, -sound], 1))}, ["audio_raw/x.wav"])
    (row,) = conversion.convert(workspace).rows
    assert row.level == "ok"
    comparison = conversion.compare_rates(workspace.audio_raw / "x.wav")
    np.testing.assert_allclose(comparison.versions[1].samples[0], audio.read_wav(workspace.audio / "x.wav"), atol=1e-4)
    assert np.abs(comparison.pictured[0][1]).max() > 0.3


def test_the_guides_folder_is_used_as_it_is(workspace: Workspace) -> None:
    files = ten_wavs("audio")
    put(workspace.data_dir, files, list(files))
    result = conversion.convert(workspace)
    assert result.as_is == 10 and wavs_of(workspace) == {name: name for name in files}
    assert set(snapshot(workspace.data_dir)) == {*files, "labels.json", "audio/conversion.json"}
    assert all(entry.source == entry.wav for entry in read_index(workspace).values())


def test_a_wav_of_another_rate_in_audio_gets_a_second_file(workspace: Workspace) -> None:
    original = wav(voice(1.0, 44_100), 44_100)
    put(workspace.data_dir, {"audio/001_我想喝水.wav": original}, ["audio/001_我想喝水.wav"])
    assert wavs_of(workspace) == {"audio/001_我想喝水.wav": "audio/001_我想喝水_16k.wav"}
    assert (workspace.audio / "001_我想喝水.wav").read_bytes() == original
    assert conversion.convert(workspace).unchanged == 1


def test_a_suffix_in_capitals_is_no_free_name(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio/x.WAV": wav(voice(1.0, 44_100), 44_100)}, ["audio/x.WAV"])
    assert wavs_of(workspace) == {"audio/x.WAV": "audio/x_16k.wav"}  # x.wav would be the same file on Windows


def test_labels_in_audio_with_recordings_in_audio_raw(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/x.m4a": encoded("m4a")}, ["audio/x.wav"])
    first = conversion.convert(workspace)
    assert (first.rows[0].source, first.rows[0].wav) == ("audio_raw/x.m4a", "audio/x.wav")
    assert conversion.convert(workspace).unchanged == 1  # audio/x.wav is there now, and still known as ours


def test_names_with_spaces_are_repaired_in_our_copy(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/001 我想　喝水.mp3": encoded("mp3")}, ["audio_raw/001 我想　喝水.mp3"])
    assert wavs_of(workspace) == {"audio_raw/001 我想　喝水.mp3": "audio/001_我想_喝水.wav"}
    assert (workspace.audio_raw / "001 我想　喝水.mp3").exists()


def test_the_same_stem_gets_different_names(workspace: Workspace) -> None:
    files = {
        "audio_raw/x.m4a": encoded("m4a", voice(1.0)),
        "audio_raw/x.mp3": encoded("mp3", voice(1.2)),
        "audio_raw/x.wav": wav(voice(1.4, SAMPLE_RATE)),
        "audio_raw/day2/x.m4a": encoded("m4a", voice(1.6)),
        "audio_raw/X.flac": encoded("flac", voice(1.8)),
    }
    put(workspace.data_dir, files, list(files))
    names = wavs_of(workspace)
    assert list(names.values()) == [
        "audio/x.wav",
        "audio/x_mp3.wav",
        "audio/x_16k.wav",
        "audio/x_m4a.wav",
        "audio/X_flac.wav",
    ]
    seconds = [len(audio.read_wav(workspace.data_dir / str(name))) / SAMPLE_RATE for name in names.values()]
    assert seconds == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8], abs=0.1)
    put(workspace.data_dir, {}, list(reversed(files)))
    assert wavs_of(workspace) == names  # names do not depend on the order of a later run


def test_loud_sound_is_clipped_and_not_wrapped(workspace: Workspace) -> None:
    sound = 4.0 * voice(1.0, 44_100)
    put(workspace.data_dir, {"audio_raw/loud.wav": wav(sound, 44_100, "FLOAT")}, ["audio_raw/loud.wav"])
    result = conversion.convert(workspace)
    written = audio.read_wav(workspace.audio / "loud.wav")
    expected = np.clip(audio.resample(sound, 44_100), -1, 32767 / 32768)
    np.testing.assert_allclose(written, expected, atol=1 / 32768)
    assert result.rows[0].codes == ("RZ-0512",) and result.rows[0].level == "again"


# ── Again ────────────────────────────────────────────────────────────────────
def test_a_second_run_writes_nothing(workspace: Workspace) -> None:
    files = ten_wavs() | {"audio_raw/b.m4a": encoded("m4a")}
    put(workspace.data_dir, files, list(files))
    conversion.convert(workspace)
    before = {path: path.stat().st_mtime_ns for path in workspace.data_dir.rglob("*")}
    again = conversion.convert(workspace)
    assert (again.converted, again.unchanged) == (0, 11)
    assert {path: path.stat().st_mtime_ns for path in workspace.data_dir.rglob("*")} == before


def test_only_what_changed_is_converted_again(workspace: Workspace) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files, list(files))
    conversion.convert(workspace)
    put(workspace.data_dir, {"audio_raw/004.wav": wav(voice(1.5, SAMPLE_RATE))})
    (workspace.audio / "007.wav").unlink()
    again = conversion.convert(workspace)
    assert [row.audio for row in again.rows if row.status == "converted"] == ["audio_raw/004.wav", "audio_raw/007.wav"]
    assert len(audio.read_wav(workspace.audio / "004.wav")) == 1.5 * SAMPLE_RATE
    assert len(load_utterances(workspace)) == 10


def test_a_recording_without_a_label_any_more_keeps_its_wav(workspace: Workspace) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files, list(files))
    conversion.convert(workspace)
    put(workspace.data_dir, {}, list(files)[1:])
    conversion.convert(workspace)
    assert (workspace.audio / "000.wav").exists() and "audio_raw/000.wav" in read_index(workspace)


def test_a_run_that_was_killed_before_the_index_leaves_no_litter(workspace: Workspace) -> None:
    files = ten_wavs() | {"audio_raw/b.m4a": encoded("m4a")}
    put(workspace.data_dir, files, list(files))
    conversion.convert(workspace)
    whole = snapshot(workspace.data_dir)
    workspace.conversion_index.unlink()
    conversion.convert(workspace)
    assert snapshot(workspace.data_dir) == whole


# ── What is not ours is not overwritten ──────────────────────────────────────
def test_a_wav_that_we_did_not_write_stays(workspace: Workspace) -> None:
    theirs = wav(voice(3.0, SAMPLE_RATE))
    put(workspace.data_dir, {"audio_raw/x.m4a": encoded("m4a"), "audio/x.wav": theirs}, ["audio_raw/x.m4a"])
    assert wavs_of(workspace) == {"audio_raw/x.m4a": "audio/x_m4a.wav"}
    assert (workspace.audio / "x.wav").read_bytes() == theirs


def test_our_wav_that_somebody_changed_stays_and_is_said(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/x.m4a": encoded("m4a")}, ["audio_raw/x.m4a"])
    conversion.convert(workspace)
    edited = wav(voice(0.8, SAMPLE_RATE))
    put(workspace.data_dir, {"audio/x.wav": edited})
    again = conversion.convert(workspace)
    assert (workspace.audio / "x.wav").read_bytes() == edited and again.rows[0].wav == "audio/x_m4a.wav"
    assert len(again.notes) == 1 and "audio/x.wav" in again.notes[0] and "audio/x_m4a.wav" in again.notes[0]
    assert conversion.convert(workspace).notes == ()


def test_a_wav_used_in_place_and_then_replaced_is_not_overwritten(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio/x.wav": wav(voice(1.0, SAMPLE_RATE))}, ["audio/x.wav"])
    conversion.convert(workspace)
    replaced = wav(voice(1.0, 48_000), 48_000)
    put(workspace.data_dir, {"audio/x.wav": replaced})
    assert wavs_of(workspace) == {"audio/x.wav": "audio/x_16k.wav"}
    assert (workspace.audio / "x.wav").read_bytes() == replaced


# ── What goes wrong ──────────────────────────────────────────────────────────
def test_broken_recordings_are_named_and_the_rest_goes_on(workspace: Workspace) -> None:
    whole = encoded("m4a")
    bad = {
        "audio_raw/empty.mp3": (b"", "RZ-0501"),
        "audio_raw/text.mp3": ("不是录音".encode() * 50, "RZ-0502"),
        "audio_raw/cut.m4a": (whole[: len(whole) // 2], "RZ-0503"),
        "audio_raw/long.wav": (wav(voice(31.0, SAMPLE_RATE)), "RZ-0504"),
        "audio_raw/silent.wav": (wav(np.zeros(SAMPLE_RATE)), "RZ-0510"),
    }
    files = ten_wavs() | {name: content for name, (content, _) in bad.items()}
    put(workspace.data_dir, files, [*files, "audio_raw/missing.wav"])
    for _ in range(2):  # the second run says the same
        result = conversion.convert(workspace)
        assert {row.audio: row.codes[0] for row in result.left_out} == {
            **{name: code for name, (_, code) in bad.items()},
            "audio_raw/missing.wav": "RZ-0420",
        }
        assert all(Path(row.audio).name in row.reasons[0] and row.level == "unusable" for row in result.left_out)
    assert {entry.source: entry.problem for entry in read_index(workspace).values() if entry.problem} == {
        name: code for name, (_, code) in bad.items()
    }
    assert {name: (workspace.data_dir / name).read_bytes() for name in files} == files
    assert len(load_utterances(workspace)) == 10


def test_a_mended_recording_is_used_again(workspace: Workspace) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files | {"audio_raw/003.wav": b""}, list(files))
    assert len(conversion.convert(workspace).left_out) == 1
    put(workspace.data_dir, files)
    assert conversion.convert(workspace).converted == 1 and len(load_utterances(workspace)) == 10


def test_a_recording_that_breaks_later_does_not_lose_its_wav(workspace: Workspace) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files, list(files))
    conversion.convert(workspace)
    good = (workspace.audio / "003.wav").read_bytes()
    put(workspace.data_dir, {"audio_raw/003.wav": b""})
    assert [row.codes for row in conversion.convert(workspace).left_out] == [("RZ-0501",)]
    assert (workspace.audio / "003.wav").read_bytes() == good
    assert Recordings(workspace).files == tuple(files)  # the WAV is still known as ours
    put(workspace.data_dir, {"audio_raw/003.wav": wav(voice(1.7, SAMPLE_RATE))})
    assert conversion.convert(workspace).rows[3].wav == "audio/003.wav"


def test_a_file_that_may_not_be_read_is_left_out(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files, list(files))
    real = Path.open

    def deny(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == "005.wav":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", deny)
    result = conversion.convert(workspace)
    assert result.converted == 9 and [row.codes for row in result.left_out] == [("RZ-0508",)]


def test_a_full_disk_in_the_middle(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files, list(files))
    real, written = Path.write_bytes, []

    def full_after_four(path: Path, data: bytes) -> int:
        if len(written) == 4:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_after_four)
        with pytest.raises(ResonanceError) as caught:
            conversion.convert(workspace)
    assert caught.value.code == "RZ-0004"
    assert all(".wav" in message("RZ-0004", lang, **caught.value.facts) for lang in LANGUAGES)
    assert {name: (workspace.data_dir / name).read_bytes() for name in files} == files
    made = {f"audio/{path.name}" for path in workspace.audio.iterdir()}
    index = read_index(workspace)
    assert made == {"audio/conversion.json", *(each.wav for each in index.values())} and len(index) == 4
    assert all(audio.is_our_format(workspace.data_dir / each.wav) for each in index.values())
    again = conversion.convert(workspace)
    assert (again.unchanged, again.converted) == (4, 6)


def test_a_full_disk_while_the_index_is_written(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ten_wavs()
    put(workspace.data_dir, files, list(files)[:9])
    conversion.convert(workspace)
    index = workspace.conversion_index.read_bytes()
    put(workspace.data_dir, {}, list(files))

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(ResonanceError, match="RZ-0004"):
            conversion.convert(workspace)
    assert workspace.conversion_index.read_bytes() == index
    conversion.convert(workspace)
    assert len(load_utterances(workspace)) == 10 and len(list(workspace.audio.glob("*.wav"))) == 10


# ── The same clip at three rates ─────────────────────────────────────────────
def test_three_versions_of_one_clip(workspace: Workspace) -> None:
    stereo = np.stack([voice(1.0), 0.5 * voice(1.0, pitch=300)], axis=1)
    put(workspace.data_dir, {"audio_raw/我想 喝水.wav": wav(stereo, 48_000, "PCM_24")})
    path = workspace.audio_raw / "我想 喝水.wav"
    comparison = conversion.compare_rates(path)
    facts = [(v.key, v.rate, v.channels, v.bits, v.wav_bytes) for v in comparison.versions]
    assert facts == [
        ("own", 48_000, 2, 24, 288_044),
        ("whisper", 16_000, 1, 16, 32_044),
        ("telephone", 8_000, 1, 16, 16_044),
    ]
    assert (comparison.codec, comparison.file_bytes) == ("pcm_s24le", path.stat().st_size)
    assert all(v.samples.shape == (v.channels, v.rate) for v in comparison.versions)
    assert [(samples.ndim, rate) for _, samples, rate in comparison.pictured] == [(1, 48_000), (1, 16_000), (1, 8_000)]
    assert len({name for name, _, _ in comparison.pictured}) == 3


def test_the_versions_can_be_listened_to(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/我想 喝水.m4a": encoded("m4a")})
    before = snapshot(workspace.data_dir)
    comparison = conversion.compare_rates(workspace.audio_raw / "我想 喝水.m4a")
    assert comparison.versions[0].bits is None
    paths = conversion.write_versions(comparison, workspace.output_dir / "listen")
    infos = [soundfile.info(path) for path in paths]
    assert [(info.samplerate, info.channels) for info in infos] == [(44_100, 2), (16_000, 1), (8_000, 1)]
    assert all(" " not in path.name for path in paths) and snapshot(workspace.data_dir) == before


# ── Real folders ─────────────────────────────────────────────────────────────
def converted_copy(source: Path, workspace: Workspace) -> conversion.ConversionResult:
    """Convert a copy of ``source`` and check every WAV; a second run must be fast and write nothing."""
    shutil.copytree(source / "audio_raw", workspace.audio_raw)
    shutil.copy(source / "labels.json", workspace.labels)
    workspace.audio_raw.chmod(0o755)
    result = conversion.convert(workspace)
    assert not result.left_out and result.converted == len(read_labels(workspace.labels))
    assert len({row.wav for row in result.rows}) == len(result.rows)
    assert all(
        " " not in str(row.wav) and audio.is_our_format(workspace.data_dir / str(row.wav)) for row in result.rows
    )
    started = time.process_time()  # processor time: the clock on the wall also measures what else the machine does
    assert conversion.convert(workspace).unchanged == len(result.rows)
    assert time.process_time() - started < 0.5 * len(result.rows) / 120  # 0.17 s for 120 files was measured
    return result


def test_the_whole_sample_converts(workspace: Workspace) -> None:
    result = converted_copy(SAMPLE_DIR, workspace)
    assert len(result.rows) == 120
    assert {Path(str(row.source)).suffix for row in result.rows} >= {".m4a", ".mp3", ".wav", ".flac"}
    assert any(" " in str(row.source) for row in result.rows)
    assert len(load_utterances(workspace)) == 120


@pytest.mark.real
def test_a_real_voice_converts(workspace: Workspace) -> None:
    if not IMPAIRED.is_dir():
        pytest.skip("../shared/speech/impaired_speaker is not here")
    result = converted_copy(IMPAIRED, workspace)
    assert len(result.rows) == 240 and 780 < result.seconds_total < 810
    assert all(row.level == "ok" for row in result.rows)


def test_the_example_shows_what_its_sentence_says(workspace: Workspace) -> None:
    """Unless one is named, it is a recording with sound above what a telephone carries, and from above 16 kHz."""
    time_s = np.arange(48_000) / 48_000

    def tones(*frequencies: int) -> np.ndarray:
        return np.sum([0.2 * np.sin(2 * np.pi * hz * time_s) for hz in frequencies], axis=0).astype(np.float32)

    files = {
        "audio_raw/low.wav": wav(tones(300, 3_900), 48_000),
        "audio_raw/high.wav": wav(tones(300, 6_000), 48_000),
        "audio_raw/some.wav": wav(tones(300, 900, 5_000), 48_000),
        "audio_raw/converted.wav": wav(voice(1.0, SAMPLE_RATE), SAMPLE_RATE),
        "audio_raw/broken.wav": b"",
    }
    put(workspace.data_dir, files, list(files))
    assert conversion.example(workspace).name == "high.wav"
    (workspace.data_dir / "audio_raw" / "high.wav").unlink()
    assert conversion.example(workspace).name == "some.wav"
    assert conversion.example(workspace, 1).name == "low.wav"


@pytest.mark.skipif(not SAMPLE_DIR.is_dir(), reason="data_sample/ is not built here")
def test_the_example_of_the_sample_has_sound_where_a_telephone_has_none(tmp_path: Path) -> None:
    own, *_ = conversion.example(Workspace(SAMPLE_DIR, tmp_path, "sample", is_sample=True)).versions
    power = np.abs(np.fft.rfft(own.mono)) ** 2
    above = power[np.fft.rfftfreq(len(own.mono), 1 / own.rate) >= 4_000].sum() / power.sum()
    assert own.rate > SAMPLE_RATE and above > 0.005, "of the other recordings 0.0004"


def test_the_example_is_the_nearest_recording_that_can_be_read(workspace: Workspace) -> None:
    files = {"audio_raw/1.wav": b"", "audio_raw/2.mp3": encoded("mp3"), "audio_raw/3.wav": b"no sound"}
    put(workspace.data_dir, files, [*files, "audio_raw/missing.wav"])
    assert [conversion.example(workspace, number).name for number in (1, 2, 3, 99)] == ["2.mp3"] * 4
    (workspace.data_dir / "audio_raw" / "2.mp3").write_bytes(b"")
    with pytest.raises(ResonanceError) as caught:
        conversion.example(workspace)
    assert caught.value.code == "RZ-0406" and caught.value.facts["labels"] == 4


# ── What is known is not read again ──────────────────────────────────────────
@pytest.fixture
def aged(own_sample: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Recordings that came a while ago, converted once: a stamp of others' files counts after two seconds."""
    shutil.rmtree(own_sample.audio, ignore_errors=True)
    real = time.time_ns
    monkeypatch.setattr(index.time, "time_ns", lambda: real() + 10_000_000_000)
    assert conversion.convert(own_sample).converted > 0
    return own_sample


def test_what_is_known_of_a_recording_is_neither_hashed_nor_decoded_nor_measured_again(
    aged: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a course asks for from the first conversion on: converted again, trained, tested, reported."""
    calls: Counter[str] = Counter()
    for module, name in ((index, "file_hash"), (conversion.audio, "load"), (conversion.clip_quality, "measure")):
        real = getattr(module, name)
        counted = lambda *args, real=real, name=name, **more: calls.update([name]) or real(*args, **more)  # noqa: E731
        monkeypatch.setattr(module, name, counted)
    first = index.load_utterances(aged)
    again = conversion.convert(aged)
    second = index.load_utterances(aged)
    assert index.data_hash(first) == index.data_hash(second) and test_model.examine(aged, {}, 4.0).used
    assert calls == {} and again.unchanged == len(again.rows)
    assert {u.quality for u in first} == {row.quality for row in again.rows}


def test_measures_are_those_of_the_wav(aged: Workspace) -> None:
    for utterance in index.load_utterances(aged)[:10]:
        assert utterance.quality == conversion.clip_quality.measure(audio.read_wav(utterance.wav))
        assert utterance.wav_sha256 == index.file_hash(utterance.wav)


@pytest.mark.parametrize("what", ["source", "wav"])
def test_a_file_that_is_replaced_by_one_of_the_same_size_is_noticed(aged: Workspace, what: str) -> None:
    entry, other = [*index.read_index(aged).values()][:2]
    path, another = (aged.data_dir / getattr(each, what) for each in (entry, other))
    before = index.load_utterances(aged)
    known = index.data_hash(before)
    data = another.read_bytes()[: path.stat().st_size].ljust(path.stat().st_size, b"\0")
    time_ns = path.stat().st_mtime_ns
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(time_ns, time_ns))
    if what == "source":
        with pytest.raises(ResonanceError, match="RZ-0521"):
            index.load_utterances(aged)
    else:
        assert [u.quality for u in index.load_utterances(aged) if u.wav == path] == [None]
        assert index.data_hash(before) != known, "of utterances that were loaded before, too"


def test_the_stamp_of_a_file_that_was_changed_just_now_is_not_kept(own_sample: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")
    os.utime(tmp_path / "a.wav", ns=(0, 1_000_000_000))
    found = index.stamp(tmp_path / "a.wav")
    assert index.settled(found) is None and index.settled((1, 2, 3)) == (1, 2, 3)
    shutil.rmtree(own_sample.audio)
    conversion.convert(own_sample)
    source = next(iter(index.read_index(own_sample)))
    entry = index.read_index(own_sample)[source]
    assert entry.source_stamp is None and entry.wav_stamp is not None, "of the WAV it is: it is ours"


def test_an_index_without_stamps_and_qualities_still_opens(aged: Workspace) -> None:
    before = index.read_index(aged)
    kept = read_json(aged.conversion_index)
    for entry in kept["conversions"]:
        for name in ("source_stamp", "wav_stamp", "quality"):
            del entry[name]
    write_json(aged.conversion_index, kept)
    assert all(each.quality is None for each in index.read_index(aged).values())
    assert conversion.convert(aged).unchanged + conversion.convert(aged).as_is > 0
    assert index.read_index(aged) == before
