"""The recorder without a browser: which phrase is next, which try is kept, and what a message of the page does."""

from __future__ import annotations

import errno
import os
import re
import stat
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resonance_helpers import ResonanceError, Workspace, open_workspace
from resonance_helpers.audio.decode import load, read_wav, resample, to_pcm16
from resonance_helpers.core.messages import LANGUAGES, catalogue, message
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import SAMPLE_DIR
from resonance_helpers.dataset.index import Utterance
from resonance_helpers.dataset.labels import Label, changing, read_labels
from resonance_helpers.dataset.phrases.lists import Phrase
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.dataset.takes import add_take
from resonance_helpers.lessons import upload_recordings
from resonance_helpers.lessons.upload_recordings.recorder import Recorder
from resonance_helpers.lessons.upload_recordings.session import REST_AFTER, Session

LIST = tuple(Phrase(text, picture="💧") for text in ("我很疼", "不要", "我想喝水"))
TODAY, TOMORROW = "2026-11-23", "2026-11-24"


CLIP = load(SAMPLE_DIR / "audio_raw" / "004_我很疼.wav", 30.0)  # a good one


def voice(level: float = 0.3, seconds: float = 0.0) -> np.ndarray:
    """Somebody says something, its loudest sample at ``level``, repeated for ``seconds``."""
    clip = CLIP * (level / np.abs(CLIP).max())
    return np.resize(clip, round(seconds * SAMPLE_RATE)) if seconds else clip


FAINT = voice(level=0.02)  # another try would help


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


def session(workspace: Workspace, day: str = TODAY) -> Session:
    return Session(workspace, LIST, day)


def texts(workspace: Workspace) -> list[tuple[str, int, str | None]]:
    return [(label.text, label.take, label.session) for label in read_labels(workspace.labels)]


# ── Which phrase is next ─────────────────────────────────────────────────────
def test_phrases_come_in_the_order_of_the_list_and_whoever_stops_goes_on_there(workspace: Workspace) -> None:
    first = session(workspace)
    assert (first.phrase.text, first.number, first.take, first.recorded) == ("我很疼", 1, 1, False)
    first.keep(voice())
    assert (first.take, first.recorded, first.next(), first.phrase.text) == (1, True, "phrase", "不要")
    again = session(workspace)  # another browser, another kernel
    assert (again.phrase.text, vars(again.progress)) == ("不要", {"done": 1, "total": 3, "today": 1})
    assert texts(workspace) == [("我很疼", 1, TODAY)]


def test_what_was_skipped_comes_again_next_time(workspace: Workspace) -> None:
    one = session(workspace)
    assert (one.skip(), one.phrase.text) == ("phrase", "不要")
    one.keep(voice()), one.next()
    one.keep(voice())
    assert one.next() == "tomorrow"
    assert session(workspace).phrase.text == "我很疼"


def test_a_second_take_is_another_days_and_becomes_the_test(workspace: Workspace) -> None:
    one = session(workspace)
    for _ in LIST:
        one.keep(voice())
        stage = one.next()
    assert stage == session(workspace).stage == "tomorrow"
    two = session(workspace, TOMORROW)
    assert (two.stage, two.phrase.text, two.take) == ("phrase", "我很疼", 2)
    for _ in LIST:
        two.keep(voice())
        stage = two.next()
    assert stage == session(workspace, "2026-11-25").stage == "finished"
    said = [Utterance(x.audio, Path(), x.text, x.take, x.session, x.split, 1.0) for x in read_labels(workspace.labels)]
    split = split_utterances(said, seed=17)
    assert {u.session for u in split.seen} == {TOMORROW} and {u.session for u in split.train} == {TODAY}


def test_recordings_from_elsewhere_count(workspace: Workspace) -> None:
    add_take(workspace, voice(), "不要！", "a phone")
    one = session(workspace)
    one.keep(voice())
    assert (one.next(), one.phrase.text) == ("phrase", "我想喝水")


def test_what_came_as_a_file_today_gets_its_second_take_another_day(workspace: Workspace) -> None:
    """Both of one day and one room would be training and test at once."""
    came = add_take(workspace, voice(), "我很疼")
    day = date.fromtimestamp((workspace.data_dir / came.audio).stat().st_mtime)
    assert Session(workspace, LIST[:1], day.isoformat()).stage == "tomorrow"
    assert Session(workspace, LIST[:1], (day + timedelta(days=1)).isoformat()).stage == "phrase"


# ── Which try is kept ────────────────────────────────────────────────────────
def test_of_two_tries_the_better_is_kept_whichever_came_first(workspace: Workspace) -> None:
    one = session(workspace)
    first = one.keep(FAINT)
    assert (first.level, first.retry, first.replaced) == ("again", True, None) and "RZ-0511" not in first.reasons[0]
    second = one.keep(voice())
    assert (second.level, second.retry, second.replaced) == ("ok", False, True)
    third = one.keep(FAINT)
    assert (third.level, third.retry, third.replaced) == ("again", False, False)
    assert texts(workspace) == [("我很疼", 1, TODAY)]
    kept = read_wav(workspace.data_dir / third.label.audio)
    assert np.abs(kept).max() == pytest.approx(0.3, abs=0.01)
    assert len(list(workspace.audio_raw.iterdir())) == 1


def test_two_tries_more_are_suggested_and_no_third(workspace: Workspace) -> None:
    one = session(workspace)
    assert [one.keep(FAINT).retry for _ in range(4)] == [True, True, False, False]


def test_who_chooses_to_say_it_again_gets_the_newest(workspace: Workspace) -> None:
    one = session(workspace)
    one.keep(voice(level=0.3))
    kept = one.keep(voice(level=0.02), redo=True)
    assert kept.replaced and np.abs(read_wav(workspace.data_dir / kept.label.audio)).max() < 0.05


def test_an_earlier_phrase_is_recorded_again_after_the_browser_was_closed(workspace: Workspace) -> None:
    one = session(workspace)
    one.keep(voice()), one.next()
    again = session(workspace)
    again.back()
    assert (again.phrase.text, again.take) == ("我很疼", 1)
    sound = again.sound()
    assert sound is not None and len(sound) == len(CLIP)
    again.keep(voice(level=0.4), redo=True)
    assert texts(workspace) == [("我很疼", 1, TODAY)]
    assert (again.next(), again.phrase.text) == ("phrase", "不要")


def test_a_take_whose_text_was_corrected_meanwhile_is_not_replaced(workspace: Workspace) -> None:
    one = session(workspace)
    kept = one.keep(voice())
    with changing(workspace.labels) as labels:
        labels[:] = [Label(labels[0].audio, "我好疼", session=TODAY)]
    before = (workspace.data_dir / kept.label.audio).read_bytes()
    with pytest.raises(ResonanceError, match="RZ-0433"):
        one.keep(voice(level=0.4), redo=True)
    assert (workspace.data_dir / kept.label.audio).read_bytes() == before


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        (voice()[:1600], "RZ-0430"),
        (voice(seconds=32), "RZ-0431"),
        (np.zeros(SAMPLE_RATE, np.float32), "RZ-0432"),
        (np.zeros(0, np.float32), "RZ-0430"),
    ],
)
def test_what_is_no_take_is_refused_and_nothing_is_written(
    workspace: Workspace, samples: np.ndarray, code: str
) -> None:
    with pytest.raises(ResonanceError, match=code):
        session(workspace).keep(samples)
    assert not list(workspace.data_dir.rglob("*"))


def test_a_sound_card_of_another_rate_is_resampled(workspace: Workspace) -> None:
    kept = session(workspace).keep(resample(voice(), SAMPLE_RATE, 48_000), 48_000)
    wav = read_wav(workspace.data_dir / kept.label.audio)
    assert len(wav) == len(CLIP) and np.corrcoef(wav, CLIP)[0, 1] > 0.999


def test_surroundings_alone_are_no_phrase(workspace: Workspace) -> None:
    noise = 0.05 * np.random.default_rng(5).standard_normal(3 * SAMPLE_RATE)
    with pytest.raises(ResonanceError, match="RZ-0434"):
        session(workspace).keep(noise.astype(np.float32))
    assert not workspace.labels.exists()


def test_of_two_tries_that_are_as_good_the_less_noisy_is_kept(workspace: Workspace) -> None:
    one = session(workspace)
    one.keep(FAINT)
    fainter = one.keep(
        voice(level=0.015) + 1e-3 * np.random.default_rng(5).standard_normal(len(CLIP)).astype(np.float32)
    )
    assert (fainter.level, fainter.replaced) == ("again", False)


def test_a_take_of_another_day_is_replaced_when_somebody_asks_for_it(workspace: Workspace) -> None:
    one = session(workspace)
    one.keep(voice()), one.next()
    two = session(workspace, TOMORROW)
    two.back()
    kept = two.keep(voice(level=0.4), redo=True)
    assert kept.replaced and texts(workspace) == [("我很疼", 1, TODAY)]


def test_a_recording_outside_the_list_keeps_nobody_waiting(workspace: Workspace) -> None:
    add_take(workspace, voice(), "别的话", "a phone")
    for day in (TODAY, TOMORROW):
        one = session(workspace, day)
        for _ in LIST:
            one.keep(voice())
            stage = one.next()
    assert stage == "finished"


# ── The widget's side in the kernel ──────────────────────────────────────────
class Page:
    """What the page does, without one."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.sent: list[tuple[Any, Any]] = []
        recorder.send = lambda content, buffers=None: self.sent.append((content, buffers))

    def does(self, type_: str, samples: np.ndarray | None = None, **more: Any) -> dict[str, Any]:
        content = {"type": type_, "turn": self.recorder.state["turn"], "rate": SAMPLE_RATE} | more
        buffers = [] if samples is None else [memoryview(to_pcm16(samples).tobytes())]
        self.recorder._receive(self.recorder, content, buffers)
        return dict(self.recorder.state)


@pytest.fixture
def page(workspace: Workspace) -> Page:
    return Page(Recorder(workspace, LIST, TODAY))


def test_a_take_is_on_disk_before_the_page_is_told(page: Page, workspace: Workspace) -> None:
    state = page.does("take", voice())
    assert (state["mark"], state["phrase"], state["progress"]) == ("saved", "我很疼", "已录 1 / 3 句 · 今天 1 条")
    assert texts(workspace) == [("我很疼", 1, TODAY)]
    assert page.does("next")["phrase"] == "不要"
    assert (page.does("previous")["phrase"], page.recorder.state["sound"]) == ("我很疼", True)
    page.does("play")
    ((content, (sound,)),) = page.sent
    assert content == {"type": "sound", "rate": SAMPLE_RATE} and len(sound) == 2 * len(CLIP)


def test_the_page_is_told_when_a_power_cut_takes_nothing_any_more(
    page: Page, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound, its name, label, its name: each is on disk before the next."""
    asked: list[str] = []

    def fsync(handle: int) -> None:
        asked.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        assert page.recorder.state["mark"] == "" and workspace.labels.exists() == (len(asked) > 3)
        if len(asked) == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    broken = 0
    assert page.does("take", voice())["mark"] == "saved" and asked == ["file", "folder"] * 2
    workspace.labels.unlink(), asked.clear(), page.does("next")
    broken = 2
    state = page.does("take", voice())
    assert state["mark"] == "error" and os.strerror(errno.EIO) in state["news"][0] and not workspace.labels.exists()


@pytest.mark.parametrize("marked", [False, True])
def test_what_a_second_take_is_for_is_what_the_page_says(workspace: Workspace, marked: bool) -> None:
    """Where labels.json says which recordings judge, one more take trains."""
    with changing(workspace.labels) as labels:
        labels.append(Label("audio_raw/900_别的话.wav", "别的话", split="test" if marked else None))
    page = Page(Recorder(workspace, LIST[:1], TODAY))
    page.does("take", voice())
    told = page.does("next")["told"]
    page = Page(Recorder(workspace, LIST[:1], TOMORROW))
    title = page.recorder.state["title"]
    page.does("take", voice(), day=TOMORROW)
    assert read_labels(workspace.labels)[-1].split == ("train" if marked else None)
    assert ("考试，第二遍会用来训练" in told) == ("用来训练" in title) == marked
    assert ("会用来考试。" in told) == ("留作考试" in title) == (not marked)


def test_a_broken_list_of_recordings_is_said_and_nothing_more_is_recorded(page: Page, workspace: Workspace) -> None:
    """Reading it again for the picture fails as well; the page is told all the same, and shows no phrase to say."""
    page.does("take", voice())
    good = workspace.labels.read_bytes()
    workspace.labels.write_text("[")
    for act in ("next", "previous", "take"):
        turn = page.recorder.state["turn"]
        state = page.does(act, voice() if act == "take" else None)
        assert (state["stage"], state["mark"], state["sound"]) == ("unreadable", "error", False), act
        assert "RZ-0402" in "".join(state["news"]) and message("recorder.unreadable") == state["told"]
        assert state["turn"] > turn, "the page waits for an answer of its own"
    workspace.labels.write_bytes(good)
    assert texts(workspace) == [("我很疼", 1, TODAY)]


def test_the_same_take_sent_twice_is_saved_once(page: Page, workspace: Workspace) -> None:
    turn = page.recorder.state["turn"]
    page.does("take", voice(), turn=turn), page.does("take", voice(), turn=turn)
    assert len(texts(workspace)) == 1


def test_the_day_is_the_browsers(page: Page, workspace: Workspace) -> None:
    page.does("take", voice(), day="2026-12-01")
    page.does("next")
    page.does("take", voice(), day="yesterday")
    assert [session for _, _, session in texts(workspace)] == ["2026-12-01", "2026-12-01"]


def test_in_a_rehearsal_a_real_voice_stays_apart_from_the_sample(tmp_path: Path) -> None:
    rehearsal = open_workspace(output_dir=tmp_path)
    before = rehearsal.labels.read_bytes()
    Page(Recorder(rehearsal, LIST, TODAY)).does("take", voice())
    assert rehearsal.labels.read_bytes() == before
    assert [label.text for label in read_labels(tmp_path / "recorder_practice" / "labels.json")] == ["我很疼"]


def test_a_retry_is_suggested_with_its_reason(page: Page) -> None:
    state = page.does("take", FAINT)
    assert state["mark"] == "retry" and "太轻" in state["news"][0]
    assert page.does("take", FAINT, full=True)["news"][0].startswith("一遍最多 30 秒")


@pytest.mark.parametrize(
    ("samples", "more"),
    [(None, {}), (voice(), {"rate": 3}), (voice(), {"rate": "16000"}), (np.zeros(16_000, np.float32), {})],
)
def test_what_a_page_should_never_send_is_a_sentence(
    page: Page, workspace: Workspace, samples: np.ndarray | None, more: dict[str, Any]
) -> None:
    state = page.does("take", samples, **more)
    assert state["mark"] == "error" and "RZ-0432" in state["news"][0]
    assert not workspace.labels.exists()
    before = state["turn"]
    assert page.does("format the disk")["turn"] > before


def test_a_full_disk_is_said_and_the_phrase_stays(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise ResonanceError("RZ-0004", path="x", free="0 MB")

    monkeypatch.setattr("resonance_helpers.dataset.takes.write_wav", full)
    state = page.does("take", voice())
    assert state["mark"] == "error" and "RZ-0004" in state["news"][0] and state["phrase"] == "我很疼"


def test_a_rest_is_suggested_after_ten(workspace: Workspace) -> None:
    page = Page(Recorder(workspace, [Phrase(f"我要{n}个" + "好" * n) for n in range(1, 13)], TODAY))
    stages = []
    for _ in range(REST_AFTER + 1):
        page.does("take", voice())
        stages.append(page.does("next")["stage"])
        if stages[-1] == "rest":
            next_one = page.recorder.state["phrase"]
            state = page.does("rested")
            assert (state["stage"], state["phrase"], state["told"]) == ("phrase", next_one, "")
    assert stages == ["phrase"] * (REST_AFTER - 1) + ["rest", "phrase"]


def test_the_page_has_every_sentence_that_it_says_in_both_languages(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (Path(upload_recordings.__file__).parent / "recorder.js").read_text(encoding="utf-8")
    wanted = set(re.findall(r"texts\.(\w+)", source)) | {"asking", "prompting", "saving", "playing"}
    wanted |= {"play", "redo", "previous", "next", "skip", "large", "stop", "hands_free", "spoken"}
    for lang in LANGUAGES:
        monkeypatch.setenv("RESONANCE_LANG", lang)
        found = Recorder(workspace, LIST, TODAY).texts
        assert wanted <= found.keys()
        assert all(found[name] == catalogue()[f"recorder.{name}"][lang] for name in wanted)


def test_no_sound_is_in_what_a_notebook_saves(page: Page) -> None:
    page.does("take", voice())
    state = page.recorder.get_state()
    assert not [value for value in state.values() if isinstance(value, bytes | memoryview)]
    assert "已经录了 1 句" in repr(page.recorder)
