"""Notebooks of the course that were saved after a run: they show what a person said, and where it lies.

A copy that Jupyter made is removed. A lesson stays, without its outputs and with parameters that name nobody.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...core.settings import SAMPLE_PATIENT
from ...core.workspace import write_text
from .disk import is_link, read_object

Mentioned = Callable[[str], bool]
_COPIES = ".ipynb_checkpoints"
_PARAMETERS = {"DATA_DIR": "", "OUTPUT_DIR": "", "PATIENT_ID": SAMPLE_PATIENT}  # and what each is once it names nobody


def mentions(patient_id: str, folders: tuple[Path, ...]) -> Mentioned:
    """Whether a text names the person or one of their ``folders``."""
    word = re.compile(rf"(?<![a-z0-9_-]){re.escape(patient_id)}(?![a-z0-9_]|-(?!adapter))")
    places = [str(folder) for folder in folders]
    return lambda text: bool(word.search(text)) or any(place in text for place in places)


def saved(lessons: Path, mentioned: Mentioned) -> Iterator[Path]:
    """The notebooks in the folder ``lessons`` and below, and Jupyter's copies of them, in which the person is to be
    seen."""
    for path in sorted(lessons.rglob("*.ipynb")):
        if not is_link(path) and any(mentioned(text) for text in _shown(read_object(path))):
            yield path


def data_folders(lessons: Path, patient_id: str) -> Iterator[Path]:
    """Each DATA_DIR that a saved notebook names beside the PATIENT_ID ``patient_id``."""
    for path in sorted(lessons.rglob("*.ipynb")):
        said: dict[str, str] = {}
        for cell in [] if is_link(path) else _code(read_object(path)):
            for name, value in _assigned("".join(cell["source"])):
                with suppress(ValueError):  # an expression: what it gives nobody knows but Python
                    said[name] = str(ast.literal_eval(value))
        if said.get("PATIENT_ID") == patient_id and said.get("DATA_DIR"):
            yield (path.parent / Path(said["DATA_DIR"]).expanduser()).resolve()


def clear(path: Path, mentioned: Mentioned) -> None:
    """Take the person out of a saved notebook. Raises OSError."""
    if path.parent.name == _COPIES:
        path.unlink(missing_ok=True)
        return
    notebook = read_object(path)
    notebook.get("metadata", {}).pop("widgets", None)  # what forms and tables held
    for cell in _code(notebook):
        source = _anonymous("".join(cell["source"]), mentioned)
        cell |= {"source": source.splitlines(keepends=True), "outputs": [], "execution_count": None}
    mode = path.stat().st_mode
    write_text(path, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")
    path.chmod(mode)  # nobody is in it any more, and it may be everybody's


def _anonymous(source: str, mentioned: Mentioned) -> str:
    """``source`` with parameters that name nobody, however they were written: ``r"…"``, ``Path("…")``, on two lines."""
    text = source.encode()  # Python counts columns in bytes
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for name, value in reversed(list(_assigned(source))):
        begin = starts[value.lineno - 1] + value.col_offset
        end = starts[(value.end_lineno or value.lineno) - 1] + (value.end_col_offset or 0)
        if any(mentioned(each) for each in (text[begin:end].decode(), *_strings(value))):
            text = text[:begin] + json.dumps(_PARAMETERS[name]).encode() + text[end:]
    return text.decode()


def _strings(value: ast.expr) -> Iterator[str]:
    """What stands in quotes, as it is meant: on Windows it is written with two backslashes for each."""
    return (str(each.value) for each in ast.walk(value) if isinstance(each, ast.Constant))


def _assigned(source: str) -> Iterator[tuple[str, ast.expr]]:
    """The parameters that a cell assigns, in its order; none where it is no plain Python."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):
        return
    for each in statements:
        if isinstance(each, ast.Assign | ast.AnnAssign) and each.value:
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            names = (target.id for target in targets if isinstance(target, ast.Name))
            yield from ((name, each.value) for name in names if name in _PARAMETERS)


def _shown(notebook: dict[str, Any]) -> Iterator[str]:
    """What a saved notebook shows of a run. Not its prose, in which a pseudonym may be an ordinary word."""
    yield _text(notebook.get("metadata"))
    for cell in _code(notebook):
        source = "".join(cell["source"])
        yield source
        yield from (each for _, value in _assigned(source) for each in _strings(value))
        yield _text(cell.get("outputs"))


def _code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook.get("cells", ()) if cell.get("cell_type") == "code"]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\\n", " ").replace("\\\\", "\\")
