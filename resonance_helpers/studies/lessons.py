"""The ten lessons in order, each under papermill.

The lessons are run as they are, not a second program that does the same: what a learner reads is what is tested and
what ``resonance run`` does. Executed copies stay in the output folder, also when a lesson fails, to show where.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from ..core.messages import ResonanceError, message
from ..core.parameters import check_parameters, check_type
from ..core.settings import PRACTICE_MODEL, SAMPLE_PATIENT
from ..core.workspace import (
    NOTEBOOKS_DIR,
    Workspace,
    disk_full_is_said,
    make_folder,
    open_workspace,
    private_files,
    read_json,
    replacing,
    write_json,
)
from ..scoring.error_rates import of_ten
from ..ui.fallback import VIEW

_OUR_SENTENCE = re.compile(r"\[RZ-\d{4}\] ")  # how ResonanceError prints itself
_GIVEN_BY_OPTION = {"DATA_DIR": "--data", "OUTPUT_DIR": "--output", "PATIENT_ID": "--patient"}


@dataclass(frozen=True)
class LessonResult:
    """How one lesson went; ``seconds`` is wall time with the start of its kernel."""

    name: str
    ok: bool
    seconds: float


OnLesson = Callable[
    [int, int, str], None
]  # lessons done, lessons in all, name of the one that starts now ("" at the end)


@dataclass(frozen=True)
class Summary:
    """What ``summary.json`` says about a run. ``headline`` is None until lesson 07 has judged known phrases."""

    lessons: tuple[LessonResult, ...]
    headline: str | None
    parameters: Mapping[str, Any]  # as given by the caller: a resumed run must be given the same


def lesson_paths(lessons: Sequence[int] | None = None) -> tuple[Path, ...]:
    """The notebooks of these lessons (1–10; all where None), in the order of the course. Raises RZ-1401, RZ-1402."""
    every = {int(path.name[:2]): path for path in sorted(NOTEBOOKS_DIR.glob("[0-9][0-9]_*.ipynb"))}
    if not every:
        raise ResonanceError("RZ-1401", path=NOTEBOOKS_DIR)
    wanted = every.keys() if lessons is None else set(lessons)
    unknown = sorted(wanted - every.keys())
    if unknown or not wanted:
        raise ResonanceError("RZ-1402", value=", ".join(map(str, unknown)), last=max(every))
    return tuple(every[number] for number in sorted(wanted))


def run_lessons(
    data: str | Path = "",
    output: str | Path = "",
    base_model: str = "",
    patient: str = SAMPLE_PATIENT,
    lessons: Sequence[int] | None = None,
    steps: int | None = None,
    extra: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_progress: OnLesson | None = None,
) -> Summary:
    """Run lessons in order; each gets those of the parameters that it declares. One that only other lessons declare is
    no mistake.

    ``extra`` are further notebook parameters by name; text values are read as Python literals where the parameter is
    not text itself. ``resume`` keeps the lessons that ``summary.json`` says were finished. Raises RZ-1403, RZ-1405 and
    RZ-1409 (parameters) and RZ-1406 (resumed with others) before anything is run, and RZ-1407 with the lesson's own
    sentence when one fails: by then ``summary.json`` and the executed copy are written.
    """
    paths = lesson_paths(lessons)
    given = _given(base_model, steps, extra or {})
    declared = {path: _declared_parameters(path) for path in paths}
    given = _checked(given, [_declared_parameters(path) for path in lesson_paths()])
    workspace = open_workspace(data, output, patient)
    identity = {"DATA_DIR": str(workspace.data_dir) if data else "", "PATIENT_ID": patient, **given}
    everything = {**identity, "OUTPUT_DIR": str(workspace.output_dir)}

    results = _finished(workspace, identity) if resume else {}
    _write_summary(workspace, results, identity)  # from now on no older run can be taken for this one

    to_run = [path for path in paths if path.stem not in results]
    for done, path in enumerate(to_run, start=len(paths) - len(to_run)):
        if on_progress:
            on_progress(done, len(paths), path.stem)
        parameters = {name: value for name, value in everything.items() if name in declared[path]}
        started = time.monotonic()
        failure = _run_one(path, workspace, parameters)
        results[path.stem] = LessonResult(path.stem, failure is None, round(time.monotonic() - started, 1))
        _write_summary(workspace, results, identity)
        if failure:
            raise failure
    if on_progress:
        on_progress(len(paths), len(paths), "")
    return _write_summary(workspace, results, identity)


def read_summary(workspace: Workspace) -> Summary | None:
    """The summary of the last run into this output folder, or None where there was none or it cannot be read."""
    try:
        found = read_json(workspace.summary_json)
        lessons = tuple(LessonResult(**lesson) for lesson in found["lessons"])
        return Summary(lessons, found["headline"], found["parameters"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# ── Parameters ───────────────────────────────────────────────────────────────
def _given(base_model: str, steps: int | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    for name, option in _GIVEN_BY_OPTION.items():
        if name in extra:
            raise ResonanceError("RZ-1409", name=name, option=option)
    given: dict[str, Any] = {}
    if base_model:  # a lesson runs in the notebooks' folder: a path has to be absolute, a name has to stay a name
        folder = Path(base_model).expanduser()
        given["BASE_MODEL"] = str(folder.resolve()) if folder.is_dir() else base_model
    if steps is not None:
        given["STEPS"] = steps
    return {**given, **extra}


def _declared_parameters(notebook: Path) -> dict[str, Any]:
    """Name → default of a notebook's parameters, which are plain literals."""
    found = papermill.inspect_notebook(_as_template(notebook))
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in found.items()}


def _checked(given: Mapping[str, Any], declared: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    defaults = {name: default for parameters in declared for name, default in parameters.items()}
    for name in given:
        if name not in defaults:
            close = difflib.get_close_matches(name.upper(), defaults)
            hint = message("workflows.close", names=" / ".join(close)) if close else ""
            raise ResonanceError("RZ-1403", name=name, close=hint, known=", ".join(sorted(defaults)))
    return {name: _typed(name, value, defaults[name]) for name, value in given.items()}


def _typed(name: str, value: Any, default: Any) -> Any:
    """``value`` as the type of ``default``; text from a command line is read as a literal unless text is wanted."""
    wanted = type(default)
    if isinstance(value, str) and wanted is not str:
        with suppress(ValueError, SyntaxError):  # what is no literal stays text, which the comparison below refuses
            value = ast.literal_eval(value)
    check_type(name, value, default)
    value = wanted(value)  # 1 for a number is 1.0
    check_parameters({name: value})
    return value


def _finished(workspace: Workspace, parameters: Mapping[str, Any]) -> dict[str, LessonResult]:
    """Lessons that the last run finished. Raises RZ-1406 where it was given other parameters."""
    last = read_summary(workspace)
    if last is None:
        return {}
    for name in sorted(last.parameters.keys() | parameters.keys()):
        before, now = last.parameters.get(name), parameters.get(name)
        if before != now:
            nothing = message("workflows.nothing")
            raise ResonanceError("RZ-1406", name=name, before=before or nothing, now=now or nothing)
    return {lesson.name: lesson for lesson in last.lessons if lesson.ok}


# ── One lesson ───────────────────────────────────────────────────────────────
class _ThisPython(AsyncKernelManager):
    """Starts the interpreter that runs us: a kernel registered as ``python3`` may be another one."""

    @property
    def kernel_spec(self) -> KernelSpec:
        # ipykernel's own, which begins with sys.executable; its remarks on loopback sockets would only worry a learner
        spec = get_kernel_dict(extra_arguments=["--log-level=ERROR"])
        return KernelSpec(**{name: spec[name] for name in ("argv", "display_name", "language", "metadata")})


def _run_one(notebook: Path, workspace: Workspace, parameters: Mapping[str, Any]) -> ResonanceError | None:
    """Execute one lesson; the error that says why it failed, or None. Its copy is written either way."""
    copy = workspace.notebooks / notebook.name
    make_folder(workspace.notebooks)
    home = Path(os.environ.setdefault("IPYTHONDIR", str(workspace.cache / "ipython")))  # and not the user's own folder
    make_folder(home)
    reason = ""
    try:
        with private_files(), disk_full_is_said(copy):
            papermill.execute_notebook(
                _as_template(notebook),
                _as_template(copy),
                parameters=dict(parameters),
                cwd=notebook.parent,
                progress_bar=False,
                kernel_manager_class=_ThisPython,
            )
    except PapermillExecutionError as error:
        reason = _sentence(error.ename, error.evalue)
    except DeadKernelError:
        reason = str(ResonanceError("RZ-1408"))
    _leave_to_read(copy, notebook.parent.parent / "docs")
    if not reason:
        return None
    return ResonanceError("RZ-1407", lesson=message(f"lesson.{notebook.name[:2]}"), reason=reason, copy=copy)


def _leave_to_read(copy: Path, docs: Path) -> None:
    """Lessons show pictures and pages of ``../docs``, which from where ``copy`` lies is somewhere else. The kernel of
    its widgets is gone: what they showed stays, as HTML."""
    said = copy.read_text(encoding="utf-8")
    with suppress(ValueError):  # another drive of Windows: there is no way
        way = quote(Path(os.path.relpath(docs, copy.parent)).as_posix())
        said = said.replace("](../docs/", f"]({way}/")
    notebook = json.loads(said)
    notebook["metadata"].pop("widgets", None)
    for output in chain.from_iterable(cell.get("outputs", ()) for cell in notebook["cells"]):
        if "text/html" in (shown := output.get("data", {})):
            shown.pop(VIEW, None)
    with replacing(copy) as temporary:
        temporary.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _sentence(name: str, value: str) -> str:
    """What an exception in a notebook says: our own sentence whole, of others the type and the last line."""
    if _OUR_SENTENCE.match(value):
        return value
    lines = value.strip().splitlines()
    return f"{name}: {lines[-1]}" if lines else name


def _as_template(path: Path) -> str:
    """``path`` for papermill, which formats paths: braces in the name of a folder must survive that."""
    return str(path).replace("{", "{{").replace("}", "}}")


# ── Summary ──────────────────────────────────────────────────────────────────
def _write_summary(workspace: Workspace, results: Mapping[str, LessonResult], parameters: Mapping[str, Any]) -> Summary:
    lessons = tuple(results[name] for name in sorted(results))
    judged = any(lesson.ok and lesson.name.startswith("07") for lesson in lessons)
    summary = Summary(lessons, _headline(workspace.report_json) if judged else None, parameters)
    write_json(workspace.summary_json, asdict(summary))
    return summary


def _headline(report_json: Path) -> str | None:
    """The one sentence of report.json: how many test takes of known phrases came out exactly."""
    if not report_json.exists():
        return None
    report = read_json(report_json, "splits")
    known = report["splits"]["known_phrases"]
    if known is None:
        return None
    exact = known["after"]["exact"]  # a share, 0–1
    headline = message("workflows.headline", n=known["n"], right=round(exact * known["n"]), of_ten=of_ten(exact))
    is_practice = PRACTICE_MODEL in json.dumps(report["base_model"])
    return message("workflows.headline.practice", headline=headline) if is_practice else headline
