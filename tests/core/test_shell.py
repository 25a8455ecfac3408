"""Commands can be typed as they are shown: quoted for the shell, and no environment has to be activated."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.cli import app
from resonance_helpers.core import shell
from resonance_helpers.core.messages import COMMANDS, LANGUAGES, catalogue, message
from resonance_helpers.core.workspace import NOTEBOOKS_DIR, REPOSITORY
from resonance_helpers.service.problems import STATUS
from resonance_helpers.ui import lesson

SUBCOMMANDS = "run|learning-curve|cross-validate|serve|keys|forget|check-service|export|import|version"
BARE = re.compile(rf"(?<![\w./\\}}-])resonance (?:{SUBCOMMANDS})\b")  # found only where an environment is activated
KEYS = ("keys.make", "keys.address", "keys.list", "keys.revoke")
NAMES = ("forget", "forget.yes", "cross-validate", "check-service", *KEYS)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12)


def for_powershell(line: str) -> list[str]:
    """What PowerShell makes of a line of plain words and of words in single quotes, in which '' is a quote."""
    pieces = re.findall(r"'(?:[^']|'')*'|[^\s']+", line.removeprefix("& "))
    return [piece[1:-1].replace("''", "'") if piece.startswith("'") else piece for piece in pieces]


@given(st.lists(words, min_size=1, max_size=5))
def test_a_shell_takes_a_line_apart_into_the_same_words(given_words: list[str]) -> None:
    assert shlex.split(shell.typed(*given_words, windows=False)) == given_words
    line = shell.typed(*given_words, windows=True)
    assert for_powershell(line) == given_words
    assert line.startswith("& ") == line.removeprefix("& ").startswith("'"), "a quoted program is called with &"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (r"C:\Users\li\.venv\Scripts\resonance.exe", r"C:\Users\li\.venv\Scripts\resonance.exe keys list"),
        (r"C:\Users\Li Na\resonance.exe", r"& 'C:\Users\Li Na\resonance.exe' keys list"),
        (r"D:\it's $mine\resonance.exe", r"& 'D:\it''s $mine\resonance.exe' keys list"),
    ],
)
def test_powershell_gets_a_program_it_can_call(program: str, expected: str) -> None:
    assert shell.typed(program, "keys", "list", windows=True) == expected


@pytest.mark.skipif(shell.os.name == "nt", reason="runs a line of a POSIX shell")
def test_the_command_runs_with_no_environment_activated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(line: str) -> str:
        bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(line, shell=True, env=bare, cwd=tmp_path, capture_output=True, text=True).stdout

    assert run(shell.resonance("version")).startswith("resonance ")
    scripts = tmp_path / "李娜's folder"
    scripts.mkdir()
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(scripts))
    assert run(shell.resonance("version")).startswith("resonance "), "where no script was installed"
    (scripts / "resonance").write_text('#!/bin/sh\necho "script $*"\n')
    (scripts / "resonance").chmod(0o755)
    assert run(shell.resonance("keys", "list", "a b")) == "script keys list a b\n"


def test_a_sentence_has_the_command_of_this_machine() -> None:
    for lang in LANGUAGES:
        assert f"{shell.resonance()} keys make" in message("cli.keys.none", lang)
    assert shell.resonance() in str(ResonanceError("RZ-0928", path="p", detail="d"))
    assert f"{shell.pip()} install" in str(ResonanceError("RZ-0805", kind="ct2-int8"))


def test_nobody_is_told_a_command_that_is_not_found() -> None:
    texts = {f"{key} {lang}": sentence for key, both in catalogue().items() for lang, sentence in both.items()}
    for path in NOTEBOOKS_DIR.glob("*.ipynb"):
        texts |= {f"{path.name} {cell.id}": cell.source for cell in nbformat.read(path, 4).cells}
    pages = [path for folder in (REPOSITORY, REPOSITORY / "docs") for path in folder.glob("*.md")]
    texts |= {path.name: path.read_text(encoding="utf-8") for path in pages if path.name != "CHANGELOG.md"}
    assert not {where: found for where, text in texts.items() if (found := BARE.findall(text))}
    errors = [both[lang] for key, both in catalogue().items() if key.startswith("RZ-") for lang in LANGUAGES]
    assert not [sentence for sentence in errors if re.search(r"(?<!\{)\bpip install", sentence)]
    assert BARE.search("运行 resonance serve") and not BARE.search("/x/bin/resonance serve")


def test_no_answer_over_http_names_a_folder_of_the_server() -> None:
    assert not [code for code in STATUS if any(place in catalogue()[code]["zh"] for place in COMMANDS)]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_of_a_lesson_is_one_that_there_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, str]] = []
    monkeypatch.setattr(lesson, "show_commands", shown.extend)
    monkeypatch.setattr(lesson, "resonance", lambda *arguments: shlex.join(arguments))
    workspace = Workspace(tmp_path / "my data", tmp_path / "out", "alice")
    lesson.show_in_terminal(workspace, name, url="http://127.0.0.1:8000")
    ((what, line),) = shown
    assert what and (str(workspace.output_dir) in line or name == "check-service")
    result = CliRunner().invoke(app, [*shlex.split(line), "--help"])  # which is refused with an option that is not
    assert result.exit_code == 0, result.output
