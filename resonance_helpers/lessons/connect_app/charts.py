"""Tables and pictures of lesson 10."""

from __future__ import annotations

from ...core.messages import message
from ...ui.html import Markup, escape


def qr_card(code: str, address: str) -> Markup:
    """A QR code (``client.qr_svg``) on white, with its address as text below it for those who cannot scan."""
    frame = f'<div style="background:#fff;display:inline-block;padding:16px">{code}</div>'
    return Markup(f"{frame}<p><code>{escape(address)}</code></p>", message("chart.qr.alt", address=address))
