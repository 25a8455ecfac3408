"""The two widgets for recordings from a phone, pressed as somebody presses them, and the list that is printed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import encoded, voice, wav

from resonance_helpers import Workspace, charts, phrases, widgets
from resonance_helpers.labels import read_labels
from resonance_helpers.messages import message
from resonance_helpers.phrases import Phrase
from resonance_helpers.recordings import intake, long_recording
from resonance_helpers.settings import SAMPLE_RATE
from resonance_helpers.widgets import phone

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
    widget = widgets.LongRecording(workspace)
    widget.upload.value = (_upload("语音 001.wav", reading(phrases_read)),)
    widget.cut.click()
    return widget


def _upload(name: str, content: bytes) -> dict[str, Any]:
    modified = datetime(2026, 11, 23, tzinfo=UTC)
    return {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": modified}


def shown(widget: Any) -> list[Any]:
    return [row for row in widget.pages.rows if row.box.layout.display == ""]


def heard(row: Any) -> str:
    """The HTML of a row's player: in an output, the only place where JupyterLab resolves its link."""
    return str(row.head.outputs[0]["data"]["text/html"])


def texts(widget: Any) -> list[str]:
    return [row.text.value for row in shown(widget)]


# ── One long recording ───────────────────────────────────────────────────────
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
    widget = widgets.LongRecording(workspace)
    widget.upload.value = (_upload("a.wav", reading(4)),)
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
    widget = widgets.LongRecording(workspace)
    assert widget.cut.disabled
    widget.upload.value = (_upload("a.pdf", b"x"),)
    assert "RZ-0450" in widget.news.value
    limit = intake.LIMITS.upload_bytes
    widget.upload.value = (_upload("a.wav", bytes(limit + 1)),)
    assert "RZ-0452" in widget.news.value and not long_recording.listed(workspace)
    widget.upload.value = (_upload("a.wav", b"no sound"),)
    widget.cut.click()
    assert "RZ-0502" in widget.news.value and not shown(widget)


def test_a_hundred_pieces_are_turned_page_by_page(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(Phrase(f"第{n}句") for n in range(23))
    monkeypatch.setattr(phrases, "read", lambda _: many)
    widget = opened(workspace, 23)
    assert len(widget.pages.rows) == phone.ROWS and len(shown(widget)) == 10 and widget.pages.before.disabled
    widget.pages.after.click()
    widget.pages.after.click()
    assert texts(widget) == ["第20句", "第21句", "第22句"] and widget.pages.after.disabled
    shown(widget)[2].buttons["confirm"].click()
    assert widget.pages.first == 20 and widget.pairing.lines[22].state == "confirmed"


# ── Files ────────────────────────────────────────────────────────────────────
def test_uploaded_files_are_shown_corrected_and_put_in(workspace: Workspace) -> None:
    widget = widgets.TakeIn(workspace)
    names = ("mmexport1699.m4a", "不要.mp3", "我想喝水.wav")
    widget.upload.value = tuple(_upload(name, encoded(name[-3:])) for name in names)
    rows = shown(widget)
    assert texts(widget) == ["", "不要", "我想喝水"] and not workspace.labels.exists()
    assert "data:" not in heard(rows[0]) and "mmexport1699.m4a" in heard(rows[0])
    rows[0].text.value = "我很疼"
    rows[1].use.value = False
    widget.save.click()
    assert [label.text for label in read_labels(workspace.labels)] == ["我很疼", "我想喝水"]
    assert message("phone.take.saved", added=2, left=1) in widget.answer.value and "不要.mp3" in widget.answer.value
    assert not list(workspace.cache.rglob("*.m4a"))


def test_two_files_of_one_name_each_keep_what_was_written_beside_them(workspace: Workspace) -> None:
    widget = widgets.TakeIn(workspace)
    one, other = encoded("m4a"), encoded("m4a", rate=8000)
    widget.upload.value = (_upload("录音.m4a", one), _upload("录音.m4a", other))
    first, second = shown(widget)
    assert "录音.m4a [2]" in heard(second) and "[2]" not in heard(first)
    second.text.value = "不要"
    first.text.value = "我很疼"
    widget.save.click()
    there = {label.text: (workspace.data_dir / label.audio).read_bytes() for label in read_labels(workspace.labels)}
    assert there == {"我很疼": one, "不要": other}


def test_two_tables_and_one_that_could_not_be_read_leave_a_table_as_it_is(workspace: Workspace) -> None:
    """The cell was run twice; what was written beside a sound in either table is saved with that sound."""
    one, other = encoded("m4a"), encoded("m4a", rate=8000)
    first, second = widgets.TakeIn(workspace), widgets.TakeIn(workspace)
    for widget, sound, text in ((first, one, "我很疼"), (second, other, "不要")):
        widget.upload.value = (_upload("录音.m4a", sound),)
        shown(widget)[0].text.value = text
    first.source.value = "没有"
    first.read.click()
    assert "RZ-0453" in first.news.value
    first.save.click()
    second.save.click()
    there = {label.text: (workspace.data_dir / label.audio).read_bytes() for label in read_labels(workspace.labels)}
    assert there == {"我很疼": one, "不要": other}


def test_a_table_keeps_only_the_files_that_it_shows(workspace: Workspace) -> None:
    abandoned = workspace.cache / "incoming" / "of a killed kernel"
    abandoned.mkdir(parents=True)
    widget = widgets.TakeIn(workspace)
    assert not abandoned.exists()
    plans = []  # whoever still holds one
    for name in ("不要.m4a", "停.m4a"):
        widget.upload.value = (_upload(name, encoded("m4a")),)
        plans.append(widget.plan)
        assert [path.name for path in workspace.cache.rglob("*.m4a")] == [name]


def test_no_folder_is_not_the_folder_of_the_notebook(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "不要.m4a").write_bytes(encoded("m4a"))
    monkeypatch.chdir(tmp_path)
    widget = widgets.TakeIn(workspace)
    widget.source.value = "  "
    widget.read.click()
    assert message("phone.take.nowhere", example=intake.folder(workspace)) in widget.news.value
    assert not shown(widget)


def test_a_folder_is_read_where_it_lies(workspace: Workspace) -> None:
    widget = widgets.TakeIn(workspace)
    place = intake.folder(workspace)
    widget.read.click()
    assert message("phone.take.empty", path=place) in widget.news.value
    (place / "停.m4a").write_bytes(encoded("m4a"))
    (place / "说明 <b>.txt").write_text("x")
    widget.read.click()
    assert texts(widget) == ["停", ""] and shown(widget)[1].use.disabled
    assert "<b>.txt" not in "".join(heard(row) for row in shown(widget))
    widget.save.click()
    assert (place / "停.m4a").is_file() and [label.text for label in read_labels(workspace.labels)] == ["停"]
    widget.source.value = str(place / "没有")
    widget.read.click()
    assert "RZ-0453" in widget.news.value


@pytest.mark.parametrize("name", ["LongRecording", "TakeIn"])
def test_an_executed_notebook_is_readable(workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(phone, "display", lambda bundle, raw: bundles.append(bundle))
    widget = getattr(widgets, name)(workspace)
    widget._ipython_display_()
    assert widget.title in bundles[0]["text/plain"] and "VBox" not in bundles[0]["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in bundles[0]


def test_limits_are_said_beside_the_button_before_anything_is_chosen(workspace: Workspace) -> None:
    for widget, place in (
        (widgets.LongRecording(workspace), long_recording.folder(workspace)),
        (widgets.TakeIn(workspace), intake.folder(workspace)),
    ):
        assert intake.upload_hint(place) in widget.box.children[0].value and place.is_dir()


# ── The list on paper ────────────────────────────────────────────────────────
def test_the_list_is_one_file_with_every_phrase_in_order(workspace: Workspace) -> None:
    many = [Phrase(f"第{n}句<b>", "needs", "💧") for n in range(1, 36)]
    path = charts.write_reading_list(workspace, many)
    page = path.read_text(encoding="utf-8")
    assert path == workspace.output_dir / "reading_list.html"
    found = re.findall(r'class="number">(\d+)<.*?class="text">第(\d+)句&lt;b&gt;<', page, re.DOTALL)
    assert found == [(str(n), str(n)) for n in range(1, 36)]
    assert page.count("<section>") == 1 + 3 and page.count('class="box"') == 35 and "💧" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_the_list_speaks_the_users_language(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", "en")
    page = charts.write_reading_list(workspace, [Phrase("我" * 14), Phrase("我" * 60)]).read_text(encoding="utf-8")
    assert '<html lang="en">' in page and message("reading.title", n=2) in page
    assert 'class="text medium"' in page and 'class="text medium long"' in page
