"""The ten lessons: their form, that names agree everywhere, that stored outputs are still true, and that they run."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from typer.testing import CliRunner

from resonance_helpers import studies as workflows
from resonance_helpers.cli import app
from resonance_helpers.core import settings
from resonance_helpers.core.messages import LANGUAGES, catalogue
from resonance_helpers.core.workspace import NOTEBOOKS_DIR, REPOSITORY, SAMPLE_DIR
from resonance_helpers.service.keys import new_key

PATHS = sorted(NOTEBOOKS_DIR.glob("*.ipynb"))
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NUMBERS = "一二三四五六七八九十"
FOLDED = re.compile(r"(.+)\n\n<details><summary>English</summary>\n\n(.+)\n\n</details>", re.DOTALL)
CHECKED = "# NBVAL_CHECK_OUTPUT"
KEY = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])")  # of a service, wherever it stands in a text
needs_sample = pytest.mark.skipif(not (SAMPLE_DIR / "labels.json").exists(), reason="data_sample/ is not built here")


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def shown_by(notebook: NotebookNode) -> str:
    """All that the cells of an executed notebook have shown, and the state of its widgets, as text; no pictures."""
    shown = [output for cell in cells(notebook, "code") for output in cell.outputs]
    texts = [{kind: text for kind, text in one.get("data", {}).items() if not kind.endswith("png")} for one in shown]
    streams = [[one.get("text"), one.get("traceback")] for one in shown]
    return re.sub(r"base64,[\w+/=]+", "", json.dumps([texts, streams, notebook.metadata.get("widgets")]))


def cells(notebook: NotebookNode, kind: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def parameters_of(notebook: NotebookNode) -> dict[str, Any]:
    """Name → literal of the one parameters cell, by Python's own parser."""
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    statements = ast.parse(cell.source).body
    assert all(isinstance(each, ast.Assign) and len(each.targets) == 1 for each in statements), cell.source
    return {each.targets[0].id: ast.literal_eval(each.value) for each in statements}  # type: ignore[attr-defined]


each_lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


# ── Names ────────────────────────────────────────────────────────────────────
def test_notebooks_packages_and_messages_have_the_same_names() -> None:
    rows = re.findall(
        r"^\| \[(\d\d_\w+)\]\(notebooks/(\w+)\.ipynb\)",
        (REPOSITORY / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == [row[1] for row in rows] == [path.stem for path in PATHS]
    packages = {path.parent.name for path in (REPOSITORY / "resonance_helpers" / "lessons").glob("*/__init__.py")}
    assert packages == {path.stem[3:] for path in PATHS}
    for path in PATHS:
        assert f"lesson.{path.stem[:2]}" in catalogue()
        assert re.search(rf"lessons import .*\b{path.stem[3:]}\b", source_of(path.stem))
    assert len(rows) == 10


def source_of(stem: str) -> str:
    return "\n".join(cell.source for cell in cells(read(NOTEBOOKS_DIR / f"{stem}.ipynb"), "code"))


# ── Parameters ───────────────────────────────────────────────────────────────
@each_lesson
def test_parameters_are_plain_literals_with_a_comment_that_papermill_can_read(path: Path) -> None:
    notebook = read(path)
    parameters = parameters_of(notebook)
    assert parameters
    # papermill skips a line whose comment holds a second "=", and then takes the parameter for unknown
    assert set(papermill.inspect_notebook(str(path))) == set(parameters)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    for line in cell.source.splitlines():
        assert CHINESE.search(line.partition("  # ")[2]), line


def test_the_same_parameter_has_the_same_default_everywhere_and_it_is_the_settings() -> None:
    defaults: dict[str, set[Any]] = {}
    for path in PATHS:
        for name, value in parameters_of(read(path)).items():
            defaults.setdefault(name, set()).add(value)
    recipe = asdict(settings.PRESETS["default"])
    expected = {"DATA_DIR": "", "OUTPUT_DIR": "", "BASE_MODEL": "", "LANGUAGE": "zh", "PRESET": "default"}
    expected |= {"PATIENT_ID": settings.SAMPLE_PATIENT, "STEPS": recipe["steps"], "SEED": recipe["seed"]}
    assert {name: {value} for name, value in expected.items() if name in defaults}.items() <= defaults.items()
    assert {"DATA_DIR", "OUTPUT_DIR", "PATIENT_ID", "LANGUAGE", "BASE_MODEL", "STEPS"} <= set(defaults)


# ── Form ─────────────────────────────────────────────────────────────────────
@each_lesson
def test_a_lesson_has_its_shape(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    wanted = ["title", "setup", "parameters", "why", "check", "inside", "inside-code", "faq", "recap"]
    assert [name for name in ids if name in wanted] == wanted
    assert ("open" in ids) == ("DATA_DIR" in parameters_of(notebook)) or path.stem.startswith("02")
    by_id = {cell.id: cell.source for cell in notebook.cells}
    number = int(path.name[:2])
    assert by_id["title"].startswith(f"# 第{NUMBERS[number - 1]}步 · ")
    assert "**学完这一课**，" in by_id["title"]
    badge = next(line for line in by_id["title"].splitlines() if line.startswith("`"))
    for part in ("GPU", "分钟", "需要：", "得到："):
        assert part in badge
    assert "**必做**" in badge or "**选做**" in badge
    for name, heading in (("inside", "看看里面"), ("faq", "常见问题"), ("recap", "小结")):
        assert heading in by_id[name].splitlines()[0]
    assert "install_friendly_errors()" in by_id["setup"]


@each_lesson
def test_every_text_is_chinese_with_the_same_in_english_folded_in_the_cell(path: Path) -> None:
    for cell in cells(read(path), "markdown"):
        found = re.fullmatch(
            r"(.+)\n\n<details><summary>English</summary>\n\n(.+)\n\n</details>", cell.source, re.DOTALL
        )
        assert found, cell.id
        chinese, english = found.groups()
        assert CHINESE.search(chinese), cell.id
        assert re.search(r"[A-Za-z]{3}", english), cell.id
        assert len(CHINESE.findall(english)) < 0.1 * len(english), cell.id  # names in quotes, no forgotten sentence
        assert "您" not in chinese, cell.id


@each_lesson
def test_no_mark_of_emphasis_is_shown_as_it_stands(path: Path) -> None:
    """``**「词」**字`` opens nothing by CommonMark's rules, which are JupyterLab's too: its asterisks would be read."""
    for cell in cells(read(path), "markdown"):
        rendered = MarkdownIt().enable("table").render(cell.source)
        seen = re.sub(r"<(code|pre).*?</\1>", "", rendered, flags=re.DOTALL)
        assert "**" not in seen and "__" not in seen, (cell.id, re.findall(r".*(?:\*\*|__).*", seen))


@each_lesson
def test_cells_are_short_and_hold_no_logic(path: Path) -> None:
    for cell in cells(read(path), "code"):
        assert len(cell.source.splitlines()) <= 10, cell.id
        for node in ast.walk(ast.parse(cell.source)):
            logic = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.If, ast.Try)
            assert not isinstance(node, logic), cell.id


@each_lesson
def test_links_lead_somewhere_and_the_recap_to_the_next_lesson(path: Path) -> None:
    for cell in cells(read(path), "markdown"):
        for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", cell.source):
            assert (path.parent / target).exists(), (cell.id, target)
    following = PATHS[PATHS.index(path) + 1 : PATHS.index(path) + 2]
    recap = next(cell.source for cell in read(path).cells if cell.id == "recap")
    assert all(next_one.name in recap for next_one in following)
    scripts = re.findall(r'show_script\("(\w+\.py)"\)', "\n".join(cell.source for cell in read(path).cells))
    assert scripts and all((REPOSITORY / "benchmarks" / "lessons" / script).is_file() for script in scripts)
    assert all(script.startswith(f"step{path.name[:2]}") for script in scripts)


@each_lesson
def test_only_deterministic_cells_keep_their_output_and_none_holds_sound_or_a_path(path: Path) -> None:
    notebook = read(path)
    for cell in cells(notebook, "code"):
        marked = cell.source.startswith(CHECKED)
        assert marked == ("keep_output" in cell.metadata.get("tags", [])), cell.id
        assert bool(cell.outputs) == marked, cell.id
        assert (cell.execution_count is not None) == marked, cell.id
        stored = json.dumps(cell.outputs, ensure_ascii=False)
        assert not re.search(r"base64|data:audio|audio/|image/png", stored), cell.id
        assert not re.search(r"/(work|home|root|Users|tmp)/|[A-Z]:\\\\", stored), cell.id
    assert "widgets" not in notebook.metadata  # the state of live widgets would carry what they showed


def test_codes_named_in_the_lessons_are_ours() -> None:
    for path in PATHS:
        for code in re.findall(r"RZ-\d{4}", path.read_text(encoding="utf-8")):
            assert code in catalogue(), (path.name, code)


# ── Stored outputs ───────────────────────────────────────────────────────────
def nbval(folder: Path) -> subprocess.CompletedProcess[str]:
    """nbval over the notebooks of ``folder`` that have deterministic cells, with this Python as the kernel."""
    marked = [str(path) for path in sorted(folder.glob("*.ipynb")) if CHECKED in path.read_text(encoding="utf-8")]
    assert marked
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    return subprocess.run([*command, *marked], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def notebooks_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebooks in a folder of their own, writing into another: nothing of the repository is touched."""
    monkeypatch.setenv("RESONANCE_LANG", "zh")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for path in PATHS:
        source = path.read_text(encoding="utf-8")
        output = json.dumps(str(tmp_path / "out"))[1:-1]
        (folder / path.name).write_text(source.replace('OUTPUT_DIR = \\"\\"', f'OUTPUT_DIR = \\"{output}\\"'), "utf-8")
    return folder


@pytest.mark.slow
def test_stored_outputs_are_what_the_cells_still_say(notebooks_copy: Path) -> None:
    done = nbval(notebooks_copy)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_a_stored_output_that_is_no_longer_true_fails(notebooks_copy: Path) -> None:
    for path in notebooks_copy.glob("*.ipynb"):
        if not path.name.startswith("02"):
            path.unlink()
    path = notebooks_copy / "02_connect_server.ipynb"
    notebook = read(path)
    (cell,) = (c for c in notebook.cells if c.source.startswith(CHECKED))
    assert "12345" in cell.outputs[0].text
    cell.outputs[0].text = cell.outputs[0].text.replace("12345", "54321", 1)
    nbformat.write(notebook, path)
    done = nbval(notebooks_copy)
    assert done.returncode == 1 and "54321" in done.stdout and "1 failed" in done.stdout


# ── They run ─────────────────────────────────────────────────────────────────
@pytest.mark.slow
@needs_sample
def test_lessons_01_to_05_run_for_a_folder_with_nothing_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lesson 04 offers the recorder; the first lesson that needs recordings stops, names its code in the user's
    language, and can be resumed."""
    monkeypatch.setenv("RESONANCE_LANG", "en")
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    arguments = ["run", "--data", str(data), "--output", str(output), "--patient", "p-01", "--lessons", "2,4,5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "[RZ-1407]" in result.stderr and "[RZ-0006]" in result.stderr and "labels.json" in result.stderr
    assert [path.name[:2] for path in sorted((output / "notebooks").iterdir())] == ["02", "04", "05"]

    for name in ("labels.json", "audio_raw"):
        source, target = SAMPLE_DIR / name, data / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    result = CliRunner().invoke(app, [*arguments, "--resume"])
    assert result.exit_code == 0, result.stderr
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert [lesson["name"][:2] for lesson in summary["lessons"] if lesson["ok"]] == ["02", "04", "05"]
    assert len(list((data / "audio").glob("*.wav"))) == len(json.loads((data / "labels.json").read_text("utf-8")))


@pytest.mark.slow
@needs_sample
def test_a_lesson_before_the_one_it_needs_says_which(tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = CliRunner().invoke(app, ["run", "--output", str(output), "--lessons", "6"])
    assert result.exit_code == 1
    assert "[RZ-0006]" in result.stderr and "Traceback" not in result.stderr
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert [(lesson["name"], lesson["ok"]) for lesson in summary["lessons"]] == [("06_train_model", False)]
    assert summary["headline"] is None
    executed = (output / "notebooks" / "06_train_model.ipynb").read_text(encoding="utf-8")
    assert "RZ-0006" in executed and not (output / "adapter").exists()


@pytest.mark.slow
@needs_sample
@pytest.mark.timeout(900)
def test_all_ten_lessons_run_on_the_sample(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in PATHS}
    output = tmp_path / "out"
    arguments = [
        "run",
        "--output",
        str(output),
        "--steps",
        "6",
        "--set",
        "OTHER_SOUNDS=20",
        "--set",
        "WHOLE_MODELS=merged",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert [lesson["name"] for lesson in summary["lessons"] if lesson["ok"]] == [path.stem for path in PATHS]
    assert summary["headline"] and summary["parameters"]["STEPS"] == 6
    assert {path.name for path in (output / "export").glob("[!.]*")} == {"sample-adapter.zip", "sample-merged"}
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert {"base_model", "window_s", "train", "splits", "forgetting", "verdict"} <= set(report)
    assert report["train"]["steps"] == 9, "six, and three more on all recordings"
    for lesson in workflows.lesson_paths():
        executed = (output / "notebooks" / lesson.name).read_text(encoding="utf-8")
        assert not re.search(r"data:audio|\"audio/", executed), lesson.name
        assert KEY.fullmatch(new_key()) and not KEY.search(shown_by(nbformat.reads(executed, 4))), lesson.name
    assert {path: path.read_bytes() for path in PATHS} == before


def test_both_languages_have_every_sentence() -> None:
    for key, both in catalogue().items():
        assert set(both) == set(LANGUAGES), key
