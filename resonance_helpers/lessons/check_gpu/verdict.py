"""Lesson 01: what this machine has, whether torch can really use it, and what fits.

Standard library only: this runs before anything is installed. nvidia-ml-py and torch are asked when they are there;
without them ``nvidia-smi``, which comes with every driver, tells the same. :func:`inspect` looks and :func:`judge`
decides, so that every verdict can be tested with plain data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...asr.device import Precision, cpu_precision, gpu_precision
from ...core.guide_facts import GUIDE_CUDA, GUIDE_MEMORY_GB
from ...core.messages import message
from ...core.settings import DEFAULT_BASE_MODEL, PRACTICE_MODEL, TrainingSettings
from .machine import Gpu, Machine, Torch, Version, facts, inspect, show_version
from .memory import SIZES, Need, largest_batch, need, needs

__all__ = [
    "Gpu",
    "GpuVerdict",
    "Machine",
    "Need",
    "Torch",
    "facts",
    "inspect",
    "judge",
    "largest_batch",
    "need",
    "needs",
]

Fitness = Literal["ready", "small", "unusable", "none"]
OLDEST_DRIVER_CUDA: Version = (12, 0)  # the oldest driver that a CUDA 12 build of torch runs on
ENOUGH_DISK_GB = 15.0  # torch for a GPU takes about 7 GB, a model 1 GB, its download the same again
ENOUGH_RAM_GB = 4.0  # whisper-base on the CPU at a phrase-length window


@dataclass(frozen=True)
class GpuVerdict:
    """What the machine is good for. ``reasons`` are sentences, a code before each that can be looked up."""

    level: Fitness
    sentence: str
    reasons: tuple[str, ...]
    model: str
    batch_size: int  # what training should start with
    largest_batch: int  # what would fit, by the estimate; 0 without a usable GPU
    precision: Precision
    precision_reason: str

    @property
    def ok(self) -> bool:
        """Whether a GPU can be used for training here."""
        return self.level in ("ready", "small")


def judge(machine: Machine) -> GpuVerdict:
    """What ``machine`` is good for, against the guide's ≥ 24 GB and CUDA ≥ 12.1, and what to do for less or none."""
    if not machine.gpus:
        reason = _coded("RZ-0107", error=machine.driver_problem) if machine.driver_problem else _coded("RZ-0101")
        return _on_cpu(machine, "unusable" if machine.driver_problem else "none", reason)
    if fault := _torch_fault(machine) or _driver_fault(machine):
        return _on_cpu(machine, "unusable", fault)
    return _on_gpu(machine)


def _on_gpu(machine: Machine) -> GpuVerdict:
    gpu = machine.gpus[0]  # the one that torch takes
    reasons = []
    enough_memory = round(gpu.memory_gb) >= GUIDE_MEMORY_GB  # a card sold as 24 GB reports 23.99
    if not enough_memory:
        reasons.append(_coded("RZ-0108", have=f"{gpu.memory_gb:.1f}", guide=GUIDE_MEMORY_GB))
    enough_cuda = machine.driver_cuda is None or machine.driver_cuda >= GUIDE_CUDA
    if not enough_cuda:
        reasons.append(_coded("RZ-0109", have=show_version(machine.driver_cuda), guide=show_version(GUIDE_CUDA)))
    if machine.torch is None:
        reasons.append(_coded("RZ-0110"))
    model = _model_for(gpu.memory_gb)
    fits = largest_batch(model, gpu.memory_gb)
    level: Fitness = "ready" if enough_memory and enough_cuda else "small"
    batch = min(TrainingSettings().batch_size, fits or 1)
    return GpuVerdict(
        level,
        message(
            f"gpu.verdict.{level}",
            name=gpu.name,
            memory=f"{gpu.memory_gb:.1f}",
            cuda=show_version(machine.driver_cuda),
            model=model,
            batch=batch,
        ),
        (*reasons, *_disk_reason(machine)),
        model,
        batch,
        fits,
        *gpu_precision(gpu.capability or (0, 0)),
    )


def _on_cpu(machine: Machine, level: Fitness, reason: str) -> GpuVerdict:
    model = "openai/whisper-base" if machine.ram_gb >= ENOUGH_RAM_GB else PRACTICE_MODEL
    sentence = message(f"gpu.verdict.{level}", name=machine.gpus[0].name if machine.gpus else "NVIDIA")
    reasons = (reason, message("gpu.without", cores=machine.cpu_cores, model=model), *_disk_reason(machine))
    return GpuVerdict(level, sentence, reasons, model, TrainingSettings().batch_size, 0, *cpu_precision())


def _model_for(memory_gb: float) -> str:
    """The guide's model if it fits at all, else the largest smaller one."""
    smaller = list(SIZES)[: list(SIZES).index(DEFAULT_BASE_MODEL) + 1]
    return next((model for model in reversed(smaller) if largest_batch(model, memory_gb)), smaller[0])


def _torch_fault(machine: Machine) -> str:
    """Why an installed torch cannot compute on the GPU that is there, in one sentence; "" if it can or is missing."""
    torch = machine.torch
    if torch is None or not torch.problem:
        return ""
    said: dict[str, Any] = {
        "torch": torch.version,
        "torch_cuda": show_version(torch.cuda),
        "cuda": show_version(machine.driver_cuda),
    }
    if machine.hidden:
        return _coded("RZ-0105")
    if torch.cuda is None and torch.version != "?":
        return _coded("RZ-0102", **said)
    if torch.cuda and machine.driver_cuda and torch.cuda[0] > machine.driver_cuda[0]:
        return _coded("RZ-0103", **said)
    if "no kernel image" in torch.problem or "not compatible with the current" in torch.problem:
        return _coded("RZ-0104", name=machine.gpus[0].name, **said)
    return _coded("RZ-0106", error=torch.problem, **said)


def _driver_fault(machine: Machine) -> str:
    if machine.torch is None and machine.driver_cuda and machine.driver_cuda < OLDEST_DRIVER_CUDA:
        return _coded("RZ-0112", cuda=show_version(machine.driver_cuda), oldest=show_version(OLDEST_DRIVER_CUDA))
    return ""


def _disk_reason(machine: Machine) -> tuple[str, ...]:
    if machine.free_disk_gb >= ENOUGH_DISK_GB:
        return ()
    return (_coded("RZ-0111", free=f"{machine.free_disk_gb:.0f}", enough=f"{ENOUGH_DISK_GB:.0f}"),)


def _coded(code: str, **facts: Any) -> str:
    return f"[{code}] {message(code, **facts)}"
