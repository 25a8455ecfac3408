"""Latency, requests and the map of what runs where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from ...core.messages import message
from ...core.settings import ServiceSettings
from ...ui.html import Markup, table_html
from ...ui.plots import AFTER, BEFORE, INK, SOFT, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ...service import LoggedRequest


SHOWN_PATIENTS = 2  # in the picture; the rest are counted


@dataclass(frozen=True)
class TimedAnswer:
    """One answered request, as the lesson saw it."""

    patient: str
    text: str
    seconds: float  # from sending to the answer


@styled
def latency(answers: Sequence[TimedAnswer], practice: bool = False) -> Picture:
    """How long each request took, with the median."""
    milliseconds = np.array([answer.seconds * 1000 for answer in answers])
    middle = float(np.median(milliseconds)) if len(milliseconds) else 0.0
    words = message("chart.latency.median", ms=f"{middle:.0f}", n=len(answers))
    figure = picture(9, 3.2, message("chart.latency.title"), words, practice)
    axes = figure.subplots()
    axes.bar(np.arange(1, len(answers) + 1), milliseconds, color=AFTER, width=0.6)
    axes.axhline(middle, color=INK, linestyle="--", linewidth=1.2)
    axes.set_title(words)
    axes.set_xlabel(message("chart.latency.request"))
    axes.set_ylabel(message("chart.latency.milliseconds"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    quiet(axes)
    return figure


@styled
def where_things_run(url: str, base_model: str, patients: Sequence[str]) -> Picture:
    """What of a service runs where: the app, the line, the parts of the process, and what is ever on the disk.

    ``url`` is where it answers, ``base_model`` its name, ``patients`` those that it answers for.
    """
    more = len(patients) - SHOWN_PATIENTS
    names = [
        *(_shortened(patient) for patient in patients[:SHOWN_PATIENTS]),
        *([message("chart.where.more", n=more)] if more > 0 else []),
    ]
    facts: dict[str, Any] = {
        "decoders": ServiceSettings.decoders,
        "model": _shortened(base_model, 30),
        "patients": "\n".join(names),
    }
    said = {name: _two_parts(f"chart.where.{name}", facts) for name in _WHERE}
    line = message("chart.where.line")
    alt = [" ".join(" ".join(parts).split()) for parts in said.values()]
    figure = picture(11, 6.3, message("chart.where.title"), "\n".join([f"{line} {url}", *alt]))
    axes = figure.subplots()
    axes.set(xlim=(0, 110), ylim=(0, 59))
    axes.axis("off")
    for name, (x, y, width, height, colour) in _WHERE.items():
        _box(axes, x, y, width, height, colour, *said[name])
    for start, end in _ARROWS:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "<->", "color": INK, "lw": 1.4})
    axes.text(30.5, 42, line, ha="center", va="bottom", fontsize=10.5)
    axes.text(30.5, 38, url.replace("://", "://\n"), ha="center", va="top", fontsize=9, color=SOFT)
    return figure


_WHERE = {  # x, y, width, height, colour of the frame
    "app": (1, 27, 21, 25, SOFT),
    "process": (39, 18, 70, 40, AFTER),
    "http": (41, 38, 31, 14, SOFT),
    "decoding": (77, 38, 30, 14, SOFT),
    "inference": (41, 20, 31, 14, SOFT),
    "model": (77, 20, 12, 14, BEFORE),
    "adapters": (91, 20, 16, 14, BEFORE),
    "disk": (1, 1, 58, 14, SOFT),
    "never": (63, 1, 46, 14, SOFT),
}
_ARROWS = (
    ((22, 40), (39, 40)),  # app and process
    ((72, 45), (77, 45)),  # HTTP and decoding
    ((56.5, 38), (56.5, 34)),  # HTTP and inference
    ((72, 27), (77, 27)),  # inference and model
)


def _shortened(name: str, most: int = 12) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _two_parts(key: str, facts: dict[str, Any]) -> tuple[str, str]:
    """A message's first line, and the rest."""
    title, _, rest = message(key, **facts).partition("\n")
    return title, rest


def _box(axes: Axes, x: float, y: float, width: float, height: float, colour: str, title: str, words: str) -> None:
    shape = "round,pad=0,rounding_size=1"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor="none", edgecolor=colour, lw=1.5))
    axes.text(x + 1.5, y + height - 1.5, title, va="top", fontsize=12)
    axes.text(x + 1.5, y + height - 4.8, words, va="top", fontsize=10.5, color=SOFT, linespacing=1.3)


def requests_table(requests: Sequence[LoggedRequest]) -> Markup:
    """What the service's own log says: for each kind of request how many, how many refused, and how fast."""
    headers = [message(f"chart.requests.{name}") for name in ("route", "n", "refused", "median", "slowest")]
    rows = []
    for route in dict.fromkeys(request.route for request in requests):
        asked = [request for request in requests if request.route == route]
        times = [request.milliseconds for request in asked if 200 <= request.status < 300]
        fast = [f"{np.median(times):.0f} ms", f"{max(times)} ms"] if times else ["–", "–"]
        rows.append([route, len(asked), len(asked) - len(times), *fast])
    return table_html(headers, rows, notes=[message("chart.requests.note")])


def answered_table(answers: Sequence[TimedAnswer]) -> Markup:
    """Who was answered, what, and how fast."""
    headers = [message(f"chart.answered.{name}") for name in ("patient", "text", "seconds")]
    return table_html(headers, [(a.patient, a.text, f"{a.seconds:.2f} s") for a in answers])
