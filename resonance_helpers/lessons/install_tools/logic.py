"""Lesson 03: what is needed, what was found, and the command that mends it.

The needs are read from ``pyproject.toml`` and the tested versions from ``constraints.txt`` themselves, so that no
second list can go stale. It needs the standard library and ``packaging``, which every notebook kernel has, because it
runs in order to install the rest. A torch that works is never replaced: on a GPU server it is several GB that fit the
driver.
"""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement as PackageRequirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ...core.messages import ResonanceError, message
from ...core.shell import typed
from ...core.workspace import REPOSITORY, read_json

Status = Literal["ok", "missing", "mismatch"]
CudaVersion = tuple[int, int]
Find = Callable[[str], str | None]
EXTRAS = ("serve",)  # of pyproject.toml: what the lessons use beside the package's own dependencies
WIDGETS_EXTENSION = Path("labextensions", "@jupyter-widgets", "jupyterlab-manager", "package.json")
WIDGETS_EXTENSION_NEEDED = ">=5,<6"  # the half that belongs to ipywidgets 8; it counts its own versions
# What the guide installs and proves by importing it
PROVEN = ("torch", "transformers", "peft", "datasets", "soundfile", "librosa", "evaluate", "jiwer")


@dataclass(frozen=True)
class Requirement:
    """One line of the lesson's table. Versions are texts as their owners write them; ``fix`` is "" when all is well."""

    name: str
    needed: str
    found: str
    tested: str
    status: Status
    fix: str


@dataclass(frozen=True)
class Proof:
    """Whether a package can really be imported, and what it said if not."""

    name: str
    error: str

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(frozen=True)
class TorchBuild:
    """One of the builds of torch: which CUDA it brings and how to get it. ``download_gb`` is approximate."""

    key: Literal["cpu", "cu126", "cu130"]
    title: str
    download_gb: float
    for_whom: str
    command: str


@dataclass(frozen=True)
class TorchAdvice:
    """The build that fits this machine; None says that the installed torch is right and must stay."""

    build: TorchBuild | None
    sentence: str

    @property
    def command(self) -> str:
        """What to run; "" where the installed torch stays."""
        return self.build.command if self.build else ""


# ── The table ────────────────────────────────────────────────────────────────
def check(
    root: Path = REPOSITORY, find: Find | None = None, environ: Mapping[str, str] = os.environ
) -> list[Requirement]:
    """Every package that the lessons need in this kernel, then the widgets of the Jupyter server, which may be another.

    ``find`` gives the installed version of a package, None where it is missing. Raises RZ-0301 (no project files).
    """
    find = find or installed
    tested = read_constraints(root)
    project = _read_project(root)
    rows = [_python_row(project["requires-python"])]
    rows += [_package_row(text, tested, find) for text in direct_dependencies(root)]
    return [*rows, _server_widgets_row(tested, environ)]


def all_ok(requirements: Iterable[Requirement]) -> bool:
    return all(requirement.status == "ok" for requirement in requirements)


def summary(requirements: Sequence[Requirement]) -> str:
    """One sentence: everything is there, or how much is not and the command that mends it."""
    faults = [requirement for requirement in requirements if requirement.status != "ok"]
    if not faults:
        return message("environment.ok", count=len(requirements))
    names = message("list.comma").join(requirement.name for requirement in faults)
    return f"[RZ-0302] {message('RZ-0302', count=len(faults), names=names, setup=setup_command())}"


def prove(names: Iterable[str] = PROVEN) -> tuple[Proof, ...]:
    """Import each package, as the guide does after installing: what is installed may still be broken."""
    return tuple(Proof(name, _import_error(name)) for name in names)


def setup_command() -> str:
    """What sets everything up in an environment of its own, from the project's folder."""
    return "powershell -ExecutionPolicy Bypass -File start.ps1 -Setup" if os.name == "nt" else "./start.sh --setup"


def kernel_command() -> str:
    """What makes this Python a kernel in every Jupyter of this user: for a server image with its own Jupyter."""
    name = "Resonance 共鸣"
    return typed(sys.executable, "-m", "ipykernel", "install", "--user", "--name", "resonance", "--display-name", name)


def direct_dependencies(root: Path = REPOSITORY) -> tuple[str, ...]:
    """The requirements of ``pyproject.toml`` that the lessons use, as written there."""
    project = _read_project(root)
    return (*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra]))


def read_constraints(root: Path = REPOSITORY) -> dict[str, str]:
    """Tested versions by normalised package name, from ``constraints.txt``."""
    lines = _read(root / "constraints.txt").splitlines()
    pins = (line.split(";")[0].split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name.strip()): version.strip() for name, version in pins}


def installed(name: str) -> str | None:
    """The version of ``name`` in this kernel's environment."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def satisfies(version: str, versions: str) -> bool:
    """Whether the release of ``version`` lies in ``versions`` such as ``>=5.0,<6``.

    A build's own part (``+cu126``) and pre-release marks don't count: a torch that a server brings is kept.
    """
    try:
        return SpecifierSet(versions).contains(Version(version).base_version)
    except InvalidVersion:
        return False


def _read_project(root: Path) -> dict:
    return tomllib.loads(_read(root / "pyproject.toml"))["project"]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResonanceError("RZ-0301", path=path) from None


def _python_row(needed: str) -> Requirement:
    found = ".".join(str(part) for part in sys.version_info[:3])
    right = satisfies(found, needed)
    fix = "" if right else message("environment.python.fix", setup=setup_command())
    return Requirement("Python", needed, found, "", "ok" if right else "mismatch", fix)


def _package_row(text: str, tested: Mapping[str, str], find: Find) -> Requirement:
    wanted = PackageRequirement(text)
    name, needed = wanted.name, str(wanted.specifier)
    version, pinned = find(name), tested.get(canonicalize_name(name), "")
    status: Status = "missing" if version is None else "ok" if satisfies(version, needed) else "mismatch"
    # The one package by its tested version, and no -c: constraints would also move a torch that works.
    fix = typed(sys.executable, "-m", "pip", "install", f"{name}=={pinned}" if pinned else name + needed)
    if name == "torch":
        fix = message("environment.torch.fix")
    return Requirement(name, needed, version or "", pinned, status, "" if status == "ok" else fix)


def _import_error(name: str) -> str:
    try:
        importlib.import_module(name)
    except Exception as error:  # a broken package raises whatever it likes
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


# ── The Jupyter server, which may live in another environment than the kernel ─
def _server_widgets_row(tested: Mapping[str, str], environ: Mapping[str, str]) -> Requirement:
    """Sliders and progress bars need ``ipywidgets`` in the kernel *and* its other half in the server's environment."""
    name, needed = message("environment.server_widgets"), WIDGETS_EXTENSION_NEEDED
    if "VSCODE_PID" in environ or "VSCODE_CWD" in environ:  # VS Code draws widgets by itself
        return Requirement(name, needed, "VS Code", "", "ok", "")
    python = server_python(environ)
    version = find_widgets_extension(_jupyter_folders(python, environ))
    status: Status = "missing" if version is None else "ok" if satisfies(version, needed) else "mismatch"
    fix = message("environment.server_widgets.fix", python=python, version=tested["jupyterlab-widgets"])
    return Requirement(name, needed, version or "", "", status, "" if status == "ok" else fix)


def server_python(environ: Mapping[str, str] = os.environ, proc: Path = Path("/proc")) -> Path:
    """The Python that the Jupyter server runs on. The server tells its kernels its process; where that cannot be looked
    up (not Linux, or no server at all) this kernel's own Python is the best guess."""
    process = environ.get("JPY_PARENT_PID", "")
    try:
        words = (proc / process / "cmdline").read_bytes().split(b"\0") if process.isdigit() else []
    except OSError:
        words = []
    first = Path(os.fsdecode(words[0])) if words and words[0] else Path()
    return first if first.name.startswith("python") and first.is_absolute() else Path(sys.executable)


def find_widgets_extension(jupyter_folders: Iterable[Path]) -> str | None:
    """The version of the widgets' half for JupyterLab in the first of ``jupyter_folders`` that has it."""
    for folder in jupyter_folders:
        package = folder / WIDGETS_EXTENSION
        if package.is_file():
            return read_json(package)["version"]
    return None


def _jupyter_folders(python: Path, environ: Mapping[str, str]) -> list[Path]:
    named = [Path(folder) for folder in environ.get("JUPYTER_PATH", "").split(os.pathsep) if folder]
    prefixes = (python.parent.parent, python.parent)  # conda on Windows has python.exe in the prefix itself
    user = Path(environ.get("APPDATA", ""), "jupyter") if os.name == "nt" else Path.home() / ".local/share/jupyter"
    shared = [Path("/usr/local/share/jupyter"), Path("/usr/share/jupyter")]
    return [*named, *(prefix / "share/jupyter" for prefix in prefixes), user, *shared]


# ── Builds of torch ──────────────────────────────────────────────────────────
# From PyTorch's release matrix for 2.13 (its RELEASE.md): CUDA 12.6 for compute capability 5.0 to 9.0, CUDA 13.0 from
# 7.5 on. A CUDA 12 build runs on any driver of CUDA 12, a CUDA 13 build on any of CUDA 13.
_OLDEST_DRIVER_CUDA: CudaVersion = (12, 0)
_FIRST_OF_CUDA_13: CudaVersion = (7, 5)
_LAST_OF_CUDA_12: CudaVersion = (9, 0)
# Downloads: the CPU wheel was weighed (192 MB on Linux); the others are what users report, libraries of CUDA included.
_DOWNLOAD_GB = {"cpu": 0.2, "cu126": 3.0, "cu130": 2.5}


def torch_builds(root: Path = REPOSITORY) -> tuple[TorchBuild, ...]:
    """The builds of the tested torch: CPU, CUDA 12, CUDA 13."""
    return tuple(_torch_build(key, read_constraints(root)["torch"]) for key in ("cpu", "cu126", "cu130"))


def recommend_torch(
    driver_cuda: CudaVersion | None,
    capability: CudaVersion | None = None,
    works: bool = False,
    find: Find | None = None,
) -> TorchAdvice:
    """The build for a driver that supports ``driver_cuda`` (None: no GPU) and a card of ``capability``.

    ``works`` says that the installed torch can compute on the GPU: then it stays, whatever the tested version is.
    """
    cpu, cuda12, cuda13 = torch_builds()
    here = (find or installed)("torch")
    wanted = {each.name: str(each.specifier) for each in map(PackageRequirement, direct_dependencies())}
    in_range = here is not None and satisfies(here, wanted["torch"])
    if in_range and (works or driver_cuda is None):
        return TorchAdvice(None, message("environment.torch.keep", version=here))
    if driver_cuda is None:
        return TorchAdvice(cpu, message("environment.torch.fits_cpu"))
    driver = f"{driver_cuda[0]}.{driver_cuda[1]}"
    if driver_cuda < _OLDEST_DRIVER_CUDA:
        return TorchAdvice(cpu, f"[RZ-0303] {message('RZ-0303', driver=driver)}")
    new_card = capability is not None and capability > _LAST_OF_CUDA_12
    old_card = capability is not None and capability < _FIRST_OF_CUDA_13
    if driver_cuda < (13, 0) and new_card:
        return TorchAdvice(cuda13, f"[RZ-0304] {message('RZ-0304', driver=driver)}")
    build = cuda13 if driver_cuda >= (13, 0) and not old_card else cuda12
    return TorchAdvice(build, message("environment.torch.fits", driver=driver, title=build.title))


def _torch_build(key: Literal["cpu", "cu126", "cu130"], version: str) -> TorchBuild:
    # The build is named in the version as well: for pip 2.13.0 is satisfied by any build that is already there.
    pip = (sys.executable, "-m", "pip", "install")
    command = typed(*pip, f"torch=={version}+{key}", "--index-url", f"https://download.pytorch.org/whl/{key}")
    if sys.platform == "darwin":
        command = typed(*pip, f"torch=={version}")
    title, for_whom = message(f"environment.torch.{key}.title"), message(f"environment.torch.{key}.for")
    return TorchBuild(key, title, _DOWNLOAD_GB[key], for_whom, command)
