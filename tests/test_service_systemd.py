"""The systemd unit: who runs it, what it may touch, where its key is, and that its command is the service's."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving import make_adapter
from typer.testing import CliRunner

from resonance_helpers import ResonanceError, service
from resonance_helpers.cli import app as cli
from resonance_helpers.service import __main__ as main_module
from resonance_helpers.service.certificates import Certificate
from resonance_helpers.service.server import TOKEN_VARIABLE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no systemd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name has all that a unit could stumble over."""
    folder = tmp_path / 'my "own" 100%d $HOME 输出'
    make_adapter(folder / "adapter", "alice")
    return folder


def parsed(text: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    return unit


def words(value: str, signs: str = "%") -> list[str]:
    """The words of a unit's value as systemd makes them: a sign of ``signs`` that is not doubled would be replaced."""
    for sign in signs:
        assert re.sub(rf"[{sign}]{{2}}", "", value).count(sign) == 0, value
        value = value.replace(2 * sign, sign)
    return shlex.split(value)


def command(unit: configparser.ConfigParser) -> list[str]:
    return words(unit["Service"]["ExecStart"], "%$")


def test_it_runs_this_python_as_the_owner_and_writes_nowhere_else(folder: Path) -> None:
    unit = parsed(service.unit(folder, port=8765))
    run = unit["Service"]
    assert run["User"] == folder.owner()
    python, *arguments = command(unit)
    assert python == sys.executable and Path(python).is_absolute()
    assert arguments[:3] == ["-m", "resonance_helpers.service", str(folder)]
    assert words(run["ReadWritePaths"]) == [str(folder)]
    assert run["Restart"] == "on-failure"
    for hardening in ("NoNewPrivileges", "PrivateTmp", "RestrictSUIDSGID", "ProtectKernelTunables"):
        assert run[hardening] == "yes"
    assert (run["ProtectSystem"], run["ProtectHome"], run["UMask"]) == ("strict", "read-only", "0077")
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_key_comes_from_a_file_and_is_never_in_the_unit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "k" * 43)
    text = service.unit(folder)
    assert "kkk" not in text and TOKEN_VARIABLE not in text
    assert parsed(text)["Service"]["EnvironmentFile"] == "/etc/resonance/resonance.env"  # without "-": it must be there


@pytest.mark.parametrize(
    ("options", "tls"),
    [
        ((), False),
        (("--tls", "--host", "0.0.0.0"), True),
        (("--tls-cert", "/a b/c.pem", "--tls-key", "/a b/k.pem"), Certificate(Path("/a b/c.pem"), Path("/a b/k.pem"))),
    ],
)
def test_its_command_starts_the_service_as_the_command_line_would(
    folder: Path, options: tuple[str, ...], tls: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["serve", str(folder), "--port", "8765", "--base-model", "/models/my base", "--print-unit", *options]
    printed = CliRunner().invoke(cli, arguments)
    assert printed.exit_code == 0, printed.stderr
    called = []
    monkeypatch.setattr(main_module, "serve", lambda *args, **more: called.append((args, more)))
    monkeypatch.setattr(main_module.gc, "freeze", lambda: None)
    monkeypatch.setattr(sys, "argv", command(parsed(printed.stdout))[2:])
    assert main_module.main() == 0
    host = "0.0.0.0" if "--host" in options else "127.0.0.1"
    ((given, more),) = called
    assert given == (folder, "/models/my base", host, 8765) and more["tls"] == tls


def test_corrections_may_be_written_where_the_recordings_are(folder: Path, tmp_path: Path) -> None:
    unit = parsed(service.unit(folder, corrections=tmp_path / "my data"))
    assert words(unit["Service"]["ReadWritePaths"]) == [str(folder), str(tmp_path / "my data")]
    assert command(unit)[-2:] == ["--corrections", str(tmp_path / "my data")]


def test_systemd_itself_finds_nothing_to_say(folder: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    file = tmp_path / "resonance.service"
    file.write_text(service.unit(folder), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "--man=no", "verify", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_empty_folder_makes_no_unit(tmp_path: Path) -> None:
    with pytest.raises(ResonanceError) as caught:
        service.unit(tmp_path)
    assert caught.value.code == "RZ-0921"
