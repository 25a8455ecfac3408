"""Lesson 04: every recording with its text, its verdict and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.display import display

from ..charts.data import VERDICTS, waveforms
from ..charts.markup import badge, table_html
from ..messages import message

if TYPE_CHECKING:
    from ..recordings import RecordingsCheck


def show_recordings(check: RecordingsCheck, limit: int = 24) -> None:
    """The waveforms, and a table of those that need a look (all of them where none does)."""
    display(waveforms(check.rows, limit))
    careful = [row for row in check.rows if row.level != "ok"] or list(check.rows)
    headers = [message(f"widget.recordings.{name}") for name in ("audio", "text", "seconds", "verdict", "why")]
    rows = [
        (
            row.audio,
            row.text,
            f"{row.seconds:.1f}" if row.seconds else "–",
            badge(message(f"chart.verdict.{row.level}"), *VERDICTS[row.level]),
            " ".join(row.reasons),
        )
        for row in careful
    ]
    counted = message("widget.recordings.counted", shown=len(rows), total=len(check.rows))
    display(table_html(headers, rows, counted))
