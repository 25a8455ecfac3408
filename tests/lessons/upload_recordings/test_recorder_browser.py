"""Lesson 04 and 05 as a family uses them: the real JupyterLab, the real Chromium, a microphone that plays a recording.

What was saved is compared with what was played.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lab import CHROMIUM, Person, chromium, copy_lesson, jupyter_lab, open_lesson
from scipy.signal import correlate

from resonance_helpers.audio.decode import load, read_wav, write_wav
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import SAMPLE_DIR
from resonance_helpers.dataset.labels import read_labels

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
QUIET_BEFORE_S, QUIET_AFTER_S = 0.7, 7.0  # around the phrase that plays again and again: a hands-free take begins in it
FIRST = ["我很疼", "不要", "我想喝水", "停", "我要上厕所"]  # of the bundled list


@pytest.fixture(scope="module")
def played() -> np.ndarray:
    return load(SAMPLE_DIR / "audio_raw" / "004_我很疼.wav", 30.0)


@pytest.fixture(scope="module")
def room(played: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty DATA_DIR, the two lessons, and what the microphone hears."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "data").mkdir()
    parameters = {"DATA_DIR": str(folder / "data"), "OUTPUT_DIR": str(folder / "out"), "PATIENT_ID": "anna"}
    copy_lesson("04_upload_recordings", folder, parameters)
    copy_lesson("05_convert_audio", folder, parameters)
    before, after = (np.zeros(round(s * SAMPLE_RATE), np.float32) for s in (QUIET_BEFORE_S, QUIET_AFTER_S))
    write_wav(folder / "microphone.wav", np.concatenate([before, played, after]))
    return folder


@pytest.fixture(scope="module")
def lab(room: Path) -> Iterator[str]:
    with jupyter_lab(room) as address:
        yield address


def labelled(room: Path) -> list[tuple[str, str, int]]:
    return [(label.audio, label.text, label.take) for label in read_labels(room / "data" / "labels.json")]


def assert_is_what_was_played(path: Path, played: np.ndarray) -> None:
    """Rate, level and waveform; the take holds the whole phrase."""
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
    take = read_wav(path)
    at = int(np.argmax(correlate(take, played, mode="valid")))
    heard = take[at : at + len(played)]
    assert np.corrcoef(heard, played)[0, 1] > 0.95
    assert 20 * np.log10(heard.std() / played.std()) == pytest.approx(0, abs=1.0)


def test_record_hear_redo_reload_and_go_on(lab: str, room: Path, played: np.ndarray) -> None:
    whole_s = QUIET_BEFORE_S + len(played) / SAMPLE_RATE + QUIET_AFTER_S  # wherever it begins, the phrase is in it
    with chromium(room / "microphone.wav") as browser:
        context = browser.new_context(viewport={"width": 1300, "height": 1100})
        page = context.new_page()
        open_lesson(page, lab, "04_upload_recordings")
        person = Person(page)
        person.panel.focus()
        person.presses()  # nobody has allowed the microphone yet
        page.wait_for_selector(".rz-recorder[data-mark='error']")
        assert person.sees("news") == message("recorder.refused")
        assert not (room / "data" / "labels.json").exists()

        context.grant_permissions(["microphone"])
        for phrase in FIRST[:3]:
            person.says(phrase, whole_s + len(played) / SAMPLE_RATE)
            if phrase != FIRST[2]:
                person.clicks("next")
                page.wait_for_function("text => document.querySelector('.rz-phrase').innerText != text", arg=phrase)
        names = ["audio_raw/001_我很疼.wav", "audio_raw/002_不要.wav", "audio_raw/003_我想喝水.wav"]
        assert labelled(room) == [(name, text, 1) for name, text in zip(names, FIRST, strict=False)]
        for name in names:
            assert_is_what_was_played(room / "data" / name, played)

        person.clicks("play")
        page.wait_for_selector(".rz-recorder[data-played]")
        seconds = soundfile.info(room / "data" / names[2]).duration
        assert float(person.root.get_attribute("data-played")) == pytest.approx(seconds, abs=0.02)
        person.waits_for(mode="idle")

        before = (room / "data" / names[2]).read_bytes()
        person.clicks("redo")
        person.waits_for(mode="recording")
        page.wait_for_timeout(1000 * (whole_s + len(played) / SAMPLE_RATE))
        person.presses()
        person.waits_for_the_verdict()
        assert message("recorder.replaced") in person.sees("news")
        assert labelled(room) == [(name, text, 1) for name, text in zip(names, FIRST, strict=False)]
        assert (room / "data" / names[2]).read_bytes() != before
        assert_is_what_was_played(room / "data" / names[2], played)
        person.clicks("stop")
        assert person.sees("hint") == message("recorder.stopped")

        page.goto("about:blank")  # the page is closed, and opened again
        open_lesson(page, lab, "04_upload_recordings")
        page.wait_for_timeout(3000)
        person = Person(page)
        page.wait_for_function("text => document.querySelector('.rz-phrase')?.innerText == text", arg=FIRST[3])

        person.root.locator("label", has_text=message("recorder.hands_free")).locator("input").check()
        person.root.locator("input[type=range]").fill("2")
        person.panel.click()
        page.wait_for_function("() => document.querySelector('.rz-progress').innerText.includes('5 /')", timeout=90_000)
        person.clicks("stop")
    assert [text for _, text, _ in labelled(room)][:5] == FIRST
    for audio, _, _ in labelled(room)[3:5]:
        take = room / "data" / audio
        assert_is_what_was_played(take, played)
        assert soundfile.info(take).duration < whole_s - 1  # the silence that ended it is not in the take


def test_lesson_05_converts_what_was_recorded(lab: str, room: Path, played: np.ndarray) -> None:
    with chromium(room / "microphone.wav") as browser:
        page = browser.new_context(viewport={"width": 1300, "height": 1100}).new_page()
        open_lesson(page, lab, "05_convert_audio")
        for _ in itertools.repeat(None, 120):
            if (room / "data" / "audio" / "conversion.json").exists():
                break
            page.wait_for_timeout(500)
        recorded = [audio for audio, _, _ in labelled(room)]
        for audio in recorded:
            converted = room / "data" / audio.replace("audio_raw", "audio")
            assert np.array_equal(read_wav(converted), read_wav(room / "data" / audio))
    assert len(recorded) >= 5
