"""One list of dependencies, one set of commands: what stands twice is compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
import yaml
from jupyter_client.blocking.client import BlockingKernelClient
from lab import jupyter_lab
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from resonance_helpers.core.workspace import SAMPLE_DIR

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("serve", "export", "test")  # what set-up installs
DIRECT = [*PROJECT["dependencies"], *(text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra])]
PINS = {
    canonicalize_name(pin.name): pin
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for pin in [Requirement(line)]
}
COMMANDS = ("setup", "rehearsal", "test")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8-sig")


# ── Dependencies ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize("text", DIRECT)
def test_every_direct_dependency_is_pinned_inside_its_range(text: str) -> None:
    requirement = Requirement(text)
    pin = PINS[canonicalize_name(requirement.name)]
    (version,) = (specifier.version for specifier in pin.specifier)
    assert requirement.specifier.contains(version)


def test_constraints_are_exact_and_sorted() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(PINS)
    assert all(re.fullmatch(r"==[^*+]+", str(pin.specifier)) for pin in PINS.values())  # no build's own part
    assert lines == sorted(lines)


def test_torch_is_the_tested_one_in_any_build() -> None:
    assert str(PINS["torch"].specifier) == "==2.13.0"
    for build in ("2.13.0+cpu", "2.13.0+cu126", "2.13.0+cu130"):
        assert PINS["torch"].specifier.contains(build)


def test_what_runs_here_is_what_is_pinned() -> None:
    from importlib.metadata import PackageNotFoundError, version

    differ = {}
    for name, pin in PINS.items():
        if pin.marker is None or pin.marker.evaluate():
            try:
                if not pin.specifier.contains(version(name), prereleases=True):
                    differ[name] = version(name)
            except PackageNotFoundError:
                differ[name] = "missing"
    assert not differ


def test_conda_repeats_no_dependency() -> None:
    conda = yaml.safe_load(read("environment.yml"))
    *plain, pip = conda["dependencies"]
    assert [re.match(r"[a-z]+", line)[0] for line in plain] == ["python", "pip"]
    assert SpecifierSet(plain[0].removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{','.join(EXTRAS)}]"]}
    assert conda["channels"] == ["conda-forge"]


# ── Commands ─────────────────────────────────────────────────────────────────
def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.M))


def test_every_make_target_is_explained() -> None:
    explained = set(re.findall(r'@echo "make ([a-z-]+)', read("Makefile")))
    assert explained == targets() - {"help", "clean"}
    phony = re.search(r"^\.PHONY: (.*)$", read("Makefile"), flags=re.M)[1].split()
    assert set(phony) == targets()


def test_ci_runs_targets_that_exist() -> None:
    used = re.findall(r"^\s*make ([a-z-]+)", read(".ci/run"), flags=re.M)
    assert {"lint", "test"} <= set(used) <= targets()


def test_ci_lints_all_that_the_issue_names() -> None:
    lint = read("Makefile").split("\nlint:")[1].split("\n\n")[0]
    for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports", "codespell", "nbstripout --verify"):
        assert tool in lint


@pytest.mark.parametrize("command", COMMANDS)
def test_people_without_make_have_the_same_commands(command: str) -> None:
    assert f"--{command})" in read("start.sh")
    assert f"[switch]${command.capitalize()}" in read("start.ps1")
    assert command in targets()


@pytest.mark.parametrize("script", ["start.sh", "start.ps1"])
def test_start_scripts_do_the_same(script: str) -> None:
    text = read(script)
    for same in (
        "-c constraints.txt",
        '-e ".[serve,export,test]"',
        "(3, 11) <= sys.version_info[:2] <= (3, 13)",
        "lab notebooks/01_check_gpu.ipynb",
        "--ServerApp.root_dir=.",
        "https://download.pytorch.org/whl/$",
        ".resonance-setup",
        "-m pytest",
    ):
        assert same in text or same in text.replace('"$constraints"', "constraints.txt"), same
    assert re.search(r"run --output \"rehearsal/", text)


def test_supported_pythons_agree() -> None:
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(">=3.11,<3.14")


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_readme_names_the_commands(readme: str) -> None:
    if not (ROOT / readme).exists():
        pytest.skip(f"{readme} is not written yet")
    text = read(readme)
    for command in ("make rehearsal", "make test", "./start.sh", "start.ps1"):
        assert command in text
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= targets()


# ── Scripts ──────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("shell", "script"), [("sh", "start.sh"), ("bash", ".ci/run")])
def test_scripts_are_whole_and_may_be_run(shell: str, script: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n", str(ROOT / script)], check=True)
    assert os.access(ROOT / script, os.X_OK)


def test_powershell_5_reads_chinese_only_behind_a_mark() -> None:
    assert (ROOT / "start.ps1").read_bytes().startswith(b"\xef\xbb\xbf")


def run_start(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **environ}
    return subprocess.run([ROOT / "start.sh", *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_no_python_is_a_sentence(tmp_path: Path) -> None:
    done = run_start("--setup", PYTHON="python-that-is-not-there", VENV=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "3.11" in done.stderr and "python-that-is-not-there" in done.stderr and "PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # as every too old Python answers the question for its version
    old.chmod(0o755)
    assert run_start("--setup", PYTHON=str(old), VENV=str(tmp_path / "venv")).returncode == 1


def test_an_unknown_option_changes_nothing(tmp_path: Path) -> None:
    done = run_start("--seutp", VENV=str(tmp_path / "venv"))
    assert done.returncode == 2
    assert "--setup" in done.stderr
    assert not (tmp_path / "venv").exists()


def fake_python(folder: Path, torch: str = "") -> Path:
    """A Python that answers as a real one, pretends to have a working ``torch``, and writes down what pip is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python3"
    python.write_text(
        f"""#!/bin/sh
case "$*" in
*"-m pip"*) echo "$@" >>"{folder}/asked" ;;
*"-m venv"*) echo "$@" >>"{folder}/asked"; for venv; do :; done; mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python" ;;
*"import torch"*) [ -n "{torch}" ] && echo "{torch}" ;;
*) exec "{sys.executable}" "$@" ;;
esac
"""
    )
    python.chmod(0o755)
    return python


def test_set_up_happens_once_and_again_when_the_dependencies_change(tmp_path: Path) -> None:
    environ = {"PYTHON": str(fake_python(tmp_path / "bin")), "VENV": str(tmp_path / "a venv")}
    assert run_start("--setup", **environ).returncode == 0
    asked = (tmp_path / "bin/asked").read_text()
    assert "-c constraints.txt -e .[serve,export,test]" in asked
    assert run_start("--setup", **environ).returncode == 0
    assert (tmp_path / "bin/asked").read_text() == asked
    assert run_start("--setup", TORCH="cu126", **environ).returncode == 0
    again = (tmp_path / "bin/asked").read_text().removeprefix(asked)
    assert "torch==2.13.0+cu126 --index-url https://download.pytorch.org/whl/cu126" in again


def test_a_servers_working_torch_is_kept(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    done = run_start("--setup", PYTHON=str(fake_python(tmp_path / "bin", "2.8.0+cu128")), VENV=str(venv))
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "bin/asked").read_text()
    assert "--system-site-packages" in asked
    assert f"-c {venv}/constraints.txt" in asked
    kept = (venv / "constraints.txt").read_text().splitlines()
    assert [line for line in kept if line.startswith("torch==")] == ["torch==2.8.0+cu128"]
    assert len(kept) == len(read("constraints.txt").splitlines())


# ── JupyterLab as the scripts start it ───────────────────────────────────────
def set_up(folder: Path, jupyter: str) -> dict[str, str]:
    """An environment that is set up already; its ``jupyter`` is this line of shell. What start.sh finds it by."""
    environ = {"PYTHON": str(fake_python(folder / "bin")), "VENV": str(folder / "venv")}
    assert run_start("--setup", **environ).returncode == 0
    program = folder / "venv/bin/jupyter"
    program.write_text(f"#!/bin/sh\n{jupyter}\n")
    program.chmod(0o755)
    return environ


@pytest.mark.parametrize(("user", "allowed"), [("0", ["--allow-root"]), ("1000", [])])
def test_jupyterlab_is_opened_on_the_whole_project_at_the_first_lesson(
    tmp_path: Path, user: str, allowed: list[str]
) -> None:
    environ = set_up(tmp_path, 'pwd; printf "%s\\n" "$@"')
    (tmp_path / "bin/id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "bin/id").chmod(0o755)
    done = run_start(**environ, PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    first = ["lab", "notebooks/01_check_gpu.ipynb", "--ServerApp.root_dir=."]
    assert done.stdout.splitlines() == [str(ROOT), *first, *allowed]


@pytest.mark.slow
def test_a_player_in_a_lesson_plays_the_recording_that_lies_beside_the_lessons(tmp_path: Path) -> None:
    """The address is made as JupyterLab does: from the lesson's folder, then from /files/."""
    recording, folder = SAMPLE_DIR / "audio_raw" / "004_我很疼.wav", tmp_path / "lab"
    folder.mkdir()
    environ = set_up(tmp_path, f'shift; exec "{sys.executable}" -m jupyterlab "$@"')
    with jupyter_lab(folder, [ROOT / "start.sh"], token="a-token", **environ) as address:
        with httpx.Client(base_url=address, headers={"Authorization": "token a-token"}, trust_env=False) as http:
            asked = {"path": "notebooks/04_upload_recordings.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
            kernel = http.post("/api/sessions", json=asked | {"name": "04"}).json()["kernel"]["id"]
            link = linked_by(folder / ".jupyter/runtime" / f"kernel-{kernel}.json", recording)
            file = urljoin("/files/notebooks/", link)
            assert http.get(file).content == recording.read_bytes()
        assert httpx.get(f"{address}{file}", trust_env=False).is_redirect  # to the login: nobody else hears it


def linked_by(connection: Path, recording: Path) -> str:
    """Where the player of ``recording`` looks for it, by what the kernel of a lesson shows."""
    kernel = BlockingKernelClient(connection_file=str(connection))
    kernel.load_connection_file()
    kernel.start_channels()
    shown: list[str] = []

    def keep(said: dict) -> None:
        if said["msg_type"] == "execute_result":
            shown.append(said["content"]["data"]["text/html"])

    try:
        kernel.wait_for_ready(timeout=120)  # what it shows before is lost
        code = f"import pathlib, resonance_helpers.ui as ui; ui.player(pathlib.Path({str(recording)!r}))"
        answer = kernel.execute_interactive(code, timeout=120, output_hook=keep)
    finally:
        kernel.stop_channels()
    assert answer["content"]["status"] == "ok", answer["content"]
    return re.search(r'src="([^"]+)"', shown[0])[1]


def test_the_picture_of_the_package_is_the_tree() -> None:
    picture = re.search(
        r"^```\n(cli\n.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert picture
    drawn: dict[str, set[str]] = {}
    name = ""
    for line in picture.group(1).splitlines():
        first, _, held = line.partition(" ")  # a line that begins with spaces goes on with the names of the one above
        name = first or name
        drawn.setdefault(name, set()).update(held.split())

    package = ROOT / "resonance_helpers"
    top = names_in(package)
    assert set(drawn) == top
    for name in ("lessons", "dataset", "asr", "audio", "scoring", "client", "ui", "core"):
        assert drawn[name] == names_in(package / name), name


def test_the_folders_of_the_tests_are_those_of_the_package() -> None:
    tests, package = ROOT / "tests", ROOT / "resonance_helpers"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    assert len(folders) > 15
    assert [str(folder) for folder in folders if not (package / folder).is_dir()] == []


def names_in(package: Path) -> set[str]:
    """Modules and packages directly in ``package``."""
    held = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    return held - {"__init__"}
