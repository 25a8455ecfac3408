"""What the parameters of the ten lessons may be, in one place: their types and bounds.

Values come from a cell that a person edited, from ``resonance run --set``, or from a YAML file that papermill reads, in
which ``001`` is the number one and an empty value is nothing. Standard library only, as lessons 01–03 are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .messages import ResonanceError, message
from .settings import OTHER_SOUNDS, PRESETS, SAMPLE_PATIENT, TrainingSettings

_FOLDERS = ("DATA_DIR", "OUTPUT_DIR", "HEALTHY_DIR", "BASE_MODEL")  # text, or from Python a Path
_MAX_PORT, _MAX_SEED = 2**16 - 1, 2**32 - 1  # numpy takes no larger seed
_EXAMPLES: dict[str, str | int | float | bool] = {  # of each parameter a value, whose type is the one wanted
    "DATA_DIR": "/root/data",
    "OUTPUT_DIR": "/root/output",
    "PATIENT_ID": SAMPLE_PATIENT,
    "BASE_MODEL": "openai/whisper-small",
    "LANGUAGE": "zh",
    "PRESET": "default",
    "STEPS": TrainingSettings.steps,
    "BATCH_SIZE": TrainingSettings.batch_size,
    "SEED": TrainingSettings.seed,
    "EXAMPLE": 17,
    "HEALTHY_DIR": "/root/healthy",
    "OTHER_SOUNDS": OTHER_SOUNDS,
    "WHOLE_MODELS": "merged, ct2-int8",
    "PORT": 0,
    "PUBLIC_URL": "https://example.com",
    "SSH_COMMAND": "ssh -p 12345 root@connect.example.com",
    "LOCAL_PORT": 8888,
    "REMOTE_PORT": 8888,
    "YUAN_PER_HOUR": 2.0,
    "PROVE": True,
}
_BOUNDS: dict[str, tuple[float, float]] = {
    "STEPS": (1, math.inf),
    "BATCH_SIZE": (1, math.inf),
    "SEED": (0, _MAX_SEED),
    "EXAMPLE": (0, math.inf),
    "OTHER_SOUNDS": (0, math.inf),
    "PORT": (0, _MAX_PORT),
    "LOCAL_PORT": (1, _MAX_PORT),
    "REMOTE_PORT": (1, _MAX_PORT),
    "YUAN_PER_HOUR": (0, 1e6),
}


def check_parameters(given: Mapping[str, Any]) -> None:
    """Check the lessons' parameters among ``given``, such as a notebook's ``globals()``, and look at nothing else.

    Raises RZ-1405 (another type) and RZ-0001 (out of bounds, or none of the choices).
    """
    for name in _EXAMPLES.keys() & given.keys():
        value = given[name]
        if not (name in _FOLDERS and isinstance(value, Path)):
            check_type(name, value, _EXAMPLES[name])
        if name == "PRESET" and value not in PRESETS:
            raise ResonanceError("RZ-0001", name=name, value=value, allowed=" / ".join(PRESETS))
        low, high = _BOUNDS.get(name, (-math.inf, math.inf))
        if name in _BOUNDS and not low <= value <= high:
            allowed = f"≥ {low:g}" if high == math.inf else f"{low:g}–{high:.0f}"
            raise ResonanceError("RZ-0001", name=name, value=value, allowed=allowed)


def check_type(name: str, value: Any, example: Any) -> None:
    """RZ-1405 where ``value`` is of another type than ``example``; a whole number is a number too."""
    wanted = type(example)
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        kind = message(f"workflows.kind.{wanted.__name__ if wanted in (int, float, bool, str) else 'other'}")
        raise ResonanceError("RZ-1405", name=name, value=value, kind=kind, default=repr(example))
