"""Where exports are written: by one process at a time, with room enough, and beside nothing that is half of one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.messages import ResonanceError
from ...core.workspace import Workspace, locked, megabytes, remove_leftovers

BUNDLE = "adapter.zip"
KINDS = ("merged", "ct2-float32", "ct2-int8")  # of whole models
EXPORTS = "export"  # what is locked: all of them
LOCK = f".{EXPORTS}.lock"


def home(workspace: Workspace, what: str) -> Path:
    """Where the bundle or a kind of whole model lies."""
    return workspace.export / f"{workspace.patient_id}-{what}"


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """One at a time, and what killed exports left is gone: it holds a person's voice, and may be as much as a model.

    Raises RZ-0807: what another process has half written would be taken for what a killed one left.
    """
    with locked(workspace.export / EXPORTS, busy=ResonanceError("RZ-0807", path=workspace.export)):
        for what in (BUNDLE, *KINDS):
            remove_leftovers(home(workspace, what))
        yield


def check_room(path: Path, needed: int) -> None:
    """RZ-0801 unless ``needed`` bytes are free beside ``path``."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise ResonanceError("RZ-0801", path=path, needed=megabytes(needed), free=megabytes(free))
