"""Lesson 04: every recording with its text, its verdict and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.display import display

from ..charts.data import VERDICTS
from ..charts.markup import Markup, badge, escape, table_html
from ..messages import message

if TYPE_CHECKING:
    from ..recordings import RecordingsCheck


def show_recordings(check: RecordingsCheck) -> None:
    """A table of the recordings that need a look; where none does, all of them, folded. Notices stand below it."""
    careful = [row for row in check.rows if row.level != "ok"]
    headers = [message(f"widget.recordings.{name}") for name in ("audio", "text", "seconds", "verdict", "why")]
    rows = [
        (
            row.audio,
            row.text,
            f"{row.seconds:.1f}" if row.seconds else "–",
            badge(message(f"chart.verdict.{row.level}"), *VERDICTS[row.level]),
            " ".join(row.reasons),
        )
        for row in careful or check.rows
    ]
    counted = message("widget.recordings.counted", shown=len(rows), total=len(check.rows))
    table = table_html(headers, rows, counted, [notice.sentence for notice in check.notices])
    display(table if careful else _folded(message("widget.recordings.all_ok", total=len(check.rows)), table))


def _folded(title: str, content: Markup) -> Markup:
    return Markup(f"<details><summary>{escape(title)}</summary>{content}</details>", f"{title}\n{content.alt}")
