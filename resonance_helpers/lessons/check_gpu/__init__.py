"""Lesson 01: the graphics card of this machine, and what it is enough for."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("memory_bars_svg",),
    "machine": ("Gpu", "Machine", "Torch", "Version", "facts", "inspect", "show_version"),
    "memory": ("Need", "SIZES", "largest_batch", "need", "needs"),
    "verdict": ("ENOUGH_DISK_GB", "ENOUGH_RAM_GB", "Fitness", "OLDEST_DRIVER_CUDA", "GpuVerdict", "judge"),
    "view": ("check_gpu", "show_gpu_verdict", "show_machine"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
