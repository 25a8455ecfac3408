"""What is written is whole, and still there after a power cut."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from resonance_helpers.workspace import _umask, replacing, replacing_folder, write_text


class Disk:
    """What is asked of the disk, in order; ``refuses`` is the errno with which it answers for folders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refuses = 0
        self._fsync, self._replace, self._rename = os.fsync, os.replace, os.rename
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)
        monkeypatch.setattr(os, "rename", self.rename)

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

    def rename(self, source: Any, target: Any) -> None:
        self.asked.append(("rename", Path(target).name))
        self._rename(source, target)


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


def test_a_folder_is_on_disk_with_all_that_is_in_it_before_it_takes_its_place(disk: Disk, tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "adapter") as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "weights").write_bytes(b"1")
        (folder / "manifest").write_bytes(b"2")
        (folder / "manifest").chmod(0o444)  # copied from somewhere that is not ours
    inside, (renamed, last) = disk.asked[:-2], disk.asked[-2:]
    assert sorted(inside) == [("fsync", "file")] * 2 + [("fsync", "folder")] * 2
    assert (renamed, last) == (("rename", "adapter"), ("fsync", "folder"))


def test_a_secret_is_at_no_moment_for_everybody(disk: Disk, tmp_path: Path) -> None:
    for private, mode in ((True, 0o600), (False, 0o666 & ~_umask())):
        with replacing(tmp_path / "a.txt", private=private) as temporary:
            temporary.write_text("x")
        assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode
    assert disk.asked == (FILE + FOLDER) * 2
