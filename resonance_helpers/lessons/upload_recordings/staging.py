"""Where uploads and what comes out of zips lie until they are taken in: below ``workspace.cache``, each plan's apart.

They are a person's recordings, so nothing stays longer than needed. A folder that is in use is locked, and a
lock ends with the process that holds it: that tells what a killed kernel left from what another one is showing.
"""

from __future__ import annotations

import secrets
import shutil
import weakref
from pathlib import Path

from filelock import FileLock, Timeout

from ...core.workspace import Workspace, disk_full_is_said, lock, make_folder


class Staging:
    """A folder of one plan's own for what is uploaded or unpacked: where two plans used one path, the texts written
    beside the files of the first would be saved with the sounds of the second.

    It goes with ``remove()``, or when this object is collected, or when the kernel ends.
    """

    def __init__(self, workspace: Workspace) -> None:
        with disk_full_is_said(workspace.cache):
            self.folder = _place(workspace) / secrets.token_hex(8)
            held = lock(self.folder)  # before there is a folder: one without a lock is abandoned
            make_folder(self.folder)
        self.remove = weakref.finalize(self, _remove, self.folder, held)


def remove_abandoned(workspace: Workspace) -> None:
    """Remove what a killed kernel left staged; the system took its locks away. What is in use somewhere stays."""
    for folder in _place(workspace).glob("*/"):
        try:
            _remove(folder, lock(folder, wait=False))
        except Timeout:
            continue


def _place(workspace: Workspace) -> Path:
    return workspace.cache / "incoming"


def _remove(folder: Path, held: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    held.release()
    Path(held.lock_file).unlink(missing_ok=True)
