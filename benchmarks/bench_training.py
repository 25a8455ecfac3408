"""How much faster is a training step than the guide's? Both sides in one run: ``make bench-training``.

    python benchmarks/bench_training.py --data DATA_DIR --base-model FOLDER --steps 20

The same recordings, batch and threads on both sides, and the guide's LoRA for all but our default. Each side is a
process of its own, so that its peak memory is its own too. The guide's side is timed without loading its batches (its
features are ready in memory), ours with everything that a step needs. Prints JSON; the median of the steps, with the
first and third quartile.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from resonance_helpers import open_workspace
from resonance_helpers.asr.device import Precision, choose_device
from resonance_helpers.core.settings import PRESETS
from resonance_helpers.core.workspace import Workspace, write_json
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.convert_audio import logic as conversion

HERE = Path(__file__).resolve().parent
PATIENT = "bench"
WINDOW_ONLY: dict[str, Any] = {
    "augment": (),
    "native_every": 0,
    "lora": PRESETS["guide"].lora,
}  # and nothing else differs from the guide's step
SIDES: dict[str, tuple[Precision | None, dict[str, Any]]] = {  # None: what the package chooses for this machine
    "window_only_fp32": ("fp32", WINDOW_ONLY),
    "window_only": (None, WINDOW_ONLY),
    "default": (None, {}),
}


def ours(folder: Path, base_model: str, steps: int, side: str) -> dict[str, Any]:
    """Train ``steps`` steps of 8 with the package; seconds of a step from the run's own record."""
    workspace = open_workspace(folder / "data", folder / side, PATIENT)
    precision, changes = SIDES[side]
    settings = replace(PRESETS["default"], steps=steps, eval_every=steps, **changes)
    chosen = choose_device()
    with patch(
        "resonance_helpers.asr.whisper.choose_device", lambda: replace(chosen, precision=precision or chosen.precision)
    ):
        result = training.train(workspace, settings, base_model)
    points = [p for p in result.history if p.loss is not None and p.step <= steps]
    seconds = [(b.seconds - a.seconds) / (b.step - a.step) for a, b in pairwise(points)]
    return {"step_seconds": seconds, "peak_mb": peak_mb(), "precision": result.precision}


def peak_mb() -> float:
    """The largest memory that this process has held, in MB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def prepare(data: Path, folder: Path) -> Workspace:
    """A copy of the recordings, converted; and the same training clips as the guide wants them."""
    shutil.copytree(data, folder / "data", copy_function=shutil.copyfile)
    workspace = open_workspace(folder / "data", folder / "window_only", PATIENT)
    conversion.convert(workspace)
    train = split_utterances(load_utterances(workspace), PRESETS["default"].seed).train
    write_json(folder / "guide" / "labels.json", [{"audio": str(u.wav), "text": u.text} for u in train])
    return workspace


def run(command: list[str]) -> dict[str, Any]:
    """The JSON on the last line of a child process."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(measured: dict[str, Any], skip: int) -> dict[str, Any]:
    """Median and quartiles of the seconds of a step, the first ``skip`` values left out as warm-up."""
    low, middle, high = np.quantile(measured["step_seconds"][skip:], [0.25, 0.5, 0.75])
    return {
        "step_s": round(middle, 3),
        "q1": round(low, 3),
        "q3": round(high, 3),
        "peak_mb": round(measured["peak_mb"]),
        "precision": measured["precision"],
    }


def main() -> None:
    """Read the command line, run both sides, print one JSON object."""
    parser = argparse.ArgumentParser(description="Training steps: the guide and this package, in one run.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", choices=SIDES, help="(used by itself: one side, in this process)")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(ours(options.data, options.base_model, options.steps, options.side)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(options.data, folder)
        same = ["--base-model", options.base_model, "--steps", str(options.steps)]
        guide_side = [str(HERE / "guide_train.py"), "--data", str(folder / "guide"), "--output", str(folder / "out")]
        results = {"guide": summary(run([*guide_side, *same]), skip=1)}
        for side in SIDES:
            results[side] = summary(run([__file__, "--data", str(folder), "--side", side, *same]), skip=0)
    ratios = {f"step_ratio_{side}": round(results["guide"]["step_s"] / results[side]["step_s"], 2) for side in SIDES}
    print(json.dumps(results | ratios, indent=1))


if __name__ == "__main__":
    main()
