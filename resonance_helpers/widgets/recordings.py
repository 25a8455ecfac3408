"""Lesson 04: every recording with its text, its verdict and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from IPython.display import display

from ..charts.data import VERDICTS
from ..charts.markup import Markup, badge, escape, table_html
from ..messages import message
from .lines import say

if TYPE_CHECKING:
    from ..recordings import Hint, RecordingsCheck


def show_recordings(check: RecordingsCheck) -> None:
    """A summary, what is better recorded again, and a table of the recordings that need a look; where none does, all of
    them, folded. Notices stand below it."""
    if not check.rows:
        say(*(notice.sentence for notice in check.notices))
        return
    say(*_summary(check))
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


def _summary(check: RecordingsCheck) -> list[str]:
    totals = check.totals
    lines = [
        message(
            "widget.recordings.summary",
            total=len(check.rows),
            ok=check.count("ok"),
            again=check.count("again"),
            listen=check.count("listen"),
            unusable=check.count("unusable"),
        ),
        message("widget.recordings.sound", minutes=totals.seconds / 60, phrases=totals.phrases, takes=totals.takes),
    ]
    again = dict.fromkeys(row.text for row in check.rows if row.level == "again")
    return [*lines, message("widget.recordings.again", texts="、".join(again))] if again else lines


def show_hints(hints: Sequence[Hint]) -> None:
    """What ``recordings.hear`` found: texts that may have been swapped, and that this is no verdict."""
    if not hints:
        say(message("widget.recordings.no_hints"))
        return
    headers = [message(f"widget.recordings.{name}") for name in ("audio", "text", "heard", "nearer")]
    rows = [(hint.audio, hint.text, hint.heard, hint.nearer) for hint in hints]
    title = message("widget.recordings.hints", n=len(hints))
    display(table_html(headers, rows, title, [message("widget.recordings.hints.note")]))


def _folded(title: str, content: Markup) -> Markup:
    return Markup(f"<details><summary>{escape(title)}</summary>{content}</details>", f"{title}\n{content.alt}")
