"""Notebooks of the course that were saved after a run: they show what a person said, and where it lies.

A copy that Jupyter made is removed. A lesson stays, without its outputs and with parameters that name nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...settings import SAMPLE_PATIENT
from ...workspace import write_text
from .disk import is_link, read_object

Mentioned = Callable[[str], bool]
_COPIES = ".ipynb_checkpoints"
_PARAMETER = re.compile(r"""^(DATA_DIR|OUTPUT_DIR|PATIENT_ID)(\s*=\s*)(["'])(.*?)\3""", re.MULTILINE)


def mentions(patient_id: str, folders: tuple[Path, ...]) -> Mentioned:
    """Whether a text names the person or one of their ``folders``."""
    word = re.compile(rf"(?<![a-z0-9_-]){re.escape(patient_id)}(?![a-z0-9_]|-(?!adapter))")
    places = [str(folder) for folder in folders]
    return lambda text: bool(word.search(text)) or any(place in text for place in places)


def saved(lessons: Path, mentioned: Mentioned) -> Iterator[Path]:
    """The notebooks in the folder ``lessons``, and Jupyter's copies of them, in which the person is to be seen."""
    for path in sorted((*lessons.glob("*.ipynb"), *lessons.glob(f"{_COPIES}/*.ipynb"))):
        if not is_link(path) and any(mentioned(text) for text in _shown(read_object(path))):
            yield path


def clear(path: Path, mentioned: Mentioned) -> None:
    """Take the person out of a saved notebook. Raises OSError."""
    if path.parent.name == _COPIES:
        path.unlink(missing_ok=True)
        return
    notebook = read_object(path)
    notebook.get("metadata", {}).pop("widgets", None)  # what forms and tables held
    for cell in _code(notebook):
        source = _PARAMETER.sub(lambda found: _anonymous(found, mentioned), "".join(cell["source"]))
        cell |= {"source": source.splitlines(keepends=True), "outputs": [], "execution_count": None}
    write_text(path, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")


def _anonymous(parameter: re.Match[str], mentioned: Mentioned) -> str:
    name, equals, quote, value = parameter.groups()
    if mentioned(value):
        value = SAMPLE_PATIENT if name == "PATIENT_ID" else ""
    return f"{name}{equals}{quote}{value}{quote}"


def _shown(notebook: dict[str, Any]) -> Iterator[str]:
    """What a saved notebook shows of a run. Not its prose, in which a pseudonym may be an ordinary word."""
    yield _text(notebook.get("metadata"))
    for cell in _code(notebook):
        yield "".join(cell["source"])
        yield _text(cell.get("outputs"))


def _code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook.get("cells", ()) if cell.get("cell_type") == "code"]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\\n", " ").replace("\\\\", "\\")
