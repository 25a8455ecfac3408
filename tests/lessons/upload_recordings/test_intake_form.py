"""Files taken in by their table, pressed as somebody presses it: shown, heard, corrected, put in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pressing import heard, shown, texts, upload
from sounds import encoded

from resonance_helpers import Workspace
from resonance_helpers.core.messages import message
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.lessons.upload_recordings import arrivals, intake
from resonance_helpers.lessons.upload_recordings import forms as panels
from resonance_helpers.lessons.upload_recordings.intake_form import TakeIn


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


def test_uploaded_files_are_shown_corrected_and_put_in(workspace: Workspace) -> None:
    widget = TakeIn(workspace)
    names = ("mmexport1699.m4a", "不要.mp3", "我想喝水.wav")
    widget.upload.value = tuple(upload(name, encoded(name[-3:])) for name in names)
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
    widget = TakeIn(workspace)
    one, other = encoded("m4a"), encoded("m4a", rate=8000)
    widget.upload.value = (upload("录音.m4a", one), upload("录音.m4a", other))
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
    first, second = TakeIn(workspace), TakeIn(workspace)
    for widget, sound, text in ((first, one, "我很疼"), (second, other, "不要")):
        widget.upload.value = (upload("录音.m4a", sound),)
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
    widget = TakeIn(workspace)
    assert not abandoned.exists()
    plans = []  # whoever still holds one
    for name in ("不要.m4a", "停.m4a"):
        widget.upload.value = (upload(name, encoded("m4a")),)
        plans.append(widget.plan)
        assert [path.name for path in workspace.cache.rglob("*.m4a")] == [name]


def test_a_cell_that_is_run_again_leaves_nothing_of_its_earlier_table(workspace: Workspace) -> None:
    """IPython and ipywidgets hold every table until the kernel ends, and with it somebody's recordings."""
    first = TakeIn(workspace)
    first.upload.value = (upload("不要.m4a", encoded("m4a")),)
    other = TakeIn(Workspace(workspace.data_dir, workspace.output_dir.with_name("other"), "ben"))
    assert shown(first) and list(workspace.cache.rglob("*.m4a"))
    second = TakeIn(workspace)
    assert not list((workspace.cache / "incoming").iterdir())
    assert not shown(first) and first.save.layout.display == "none" and not shown(second) and not shown(other)
    first.save.click()
    assert not workspace.labels.exists()


def test_no_folder_is_not_the_folder_of_the_notebook(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "不要.m4a").write_bytes(encoded("m4a"))
    monkeypatch.chdir(tmp_path)
    widget = TakeIn(workspace)
    widget.source.value = "  "
    widget.read.click()
    assert message("phone.take.nowhere", example=arrivals.folder(workspace)) in widget.news.value
    assert not shown(widget)


def test_a_folder_is_read_where_it_lies(workspace: Workspace) -> None:
    widget = TakeIn(workspace)
    place = arrivals.folder(workspace)
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


def test_an_executed_notebook_is_readable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(panels, "display", lambda bundle, raw: bundles.append(bundle))
    widget = TakeIn(workspace)
    widget._ipython_display_()
    assert widget.title in bundles[0]["text/plain"] and "VBox" not in bundles[0]["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in bundles[0]


def test_limits_are_said_beside_the_button_before_anything_is_chosen(workspace: Workspace) -> None:
    place = arrivals.folder(workspace)
    assert arrivals.upload_hint(place) in TakeIn(workspace).box.children[0].value and place.is_dir()


def test_what_nobody_foresaw_is_said_where_the_answer_is_looked_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = TakeIn(workspace)
    widget.upload.value = (upload("不要.mp3", encoded("mp3")),)

    def fail(*_: Any) -> None:
        raise UnicodeError("half an emoji")

    monkeypatch.setattr(intake, "take_in", fail)
    widget.save.click()  # ipywidgets writes the traceback into the log
    assert message("phone.unexpected") in widget.answer.value and "UnicodeError: half an emoji" in widget.answer.value
    assert message("phone.busy") not in widget.answer.value
