"""Where uploads and what comes out of zips lie until they are taken in: below ``workspace.cache``, each plan's apart.

They are somebody's recordings, so that nothing stays longer than it is needed. A folder that is in use is locked, and a
lock ends with the process that holds it: that tells what a killed kernel left from what another one is showing.
"""

from __future__ import annotations

import secrets
import shutil
import weakref
from pathlib import Path

from filelock import FileLock, Timeout

from ..workspace import Workspace, disk_full_is_said


class Staging:
    """A folder of one plan's own for what is uploaded or unpacked: where two plans used one path, the texts written
    beside the files of the first would be saved with the sounds of the second.

    It goes with ``remove()``, or when nobody holds this any more, or when the kernel ends.
    """

    def __init__(self, workspace: Workspace) -> None:
        place = _place(workspace)
        with disk_full_is_said(workspace.cache):
            place.mkdir(parents=True, exist_ok=True)
            self.folder = place / secrets.token_hex(8)
            lock = _lock_of(self.folder)
            lock.acquire()  # before there is a folder: one without a lock is abandoned
            self.folder.mkdir()
        self.remove = weakref.finalize(self, _remove, self.folder, lock)


def remove_abandoned(workspace: Workspace) -> None:
    """Remove what a killed kernel left staged; the system took its locks away. What is in use somewhere stays."""
    for folder in _place(workspace).glob("*/"):
        lock = _lock_of(folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _remove(folder, lock)


def _place(workspace: Workspace) -> Path:
    return workspace.cache / "incoming"


def _lock_of(folder: Path) -> FileLock:
    """Beside ``folder``. Whoever lets go of it last may do so in another thread than the one that took it."""
    return FileLock(folder.with_name(f"{folder.name}.lock"), thread_local=False)


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)
