"""Where a model computes, at which precision, and why: one choice for training, evaluation and the service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.messages import message

Kind = Literal["cuda", "cpu"]
Precision = Literal["bf16", "fp16", "fp32"]
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})  # as Linux names them; oneDNN, which torch computes with, uses both


@dataclass(frozen=True)
class Device:
    """A device of torch. ``kind`` is what ``torch.device`` takes; ``name`` is for a person."""

    kind: Kind
    name: str
    precision: Precision
    precision_reason: str


def choose_device() -> Device:
    """The device that this process should compute on: the first GPU that torch can really use, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return _on_cpu()
    try:
        torch.ones(2, device="cuda").sum().item()  # a card that this build does not know fails only here
    except RuntimeError as error:
        return _on_cpu(because=first_line(error))
    precision, reason = gpu_precision(torch.cuda.get_device_capability(0))
    return Device("cuda", torch.cuda.get_device_name(0), precision, reason)


def gpu_precision(capability: tuple[int, int]) -> tuple[Precision, str]:
    """bf16 on a GPU that computes in it (compute capability 8.0, Ampere, and newer), else fp16; with the reason."""
    if capability >= (8, 0):
        return "bf16", message("device.bf16")
    return "fp16", message("device.fp16", capability=f"{capability[0]}.{capability[1]}")


def cpu_precision(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[Precision, str]:
    """bf16 on a CPU that multiplies in it, else fp32; with the reason. Linux says which it is, other systems do not.

    Without those instructions torch computes bf16 in a roundabout way that is slower than fp32.
    """
    known = cpuinfo.read_text(encoding="utf-8", errors="replace").split() if cpuinfo.exists() else []
    if not BF16_FLAGS.isdisjoint(known):
        return "bf16", message("device.cpu_bf16")
    return "fp32", message("device.fp32")


def first_line(error: BaseException) -> str:
    """What ``error`` says, without the advice that torch adds below it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _on_cpu(because: str = "") -> Device:
    precision, reason = cpu_precision()
    if because:
        reason = message("device.gpu_refused", error=because, reason=reason)
    return Device("cpu", "CPU", precision, reason)
