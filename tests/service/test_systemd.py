"""``docs/resonance.service`` with its values filled in as lesson 09 does: who runs it, what it may touch, its key."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving import make_adapter

from resonance_helpers import Workspace
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.lessons.serve_model import view
from resonance_helpers.service import __main__ as main_module


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A folder with an adapter, whose name has a space and a sign that systemd would replace."""
    make_adapter(tmp_path / "my output 50%" / "adapter", "alice")
    return Workspace(tmp_path / "data", tmp_path / "my output 50%", "alice")


def filled(workspace: Workspace, base_model: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The unit that the lesson's command writes."""
    commands: list[tuple[str, str]] = []
    monkeypatch.setattr(view, "show_commands", commands.extend)
    monkeypatch.setattr(view, "display", lambda *_: None)
    view.show_unit(workspace, base_model)
    (write,) = (command for _, command in commands if "/etc/systemd" in command)
    edit, _, tee = write.rpartition(" | ")
    assert tee == f"sudo tee {view.UNIT_FILE}"
    return subprocess.run(["sh", "-c", edit], capture_output=True, text=True, check=True).stdout


def parsed(text: str) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    return unit["Service"]


def words(value: str) -> list[str]:
    """The words of a value as systemd makes them: ``%%`` is one sign."""
    return shlex.split(value.replace("%%", "%"))


@pytest.mark.skipif(os.name != "posix", reason="systemd is Linux's")
def test_the_filled_unit_starts_the_service_as_the_folders_owner(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = parsed(filled(workspace, "/models/my base", monkeypatch))
    assert run["User"] == workspace.output_dir.owner()
    assert words(run["ReadWritePaths"]) == [str(workspace.output_dir)], "and nowhere else"
    assert words(run["Environment"])[-1] == f"PYTHONPATH={REPOSITORY}"
    python, *arguments = words(run["ExecStart"])
    assert python == f"{REPOSITORY}/.venv/bin/python" and arguments[:2] == ["-m", "resonance_helpers.service"]
    called = []
    monkeypatch.setattr(main_module, "serve", lambda *args, **more: called.append(args))
    monkeypatch.setattr(main_module.gc, "freeze", lambda: None)
    monkeypatch.setattr("sys.argv", arguments[1:])
    assert main_module.main() == 0
    assert called[0][:2] == (workspace.output_dir, "/models/my base")


def test_it_is_confined_and_its_key_stands_in_a_file_of_roots() -> None:
    text = view.UNIT.read_text(encoding="utf-8")
    run = parsed(text)
    for hardening in ("NoNewPrivileges", "PrivateTmp", "RestrictSUIDSGID", "ProtectKernelTunables"):
        assert run[hardening] == "yes"
    assert (run["ProtectSystem"], run["ProtectHome"], run["UMask"]) == ("strict", "read-only", "0077")
    assert run["EnvironmentFile"] == str(view.KEY_FILE), "without a minus sign: it has to be there"
    assert "RESONANCE_TOKEN" not in text and int(run["TimeoutStopSec"]) > main_module.serve.__globals__["GRACE_S"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_itself_finds_nothing_to_say(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resonance.service"
    here = filled(workspace, "", monkeypatch).replace(f"{REPOSITORY}/.venv/bin/python", sys.executable)
    file.write_text(here, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "--man=no", "verify", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
