"""Tables and pictures of lesson 10."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.messages import message
from ...ui.html import Markup, escape, table_html
from ..serve_model.charts import TimedAnswer


def answered_table(answers: Sequence[TimedAnswer]) -> Markup:
    """Who was answered, what, and how fast."""
    headers = [message(f"chart.answered.{name}") for name in ("patient", "text", "seconds")]
    return table_html(headers, [(a.patient, a.text, f"{a.seconds:.2f} s") for a in answers])


def qr_card(code: str, address: str) -> Markup:
    """A QR code (``client.qr_svg``) on white, with its address as text below it for those who cannot scan."""
    frame = f'<div style="background:#fff;display:inline-block;padding:16px">{code}</div>'
    return Markup(f"{frame}<p><code>{escape(address)}</code></p>", message("chart.qr.alt", address=address))
