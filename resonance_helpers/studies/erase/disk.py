"""Looking at files and removing them, without following a link and without stopping at what can't be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...core.messages import ResonanceError
from ...core.workspace import read_json

Failures = dict[Path, str]  # what could not be removed, and the system's reason


def is_link(path: Path) -> bool:
    """Whether ``path`` is a link, or what Windows calls a junction."""
    return path.is_symlink() or (path.is_dir() and path.resolve() != path.parent.resolve() / path.name)


def exists(path: Path) -> bool:
    """Whether something is at ``path``, were it a link to nowhere."""
    return path.is_symlink() or path.exists()


def folders_in(folder: Path) -> Iterator[Path]:
    """The folders below ``folder``, the deepest first."""
    if folder.is_dir() and not is_link(folder):
        for entry in folder.iterdir():
            if entry.is_dir() and not is_link(entry):
                yield from (*folders_in(entry), entry)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is none."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def unlink(path: Path) -> None:
    """Remove a file or a link; what is gone already is gone. Raises OSError."""
    if is_link(path) and not path.is_symlink():
        path.rmdir()  # a junction
    else:
        path.unlink(missing_ok=True)


def attempt(change: Callable[[], object], path: Path, failures: Failures) -> None:
    """``change``, whose failure is kept under ``path``; an earlier one is forgotten when it works now."""
    try:
        change()
    except OSError as error:
        failures[path] = error.strerror or str(error)
    except ResonanceError as error:
        failures[path] = str(error)
    else:
        failures.pop(path, None)
