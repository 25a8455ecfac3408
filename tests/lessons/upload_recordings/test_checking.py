"""Lesson 04's checks: each finds the damage that it is for, and leaves good recordings alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import encoded, put, voice, wav

from resonance_helpers import ResonanceError, Workspace, open_workspace
from resonance_helpers.asr import vad
from resonance_helpers.audio import decode as audio
from resonance_helpers.audio import quality as clip_quality
from resonance_helpers.audio import segment as pauses
from resonance_helpers.core.settings import MIN_RECORDINGS, SAMPLE_RATE, SOUND_RULES
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.dataset.duplicates import fingerprint, same_sound
from resonance_helpers.lessons import upload_recordings
from resonance_helpers.lessons.convert_audio import logic as conversion
from resonance_helpers.lessons.upload_recordings import hints_form as second_opinion
from resonance_helpers.lessons.upload_recordings import view as recordings_widget
from resonance_helpers.lessons.upload_recordings.charts import draw_clip_view, waveforms
from resonance_helpers.lessons.upload_recordings.hints import odd_paces, written_differently
from resonance_helpers.lessons.upload_recordings.hints_form import SecondOpinion
from resonance_helpers.lessons.upload_recordings.session import Session
from resonance_helpers.lessons.upload_recordings.view import (
    LabelEditor,
    check_recordings,
    show_folder,
    show_hints,
    show_labels,
    show_recordings,
)
from resonance_helpers.scoring.text import toneless
from resonance_helpers.service import decoding
from resonance_helpers.ui import output as lines

if TYPE_CHECKING:
    from resonance_helpers.asr.whisper import SpeechModel

LABELS = json.loads((REPOSITORY / "data_sample" / "labels.json").read_text(encoding="utf-8"))
SAMPLE = [REPOSITORY / "data_sample" / label["audio"] for label in LABELS]
PHRASES = list(dict.fromkeys(label["text"] for label in LABELS))
CHOSEN = [next(n for n, label in enumerate(LABELS) if label["text"] == phrase) for phrase in PHRASES[:36:3]]


def padded(samples: np.ndarray, seconds: float = 0.3) -> np.ndarray:
    """``samples`` with a quiet room before and behind it."""
    length = round(seconds * SAMPLE_RATE)
    room = np.random.default_rng(3).normal(0, 1e-3, 2 * length).astype(np.float32)
    return np.concatenate([room[:length], samples, room[length:]])


@pytest.fixture(scope="module")
def good() -> list[np.ndarray]:
    """Twelve recordings of the sample with quiet around them, at one level."""
    clips = [audio.load(path, 30.0) for path in (SAMPLE[n] for n in CHOSEN)]
    return [padded(0.5 * clip / np.abs(clip).max()) for clip in clips]


def codes(samples: np.ndarray, window_s: float = 30.0) -> tuple[str, ...]:
    return clip_quality.judge(clip_quality.measure(samples), window_s)[1]


def speech(samples: np.ndarray) -> tuple[int, int]:
    """The first and the last sample of what stands out."""
    found = np.flatnonzero(clip_quality.stands_out(clip_quality.frame_levels(samples)))
    frame = round(clip_quality.FRAME_S * SAMPLE_RATE)
    return int(found[0]) * frame, int(found[-1] + 1) * frame


# ── Damage of every kind, on good recordings ─────────────────────────────────
def test_good_recordings_are_left_alone(good: list[np.ndarray]) -> None:
    assert [codes(clip) for clip in good] == [()] * len(good)


@given(number=st.integers(0, 11), share=st.floats(0.005, 0.05), turned_down=st.floats(0.05, 1.0))
@settings(max_examples=40)
def test_clipping_is_found_and_turning_it_down_does_not_hide_it(
    good: list[np.ndarray], number: int, share: float, turned_down: float
) -> None:
    clip = good[number]
    ceiling = np.quantile(np.abs(clip), 1 - share)
    assert "RZ-0512" in codes(np.clip(clip / ceiling, -1, 1) * np.float32(turned_down))


@given(number=st.integers(0, 11), level=st.floats(1e-4, 1.0))
@settings(max_examples=60)
def test_what_is_too_quiet_depends_on_the_level_alone(good: list[np.ndarray], number: int, level: float) -> None:
    peak_db = 20 * np.log10(level)
    clip = good[number] / np.abs(good[number]).max() * np.float32(level)
    found = codes(clip)
    assert ("RZ-0511" in found) == (SOUND_RULES.silent_dbfs <= peak_db < SOUND_RULES.quiet_dbfs)
    assert ("RZ-0510" in found) == (peak_db < SOUND_RULES.silent_dbfs)


@given(number=st.integers(0, 11), snr_db=st.floats(-5.0, 40.0), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_noise_is_found_from_a_ratio_on(good: list[np.ndarray], number: int, snr_db: float, seed: int) -> None:
    clip = good[number]
    loud_db = float(np.percentile(clip_quality.frame_levels(clip), 90))
    noise = np.random.default_rng(seed).normal(0, 10 ** ((loud_db - snr_db) / 20), len(clip)).astype(np.float32)
    found = codes((clip + noise) / 4)
    if snr_db < SOUND_RULES.snr_db - 3:  # loud frames hold noise too: 7 dB of noise leave about 8
        assert "RZ-0515" in found
    if snr_db > SOUND_RULES.snr_db + 3:
        assert "RZ-0515" not in found
    assert not {"RZ-0516", "RZ-0517"} & set(found)  # noise that goes on at the ends is not speech cut off


@given(number=st.integers(0, 11), seconds=st.floats(0.0, 8.0))
@settings(max_examples=40)
def test_silence_is_no_fault_until_it_is_most_of_the_recording(
    good: list[np.ndarray], number: int, seconds: float
) -> None:
    longer = padded(good[number], seconds)
    quality = clip_quality.measure(longer)
    assert codes(longer) == (("RZ-0514",) if quality.speech_s < SOUND_RULES.speech_share * quality.seconds else ())
    assert quality.speech_s == pytest.approx(clip_quality.measure(good[number]).speech_s, abs=0.3)


@given(number=st.integers(0, 11), share=st.floats(0.1, 0.35))
@settings(max_examples=40)
def test_a_cut_in_the_middle_of_a_sound_is_found_at_its_end(good: list[np.ndarray], number: int, share: float) -> None:
    clip = good[number]
    first, last = speech(clip)
    loud = np.percentile(clip_quality.frame_levels(clip), 90)
    start, stop = first + round(share * (last - first)), last - round(share * (last - first))
    edge = round(clip_quality.EDGE_S * SAMPLE_RATE)
    starts_loud = clip_quality.frame_levels(clip[start : start + edge]).max() > loud - 8
    stops_loud = clip_quality.frame_levels(clip[stop - edge : stop]).max() > loud - 8
    assert not starts_loud or codes(clip[start:]) == ("RZ-0516",)
    assert not stops_loud or codes(clip[:stop]) == ("RZ-0517",)


def test_cuts_inside_speech_are_mostly_found(good: list[np.ndarray]) -> None:
    """A cut that falls into a pause or a consonant's closure leaves quiet and can't be seen; most do not."""
    found = []
    for clip in good:
        first, last = speech(clip)
        for share in (0.15, 0.25, 0.35):
            cut = round(share * (last - first))
            found += ["RZ-0516" in codes(clip[first + cut :]), "RZ-0517" in codes(clip[: last - cut])]
    assert np.mean(found) > 0.5


def test_longer_than_the_window(good: list[np.ndarray]) -> None:
    seconds = len(good[0]) / SAMPLE_RATE
    assert codes(good[0], seconds - 0.01) == ("RZ-0513",) and codes(good[0], seconds) == ()


# ── An offset ────────────────────────────────────────────────────────────────
def test_an_offset_changes_no_verdict_hides_no_voice_and_no_copy(good: list[np.ndarray]) -> None:
    moved = [(clip / 2 + 0.4).astype(np.float32) for clip in good]
    assert [codes(clip) for clip in moved] == [()] * len(good)
    assert vad.is_speech(moved, 0.3) == vad.is_speech(good, 0.3)
    assert [pauses.split_to_fit(clip, 1.0, 2.0) for clip in moved] == [
        pauses.split_to_fit(clip, 1.0, 2.0) for clip in good
    ]
    prints = [fingerprint(clip, SAMPLE_RATE) for clip in [*good, *moved]]
    assert same_sound(prints) == [(n, n + len(good)) for n in range(len(good))]


def test_the_lesson_the_recorder_and_the_service_judge_an_offset_and_a_touch_of_the_key_alike(
    tmp_path: Path, good: list[np.ndarray]
) -> None:
    moved, touch = (good[0] / 2 + 0.4).astype(np.float32), good[0][8_000:8_320]
    files = {"audio/offset.wav": wav(moved), "audio_raw/touch.wav": wav(touch)}
    put(tmp_path / "data", files, list(files))
    workspace = Workspace(tmp_path / "data", tmp_path / "out", "p1")
    assert [row.codes for row in upload_recordings.check(workspace).rows] == [(), ("RZ-0532",)]
    assert [row.codes for row in conversion.convert(workspace).rows] == [(), ("RZ-0532",)]
    decode = partial(decoding._decode, max_audio_s=30.0)
    assert clip_quality.has_speech(decode(files["audio/offset.wav"]))
    with pytest.raises(ResonanceError, match="RZ-0532"):
        decode(files["audio_raw/touch.wav"])
    session = Session(Workspace(tmp_path / "recorder", tmp_path / "out", "p1"))
    assert session.keep(moved).level == "ok"
    with pytest.raises(ResonanceError, match="RZ-0430"):
        session.keep(touch)


# ── The same sound ───────────────────────────────────────────────────────────
@pytest.mark.parametrize("suffix", ["mp3", "ogg", "m4a", "webm", "flac", "aac", "wav"])
def test_another_codec_does_not_hide_a_copy(good: list[np.ndarray], suffix: str) -> None:
    clips = [audio.decode(encoded(suffix, clip, SAMPLE_RATE), max_seconds=30.0) for clip in good]
    prints = [fingerprint(clip, SAMPLE_RATE) for clip in good]
    copies = [fingerprint(clip.samples, clip.rate) for clip in clips]
    assert same_sound([*prints, *copies]) == [(n, n + len(good)) for n in range(len(good))]


@given(
    number=st.integers(0, 11),
    gain=st.floats(0.01, 8.0),
    turned=st.booleans(),
    before=st.floats(-0.28, 0.5),
    behind=st.floats(-0.28, 0.5),
)
@settings(max_examples=60)
def test_neither_level_nor_silence_hide_a_copy(
    good: list[np.ndarray], number: int, gain: float, turned: bool, before: float, behind: float
) -> None:
    """Silence that is taken away (negative seconds) or added at either end; a plug wired the wrong way round."""
    clip = good[number]
    head, tail = (round(seconds * SAMPLE_RATE) for seconds in (before, behind))
    copy = np.pad(clip[max(0, -head) : len(clip) - max(0, -tail)], (max(0, head), max(0, tail)))
    copy = copy * np.float32(-gain if turned else gain)
    assert same_sound([fingerprint(clip, SAMPLE_RATE), fingerprint(copy, SAMPLE_RATE)]) == [(0, 1)]


def test_takes_of_the_sample_are_never_the_same() -> None:
    clips = [audio.decode(path, max_seconds=30.0) for path in SAMPLE]
    assert same_sound([fingerprint(clip.samples, clip.rate) for clip in clips]) == []


@pytest.mark.parametrize("n", [0, 1, 39, 41, 400])
def test_what_is_too_short_or_silent_is_like_nothing(n: int) -> None:
    prints = [fingerprint(np.zeros(n, np.float32), SAMPLE_RATE), fingerprint(np.zeros(n, np.float32), SAMPLE_RATE)]
    assert same_sound(prints) == [] and same_sound(prints[:1]) == [] and same_sound([]) == []


# ── Texts ────────────────────────────────────────────────────────────────────
def test_one_phrase_in_other_characters_is_a_hint_and_takes_are_not() -> None:
    texts = ["喝水", "喝水。", "喝水", "我頭疼", "我头疼", "OK", "ＯＫ", "吃饭", "吃饭", "不要"]
    assert written_differently(texts) == [("喝水", "喝水。"), ("我頭疼", "我头疼"), ("OK", "ＯＫ")]


def quality(speech_s: float) -> clip_quality.Quality:
    return clip_quality.Quality(speech_s + 1, -6.0, -20.0, 40.0, speech_s, 0.0)


@given(pace=st.floats(0.3, 8.0), lengths=st.lists(st.integers(1, 12), min_size=12, max_size=40))
def test_a_steady_pace_is_never_odd_however_slow(pace: float, lengths: list[int]) -> None:
    assert odd_paces([("我" * n, quality((n + 0.5) / pace)) for n in lengths]) == []


@given(pace=st.floats(0.3, 8.0), seed=st.integers(0, 999))
def test_a_text_of_another_length_is_found_whatever_the_pace(pace: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 7, 30)
    rows = [("我" * n, quality((n + 0.5) / pace * random.lognormal(0, 0.12))) for n in lengths.tolist()]
    rows[4] = ("我" * 14, quality(2.5 / pace))
    rows[9] = ("我", quality(9.5 / pace))
    assert [index for index, _, _ in odd_paces(rows)] == [4, 9]
    assert odd_paces(rows[: MIN_RECORDINGS - 1]) == []  # of too few the usual pace is not known


# ── In the table ─────────────────────────────────────────────────────────────
@pytest.fixture
def workspace(tmp_path: Path, good: list[np.ndarray]) -> Workspace:
    """The twelve good recordings with their texts."""
    files = {f"audio_raw/{n:03d}.wav": wav(clip) for n, clip in enumerate(good)}
    labels = [{"audio": name, "text": LABELS[n]["text"]} for name, n in zip(files, CHOSEN, strict=True)]
    put(tmp_path / "data", files, labels)
    return Workspace(tmp_path / "data", tmp_path / "out", "p1")


def relabelled(workspace: Workspace, **files_and_texts: tuple[bytes, str]) -> upload_recordings.RecordingsCheck:
    """The check after more recordings were put beside the others: name → (content, text)."""
    entries = json.loads(workspace.labels.read_text(encoding="utf-8"))
    for name, (content, text) in files_and_texts.items():
        suffix = "mp3" if content[:4] != b"RIFF" else "wav"
        put(workspace.data_dir, {f"audio_raw/{name}.{suffix}": content})
        entries.append({"audio": f"audio_raw/{name}.{suffix}", "text": text})
    put(workspace.data_dir, {}, entries)
    return upload_recordings.check(workspace)


def test_a_copy_with_the_same_text_is_said_at_the_copy(workspace: Workspace, good: list[np.ndarray]) -> None:
    result = relabelled(
        workspace, copy=(encoded("mp3", good[1] * np.float32(0.4), SAMPLE_RATE), LABELS[CHOSEN[1]]["text"])
    )
    assert [row.codes for row in result.rows] == [()] * 12 + [("RZ-0460",)]
    assert result.rows[-1].level == "listen" and "audio_raw/001.wav" in result.rows[-1].reasons[0]


def test_a_copy_with_another_text_is_said_at_both(workspace: Workspace, good: list[np.ndarray]) -> None:
    result = relabelled(workspace, copy=(encoded("mp3", good[1], SAMPLE_RATE), "不要这样做"))
    assert [n for n, row in enumerate(result.rows) if row.codes] == [1, 12]
    first, second = result.rows[1], result.rows[12]
    assert first.codes == second.codes == ("RZ-0461",) and first.level == second.level == "listen"
    assert "不要这样做" in first.reasons[0] and LABELS[CHOSEN[1]]["text"] in second.reasons[0]
    assert result.totals.recordings == 13  # nothing is left out for it


def test_a_text_that_hardly_fits_is_said_with_this_persons_pace(workspace: Workspace) -> None:
    entries = json.loads(workspace.labels.read_text(encoding="utf-8"))
    entries[2]["text"] = "今天下午我想和妈妈一起去公园里散步晒太阳" * 3
    put(workspace.data_dir, {}, entries)
    result = upload_recordings.check(workspace)
    assert [row.codes for row in result.rows if row.codes] == [("RZ-0462",)] and result.rows[2].level == "listen"


def test_other_characters_are_a_notice_and_change_no_verdict(workspace: Workspace, good: list[np.ndarray]) -> None:
    entries = json.loads(workspace.labels.read_text(encoding="utf-8"))
    entries[4]["text"] = entries[0]["text"] + "。"
    put(workspace.data_dir, {}, entries)
    result = upload_recordings.check(workspace)
    assert [notice.code for notice in result.notices] == ["RZ-0463"]
    assert f"{entries[0]['text']} / {entries[4]['text']}" in result.notices[0].sentence and result.count("ok") == 12


# ── What a base model hears ──────────────────────────────────────────────────
class Listening:
    """Answers with given texts, as a model does."""

    native_window_s = 30.0

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.window_s = texts, 0.0

    def recognise(self, samples: Sequence[np.ndarray], window_s: float, *, on_progress: object = None) -> list[str]:
        assert max(map(len, samples)) <= window_s * SAMPLE_RATE
        self.window_s = window_s
        return list(self.texts)


def test_swapped_texts_are_hinted_at_and_verdicts_stay(workspace: Workspace) -> None:
    entries = json.loads(workspace.labels.read_text(encoding="utf-8"))
    meant = [entry["text"] for entry in entries]
    entries[1]["text"], entries[3]["text"] = meant[3], meant[1]
    put(workspace.data_dir, {}, entries)
    checked = upload_recordings.check(workspace)
    hints = upload_recordings.hear(workspace, checked.rows, Listening(meant))
    assert {(hint.audio, hint.nearer) for hint in hints} == {
        ("audio_raw/001.wav", meant[1]),
        ("audio_raw/003.wav", meant[3]),
    }
    assert checked.count("ok") == 12 and all("不算结论" in hint.sentence for hint in hints)


def test_a_second_opinion_comes_when_a_button_is_pressed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = json.loads(workspace.labels.read_text(encoding="utf-8"))
    meant = [entry["text"] for entry in entries]
    entries[1]["text"], entries[3]["text"] = meant[3], meant[1]
    put(workspace.data_dir, {}, entries)
    loaded: list[object] = []
    monkeypatch.setattr(second_opinion.base_models, "resolve", lambda name, cache: name)
    monkeypatch.setattr(second_opinion, "load_speech_model", lambda base: loaded.append(base) or Listening(meant))
    opinion = SecondOpinion(workspace, upload_recordings.check(workspace), "some/model")
    assert not loaded  # the cell alone asks nobody
    opinion.button.click()
    said = capsys.readouterr().out
    assert loaded == ["some/model"] and "001.wav" in said and "003.wav" in said and not opinion.button.disabled


def test_a_second_opinion_without_a_model_is_a_sentence(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    opinion = SecondOpinion(workspace, upload_recordings.check(workspace), "./nowhere")
    opinion.button.click()
    assert "RZ-06" in capsys.readouterr().out and not opinion.button.disabled


def test_a_model_that_understands_nothing_hints_at_nothing(workspace: Workspace) -> None:
    checked = upload_recordings.check(workspace)
    for heard in ([""] * 12, ["谢谢观看"] * 12, [row.text * 9 for row in checked.rows]):
        assert upload_recordings.hear(workspace, checked.rows, Listening(heard)) == ()
    assert upload_recordings.hear(workspace, (), Listening(())) == ()


def test_what_is_longer_than_the_model_hears_is_left_out(workspace: Workspace) -> None:
    checked = upload_recordings.check(workspace)
    model = Listening([""] * sum(row.seconds <= 2.0 for row in checked.rows))
    model.native_window_s = 2.0
    assert 0 < len(model.texts) < 12 and upload_recordings.hear(workspace, checked.rows, model) == ()
    assert model.window_s == 2.0


# ── From nothing ─────────────────────────────────────────────────────────────
@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    for module in (lines, recordings_widget):
        monkeypatch.setattr(module, "display", lambda *things: texts.extend(thing.alt for thing in things))
    return texts


def test_lesson_04_runs_to_its_end_with_an_empty_folder(tmp_path: Path, shown: list[str]) -> None:
    (tmp_path / "data").mkdir()
    workspace = open_workspace(tmp_path / "data", tmp_path / "out", "p1")
    checked = upload_recordings.check(workspace)
    assert (checked.rows, checked.totals) == ((), upload_recordings.Totals(0, 0, 0, 0.0)) and not checked.is_ready
    assert [notice.code for notice in checked.notices] == ["RZ-0466"]
    assert "还没有录音" in waveforms(checked.rows).alt
    show_folder(workspace)
    show_labels(workspace)
    show_recordings(checked)
    LabelEditor(workspace, checked)._ipython_display_()
    check_recordings(workspace, checked)
    assert "还是空的" in shown[0] and "labels.json" in shown[1] and "录音器" in shown[2] and "播放器" in shown[3]
    assert shown[4].startswith("❌") and "RZ-0411" in shown[5]
    assert list((tmp_path / "data").iterdir()) == []


def test_recordings_without_labels_keep_their_clear_error(tmp_path: Path) -> None:
    put(tmp_path / "data", {"audio_raw/001.wav": wav(voice(1.0, SAMPLE_RATE))})
    with pytest.raises(ResonanceError, match="RZ-0401"):
        upload_recordings.check(Workspace(tmp_path / "data", tmp_path / "out", "p1"))


def test_an_empty_list_of_labels_is_a_beginning_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    put(tmp_path / "data", {}, [])
    checked = upload_recordings.check(Workspace(tmp_path / "data", tmp_path / "out", "p1"))
    assert checked.rows == () and [notice.code for notice in checked.notices] == ["RZ-0406"]


# ── What is shown ────────────────────────────────────────────────────────────
def test_the_summary_counts_and_names_what_to_record_again(workspace: Workspace, shown: list[str]) -> None:
    checked = relabelled(workspace, quiet=(wav(voice(1.5, SAMPLE_RATE, level=0.01)), "我想睡觉"))
    show_recordings(checked)
    assert "可以用 12 条" in shown[0] and "建议再录 1 条" in shown[0]
    assert "13 句" in shown[1] and "我想睡觉" in shown[2]


def test_hints_are_shown_as_hints(shown: list[str]) -> None:
    show_hints(())
    show_hints((upload_recordings.Hint("audio_raw/001.wav", "喝水", "池畔", "吃饭"),))
    assert "不等于" in shown[0] and all(word in shown[1] for word in ("喝水", "池畔", "吃饭", "不算结论"))


def test_a_close_up_shows_where_the_sound_is_and_what_is_cut_off(workspace: Workspace, good: list[np.ndarray]) -> None:
    first, last = speech(good[0])
    for name, samples, code in (
        ("cut", good[0][first + 2_000 :], "RZ-0516"),
        ("loud", np.clip(good[5] * 8, -1, 1), "RZ-0512"),
    ):
        row = relabelled(workspace, **{name: (wav(samples), "打开窗户四")}).rows[-1]
        assert code in row.codes
        clip = upload_recordings.load_clip_view(workspace, row)
        assert clip is not None and clip.mel.shape[0] == 80 and clip.mel.max() == 0
        assert clip.mel.shape[1] == pytest.approx(clip.seconds * 100, abs=3)
        assert bool(len(clip.clipped)) == (code == "RZ-0512")
        picture = draw_clip_view(row, clip)
        assert ("开头没有安静" in picture.alt) == (code == "RZ-0516") and ("超出量程" in picture.alt) == bool(
            len(clip.clipped)
        )
        assert picture.png().startswith(b"\x89PNG")
    clip = upload_recordings.load_clip_view(workspace, upload_recordings.check(workspace).rows[0])
    assert clip is not None and clip.sound[0][0] == pytest.approx(first / SAMPLE_RATE, abs=0.03)
    assert clip.sound[-1][1] == pytest.approx(last / SAMPLE_RATE, abs=0.03)


def test_the_editor_shows_the_picture_of_the_chosen_clip(workspace: Workspace) -> None:
    put(workspace.data_dir, {"audio_raw/003.wav": b"no sound"})
    checked = upload_recordings.check(workspace)
    editor = LabelEditor(workspace, checked)
    assert editor.chosen.value == "audio_raw/003.wav" and editor.picture.value == ""
    editor.chosen.value = "audio_raw/000.wav"
    assert editor.picture.value.startswith('<img alt="✓ 可以用') and "audio/" not in editor.picture.value
    (workspace.audio_raw / "001.wav").unlink()
    editor.chosen.value = "audio_raw/001.wav"
    assert "RZ-0505" in editor.picture.value


# ── Real recordings ──────────────────────────────────────────────────────────
@pytest.fixture(params=["healthy_speaker", "impaired_speaker", "data_sample"])
def real_folder(request: pytest.FixtureRequest, shared_speech: Path, tmp_path: Path) -> Workspace:
    name = request.param
    folder = REPOSITORY / name if name == "data_sample" else shared_speech / name
    shutil.copytree(folder, tmp_path / "data", ignore=shutil.ignore_patterns("practice_model", "*.py"))
    return Workspace(tmp_path / "data", tmp_path / "out", "p1")


@pytest.mark.real
@pytest.mark.slow
def test_good_recordings_of_every_kind_are_left_alone(real_folder: Workspace) -> None:
    """400 recordings: one voice made by a program, one healthy, one impaired by a program."""
    checked = upload_recordings.check(real_folder)
    flagged = [(row.audio, row.codes) for row in checked.rows if row.codes]
    assert len(flagged) <= 0.02 * len(checked.rows), flagged


@pytest.mark.real
@pytest.mark.slow
def test_ten_swapped_texts_are_mostly_hinted_at(real_model: SpeechModel, shared_speech: Path, tmp_path: Path) -> None:
    """60 recordings of the impaired voice, ten with each other's texts, heard by whisper-base, untrained."""
    shutil.copytree(shared_speech / "impaired_speaker", tmp_path / "data")
    workspace = Workspace(tmp_path / "data", tmp_path / "out", "p1")
    entries = json.loads(workspace.labels.read_text(encoding="utf-8"))[:120:2]
    swapped = list(range(0, 60, 6))
    texts = [entries[n]["text"] for n in swapped]
    for place, text in zip(swapped, [*texts[1:], texts[0]], strict=True):
        entries[place]["text"] = text
    assert all(toneless(a) != toneless(b) for a, b in zip(texts, [*texts[1:], texts[0]], strict=True))
    put(workspace.data_dir, {}, entries)
    checked = upload_recordings.check(workspace)
    hinted = {hint.audio for hint in upload_recordings.hear(workspace, checked.rows, real_model)}
    found = [entries[n]["audio"] in hinted for n in swapped]
    wrong = [entries[n]["audio"] in hinted for n in range(60) if n not in swapped]
    assert sum(found) >= 6 and sum(wrong) <= 4


@pytest.fixture
def real_model(whisper_base: Path, tmp_path: Path) -> SpeechModel:
    from resonance_helpers.asr import base_models
    from resonance_helpers.asr.whisper import load_speech_model

    return load_speech_model(base_models.resolve(str(whisper_base), tmp_path / "cache"))
