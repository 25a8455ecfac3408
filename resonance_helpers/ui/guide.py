"""The guide's own tables: its timeline, what it expects, what it costs. Expectations, never beside measured figures."""

from __future__ import annotations

from ..core.guide_facts import (
    CLOSING,
    ELECTRICITY_YUAN_PER_TRAINING,
    EXPECTED_EFFECT,
    FAQ,
    SERVICE_YUAN_PER_MONTH,
    SUCCESS_MARKS,
    TIMELINE,
)
from ..core.messages import message
from .html import Markup, escape, stack, table_html


def expected_effect_table() -> Markup:
    """The guide's expectation, named as such, with the note that no source could be found."""
    headers = [message(f"guide.effect.{name}") for name in ("recordings", "accuracy", "gain", "minutes")]
    rows = [
        (
            message("guide.effect.recordings.value", n=row.recordings),
            f"~{row.accuracy_percent}%",
            f"+{row.gain_points}%",
            message("guide.effect.minutes.value", n=row.minutes),
        )
        for row in EXPECTED_EFFECT
    ]
    return table_html(headers, rows, message("guide.effect.title"), [message("guide.effect.note")])


def cost_table(yuan_per_hour: float | None = None, training_minutes: float = 30) -> Markup:
    """The guide's costs for an own card. With ``yuan_per_hour`` also a rented one: your price, not a fact of ours."""
    low, high = SERVICE_YUAN_PER_MONTH
    rows = [
        (message("guide.cost.training"), message("guide.cost.training.own")),
        (message("guide.cost.electricity"), message("guide.cost.about", value=f"{ELECTRICITY_YUAN_PER_TRAINING:g}")),
        (message("guide.cost.service"), message("guide.cost.service.own", low=low, high=high)),
    ]
    headers = [message("guide.cost.item"), message("guide.cost.own")]
    own = table_html(headers, rows, message("guide.cost.title"), [message("guide.cost.note")])
    return own if yuan_per_hour is None else stack(own, _rented(yuan_per_hour, training_minutes))


def _rented(yuan_per_hour: float, training_minutes: float) -> Markup:
    once = yuan_per_hour * training_minutes / 60
    rows = [
        (message("guide.cost.training"), message("guide.cost.yuan", value=f"{once:.1f}")),
        (message("guide.cost.service"), message("guide.cost.yuan", value=f"{yuan_per_hour * 24 * 30:.0f}")),
    ]
    note = message("guide.cost.rented.note", price=f"{yuan_per_hour:g}", minutes=f"{training_minutes:g}")
    headers = [message("guide.cost.item"), message("guide.cost.rented.column")]
    return table_html(headers, rows, message("guide.cost.rented"), [note])


def timeline_table() -> Markup:
    """The guide's one to two weeks, as days and what happens in them."""
    headers = [message("guide.timeline.when"), message("guide.timeline.what")]
    rows = [(message(f"guide.timeline.{key}.when"), message(f"guide.timeline.{key}")) for key in TIMELINE]
    return table_html(headers, rows, message("guide.timeline.title"))


def faq(*keys: str) -> Markup:
    """The guide's questions with answers that hold today; all of them, or those named."""
    parts, lines = [], []
    for key in keys or FAQ:
        question, answer = message(f"guide.faq.{key}.q"), message(f"guide.faq.{key}.a")
        parts.append(f"<details><summary>{escape(question)}</summary><p>{escape(answer)}</p></details>")
        lines += [question, answer]
    return Markup("".join(parts), "\n".join(lines))


def success_mark(lesson: int) -> str:
    """The guide's mark of success for a lesson, in words."""
    return message(SUCCESS_MARKS[lesson])


def closing() -> str:
    """The guide's last line."""
    return message(CLOSING)
