"""What lesson 01 shows of the graphics card: its facts, the verdict, the memory each model needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.messages import message
from ...ui.guide import success_mark
from ...ui.output import check, html_table, say, show_list

if TYPE_CHECKING:
    from .verdict import GpuVerdict


def show_machine(facts: Sequence[tuple[str, str]]) -> None:
    """``gpu.facts(machine)`` as a table."""
    html_table([message("widget.place.what"), message("widget.place.value")], facts)


def show_gpu_verdict(verdict: GpuVerdict) -> None:
    """What the machine is good for, why, and what to start with."""
    say(verdict.sentence)
    show_list(verdict.reasons)
    rows = [
        (message("widget.gpu.model"), verdict.model),
        (message("widget.gpu.batch"), verdict.batch_size),
        (message("widget.gpu.precision"), f"{verdict.precision}：{verdict.precision_reason}"),
    ]
    html_table([message("widget.gpu.setting"), message("widget.gpu.advised")], rows)


def check_gpu(verdict: GpuVerdict) -> None:
    """Lesson 01's check: the guide's mark of success, or what can be done without it."""
    ready = verdict.level == "ready"
    mark = message(f"widget.gpu.mark.{'reached' if ready else 'missed'}", mark=success_mark(1))
    check(ready, mark, message(f"widget.gpu.{verdict.level}.fix"))
