"""What lesson 02 shows: where the notebook runs, the ways to the server, the tunnel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from IPython.display import display

from ...core.messages import message
from ...ui.html import Markup, escape, stack
from ...ui.output import check, html_table, say

if TYPE_CHECKING:
    from .logic import LoginStep, Place, Server, Way


EXAMPLE_HOSTS = ("example.com", "example.org", "example.net")  # set aside by RFC 2606: nobody's server


def show_place(place: Place) -> None:
    """Which machine this notebook runs on."""
    rows = [
        (message("widget.place.hostname"), place.hostname),
        (message("widget.place.os"), place.os),
        (message("widget.place.user"), place.user),
        (message("widget.place.python"), place.python),
        (message("widget.place.jupyter"), place.jupyter_port or message("widget.place.unknown")),
    ]
    say(place.text)
    html_table([message("widget.place.what"), message("widget.place.value")], rows)


def show_ways(ways: Sequence[Way]) -> None:
    """Ways to reach a goal, each folded open by its title; commands stand apart, to be copied."""
    display(stack(*(_way(way) for way in ways)))


def _way(way: Way) -> Markup:
    items = "".join(f"<li>{escape(step.text)}{_command(step)}</li>" for step in way.steps)
    lines = [way.title, *(f"{n}. {step.text} {step.command}".rstrip() for n, step in enumerate(way.steps, start=1))]
    html = f"<details><summary><b>{escape(way.title)}</b></summary><ol>{items}</ol></details>"
    return Markup(html, "\n".join(lines))


def _command(step: LoginStep) -> str:
    return f"<pre><code>{escape(step.command)}</code></pre>" if step.command else ""


def check_connection(server: Server, place: Place) -> None:
    """Lesson 02's check: are the commands for a real server, and does this run there?"""
    if server.host.endswith(EXAMPLE_HOSTS):
        check(False, message("widget.connection.example", host=server.host), message("widget.connection.example.fix"))
    else:
        check(True, message("widget.connection.address", host=server.host, port=server.port))
    if place.is_server:
        check(True, message("widget.connection.here", hostname=place.hostname))
    else:
        check(False, message("widget.connection.local"), message("widget.connection.local.fix"))
