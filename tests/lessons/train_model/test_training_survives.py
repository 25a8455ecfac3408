"""What a training survives: being killed, running out of memory, a loss that is no number."""

from __future__ import annotations

import importlib
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.asr import adapter
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import TrainingSettings
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.train_model import live_training
from resonance_helpers.lessons.train_model.records import RunLog
from resonance_helpers.lessons.train_model.trainer import SpeechTrainer, is_out_of_memory

EFFECTS = (*TrainingSettings().augment, "spectrum")  # all the chance that a run has
SETTINGS = TrainingSettings(steps=12, eval_every=3, warmup_steps=2, patience=9, augment=EFFECTS)
CHILD = """
import sys
from pathlib import Path
from resonance_helpers import Workspace
from resonance_helpers.lessons import train_model
from resonance_helpers.core.settings import TrainingSettings
data, output = map(Path, sys.argv[1:])
effects = (*TrainingSettings().augment, "spectrum")
settings = TrainingSettings(steps=12, eval_every=3, warmup_steps=2, patience=9, augment=effects)
workspace = Workspace(data, output, "sample", is_sample=True)
train_model.train(workspace, settings, should_stop=lambda: print("step", flush=True))
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
    [(5, 3), (15, 12)],
    ids=["in the middle of a pass", "while finishing"],
)
def test_a_killed_run_comes_to_the_same_adapter(
    steps: int, resumed_from: int, whole: training.TrainingResult, converted_sample: Workspace, tmp_path: Path
) -> None:
    workspace = replace(converted_sample, output_dir=tmp_path)
    killed_after(steps, workspace)
    assert not workspace.adapter.exists()
    told: list[training.Event] = []
    result = training.train(workspace, SETTINGS, on_event=told.append)
    assert tuple(event.point for event in told) == result.history, "the live curve is whole, as the kept one is"
    assert tuple(guess for event in told for guess in event.guesses) == result.guesses
    assert result.resumed_from == resumed_from and (result.steps, result.best_step) == (whole.steps, whole.best_step)
    assert [(p.step, p.dev_cer) for p in result.history] == [(p.step, p.dev_cer) for p in whole.history]
    expected, found = (load_file(r.adapter_dir / adapter.WEIGHTS) for r in (whole, result))
    assert all(torch.allclose(expected[key], found[key], atol=1e-4) for key in expected)
    assert training.read_run(training.latest_run(workspace)) == result
    assert {path.name for path in result.run_dir.iterdir()} == {
        *("guesses.jsonl", "history.jsonl", "run.json", "split.json", "tensorboard")
    }


@pytest.mark.slow
def test_only_whole_checkpoints_of_the_same_plan_are_taken_up(converted_sample: Workspace, tmp_path: Path) -> None:
    workspace = replace(converted_sample, output_dir=tmp_path)
    killed_after(8, workspace)
    (killed,) = workspace.runs.iterdir()
    plan = json.loads((killed / "plan.json").read_text())["plan"]
    before = sorted(path.relative_to(killed) for path in killed.rglob("*"))
    other = RunLog(workspace, "another plan")
    assert other.resumed_from == 0 and other.folder != killed
    assert sorted(path.relative_to(killed) for path in killed.rglob("*")) == before
    assert RunLog(workspace, plan).resumed_from == 6
    (killed / "checkpoints" / "checkpoint-6" / "trainer_state.json").write_text('{"epoch": 0.')
    with (killed / "history.jsonl").open("a") as file:
        file.write('{"step": 7, "sec')  # the process ended in the middle of a line
    again = RunLog(workspace, plan)
    assert again.folder == killed and again.resumed_from == 3 and again.history[-1].step == 3


def test_a_second_training_waits_for_the_first(converted_sample: Workspace, tmp_path: Path) -> None:
    """The kernel of a closed browser goes on; its run must not be taken for a killed one."""
    workspace = replace(converted_sample, output_dir=tmp_path)
    command = [sys.executable, "-c", CHILD, str(workspace.data_dir), str(workspace.output_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout and first.stdout.readline() == "step\n"
            first.send_signal(signal.SIGSTOP)  # else it might be finished before the second one asks
            with pytest.raises(ResonanceError, match="RZ-0623"):
                training.train(workspace, SETTINGS)
            assert len(list(workspace.runs.iterdir())) == 1, "nothing was begun"
        finally:
            first.kill()
    assert training.train(workspace, replace(SETTINGS, steps=3)).steps >= 3, "a killed one holds nothing"


# ── Memory ───────────────────────────────────────────────────────────────────
def loss_that(monkeypatch: pytest.MonkeyPatch, does: Callable[[int, dict[str, Any]], float]) -> None:
    """Have every training batch ask ``does(number, inputs)``: it may raise, and its answer spoils the loss."""
    usual, numbers = SpeechTrainer.compute_loss, itertools.count(1)

    def compute_loss(self: SpeechTrainer, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        added = does(next(numbers), inputs)
        return usual(self, model, inputs, *args, **kwargs) * (1 + added)

    monkeypatch.setattr(SpeechTrainer, "compute_loss", compute_loss)


def no_memory_above(clips: int) -> Callable[[int, dict[str, Any]], float]:
    def does(number: int, inputs: dict[str, Any]) -> float:
        if len(inputs["labels"]) > clips:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return 0.0

    return does


def test_where_memory_is_short_smaller_batches_come_to_the_same(
    converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SETTINGS, steps=4, eval_every=4)
    expected = training.train(
        replace(converted_sample, output_dir=tmp_path / "a"), replace(small, batch_size=2, accumulation=4)
    )
    loss_that(monkeypatch, no_memory_above(2))
    result = training.train(replace(converted_sample, output_dir=tmp_path / "b"), small)
    assert (result.batch_size, result.accumulation, result.steps) == (2, 4, expected.steps)
    pairs = [load_file(r.adapter_dir / adapter.WEIGHTS) for r in (expected, result)]
    assert all(torch.allclose(pairs[0][key], pairs[1][key], atol=1e-4) for key in pairs[0])
    assert message("widget.training.smaller_batches", batch=2, accumulation=4) in live_training.ended(result)


def test_memory_that_runs_out_later_loses_nothing_before_the_checkpoint(
    converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def does(number: int, inputs: dict[str, Any]) -> float:
        if number in (6, 30):  # in step 6, after the checkpoint of step 3; and while finishing
            torch.empty(2**60, dtype=torch.uint8)  # fails in this machine's own words
        return 0.0

    loss_that(monkeypatch, does)
    result = training.train(replace(converted_sample, output_dir=tmp_path), SETTINGS)
    assert (result.batch_size, result.accumulation, result.steps) == (2, 4, 18)
    steps = [p.step for p in result.history]
    assert steps == sorted(steps) and [p.step for p in result.history if p.dev_cer is not None] == [3, 6, 9, 12]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),  # Windows
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        MemoryError("Unable to allocate 9 GiB for an array"),  # NumPy
    ],
)
def test_memory_runs_out_in_many_words(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_memory_that_runs_out_while_finishing_goes_back_to_the_best_step(
    converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(without_memory_at: int) -> dict[str, torch.Tensor]:
        def does(number: int, inputs: dict[str, Any]) -> float:
            if number == without_memory_at:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return 0.0

        with monkeypatch.context() as patch:
            loss_that(patch, does)
            workspace = replace(converted_sample, output_dir=tmp_path / str(without_memory_at))
            result = training.train(workspace, replace(SETTINGS, steps=6, eval_every=6))
        assert (result.steps, result.accumulation) == (9, 2)
        return load_file(result.adapter_dir / adapter.WEIGHTS)

    at_its_first_step, at_its_third = trained(7), trained(9)  # what the steps between changed must be forgotten
    assert all(torch.equal(at_its_first_step[key], at_its_third[key]) for key in at_its_first_step)


def test_no_memory_for_a_single_clip_is_said_and_nothing_is_written(
    converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_that(monkeypatch, no_memory_above(0))
    workspace = replace(converted_sample, output_dir=tmp_path)
    with pytest.raises(ResonanceError) as caught:
        training.train(workspace, SETTINGS)
    assert caught.value.code == "RZ-0622" and not workspace.adapter.exists()
    for lang in LANGUAGES:
        assert "whisper-base" in message("RZ-0622", lang=lang, **caught.value.facts)


def test_another_error_is_not_taken_for_memory(
    converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def does(number: int, inputs: dict[str, Any]) -> float:
        raise RuntimeError("shapes do not match")

    loss_that(monkeypatch, does)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        training.train(replace(converted_sample, output_dir=tmp_path), SETTINGS)


# ── A loss that is no number ─────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("value", "at_step", "kept_steps"), [("nan", 8, 8), ("inf", 14, 12)], ids=["choosing", "finishing"]
)
def test_a_loss_that_is_no_number_stops_with_the_best_before(
    value: str,
    at_step: int,
    kept_steps: int,
    converted_sample: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss_that(monkeypatch, lambda number, inputs: float(value) if number == at_step else 0.0)
    result = training.train(replace(converted_sample, output_dir=tmp_path), SETTINGS)
    assert (result.stopped, result.steps, result.finishing_steps) == ("training.stopped.diverged", kept_steps, 0)
    assert result.best_step in (3, 6, 9, 12)
    assert all(tensor.isfinite().all() for tensor in load_file(result.adapter_dir / adapter.WEIGHTS).values())


def test_nothing_to_keep_is_said_and_the_next_start_is_fresh(
    converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, short = replace(converted_sample, output_dir=tmp_path), replace(SETTINGS, steps=3)
    with monkeypatch.context() as broken:
        loss_that(broken, lambda number, inputs: float("nan") if number == 3 else 0.0)
        with pytest.raises(ResonanceError) as caught:
            training.train(workspace, short)
    assert caught.value.code == "RZ-0621" and not workspace.adapter.exists()
    for lang in LANGUAGES:
        assert "0.001" in message("RZ-0621", lang=lang, **caught.value.facts)
    assert training.train(workspace, short).resumed_from == 0


# ── A full disk ──────────────────────────────────────────────────────────────
def fails_below(monkeypatch: pytest.MonkeyPatch, writer: str, error: Exception, folder: str) -> None:
    """Have the function ``writer`` raise ``error`` for every file within a folder of that name."""
    module, _, name = writer.rpartition(".")
    usual = getattr(importlib.import_module(module), name)

    def write(*args: Any, **kwargs: Any) -> Any:
        if any(folder in str(value) for value in (*args, *kwargs.values()) if isinstance(value, str | Path)):
            raise error
        return usual(*args, **kwargs)

    monkeypatch.setattr(writer, write)


@pytest.mark.parametrize(
    ("writer", "error"),
    [
        (
            "peft.peft_model.safe_save_file",
            SafetensorError("Error while serializing: No space left on device (os error 28)"),
        ),
        ("torch.save", RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")),
    ],
    ids=["weights", "moments"],
)
def test_a_full_disk_leaves_the_adapter_before_and_the_run_goes_on_later(
    writer: str, error: Exception, converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, short = replace(converted_sample, output_dir=tmp_path), replace(SETTINGS, steps=4, eval_every=2)
    workspace.adapter.mkdir()
    (workspace.adapter / adapter.WEIGHTS).write_bytes(b"the adapter before")
    with monkeypatch.context() as full:
        fails_below(full, writer, error, "checkpoint-4")
        with pytest.raises(ResonanceError) as caught:
            training.train(workspace, short)
    assert caught.value.code == "RZ-0004"
    assert [path.read_bytes() for path in workspace.adapter.iterdir()] == [b"the adapter before"]
    result = training.train(workspace, short)
    assert result.resumed_from == 2 and (workspace.adapter / adapter.MANIFEST).exists()
