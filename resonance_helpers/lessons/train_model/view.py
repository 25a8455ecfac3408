"""What lesson 06 shows before and after training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...asr.manifest import ADAPTER_FILES
from ...core.messages import message
from ...core.workspace import Workspace, megabytes
from ...ui.output import check, html_table, say
from ...ui.progress_bar import duration
from .live_training import cost, ended

if TYPE_CHECKING:
    from .forecast import Outlook
    from .records import TrainingResult


HELPED_BY = 0.05  # a dev CER that fell by less than this may be chance on a few clips


def show_outlook(outlook: Outlook, yuan_per_hour: float = 0.0) -> None:
    """Before training: whether the steps suit the recordings, how long it takes and what that costs."""
    facts: dict[str, Any] = {
        "recordings": outlook.recordings,
        "passes": f"{outlook.passes:.0f}",
        "steps": outlook.usual_steps,
    }
    words = message(f"lesson06.outlook.{outlook.suits}", **facts)
    if outlook.seconds is None:
        say(words + message("lesson06.outlook.unknown"))
    else:
        time = message("lesson06.outlook.time", time=duration(outlook.seconds))
        say(words + time + cost(outlook.seconds, yuan_per_hour))


def show_training_facts(result: TrainingResult) -> None:
    """Why the run stopped, how few weights it moved, and what was chosen for this machine."""
    share = f"{result.trainable / result.total_parameters:.2%}"
    facts = {
        "weights": message(
            "lesson06.weights", trainable=f"{result.trainable:,}", total=f"{result.total_parameters:,}", share=share
        ),
        "learned": message(
            "lesson06.learned",
            recordings=result.recordings,
            phrases=result.phrases,
            seconds=f"{result.audio_seconds:.0f}",
        )
        + (message("lesson06.left_out", n=result.left_out) if result.left_out else ""),
        "held_out": message(f"lesson06.held_out.{result.dev_by}", steps=result.finishing_steps),
        "window": message("lesson06.window", seconds=f"{result.window_s:g}"),
        "batch": message("lesson06.batch", size=result.batch_size),
        "precision": f"{result.precision}：{result.precision_reason}",
        "time": message("lesson06.time", time=duration(result.wall_seconds), device=result.device),
    }
    say(ended(result))
    headers = [message("lesson06.fact"), message("lesson06.value")]
    html_table(headers, [(message(f"lesson06.fact.{name}"), value) for name, value in facts.items()])
    if result.is_practice:
        say(message("chart.practice"))


def check_training(workspace: Workspace, result: TrainingResult) -> None:
    """Lesson 06's check: the adapter is there, whole, and the held-out recordings came out better than at first."""
    missing = [name for name in ADAPTER_FILES if not (workspace.adapter / name).is_file()]
    if missing:
        check(False, message("lesson06.check.missing", path=workspace.adapter, missing=", ".join(missing)))
        return
    size = megabytes((workspace.adapter / ADAPTER_FILES[0]).stat().st_size)
    check(True, message("lesson06.check.saved", path=workspace.adapter, size=size))
    measured = [point.dev_cer for point in result.history if point.dev_cer is not None]
    facts: dict[str, Any] = {"first": f"{measured[0]:.2f}", "best": f"{result.best_cer:.2f}", "step": result.best_step}
    if len(measured) < 2:
        check(True, message("lesson06.check.once", **facts))
    else:
        learned = result.best_cer == 0 or measured[0] - result.best_cer >= HELPED_BY
        check(learned, message("lesson06.check.cer", **facts), message("lesson06.check.cer.fix"))
