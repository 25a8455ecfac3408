from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sounds import encoded, put, snapshot, voice, wav

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.core.messages import LANGUAGES, catalogue
from resonance_helpers.core.settings import MIN_RECORDINGS, SAMPLE_RATE
from resonance_helpers.dataset import labels
from resonance_helpers.lessons import upload_recordings


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path / "data", tmp_path / "output", "p1")


def fill(workspace: Workspace, count: int = MIN_RECORDINGS) -> dict[str, bytes]:
    """``count`` recordings of as many phrases in audio_raw, labelled."""
    files = {f"audio_raw/{n:03d}.wav": wav(voice(1.0 + n / 10, SAMPLE_RATE, pitch=150 + n)) for n in range(count)}
    put(workspace.data_dir, files, [{"audio": name, "text": chr(0x4E00 + i) * 3} for i, name in enumerate(files)])
    return files


def test_a_good_set_is_ready_and_nothing_is_written(workspace: Workspace) -> None:
    files = fill(workspace)
    before = snapshot(workspace.data_dir)
    seen: list[tuple[int, int]] = []
    result = upload_recordings.check(workspace, on_progress=lambda done, total: seen.append((done, total)))
    assert snapshot(workspace.data_dir) == before and not workspace.output_dir.exists()
    assert result.is_ready and not result.notices and not result.missing and not result.unlabelled
    assert [row.source for row in result.rows] == list(files) and result.count("ok") == len(files)
    assert result.totals == upload_recordings.Totals(len(files), len(files), 1, pytest.approx(14.5, abs=0.01))
    assert seen == [(n, len(files)) for n in range(1, len(files) + 1)]


def test_a_row_holds_what_the_table_shows(workspace: Workspace) -> None:
    fill(workspace)
    row = upload_recordings.check(workspace).rows[3]
    assert (row.audio, row.take, row.split, row.level, row.codes, row.reasons) == (
        "audio_raw/003.wav",
        1,
        None,
        "ok",
        (),
        (),
    )
    assert row.seconds == pytest.approx(1.3) and row.quality is not None
    assert row.envelope.shape == (200,) and row.envelope.min() >= 0
    assert row.envelope.max() == pytest.approx(np.abs(voice(1.3, SAMPLE_RATE, pitch=153)).max(), abs=1e-3)


def test_takes_of_one_phrase_are_counted_as_one(workspace: Workspace) -> None:
    fill(workspace)
    entries = [
        {"audio": f"audio_raw/{n:03d}.wav", "text": "我想喝水。" if n % 2 else "我 想 喝 水", "take": n + 1}
        for n in range(10)
    ]
    put(workspace.data_dir, {}, entries)
    totals = upload_recordings.check(workspace).totals
    assert (totals.recordings, totals.phrases, totals.takes) == (10, 1, 10)


def test_missing_and_unlabelled_files_are_named(workspace: Workspace) -> None:
    files = fill(workspace, MIN_RECORDINGS + 1)
    (workspace.audio_raw / "004.wav").rename(workspace.audio_raw / "004_new.wav")
    result = upload_recordings.check(workspace)
    assert result.missing == ("audio_raw/004.wav",) and result.unlabelled == ("audio_raw/004_new.wav",)
    row = result.rows[4]
    assert (row.level, row.codes, row.source, len(row.envelope)) == ("unusable", ("RZ-0420",), None, 0)
    assert "audio_raw/004.wav" in row.reasons[0]
    assert [notice.code for notice in result.notices] == ["RZ-0421"]
    assert "audio_raw/004_new.wav" in result.notices[0].sentence
    assert result.is_ready and result.totals.recordings == len(files) - 1


def test_the_original_of_a_labelled_wav_is_not_unlabelled(workspace: Workspace) -> None:
    files = fill(workspace)
    mp3 = {name.replace(".wav", ".mp3"): b"the original" for name in files}
    put(workspace.data_dir, mp3 | {name.replace("audio_raw/", "audio/"): data for name, data in files.items()})
    for name in files:
        (workspace.data_dir / name).unlink()
    put(workspace.data_dir, {}, [name.replace("audio_raw/", "audio/") for name in files])
    assert upload_recordings.check(workspace).unlabelled == ()


def test_a_name_with_a_space_is_fine(workspace: Workspace) -> None:
    fill(workspace, 9)
    names = [f"audio_raw/{n:03d}.wav" for n in range(9)]
    put(
        workspace.data_dir,
        {"audio_raw/010_我想 喝水.wav": wav(voice(1.0, SAMPLE_RATE))},
        [*names, "audio_raw/010_我想 喝水.wav"],
    )
    result = upload_recordings.check(workspace)
    assert result.rows[-1].level == "ok" and result.is_ready


def test_too_few_are_said_with_numbers(workspace: Workspace) -> None:
    fill(workspace, 9)
    result = upload_recordings.check(workspace)
    assert not result.is_ready and [notice.code for notice in result.notices] == ["RZ-0406"]
    assert "9" in result.notices[0].sentence and str(MIN_RECORDINGS) in result.notices[0].sentence


def test_the_same_stem_twice_is_said_and_both_are_used(workspace: Workspace) -> None:
    fill(workspace)
    names = [f"audio_raw/{n:03d}.wav" for n in range(10)]
    put(workspace.data_dir, {"audio_raw/003.mp3": encoded("mp3")}, [*names, "audio_raw/003.mp3"])
    result = upload_recordings.check(workspace)
    assert [notice.code for notice in result.notices] == ["RZ-0422"]
    assert "audio_raw/003.wav" in result.notices[0].sentence and "audio_raw/003.mp3" in result.notices[0].sentence
    assert result.count("ok") == 11


@pytest.mark.parametrize(
    ("content", "level", "code"),
    [
        (b"", "unusable", "RZ-0501"),
        (b"not audio" * 100, "unusable", "RZ-0502"),
        (wav(voice(2.0, SAMPLE_RATE))[:20_000], "unusable", "RZ-0503"),
        (wav(voice(31.0, SAMPLE_RATE)), "unusable", "RZ-0504"),
        (wav(np.zeros(SAMPLE_RATE)), "unusable", "RZ-0510"),
        (wav(voice(1.0, SAMPLE_RATE, level=0.01)), "again", "RZ-0511"),
        (wav(np.clip(voice(1.0, SAMPLE_RATE, level=6.0), -1, 1)), "again", "RZ-0512"),
        (wav(voice(7.0, SAMPLE_RATE)), "again", "RZ-0513"),
        (wav(np.pad(voice(0.5, SAMPLE_RATE), (0, 5 * SAMPLE_RATE))), "listen", "RZ-0514"),
    ],
    ids=[
        "empty",
        "not audio",
        "truncated",
        "too long",
        "silent",
        "quiet",
        "clipped",
        "beyond window",
        "mostly silence",
    ],
)
def test_each_trouble_is_a_row_and_the_rest_goes_on(
    workspace: Workspace, content: bytes, level: str, code: str
) -> None:
    fill(workspace)
    put(workspace.data_dir, {"audio_raw/005.wav": content})
    before = snapshot(workspace.data_dir)
    result = upload_recordings.check(workspace, window_s=6.0)
    row = result.rows[5]
    assert (row.level, row.codes) == (level, (code,)) and "005.wav" in row.reasons[0]
    assert result.count("ok") == 9
    assert result.totals.recordings == (9 if level == "unusable" else 10)
    assert snapshot(workspace.data_dir) == before


def test_invisible_characters_are_said_and_stay_in_the_file(workspace: Workspace) -> None:
    files = list(fill(workspace))
    put(
        workspace.data_dir,
        {},
        [{"audio": name, "text": "一\u200b\ufeff" + chr(0x4E00 + i)} for i, name in enumerate(files)],
    )
    before = snapshot(workspace.data_dir)
    result = upload_recordings.check(workspace)
    assert [notice.code for notice in result.notices] == ["RZ-0485"] and result.is_ready
    assert "U+200B, U+FEFF" in result.notices[0].sentence and files[0] in result.notices[0].sentence
    assert {len(row.text) for row in result.rows} == {2} and snapshot(workspace.data_dir) == before
    assert labels.clean_up(workspace.labels) == len(files)
    assert not upload_recordings.check(workspace).notices


def test_long_texts_are_named_before_the_model_counts_them(workspace: Workspace) -> None:
    first, second, *others = fill(workspace)
    texts = {first: "水" * 33, second: "水" * 32, **{name: chr(0x4E00 + i) for i, name in enumerate(others)}}
    put(workspace.data_dir, {}, [{"audio": name, "text": text} for name, text in texts.items()])
    (notice,) = [each for each in upload_recordings.check(workspace).notices if each.code == "RZ-0492"]
    assert first in notice.sentence and second not in notice.sentence


def test_recordings_without_labels_raise(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/001.wav": wav(voice(1.0, SAMPLE_RATE))})
    with pytest.raises(ResonanceError, match="RZ-0401"):
        upload_recordings.check(workspace)


def test_every_code_of_the_lesson_has_both_languages() -> None:
    codes = [key for key in catalogue() if key.startswith(("RZ-04", "RZ-05"))]
    assert {"RZ-0406", "RZ-0420", "RZ-0421", "RZ-0422", "RZ-0423", "RZ-0424"} <= set(codes)
    assert all(set(catalogue()[code]) == set(LANGUAGES) for code in codes)
