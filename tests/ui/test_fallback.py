"""What is left of a widget where there is no kernel and no network: its state, in HTML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ipywidgets
import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from resonance_helpers.core.messages import message
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.studies.lessons import _leave_to_read
from resonance_helpers.ui.fallback import VIEW, as_html

PREPARE = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from types import SimpleNamespace
from resonance_helpers import open_workspace
from resonance_helpers.lessons import connect_app, serve_model, upload_recordings
from resonance_helpers.studies import Erasure
workspace = open_workspace(output_dir=OUT, patient_id="sample")
"""
# A widget as a lesson shows it, and words that a reader of the page finds
SHOWN = {
    "upload_recordings.ConsentForm(workspace)": [
        "widget.consent.intro",
        "widget.consent.given_by.hint",
        "widget.consent.save",
    ],
    "upload_recordings.ForgetForm(Erasure.of(workspace))": ["widget.forget.intro", "widget.forget.look"],
    "upload_recordings.PhraseList(workspace)": ["我想喝水", "widget.phrases.save", "widget.phrases.number"],
    "upload_recordings.Recorder(workspace)": ["我很疼"],
    "upload_recordings.LongRecordingForm(workspace)": ["phone.long.upload"],
    "upload_recordings.TakeIn(workspace)": ["phone.take.upload", "phone.take.read"],
    "upload_recordings.LabelEditor(workspace, upload_recordings.check(workspace))": [
        "widget.editor.save",
        "widget.editor.text",
    ],
    "upload_recordings.SecondOpinion(workspace, None)": ["widget.opinion.button"],
    "serve_model.ServicePanel(None)": ["widget.service.off", "widget.service.start"],
    "serve_model.TryIt(None, [Path('a.wav'), Path('b.wav')])": ["a.wav", "widget.try.send"],
    "connect_app.PhoneCodes(workspace, 'http://127.0.0.1:6006')": ["widget.codes.page", "widget.codes.app"],
}
LINK = "[docs](../docs/app-contract.md)"
SECRET = """
codes = connect_app.PhoneCodes(workspace, 'http://127.0.0.1:6006')
key = codes.show("page").rpartition("#")[2]
Path(OUT, "key").write_text(key)
codes
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[NotebookNode, Path]:
    """A notebook with every widget, executed as papermill and ``nbconvert --execute`` do."""
    out = tmp_path_factory.mktemp("out")
    codes = [f"OUT = {str(out)!r}\n{PREPARE}", *SHOWN, SECRET]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])
    resources = {"metadata": {"path": str(out)}}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RESONANCE_LANG", "zh")
        NotebookClient(notebook, kernel_name="python3", timeout=240, resources=resources).execute()
    return notebook, out


def bundle_of(executed: tuple[NotebookNode, Path], code: str) -> dict[str, str]:
    (cell,) = (cell for cell in executed[0].cells if cell.source == code)
    (output,) = (output for output in cell.outputs if VIEW in output.get("data", {}))
    return dict(output.data)


@pytest.mark.parametrize("code", SHOWN)
def test_every_widget_says_in_html_what_it_shows(executed: tuple[NotebookNode, Path], code: str) -> None:
    bundle = bundle_of(executed, code)
    words = re.sub("<[^>]*>", "", bundle["text/html"])
    for key in SHOWN[code]:
        expected = message(key, "zh", url="…") if "." in key and not key.endswith(".wav") else key
        assert expected in words, (expected, words)
    assert "VBox(" not in bundle["text/plain"] and bundle["text/plain"].strip()
    assert not re.search(r"data:audio|<(button|input|select|script)\b", bundle["text/html"])


def test_a_static_page_has_no_empty_widget(executed: tuple[NotebookNode, Path]) -> None:
    """nbconvert as it is: neither a configuration nor the network is needed to read the page."""
    page, _ = HTMLExporter().from_notebook_node(executed[0])
    assert f'<script type="{VIEW}">' not in page
    for code in SHOWN:
        assert bundle_of(executed, code)["text/html"][:200] in page


def test_a_copy_of_a_lesson_keeps_the_html_alone(executed: tuple[NotebookNode, Path], tmp_path: Path) -> None:
    """Its kernel is gone: JupyterLab would look for a live widget and say that it finds none."""
    copy = tmp_path / "out" / "notebooks" / "04.ipynb"
    copy.parent.mkdir(parents=True)
    notebook = nbformat.from_dict({**executed[0], "cells": [*executed[0].cells, nbformat.v4.new_markdown_cell(LINK)]})
    nbformat.write(notebook, copy)
    _leave_to_read(copy, tmp_path / "docs")
    kept = nbformat.read(copy, 4)
    nbformat.validate(kept)
    assert "widgets" not in kept.metadata and kept.cells[-1].source == LINK.replace("../docs", "../../docs")
    bundles = [output.data for cell in kept.cells[1:-1] for output in cell.outputs if "data" in output]
    assert len(bundles) >= len(SHOWN) and not any(VIEW in bundle for bundle in bundles)
    assert all(bundle["text/html"] for bundle in bundles)


def test_a_code_that_is_shown_is_not_kept(executed: tuple[NotebookNode, Path]) -> None:
    key = (executed[1] / "key").read_text()
    assert len(key) >= 40 and key not in json.dumps(bundle_of(executed, SECRET))
    page, _ = HTMLExporter().from_notebook_node(executed[0])
    outputs = json.dumps([cell.outputs for cell in executed[0].cells if cell.cell_type == "code"])
    assert key not in outputs and message("widget.codes.page", "zh") in page


def test_what_is_hidden_or_chosen_or_typed() -> None:
    hidden = ipywidgets.Button(description="别按", layout={"display": "none"})
    box = ipywidgets.VBox(
        [
            hidden,
            ipywidgets.Text("我想<喝>水", description="文字"),
            ipywidgets.Text("", description="谁", placeholder="用化名"),
            ipywidgets.Checkbox(True, description="同意"),
            ipywidgets.Dropdown(options=[("一", 1), ("二", 2)], value=2, description="第几"),
            ipywidgets.Select(options=["甲", "乙"], value="乙"),
            ipywidgets.IntSlider(3, description="秒"),
            ipywidgets.Output(outputs=({"output_type": "stream", "name": "stdout", "text": "说 <了>\n"},)),
        ]
    )
    shown = as_html(box)
    for words in ("我想&lt;喝&gt;水", "用化名", "☑ 同意", "<b>二</b>", "▶ 乙", "<b>3</b>", "说 &lt;了&gt;"):
        assert words in shown, words
    assert "别按" not in shown and "别按" not in shown.alt
    assert "我想<喝>水" in shown.alt and "说 <了>" in shown.alt
