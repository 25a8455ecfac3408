"""Whole runs, on small notebooks that are executed for real; the ten lessons themselves run in test_notebooks.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from resonance_helpers import ResonanceError
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import PRACTICE_MODEL
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.studies import lessons as workflows
from resonance_helpers.studies.lessons import LessonResult, run_lessons

PARAMETERS = 'DATA_DIR = ""\nOUTPUT_DIR = ""\nSTEPS = 120  # training steps\n'
WRITE = (
    "import json, os, sys\nfrom pathlib import Path\nout = Path(OUTPUT_DIR)\nout.mkdir(exist_ok=True, parents=True)\n"
)


@pytest.fixture
def lessons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes the notebooks folder of a course: name → code of its one cell after the parameters."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(workflows, "NOTEBOOKS_DIR", folder)

    def make(**code: str) -> None:
        for name, source in code.items():
            number = name.removeprefix("n")
            parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
            kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
            cells = [new_markdown_cell("![a picture](../docs/a.png)"), parameters, new_code_cell(source)]
            notebook = new_notebook(cells=cells, metadata=kernel)
            nbformat.write(notebook, folder / f"{number}_lesson.ipynb")

    return make


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def summary_of(output: Path) -> Any:
    return json.loads((output / "summary.json").read_text(encoding="utf-8"))


def in_both_languages(error: ResonanceError, *words: str) -> None:
    for lang in LANGUAGES:
        sentence = message(error.code, lang, **error.facts)
        assert all(word in sentence for word in words), sentence


def test_lessons_run_in_order_with_their_parameters_in_the_notebooks_folder(
    lessons, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"n": 40, "after": {"exact": 0.875}}
    report = {"base_model": {"name": PRACTICE_MODEL}, "splits": {"known_phrases": known, "new_phrases": None}}
    lessons(
        n06=WRITE + "facts = [sys.executable, os.getcwd(), os.environ['RESONANCE_LANG'], DATA_DIR, STEPS]\n"
        "(out / 'facts.json').write_text(json.dumps(facts))",
        n07=WRITE
        + f"assert (out / 'facts.json').exists()\n(out / 'report.json').write_text('''{json.dumps(report)}''')",
    )
    # A kernel registered as "python3" that is another Python must not matter.
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["/no/such/python", "{connection_file}"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("RESONANCE_LANG", "en")
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[int, int, str]] = []
    output = tmp_path / "a {strange} folder"

    summary = run_lessons("data", output, steps=7, on_progress=lambda *event: seen.append(event))

    facts = json.loads((output / "facts.json").read_text())
    assert facts == [sys.executable, str(workflows.NOTEBOOKS_DIR), "en", str(data), 7]
    executed = nbformat.read(output / "notebooks" / "06_lesson.ipynb", as_version=4)
    assert set(executed.metadata.papermill.parameters) == {"DATA_DIR", "OUTPUT_DIR", "STEPS"}  # it declares no other
    assert executed.cells[0].source == "![a picture](../../docs/a.png)"  # the copy lies a folder deeper
    assert seen == [(0, 2, "06_lesson"), (1, 2, "07_lesson"), (2, 2, "")]
    assert sorted(p.name for p in (output / "notebooks").iterdir()) == ["06_lesson.ipynb", "07_lesson.ipynb"]
    written = summary_of(output)
    assert [(lesson["name"], lesson["ok"]) for lesson in written["lessons"]] == [
        ("06_lesson", True),
        ("07_lesson", True),
    ]
    assert all(set(lesson) == {"name", "ok", "seconds"} and lesson["seconds"] > 0 for lesson in written["lessons"])
    assert written["headline"] == summary.headline
    assert "35 right" in written["headline"] and "40 recordings" in written["headline"]
    assert "practice model" in written["headline"]  # it never passes for a real result


def test_a_failing_lesson_stops_the_run_and_a_resumed_run_goes_on_from_it(lessons, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    count = "with (out / 'log.txt').open('a') as log:\n    log.write('{0} ')\n"
    needs = "from resonance_helpers.core.workspace import require\nrequire(out / 'conversion.json', 5)\n"
    lessons(n05=WRITE + count.format(5), n06=WRITE + needs + count.format(6), n07=WRITE + count.format(7))

    with pytest.raises(ResonanceError) as caught:
        run_lessons(data, output, steps=20)
    assert caught.value.code == "RZ-1407"
    copy = output / "notebooks" / "06_lesson.ipynb"
    in_both_languages(caught.value, "[RZ-0006]", "conversion.json", str(copy))
    assert "RZ-0006" in copy.read_text(encoding="utf-8")
    assert [(lesson["name"], lesson["ok"]) for lesson in summary_of(output)["lessons"]] == [
        ("05_lesson", True),
        ("06_lesson", False),
    ]
    assert summary_of(output)["headline"] is None

    before = (output / "summary.json").read_bytes()
    with pytest.raises(ResonanceError) as caught:
        run_lessons(data, output, steps=30, resume=True)
    assert caught.value.code == "RZ-1406"
    in_both_languages(caught.value, "STEPS", "20", "30", "--resume")
    assert (output / "summary.json").read_bytes() == before

    (output / "conversion.json").touch()
    seen: list[tuple[int, int, str]] = []
    summary = run_lessons(data, output, steps=20, resume=True, on_progress=lambda *event: seen.append(event))
    assert (output / "log.txt").read_text() == "5 6 7 "
    assert [lesson.ok for lesson in summary.lessons] == [True, True, True]
    assert seen[0] == (1, 3, "06_lesson")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise ValueError('first line\\nthe last line')", "ValueError: the last line"),
        ("import os\nos._exit(1)", "RZ-1408"),
    ],
)
def test_any_other_failure_is_named_too(lessons, data: Path, tmp_path: Path, code: str, says: str) -> None:
    lessons(n01=code)
    with pytest.raises(ResonanceError) as caught:
        run_lessons(data, tmp_path / "out")
    assert caught.value.code == "RZ-1407"
    in_both_languages(caught.value, says, str(tmp_path / "out" / "notebooks" / "01_lesson.ipynb"))
    assert [lesson["ok"] for lesson in summary_of(tmp_path / "out")["lessons"]] == [False]
    assert (tmp_path / "out" / "notebooks" / "01_lesson.ipynb").exists()


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        ({"STEP": "20"}, "RZ-1403", ["STEP", "STEPS"]),
        ({"steps": "20"}, "RZ-1403", ["steps", "STEPS"]),
        ({"COLOUR": "red"}, "RZ-1403", ["COLOUR", "DATA_DIR, OUTPUT_DIR, STEPS"]),
        ({"STEPS": "many"}, "RZ-1405", ["STEPS", "many", "120"]),
        ({"STEPS": "1.5"}, "RZ-1405", ["STEPS", "1.5", "120"]),
        ({"STEPS": "True"}, "RZ-1405", ["STEPS", "True"]),
        ({"DATA_DIR": "/x"}, "RZ-1409", ["DATA_DIR", "--data"]),
        ({"PATIENT_ID": "x"}, "RZ-1409", ["PATIENT_ID", "--patient"]),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_before_anything_is_written(
    lessons, data: Path, tmp_path: Path, extra: dict[str, str], code: str, words: list[str]
) -> None:
    lessons(n06="pass")
    with pytest.raises(ResonanceError) as caught:
        run_lessons(data, tmp_path / "out", extra=extra)
    assert caught.value.code == code
    in_both_languages(caught.value, *words)
    assert not (tmp_path / "out").exists()


def test_a_base_model_is_unknown_where_no_lesson_takes_one(lessons, data: Path, tmp_path: Path) -> None:
    lessons(n06="pass")
    with pytest.raises(ResonanceError) as caught:
        run_lessons(data, tmp_path / "out", base_model="openai/whisper-tiny")
    assert caught.value.code == "RZ-1403"


def test_a_parameter_of_a_lesson_that_is_not_run_is_no_mistake(
    lessons, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons(n05="assert 'BASE_MODEL' not in globals()", n06="pass")
    of = workflows._declared_parameters
    more = {"BASE_MODEL": "", "BATCH_SIZE": 8}
    monkeypatch.setattr(workflows, "_declared_parameters", lambda path: of(path) | (more if "06" in path.name else {}))
    given = {"base_model": "openai/whisper-tiny", "extra": {"BATCH_SIZE": "4"}}
    assert run_lessons(data, tmp_path / "out", lessons=[5], **given).lessons[0].ok
    with pytest.raises(ResonanceError, match="RZ-1405"):  # what it is given is looked at all the same
        run_lessons(data, tmp_path / "out", lessons=[5], extra={"BATCH_SIZE": "four"})


@pytest.mark.parametrize(
    ("value", "default", "typed"),
    [("20", 120, 20), ("20", "", "20"), ("1", 0.5, 1.0), ("False", True, False), (3, 120, 3), ("1e-4", 1e-3, 1e-4)],
)
def test_text_from_the_command_line_takes_the_type_of_the_default(value: Any, default: Any, typed: Any) -> None:
    result = workflows._typed("NAME", value, default)
    assert result == typed and type(result) is type(typed)


def test_a_folder_for_a_base_model_becomes_absolute_and_a_name_stays_a_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-whisper").mkdir()
    assert workflows._given("my-whisper", None, {}) == {"BASE_MODEL": str(tmp_path / "my-whisper")}
    assert workflows._given("openai/whisper-small", 5, {}) == {"BASE_MODEL": "openai/whisper-small", "STEPS": 5}


def test_lessons_are_chosen_by_number_and_a_missing_one_is_named(lessons) -> None:
    lessons(n04="", n06="", n07="")
    assert [path.name[:2] for path in workflows.lesson_paths([7, 4])] == ["04", "07"]
    with pytest.raises(ResonanceError) as caught:
        workflows.lesson_paths([4, 11])
    assert caught.value.code == "RZ-1402"
    in_both_languages(caught.value, "11", "7")


def test_without_the_notebooks_folder_the_fix_is_said(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workflows, "NOTEBOOKS_DIR", tmp_path / "nowhere")
    with pytest.raises(ResonanceError) as caught:
        workflows.lesson_paths()
    assert caught.value.code == "RZ-1401"
    in_both_languages(caught.value, "git clone", "pip install -e .")


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"lessons": [{"name": 1}]}'])
def test_a_summary_that_cannot_be_read_is_no_summary(tmp_path: Path, content: str | None) -> None:
    workspace = Workspace(tmp_path, tmp_path, "sample")
    if content is not None:
        workspace.summary_json.write_text(content)
    assert workflows.read_summary(workspace) is None


def test_the_headline_is_none_where_no_known_phrases_were_judged(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert workflows._headline(report) is None
    report.write_text('{"base_model": {"name": "x"}, "splits": {"known_phrases": null}}')
    assert workflows._headline(report) is None


def test_the_headline_does_not_say_ten_of_ten_when_one_was_wrong(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    known = {"n": 34, "after": {"exact": 33 / 34}}
    report.write_text(json.dumps({"base_model": {"name": "x"}, "splits": {"known_phrases": known}}))
    assert workflows._headline(report) == message("workflows.headline", n=34, right=33, of_ten=9)


def test_a_headline_of_an_older_report_is_not_this_runs(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path, "sample")
    workspace.report_json.write_text(
        '{"base_model": "x", "splits": {"known_phrases": {"n": 1, "after": {"exact": 1}}}}'
    )
    failed = {"07_test_model": LessonResult("07_test_model", False, 1.0)}
    assert workflows._write_summary(workspace, failed, {}).headline is None
