"""The two READMEs say the same, and what they say is so."""

from __future__ import annotations

import re
import tomllib

import pytest

from resonance_helpers.cli import app
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.lessons.install_tools import logic as environment

ENGLISH = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CHINESE = (REPOSITORY / "README.zh.md").read_text(encoding="utf-8")
both = pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=["en", "zh"])


def headings(readme: str) -> list[int]:
    """The level of each heading, in order."""
    prose = re.sub(r"```.*?```", "", readme, flags=re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def test_headings_code_blocks_and_links_are_the_same_in_both_languages() -> None:
    assert headings(ENGLISH) == headings(CHINESE)
    blocks = re.compile(r"```.*?```", re.DOTALL)
    assert blocks.findall(ENGLISH) == blocks.findall(CHINESE)
    in_table = re.compile(r"^\|.*\]\(([^)]+)\).*\]\(([^)]+)\)", re.MULTILINE)
    assert in_table.findall(ENGLISH) == in_table.findall(CHINESE)


def test_the_chinese_one_opens_with_where_to_start() -> None:
    opening = [line for line in CHINESE.splitlines() if line.strip()][2]
    assert opening.startswith("**从这里开始**")


@both
def test_links_lead_somewhere(readme: str) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme):
        assert (REPOSITORY / target).exists(), target


@both
def test_every_module_has_its_sentence(readme: str) -> None:
    package = REPOSITORY / "resonance_helpers"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    missing = {name for name in modules - {"__init__"} if f"`{name}`" not in readme}
    assert not missing


@both
def test_commands_that_are_named_exist(readme: str) -> None:
    targets = set(re.findall(r"^make ([a-z-]+)", readme, re.MULTILINE))
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert {"rehearsal", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    named = re.findall(r"^\.venv/bin/(\S+) ([a-z-]+)", readme, re.MULTILINE)
    subcommands = {*(command.name or command.callback.__name__ for command in app.registered_commands), "keys"}
    assert named and {script for script, _ in named} <= set(scripts) and {name for _, name in named} <= subcommands
    assert r".venv\Scripts\resonance" in readme, "Windows"


@both
def test_builds_of_torch_and_their_sizes_are_those_of_lesson_03(readme: str) -> None:
    for build in environment.torch_builds():
        assert f"TORCH={build.key} " in readme
        assert re.search(rf"`{build.key}`[^`]*?{build.download_gb:g} GB", readme), build
