"""What is staged goes with its plan, or with its kernel, and never with another's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resonance_helpers import Workspace
from resonance_helpers.lessons.upload_recordings.staging import Staging, remove_abandoned


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


def folders(workspace: Workspace) -> set[Path]:
    return set((workspace.cache / "incoming").glob("*/"))


def test_each_is_apart_and_goes_when_it_is_removed_or_held_by_nobody(workspace: Workspace) -> None:
    one, other = Staging(workspace), Staging(workspace)
    Staging(workspace)
    assert folders(workspace) == {one.folder, other.folder}
    (one.folder / "不要.wav").write_bytes(b"")
    one.remove()
    one.remove()
    assert folders(workspace) == {other.folder}
    remove_abandoned(workspace)
    assert folders(workspace) == {other.folder}
    del other
    assert not list((workspace.cache / "incoming").iterdir())  # nor a lock


def test_nothing_staged_is_nothing_to_remove(workspace: Workspace) -> None:
    remove_abandoned(workspace)
    assert not workspace.output_dir.exists()


ANOTHER_KERNEL = """
import sys
from pathlib import Path
from resonance_helpers import Workspace
from resonance_helpers.lessons.upload_recordings.staging import Staging
held = Staging(Workspace(Path(sys.argv[1]), Path(sys.argv[2]), "anna"))
(held.folder / "不要.wav").write_bytes(b"")
print("staged", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["shut down", "killed"])
def test_what_another_kernel_staged_stays_as_long_as_it_lives(workspace: Workspace, end: str) -> None:
    command = [sys.executable, "-c", ANOTHER_KERNEL, str(workspace.data_dir), str(workspace.output_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdin and kernel.stdout and kernel.stdout.readline() == "staged\n"
        (workspace.cache / "incoming" / "by an older version").mkdir()
        remove_abandoned(workspace)
        (theirs,) = folders(workspace)
        assert [path.name for path in theirs.iterdir()] == ["不要.wav"]
        kernel.kill() if end == "killed" else kernel.stdin.close()
    assert theirs.exists() == (end == "killed")
    remove_abandoned(workspace)
    assert not list((workspace.cache / "incoming").iterdir())
