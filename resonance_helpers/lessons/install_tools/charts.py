"""The table of packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.messages import message
from ...ui.html import Markup, badge, escape, table_html
from ...ui.svg import CARE, FAULT, GOOD

if TYPE_CHECKING:
    from .logic import Requirement


def requirements_table_html(requirements: Sequence[Requirement]) -> Markup:
    """What lesson 03 needs, what was found, and the command that mends it."""
    rows = [
        (r.name, r.needed, r.found or message("chart.none"), r.tested or "", _requirement_badge(r.status), _code(r.fix))
        for r in requirements
    ]
    headers = [message(f"chart.requirements.{name}") for name in ("name", "needed", "found", "tested", "status", "fix")]
    return table_html(headers, rows)


def _requirement_badge(status: str) -> Markup:
    colour, mark = {"ok": (GOOD, "✓"), "mismatch": (CARE, "!")}.get(status, (FAULT, "✗"))
    return badge(message(f"chart.requirements.{status}"), colour, mark)


def _code(command: str | None) -> Markup:
    return Markup(f"<code>{escape(command)}</code>", command) if command else Markup("")
