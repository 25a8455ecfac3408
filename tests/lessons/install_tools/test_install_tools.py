"""What is needed against what is there, read from the project's own files; builds of torch; the server's widgets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import packaging
import pytest

from resonance_helpers import ResonanceError
from resonance_helpers.lessons.install_tools import logic as environment
from resonance_helpers.lessons.install_tools.logic import satisfies

PYPROJECT = """
[project]
requires-python = ">=3.11,<3.14"
dependencies = ["torch>=2.6", "transformers>=5.0,<6", "huggingface_hub[cli]>=2.0"]
[project.optional-dependencies]
serve = ["fastapi>=0.120"]
test = ["pytest>=9"]
"""
CONSTRAINTS = """# tested
torch==2.13.0
transformers==5.23.0
huggingface-hub==2.4.0
fastapi==0.165.0
jupyterlab-widgets==3.0.17
audioop-lts==0.2.2 ; python_version >= "3.13"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (tmp_path / "constraints.txt").write_text(CONSTRAINTS, encoding="utf-8")
    return tmp_path


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return request.param


def rows(project: Path, **versions: str) -> dict[str, environment.Requirement]:
    found = {
        "torch": "2.13.0+cpu",
        "transformers": "5.23.0",
        "huggingface_hub": "2.4.0",
        "fastapi": "0.165.0",
        **versions,
    }
    return {row.name: row for row in environment.check(project, lambda name: found.get(name) or None, {})}


# ── The table ────────────────────────────────────────────────────────────────
def test_everything_in_place(project: Path) -> None:
    table = rows(project)
    assert {"Python", "torch", "transformers", "huggingface_hub", "fastapi"} <= set(table)
    assert "pytest" not in table  # learners do not need the tests
    for name in ("torch", "transformers", "huggingface_hub", "fastapi"):
        assert (table[name].status, table[name].fix) == ("ok", "")
    assert table["transformers"].tested == "5.23.0"
    assert table["huggingface_hub"].tested == "2.4.0"  # found under its normalised name


def test_missing_and_mismatched_name_the_command(project: Path, lang: str) -> None:
    table = rows(project, transformers="4.44.2", fastapi="")
    assert (table["transformers"].status, table["transformers"].found) == ("mismatch", "4.44.2")
    assert table["transformers"].fix.endswith("-m pip install transformers==5.23.0")
    assert (table["fastapi"].status, table["fastapi"].found) == ("missing", "")
    assert sys.executable in table["fastapi"].fix
    sentence = environment.summary(list(table.values()))
    assert "RZ-0302" in sentence and "transformers" in sentence and "fastapi" in sentence
    assert environment.setup_command() in sentence
    assert not environment.all_ok(table.values())


def test_a_fix_never_moves_torch(project: Path) -> None:
    """Constraints in a fix would: pip would replace a server's own torch by the tested one."""
    for row in rows(project, torch="2.8.0+cu128", transformers="4.0", fastapi="").values():
        assert "-c " not in row.fix and "torch==" not in row.fix


@pytest.mark.parametrize("version", ["2.6.0", "2.8.0+cu128", "2.13.0+cpu", "2.13.0"])
def test_a_torch_in_range_is_well_whatever_its_build(version: str, project: Path) -> None:
    assert rows(project, torch=version)["torch"].status == "ok"


@pytest.mark.parametrize("gone", ["pyproject.toml", "constraints.txt"])
def test_no_project_files(gone: str, project: Path, lang: str) -> None:
    (project / gone).unlink()
    with pytest.raises(ResonanceError) as caught:
        environment.check(project)
    assert caught.value.code == "RZ-0301"
    assert str(project / gone) in str(caught.value) and "notebooks" in str(caught.value)


def test_this_environment_is_complete() -> None:
    faults = [row for row in environment.check() if row.status != "ok"]
    assert not faults, faults


def test_success_sentence(lang: str) -> None:
    good = environment.Requirement("peft", ">=0.21", "0.21.2", "0.21.2", "ok", "")
    assert environment.summary([good]).startswith("✅")
    assert environment.all_ok([good])


def test_prove_imports_for_real() -> None:
    good, bad = environment.prove(["json", "no_such_package_at_all"])
    assert good.ok
    assert not bad.ok and "no_such_package_at_all" in bad.error


def test_lesson_three_needs_nothing_installed_but_packaging(tmp_path: Path) -> None:
    (tmp_path / "packaging").symlink_to(Path(packaging.__file__).parent)
    code = (
        "from resonance_helpers.lessons import install_tools\n"
        "print([row.status for row in install_tools.check()].count('missing'))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=environment.REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


# ── Versions ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("version", ["2.13.0+cu126", "2.13.0a0+gitabc", "2.13.0.dev20260101", "2.13.0rc1"])
def test_builds_and_previews_count_as_their_release(version: str) -> None:
    assert satisfies(version, ">=2.6")
    assert satisfies(version, "==2.13.0")
    assert not satisfies(version, ">=2.14") and not satisfies("unknown", ">=2.6")


# ── Builds of torch ──────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("driver", "capability", "build"),
    [
        (None, None, "cpu"),
        ((11, 8), (8, 6), "cpu"),
        ((12, 1), (8, 9), "cu126"),
        ((12, 8), None, "cu126"),
        ((13, 0), (8, 9), "cu130"),  # the guide's machine
        ((13, 2), None, "cu130"),
        ((13, 0), (7, 0), "cu126"),  # a V100: CUDA 13 has dropped it
        ((12, 8), (12, 0), "cu130"),  # an RTX 50 with an old driver: the driver has to go up
    ],
)
def test_build_that_fits(driver: tuple | None, capability: tuple | None, build: str, lang: str) -> None:
    advice = environment.recommend_torch(driver, capability, find=lambda name: None)
    assert advice.build is not None
    assert advice.build.key == build
    assert advice.command == advice.build.command
    if driver:
        assert f"{driver[0]}.{driver[1]}" in advice.sentence


def test_driver_faults_have_codes(lang: str) -> None:
    assert "RZ-0303" in environment.recommend_torch((11, 8), find=lambda name: None).sentence
    new_card = environment.recommend_torch((12, 8), (12, 0), find=lambda name: None).sentence
    assert "RZ-0304" in new_card and "580" in new_card


@pytest.mark.parametrize("version", ["2.6.0+cu124", "2.13.0+cu130", "2.14.1"])
def test_working_torch_is_never_told_to_be_reinstalled(version: str, lang: str) -> None:
    advice = environment.recommend_torch((12, 4), (8, 9), works=True, find=lambda name: version)
    assert (advice.build, advice.command) == (None, "")
    assert version in advice.sentence and "pip install" not in advice.sentence


def test_a_cpu_build_on_a_gpu_machine_is_replaced() -> None:
    advice = environment.recommend_torch((13, 0), (8, 9), works=False, find=lambda name: "2.13.0+cpu")
    assert advice.build is not None and advice.build.key == "cu130"


def test_a_cpu_machine_keeps_any_build_in_range() -> None:
    assert environment.recommend_torch(None, find=lambda name: "2.9.0+cu128").build is None
    assert environment.recommend_torch(None, find=lambda name: "2.1.0").build is not None


def test_commands_name_the_build_in_the_version() -> None:
    """Else pip calls the requirement satisfied by whichever build is there and does nothing."""
    tested = environment.read_constraints()["torch"]
    for build in environment.torch_builds():
        assert build.download_gb > 0 and build.title and build.for_whom
        if sys.platform != "darwin":
            assert f"torch=={tested}+{build.key} " in build.command
            assert build.command.endswith(f"download.pytorch.org/whl/{build.key}")


# ── The Jupyter server's half of the widgets ─────────────────────────────────
def extension(prefix: Path, version: str) -> Path:
    package = prefix / "share/jupyter" / environment.WIDGETS_EXTENSION
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"version": version}))
    return prefix


def server(tmp_path: Path, python: Path) -> Path:
    """A /proc with one process: a Jupyter server on ``python``."""
    process = tmp_path / "proc" / "4242"
    process.mkdir(parents=True)
    (process / "cmdline").write_bytes(f"{python}\0{python.parent}/jupyter-lab\0".encode())
    return tmp_path / "proc"


def test_the_servers_python_is_looked_up(tmp_path: Path) -> None:
    python = tmp_path / "conda/bin/python3.12"
    proc = server(tmp_path, python)
    assert environment.server_python({"JPY_PARENT_PID": "4242"}, proc) == python
    for unknown in ({}, {"JPY_PARENT_PID": "1"}, {"JPY_PARENT_PID": "0x10"}, {"JPY_PARENT_PID": "../4242"}):
        assert environment.server_python(unknown, proc) == Path(sys.executable)


@pytest.mark.parametrize(("version", "status"), [("5.0.16", "ok"), ("3.1.9", "mismatch"), (None, "missing")])
def test_widgets_of_the_server_are_checked_apart(
    version: str | None, status: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    conda = tmp_path / "conda"
    if version:
        extension(conda, version)
    monkeypatch.setattr(environment, "server_python", lambda environ: conda / "bin/python")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    row = environment.check(project, lambda name: "99", {})[-1]
    assert (row.status, row.found) == (status, version or "")
    if status != "ok":
        assert str(conda / "bin/python") in row.fix and "jupyterlab_widgets==3.0.17" in row.fix


def test_folders_named_by_jupyter_path_count(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extension(tmp_path / "elsewhere", "5.0.1")
    monkeypatch.setattr(environment, "server_python", lambda environ: tmp_path / "bare/bin/python")
    environ = {"JUPYTER_PATH": str(tmp_path / "elsewhere/share/jupyter")}
    assert environment.check(project, lambda name: "99", environ)[-1].found == "5.0.1"


def test_vs_code_draws_widgets_itself(project: Path) -> None:
    row = environment.check(project, lambda name: "99", {"VSCODE_PID": "1"})[-1]
    assert (row.status, row.found) == ("ok", "VS Code")
