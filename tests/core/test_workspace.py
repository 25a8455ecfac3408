"""What is written is whole, and still there after a power cut."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resonance_helpers import ResonanceError
from resonance_helpers.core.workspace import (
    locked,
    make_folder,
    open_private,
    private_files,
    remove_leftovers,
    replacing,
    replacing_folder,
    write_text,
)


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


# ── For its owner alone ──────────────────────────────────────────────────────
@pytest.fixture
def open_umask() -> Iterator[None]:
    """A system that lets everybody read and write whatever nobody says otherwise of."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_at_no_moment_for_anybody_else(
    open_umask: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, rename = [], os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (seen.append(mode(source)), rename(source, target)))
    file = tmp_path / "data" / "audio_raw" / "a.txt"
    with replacing(file) as temporary:
        seen.append(mode(temporary))
        temporary.write_text("我很疼")
    assert [*seen, mode(file), mode(file.parent), mode(file.parent.parent)] == [0o600] * 3 + [0o700] * 2
    with replacing_folder(tmp_path / "out" / "adapter") as folder:
        assert mode(folder) == 0o700
        (folder / "inside").mkdir()
        (folder / "inside" / "weights").write_bytes(b"1")
    made = tmp_path / "out" / "adapter"
    assert (mode(made.parent), mode(made), mode(made / "inside")) == (0o700, 0o700, 0o700)
    assert mode(made / "inside" / "weights") == 0o600


def test_what_grows_and_what_libraries_write_too(open_umask: None, tmp_path: Path) -> None:
    with open_private(tmp_path / "history.jsonl", "a", encoding="utf-8") as file:
        assert mode(Path(file.name)) == 0o600
    with private_files(), private_files():
        (tmp_path / "library").mkdir()
    with private_files():
        (tmp_path / "library" / "x").write_text("x")
        child = [sys.executable, "-c", f"open({str(tmp_path / 'child')!r}, 'w')"]
        subprocess.run(child, check=True)
    assert (mode(tmp_path / "library"), mode(tmp_path / "library" / "x"), mode(tmp_path / "child")) == (
        0o700,
        0o600,
        0o600,
    )
    (tmp_path / "after").write_text("x")
    assert mode(tmp_path / "after") == 0o666, "the umask is given back"


def test_what_was_there_keeps_its_mode(open_umask: None, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    write_text(tmp_path / "theirs" / "labels.json", "[]")
    assert make_folder(tmp_path / "theirs") == tmp_path / "theirs"
    assert mode(tmp_path / "theirs") == 0o755


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a" / "b")


# ── One at a time ────────────────────────────────────────────────────────────
def test_whoever_changes_a_file_waits_for_the_others(open_umask: None, tmp_path: Path) -> None:
    file, busy = tmp_path / "count.txt", ResonanceError("RZ-0807", path="x")

    def add_one(_: int) -> None:
        with locked(file):
            count = int(file.read_text()) if file.exists() else 0
            write_text(file, str(count + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add_one, range(24)))
        assert file.read_text() == "24"
        with locked(file), pytest.raises(ResonanceError, match="RZ-0807"):
            threads.submit(lambda: locked(file, busy).__enter__()).result()
    with locked(file, busy):
        assert {path.name: mode(path) for path in tmp_path.iterdir()} == {"count.txt": 0o600, ".count.txt.lock": 0o600}


@pytest.mark.parametrize("refuses", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EIO])
def test_a_disk_without_locks_is_said_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(handle: int, what: int) -> None:
        raise OSError(refuses, os.strerror(refuses))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ResonanceError, match="RZ-0980") as caught, locked(tmp_path / "a.txt"):
        pytest.fail("nobody may change it without a lock")
    assert str(tmp_path) in str(caught.value) and os.strerror(refuses) in str(caught.value)


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    for path in (file, tmp_path / f".{file.name}"):
        with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
            temporary.rename(tmp_path / (temporary.name + "-kept"))  # as though there were no time to clean up
            raise KeyboardInterrupt
    left = [path.rename(path.with_name(path.name.removesuffix("-kept"))) for path in tmp_path.glob(".*-kept")]
    others = [".labels.json.lock", ".labels.json.swp", ".labels.json.bak", "labels.json", ".labels.json.mine"]
    for name in others:
        (tmp_path / name).write_text("x")
    remove_leftovers(file)
    remaining = {path.name for path in tmp_path.iterdir()}
    assert remaining == {*others, next(path.name for path in left if path.name.startswith(".."))}
