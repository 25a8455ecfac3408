"""What is written is whole, and still there after a power cut."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from resonance_helpers.workspace import write_text


class Disk:
    """What is asked of the disk, in order; ``refuses`` is the errno with which it answers for folders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refuses = 0
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, handle: int) -> None:
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        self.asked.append(("fsync", "folder" if folder else "file"))
        if not folder:
            os.write(handle, b"")  # Windows fsyncs only for who may write
        if folder and self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        self._fsync(handle)

    def replace(self, source: Any, target: Any) -> None:
        self.asked.append(("rename", Path(target).name))
        self._replace(source, target)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


FILE = [("fsync", "file"), ("rename", "a.txt")]
FOLDER = [("fsync", "folder")]


def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_anybody_is_told(disk: Disk, tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "我很疼")
    assert disk.asked == FILE + FOLDER
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "我很疼"


def test_windows_is_not_asked_for_what_it_cannot_do(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    write_text(tmp_path / "a.txt", "x")
    assert disk.asked == FILE


@pytest.mark.parametrize(("refuses", "said"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_disk_that_knows_no_such_call_is_no_error_but_a_broken_one_is(
    disk: Disk, tmp_path: Path, refuses: int, said: bool
) -> None:
    disk.refuses = refuses
    if said:
        with pytest.raises(OSError, match=os.strerror(refuses)):
            write_text(tmp_path / "a.txt", "x")
    else:
        write_text(tmp_path / "a.txt", "x")
    assert disk.asked == FILE + FOLDER
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
