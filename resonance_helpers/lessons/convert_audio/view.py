"""What lesson 05 shows of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import display

from ...core.messages import message
from ...ui.html import badge, stack, table_html
from ...ui.output import check, player
from ...ui.plots import VERDICTS

if TYPE_CHECKING:
    from .logic import ConversionResult, ConvertedRow


def show_players(paths: Sequence[Path]) -> None:
    """A player for each file, one below the other."""
    display(stack(*(player(path) for path in paths)))


def show_conversion(result: ConversionResult, limit: int = 8) -> None:
    """How many became what, and a table: those left out or worth a look first, at most ``limit`` of the others."""
    careful = [row for row in result.rows if row.level != "ok"]
    fine = [row for row in result.rows if row.level == "ok"][:limit]
    headers = [message(f"widget.conversion.{name}") for name in ("source", "wav", "status", "verdict", "why")]
    counted = message("widget.conversion.counted", shown=len(careful) + len(fine), total=len(result.rows))
    display(table_html(headers, [_converted(row) for row in careful + fine], counted, result.notes))


def _converted(row: ConvertedRow) -> Sequence[object]:
    mark = badge(message(f"chart.verdict.{row.level}"), *VERDICTS[row.level])
    status = message(f"widget.conversion.status.{row.status}")
    return row.source or row.audio, row.wav or "–", status, mark, " ".join(row.reasons)


def check_conversion(result: ConversionResult) -> None:
    """Lesson 05's check: how many recordings can be used now, and which were left out."""
    usable = len(result.rows) - len(result.left_out)
    seconds = round(result.seconds_total)
    done = message("widget.conversion.done", usable=usable, total=len(result.rows), seconds=seconds)
    check(usable > 0, done, message("widget.conversion.none.fix"))
    if result.left_out:
        names = "、".join(row.audio for row in result.left_out)
        left_out = message("widget.conversion.left_out", n=len(result.left_out), names=names)
        check(False, left_out, message("widget.conversion.left_out.fix"))
