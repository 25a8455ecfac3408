"""What this machine has. Nothing here decides anything, and nothing here raises: what cannot be asked is unknown."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...asr.device import first_line
from ...core.messages import message
from ...core.workspace import REPOSITORY

Version = tuple[int, int]
GB = 1024**3  # bytes; what sellers of graphics cards call a GB


@dataclass(frozen=True)
class Gpu:
    """One graphics card. ``capability`` is NVIDIA's compute capability, such as (8, 9); None where nobody says it."""

    name: str
    memory_gb: float
    capability: Version | None = None


@dataclass(frozen=True)
class Torch:
    """An installed torch: its version, the CUDA it was built with, why it cannot compute on the GPU ("" if it can)."""

    version: str
    cuda: Version | None
    problem: str = ""


@dataclass(frozen=True)
class Machine:
    """What :func:`inspect` found. Memory and disk in GB of 1024³ bytes."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    driver_cuda: Version | None = None
    driver_problem: str = ""  # what a driver that is there but does not answer said
    torch: Torch | None = None
    hidden: bool = False  # CUDA_VISIBLE_DEVICES hides the GPU from torch
    cpu_cores: int = 1
    ram_gb: float = 0.0
    free_disk_gb: float = 0.0

    @property
    def memory_gb(self) -> float | None:
        """Memory of the GPU that torch takes; None without one."""
        return self.gpus[0].memory_gb if self.gpus else None

    @property
    def torch_works(self) -> bool:
        """Whether an installed torch can compute on the GPU."""
        return self.torch is not None and not self.torch.problem


def inspect(disk: Path = REPOSITORY) -> Machine:
    """The machine that this Python runs on; ``disk`` is a folder on the disk whose free space counts. Never raises."""
    gpus, driver, driver_cuda, driver_problem = _ask_driver()
    torch, torch_gpus = _ask_torch()
    return Machine(
        gpus=gpus or torch_gpus,
        driver=driver,
        driver_cuda=driver_cuda,
        driver_problem=driver_problem,
        torch=torch,
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"),
        cpu_cores=_cpu_cores(),
        ram_gb=_ram_bytes() / GB,
        free_disk_gb=shutil.disk_usage(disk).free / GB,
    )


def parse_version(text: str) -> Version | None:
    """``13.0`` in ``text`` as (13, 0); None where no such number stands."""
    found = re.search(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else None


def show_version(version: Version | None) -> str:
    return f"{version[0]}.{version[1]}" if version else message("gpu.unknown")


def parse_nvidia_smi(cards: str, header: str) -> tuple[tuple[Gpu, ...], str, Version | None]:
    """GPUs, driver and its CUDA from two outputs of nvidia-smi: the CSV of :data:`_SMI_QUERY` and the plain picture."""
    gpus, driver = [], ""
    for line in cards.strip().splitlines():
        name, memory, capability, driver = (part.strip() for part in line.split(","))
        gpus.append(Gpu(name, float(memory) / 1024, parse_version(capability)))  # MiB
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\d+\.\d+)", header)
    return tuple(gpus), driver, parse_version(cuda[1]) if cuda else None


_SMI_QUERY = ("--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader,nounits")


def _ask_driver() -> tuple[tuple[Gpu, ...], str, Version | None, str]:
    if importlib.util.find_spec("pynvml"):
        return _ask_nvml()
    if not shutil.which("nvidia-smi"):
        return (), "", None, ""
    try:
        return *parse_nvidia_smi(_nvidia_smi(*_SMI_QUERY), _nvidia_smi()), ""
    except subprocess.CalledProcessError as error:
        return (), "", None, (error.stdout or error.stderr or str(error)).strip().splitlines()[0]
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return (), "", None, first_line(error)


def _nvidia_smi(*arguments: str) -> str:
    return subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, check=True, timeout=30).stdout


def _ask_nvml() -> tuple[tuple[Gpu, ...], str, Version | None, str]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = error.value in (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        return (), "", None, "" if absent else first_line(error)
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        gpus = tuple(
            Gpu(
                pynvml.nvmlDeviceGetName(handle),
                pynvml.nvmlDeviceGetMemoryInfo(handle).total / GB,
                tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            )
            for handle in handles
        )
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()  # 13000 is 13.0
        return gpus, pynvml.nvmlSystemGetDriverVersion(), (cuda // 1000, cuda % 1000 // 10), ""
    except pynvml.NVMLError as error:
        return (), "", None, first_line(error)
    finally:
        pynvml.nvmlShutdown()


def _ask_torch() -> tuple[Torch | None, tuple[Gpu, ...]]:
    """The installed torch, tried out with a tiny computation, and the GPUs that it sees (for cards without NVML)."""
    if importlib.util.find_spec("torch") is None:
        return None, ()
    try:
        import torch
    except (ImportError, OSError) as error:  # such as a library of CUDA that is missing
        return Torch("?", None, first_line(error)), ()
    cuda = parse_version(torch.version.cuda or torch.version.hip or "")
    try:
        torch.ones(2, device="cuda").sum().item()
    except (RuntimeError, AssertionError) as error:
        return Torch(torch.__version__, cuda, first_line(error)), ()
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return Torch(torch.__version__, cuda), tuple(
        Gpu(p.name, p.total_memory / GB, (p.major, p.minor)) for p in properties
    )


def _cpu_cores() -> int:
    """Cores that this process may use: a rented container sees all of its host's."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()  # such as "400000 100000": four cores
    return min(cores, max(1, int(quota[0]) // int(quota[1]))) if quota and quota[0] != "max" else cores


def _ram_bytes() -> int:
    if sys.platform == "win32":
        return _windows_ram_bytes()
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_read("/sys/fs/cgroup/memory.max"), _read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
    return min([ram, *(int(limit) for limit in limits if limit.isdigit())])


def _windows_ram_bytes() -> int:
    class MemoryStatus(ctypes.Structure):  # MEMORYSTATUSEX of the Windows API
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in ("total", "free", "page", "page_free", "virtual", "v_free", "extended")
            ),
        )

    windows: Any = ctypes.windll  # type: ignore[attr-defined]
    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""  # no such limit on this machine


def facts(machine: Machine) -> tuple[tuple[str, str], ...]:
    """What was found, as rows of a table: what it is, what was found."""
    unknown, torch = message("gpu.unknown"), machine.torch
    rows = [("gpu", gpu.name) for gpu in machine.gpus] or [("gpu", message("gpu.no_gpu"))]
    if machine.gpus:
        rows += [
            ("memory", f"{machine.gpus[0].memory_gb:.1f} GB"),
            ("driver", machine.driver or unknown),
            ("driver_cuda", show_version(machine.driver_cuda)),
        ]
    rows.append(("torch", torch.version if torch else message("gpu.torch.missing")))
    if torch:
        rows.append(("torch_cuda", show_version(torch.cuda) if torch.cuda else message("gpu.torch.cpu_build")))
        rows.append(("torch_works", message("gpu.no") if torch.problem else message("gpu.yes")))
    rows += [
        ("cores", str(machine.cpu_cores)),
        ("ram", f"{machine.ram_gb:.1f} GB"),
        ("disk", f"{machine.free_disk_gb:.0f} GB"),
    ]
    return tuple((message(f"gpu.fact.{name}"), value) for name, value in rows)
