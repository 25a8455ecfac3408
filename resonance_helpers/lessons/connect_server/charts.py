"""The tunnel between the browser and the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.messages import message
from ...ui.html import Svg
from ...ui.svg import INK, SOFT, TOO_LARGE, box, clipped, svg, text_at

if TYPE_CHECKING:
    from .logic import Place


def tunnel_svg(place: Place, host: str, local_port: int, remote_port: int, port: int = 22) -> Svg:
    """Your computer, the server and what runs on it, joined by an ssh tunnel, with the real names and ports.

    ``place`` is where this notebook runs, and that box is marked. ``host``/``port`` are the ssh address, ``local_port``
    what the browser opens, ``remote_port`` where JupyterLab or the service listens on the server.
    """
    here = [message("chart.tunnel.here"), place.hostname]
    mine = [message("chart.tunnel.browser"), f"http://localhost:{local_port}"]
    theirs = [message("chart.tunnel.service"), f"127.0.0.1:{remote_port}"]
    address = f"{host}:{port}"
    parts = [
        text_at(12, 26, message("chart.tunnel.title"), size=16),
        *box(12, 48, message("chart.tunnel.you"), mine if place.is_server else mine + here),
        *box(558, 48, message("chart.tunnel.server"), theirs + here if place.is_server else theirs),
        f'<rect x="302" y="92" width="256" height="30" fill="{TOO_LARGE}" fill-opacity=".25" stroke="{TOO_LARGE}"/>',
        f'<line x1="312" y1="107" x2="540" y2="107" stroke="{INK}" stroke-width="2"/>',
        f'<path d="M540 101 l12 6 l-12 6 z" fill="{INK}"/>',
        text_at(430, 82, message("chart.tunnel.ssh"), anchor="middle"),
        text_at(430, 142, clipped(address, 240, 12), anchor="middle", size=12, colour=SOFT),
        text_at(12, 234, message("chart.tunnel.note", local=local_port, remote=remote_port), size=12, colour=SOFT),
    ]
    alt = message("chart.tunnel.alt", local=local_port, address=address, remote=remote_port) + "\n" + " ".join(here)
    return svg(860, 250, parts, alt)
