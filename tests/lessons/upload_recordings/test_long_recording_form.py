"""One long recording in its panel, pressed as somebody presses it: cut, put right, confirmed, saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pressing import heard, shown, texts, upload
from sounds import voice, wav

from resonance_helpers import Workspace
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.dataset import phrases
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.phrases.lists import Phrase
from resonance_helpers.lessons.upload_recordings import arrivals, long_recording
from resonance_helpers.lessons.upload_recordings import forms as panels
from resonance_helpers.lessons.upload_recordings.long_recording_form import LongRecordingForm

PHRASES = ("我很疼", "不要", "我想喝水", "停")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(phrases, "read", lambda _: tuple(Phrase(text) for text in PHRASES))
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


def reading(phrases_read: int) -> bytes:
    quiet = np.random.default_rng(3).normal(0, 1e-3, 2 * SAMPLE_RATE).astype(np.float32)
    said = [voice(1.0 + n / 10, SAMPLE_RATE, 150 + 20 * n) for n in range(phrases_read)]
    return wav(np.concatenate([quiet, *(part for each in said for part in (each, quiet))]))


def opened(workspace: Workspace, phrases_read: int = 4) -> Any:
    widget = LongRecordingForm(workspace)
    widget.upload.value = (upload("语音 001.wav", reading(phrases_read)),)
    widget.cut.click()
    return widget


def test_choose_cut_confirm_save(workspace: Workspace) -> None:
    widget = opened(workspace)
    assert texts(widget) == list(PHRASES) and not workspace.labels.exists()
    rows = shown(widget)
    rows[0].buttons["confirm"].click()
    rows[1].buttons["drop"].click()
    assert texts(widget) == ["我很疼", "不要", "不要", "我想喝水"] and rows[1].text.disabled
    rows[2].text.value = "不要了"
    rows[2].buttons["confirm"].click()
    assert rows[2].buttons["confirm"].button_style == "success"
    widget.save.click()
    assert [label.text for label in read_labels(workspace.labels)] == ["我很疼", "不要了"]
    assert message("phone.long.saved", added=2, there=0) in widget.answer.value
    widget.save.click()
    assert message("phone.long.saved", added=0, there=2) in widget.answer.value
    assert len(read_labels(workspace.labels)) == 2


def test_shifting_joining_and_taking_back(workspace: Workspace) -> None:
    widget = opened(workspace, 3)
    rows = shown(widget)
    rows[1].buttons["later"].click()
    assert texts(widget) == ["我很疼", "我想喝水", "停"]
    rows[1].buttons["earlier"].click()
    rows[0].buttons["join"].click()
    assert texts(widget) == ["我很疼", "不要"] and rows[1].buttons["join"].disabled
    rows[0].buttons["drop"].click()
    rows[0].buttons["drop"].click()
    rows[1].buttons["confirm"].click()
    rows[1].buttons["confirm"].click()
    assert message("phone.long.counted", confirmed=0, open=2, dropped=0) in widget.counted.value
    widget.save.click()
    assert message("phone.long.saved.nothing") in widget.answer.value and not workspace.labels.exists()


def test_a_better_pause_is_offered_where_the_counts_differ(workspace: Workspace) -> None:
    widget = LongRecordingForm(workspace)
    widget.upload.value = (upload("a.wav", reading(4)),)
    widget.pause.value = 5.0
    widget.cut.click()
    assert len(shown(widget)) == 1 and widget.suggested.layout.display == ""
    widget.suggested.click()
    assert len(shown(widget)) == 4 and widget.suggested.layout.display == "none"
    assert 0.3 < widget.pause.value < 2.5


def test_the_same_recording_again_needs_a_tick(workspace: Workspace) -> None:
    first = opened(workspace)
    assert first.again.layout.display == "none"
    shown(first)[0].buttons["confirm"].click()
    first.save.click()
    again = opened(workspace)
    assert "001_我很疼.wav" in again.news.value
    shown(again)[1].buttons["confirm"].click()
    again.save.click()
    assert len(read_labels(workspace.labels)) == 1 and again.answer.value.count("❌") == 1
    again.again.value = True
    again.save.click()
    assert [label.text for label in read_labels(workspace.labels)] == ["我很疼", "不要"]


def test_a_piece_without_words_says_so_beside_its_button(workspace: Workspace) -> None:
    row = shown(opened(workspace))[0]
    row.text.value = " "
    row.buttons["confirm"].click()
    assert "RZ-0451" in row.note.value and row.buttons["confirm"].button_style == ""
    row.text.value = "我疼"
    row.buttons["confirm"].click()
    assert row.note.value == "" and row.text.disabled


def test_a_player_links_to_the_piece_and_holds_no_sound(workspace: Workspace) -> None:
    head = heard(shown(opened(workspace))[1])
    link = re.search(r'src="([^"]+)"', head)
    assert link and "data:" not in head and "title=" in head
    path = Path(link[1])
    assert path.resolve().is_relative_to(workspace.cache) and path.is_file()


def test_what_goes_wrong_is_a_sentence(workspace: Workspace) -> None:
    widget = LongRecordingForm(workspace)
    assert widget.cut.disabled
    widget.upload.value = (upload("a.pdf", b"x"),)
    assert "RZ-0450" in widget.news.value
    limit = arrivals.LIMITS.upload_bytes
    widget.upload.value = (upload("a.wav", bytes(limit + 1)),)
    assert "RZ-0452" in widget.news.value and not long_recording.listed(workspace)
    widget.upload.value = (upload("a.wav", b"no sound"),)
    widget.cut.click()
    assert "RZ-0502" in widget.news.value and not shown(widget)


def test_a_hundred_pieces_are_turned_page_by_page(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(Phrase(f"第{n}句") for n in range(23))
    monkeypatch.setattr(phrases, "read", lambda _: many)
    widget = opened(workspace, 23)
    assert len(widget.pages.rows) == panels.ROWS and len(shown(widget)) == 10 and widget.pages.before.disabled
    widget.pages.after.click()
    widget.pages.after.click()
    assert texts(widget) == ["第20句", "第21句", "第22句"] and widget.pages.after.disabled
    shown(widget)[2].buttons["confirm"].click()
    assert widget.pages.first == 20 and widget.pairing.lines[22].state == "confirmed"


def test_an_executed_notebook_is_readable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(panels, "display", lambda bundle, raw: bundles.append(bundle))
    widget = LongRecordingForm(workspace)
    widget._ipython_display_()
    assert widget.title in bundles[0]["text/plain"] and "VBox" not in bundles[0]["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in bundles[0]


def test_a_recording_that_was_dragged_in_is_chosen_and_stays_so(workspace: Workspace) -> None:
    """What is too large for the upload button: the list is refreshed, and the next press cuts what it shows."""
    widget = LongRecordingForm(workspace)
    place = long_recording.folder(workspace)
    (place / "b.wav").write_bytes(reading(4))
    widget.refresh.click()
    assert widget.chosen.label == "b.wav"
    widget.cut.click()
    assert texts(widget) == list(PHRASES)
    (place / "a.wav").write_bytes(b"broken")
    widget.refresh.click()
    assert widget.chosen.label == "b.wav", "the one that was being worked on"
    assert LongRecordingForm(workspace).chosen.label == "a.wav"
    (place / "b.wav").unlink()
    widget.cut.click()
    assert "RZ-0508" in widget.news.value
    widget.refresh.click()
    assert widget.chosen.label == "a.wav"


def test_limits_are_said_beside_the_button_before_anything_is_chosen(workspace: Workspace) -> None:
    place = long_recording.folder(workspace)
    assert arrivals.upload_hint(place) in LongRecordingForm(workspace).box.children[0].value and place.is_dir()
