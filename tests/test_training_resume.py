"""A training that is killed: the next start goes on from its last checkpoint and comes to the same adapter."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from resonance_helpers import Workspace, adapter, training
from resonance_helpers.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=12, eval_every=3, warmup_steps=2, patience=9)
CHILD = """
import sys
from pathlib import Path
from resonance_helpers import Workspace, training
from resonance_helpers.settings import TrainingSettings
data, output = map(Path, sys.argv[1:])
settings = TrainingSettings(steps=12, eval_every=3, warmup_steps=2, patience=9)
workspace = Workspace(data, output, "sample", is_sample=True)
training.train(workspace, settings, should_stop=lambda: print("step", flush=True))
"""


def killed_after(steps: int, workspace: Workspace) -> None:
    """Train in a process of its own and kill it when it has done ``steps`` steps."""
    command = [sys.executable, "-c", CHILD, str(workspace.data_dir), str(workspace.output_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for _ in range(steps):
            assert child.stdout.readline() == "step\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> training.TrainingResult:
    """The same run, never interrupted."""
    return training.train(replace(converted_sample, output_dir=tmp_path_factory.mktemp("whole")), SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "resumed_from"),
    [(2, 0), (5, 3), (11, 9), (15, 12)],
    ids=["before the first checkpoint", "in the middle of a pass", "near the end", "while finishing"],
)
def test_a_killed_run_comes_to_the_same_adapter(
    steps: int, resumed_from: int, whole: training.TrainingResult, converted_sample: Workspace, tmp_path: Path
) -> None:
    workspace = replace(converted_sample, output_dir=tmp_path)
    killed_after(steps, workspace)
    assert not workspace.adapter.exists()
    result = training.train(workspace, SETTINGS)
    assert result.resumed_from == resumed_from and (result.steps, result.best_step) == (whole.steps, whole.best_step)
    assert [(p.step, p.dev_cer) for p in result.history] == [(p.step, p.dev_cer) for p in whole.history]
    expected, found = (load_file(r.adapter_dir / adapter.WEIGHTS) for r in (whole, result))
    assert all(torch.allclose(expected[key], found[key], atol=1e-4) for key in expected)
    assert training.read_run(training.latest_run(workspace)) == result
    assert sorted(path.name for path in result.run_dir.iterdir()) == sorted(
        ["guesses.jsonl", "history.jsonl", "run.json", "split.json"]
    )


@pytest.mark.slow
def test_another_plan_starts_anew_and_leaves_the_killed_run_alone(converted_sample: Workspace, tmp_path: Path) -> None:
    workspace = replace(converted_sample, output_dir=tmp_path)
    killed_after(5, workspace)
    (killed,) = workspace.runs.iterdir()
    before = sorted(path.relative_to(killed) for path in killed.rglob("*"))
    result = training.train(workspace, replace(SETTINGS, steps=3, seed=5))
    assert result.resumed_from == 0 and result.run_dir != killed
    assert sorted(path.relative_to(killed) for path in killed.rglob("*")) == before


@pytest.mark.slow
def test_a_checkpoint_that_was_half_written_is_not_trusted(converted_sample: Workspace, tmp_path: Path) -> None:
    workspace = replace(converted_sample, output_dir=tmp_path)
    killed_after(8, workspace)
    (killed,) = workspace.runs.iterdir()
    (killed / "checkpoints" / "checkpoint-6" / "trainer_state.json").write_text('{"epoch": 0.')
    with (killed / "history.jsonl").open("a") as file:
        file.write('{"step": 7, "sec')
    assert training.train(workspace, SETTINGS).resumed_from == 3
