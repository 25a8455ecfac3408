"""The story of a run, as it happens and as it is kept in ``runs/<time>/``.

``run.json`` holds the facts, ``split.json`` which recording was used for what, ``history.jsonl`` and ``guesses.jsonl``
grow a line at a time, so that a run whose browser was closed, or that was killed, can still be looked at.

Until it is finished a run also keeps ``plan.json`` (what it is a run of), ``checkpoints/`` and, once the best step is
chosen, ``chosen.json``: with them the next start of the same plan goes on where a killed one was.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...core.messages import ResonanceError
from ...core.workspace import (
    Workspace,
    locked,
    make_folder,
    open_private,
    parse_json,
    private_files,
    read_json,
    require,
    write_json,
    write_text,
)
from ...dataset.splits import FACTS

HISTORY, GUESSES = "history.jsonl", "guesses.jsonl"
PLAN, CHOSEN, CHECKPOINTS = "plan.json", "chosen.json", "checkpoints"
TENSORBOARD = "tensorboard"
MEASURED = ("loss", "dev_cer", "dev_loss", "learning_rate")  # of a ``Point``


@dataclass(frozen=True)
class Point:
    """What was measured at one optimiser step; a field is None where it was not measured at that step."""

    step: int
    seconds: float  # since the run began
    loss: float | None = None  # mean over the training batches since the last point
    dev_cer: float | None = None
    dev_loss: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class Guess:
    """What the model made of one fixed dev clip at one step."""

    step: int
    text: str
    guess: str


@dataclass(frozen=True)
class Event:
    """What ``train`` tells while it runs. ``guesses`` is empty except right after an evaluation."""

    point: Point
    total_steps: int  # with those on all recordings at the end
    seconds_left: float
    guesses: tuple[Guess, ...] = ()
    best_step: int | None = None  # whose weights would be kept if training ended now

    @property
    def step(self) -> int:
        return self.point.step


@dataclass(frozen=True)
class TrainingResult:
    """One finished run. Paths are absolute; ``stopped`` is a message key that says why it ended."""

    run_dir: Path
    adapter_dir: Path
    base_model: str
    is_practice: bool
    preset: dict[str, Any]  # the settings as they were used
    steps: int
    best_step: int
    best_cer: float
    stopped: str
    dev_by: str  # "takes" or "phrases": what was held out to choose the best step
    finishing_steps: int  # on all recordings, from the best step on; 0 when the learner asked to stop
    recordings: int
    phrases: int
    audio_seconds: float
    window_s: float
    device: str
    precision: str
    precision_reason: str
    batch_size: int  # as it was in the end: memory may have forced a smaller one than the preset's
    trainable: int
    total_parameters: int
    wall_seconds: float
    accumulation: int = 1  # batches added up to a step
    left_out: int = 0  # recordings longer than the model hears
    resumed_from: int = 0  # the step at which a killed run was taken up again
    history: tuple[Point, ...] = ()
    guesses: tuple[Guess, ...] = ()


def best_point(history: Sequence[Point], dev_clips: int, not_before: int = 0) -> Point | None:
    """The evaluation whose weights are kept: the lowest dev CER, and among those that are as good the lowest dev loss.

    Steps from ``not_before`` on, where there are any: a dev part of new phrases cannot see that the known ones are not
    learned yet.
    A few clips cannot tell more: what one of them can change (1 / ``dev_clips``) is no difference. By the bare CER a
    lucky clip at step 40 beat everything that the model became surer of afterwards.
    """
    tested = [(p.dev_cer, p.dev_loss, p) for p in history if p.dev_cer is not None and p.dev_loss is not None]
    tested = [(cer, loss, p) for cer, loss, p in tested if math.isfinite(loss)]
    if not tested:
        return None
    tested = [(cer, loss, p) for cer, loss, p in tested if p.step >= not_before] or tested
    as_good = min(cer for cer, _, _ in tested) + 1 / dev_clips
    return min((round(loss, 3), point.step, point) for cer, loss, point in tested if cer <= as_good)[-1]


@contextmanager
def only_training(workspace: Workspace) -> Iterator[None]:
    """One training at a time for each patient: a second one would take the first one's run for a killed one.

    What the libraries that train write is for its owner alone. Raises RZ-0623 where another process trains, such as the
    kernel of a closed browser. A killed one holds nothing.
    """
    with locked(workspace.runs, busy=ResonanceError("RZ-0623", path=workspace.output_dir)), private_files():
        yield


class RunLog:
    """Writes one run's story; the only writer of a run folder.

    ``plan`` tells runs of the same recordings, settings and base model from others. The newest unfinished run of this
    plan that got as far as a checkpoint is taken up again: ``checkpoint`` is where, ``chosen`` what it had chosen.
    """

    def __init__(self, workspace: Workspace, plan: str) -> None:
        self.history: list[Point] = []
        self.guesses: list[Guess] = []
        self.checkpoint: Path | None = None
        self.chosen: dict[str, Any] | None = None
        unfinished = _unfinished(workspace.runs, plan)
        if unfinished:
            self.folder = unfinished
            if (unfinished / CHOSEN).exists():
                self.chosen = read_json(unfinished / CHOSEN)
            self.rewind()
        else:
            self.folder = _new_folder(workspace.runs, datetime.now(UTC).strftime("%Y%m%d-%H%M%S"))
            write_json(self.folder / PLAN, {"plan": plan})
        self.resumed_from = self.reached
        self._board = _tensorboard(self.folder / TENSORBOARD)

    @property
    def reached(self) -> int:
        """The step from which this run can go on."""
        return self.chosen["steps"] if self.chosen else _step_of(self.checkpoint) if self.checkpoint else 0

    def rewind(self) -> None:
        """Back to ``reached``: what came after it was lost and is measured again."""
        whole = _whole_checkpoints(self.folder)
        self.checkpoint = whole[-1] if whole else None
        self.history = [Point(**line) for line in _lines(self.folder / HISTORY) if line["step"] <= self.reached]
        self.guesses = [Guess(**line) for line in _lines(self.folder / GUESSES) if line["step"] <= self.reached]
        for name, records in ((HISTORY, self.history), (GUESSES, self.guesses)):
            write_text(self.folder / name, _as_lines(records))

    def tell_again(self, total_steps: int, on_event: Callable[[Event], None]) -> None:
        """What a killed run had done, as if it happened now, so that a chart of the events has the whole curve."""
        for point in self.history:
            guesses = tuple(g for g in self.guesses if g.step == point.step) if point.dev_cer is not None else ()
            left = point.seconds / point.step * (total_steps - point.step)
            on_event(Event(point, total_steps, left, guesses))

    def choose(self, phase: dict[str, Any]) -> None:
        """Remember what the first part of the run chose, in case that the second is cut short."""
        self.chosen = phase
        write_json(self.folder / CHOSEN, phase)

    def add(self, point: Point, guesses: tuple[Guess, ...] = ()) -> None:
        self.history.append(point)
        self.guesses += guesses
        _append(self.folder / HISTORY, (point,))
        _append(self.folder / GUESSES, guesses)
        if self._board:
            for name, value in asdict(point).items():
                if name in MEASURED and value is not None:
                    self._board.add_scalar(name, value, point.step)

    def finish(self, result: TrainingResult) -> TrainingResult:
        facts = {k: v for k, v in asdict(result).items() if k not in ("run_dir", "adapter_dir", "history", "guesses")}
        write_json(self.folder / FACTS, facts)
        if self._board:
            self._board.close()
        for name in (PLAN, CHOSEN):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)  # they hold the person's voice
        return replace(result, history=tuple(self.history), guesses=tuple(self.guesses))


def latest_run(workspace: Workspace) -> Path:
    """The folder of the newest finished run. RZ-0006 when there is none."""
    finished = sorted(path.parent for path in workspace.runs.glob(f"*/{FACTS}"))
    return finished[-1] if finished else require(workspace.runs / FACTS, lesson=6)


def read_run(run_dir: Path) -> TrainingResult:
    """A finished run as ``train`` returned it, from its folder. RZ-0620 when its facts cannot be read."""
    try:
        facts = read_json(run_dir / FACTS)
        return TrainingResult(
            run_dir=run_dir,
            adapter_dir=run_dir.parent.parent / "adapter",
            history=tuple(Point(**line) for line in _lines(run_dir / HISTORY)),
            guesses=tuple(Guess(**line) for line in _lines(run_dir / GUESSES)),
            **facts,
        )
    except (OSError, ValueError, TypeError) as error:
        raise ResonanceError("RZ-0620", path=run_dir) from error


def _tensorboard(folder: Path) -> Any:
    """TensorBoard's writer where TensorBoard is installed, else None. It gets figures only, no sound and no words."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _new_folder(runs: Path, name: str) -> Path:
    make_folder(runs)
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):  # two runs in one second
        folder = runs / f"{name}{suffix}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(runs / name)


def _unfinished(runs: Path, plan: str) -> Path | None:
    for folder in sorted((path.parent for path in runs.glob(f"*/{PLAN}")), reverse=True):
        known = read_json(folder / PLAN, "plan")["plan"]
        if known == plan and not (folder / FACTS).exists() and _whole_checkpoints(folder):
            return folder
    return None


def _whole_checkpoints(folder: Path) -> list[Path]:
    """In the order of their steps. The trainer writes its state last: without it the rest is not complete."""
    whole = [path.parent for path in (folder / CHECKPOINTS).glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return sorted(whole, key=_step_of)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_json(path: Path) -> bool:
    try:
        return bool(read_json(path))
    except ValueError:
        return False


def _append(path: Path, records: Sequence[Point | Guess]) -> None:
    with open_private(path, "a", encoding="utf-8") as file:
        file.write(_as_lines(records))


def _as_lines(records: Sequence[Point | Guess]) -> str:
    return "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():  # nothing was measured yet
        return
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # else the process was killed while it wrote
            yield parse_json(line.encode(), path)
