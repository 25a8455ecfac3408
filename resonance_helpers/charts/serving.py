"""Pictures of lessons 08–10: the bundle, what of a service runs where, who was answered and how fast, the QR code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from ..messages import message
from ..settings import ServiceSettings
from ..text import normalise
from ..workspace import megabytes
from .markup import Markup, escape, table_html
from .style import AFTER, BEFORE, INK, SOFT, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ..export import Export, Offer
    from ..service import LoggedRequest

SHOWN_PATIENTS = 2  # in the picture; the rest are counted


@dataclass(frozen=True)
class Answer:
    """One answered request, as the lesson saw it."""

    patient: str
    text: str
    seconds: float  # from sending to the answer


@dataclass(frozen=True)
class WholeWay:
    """What happened to one recording, station by station.

    ``text`` is what the service heard and ``uncertain`` whether it doubts that, ``seconds`` its work. ``take`` is the
    file that the correction became, None without the consent to corrections: the way then ends there. ``trained`` and
    ``tested`` count the recordings of the next training before and after it.
    """

    said: str
    duration: float
    text: str
    uncertain: bool | None
    seconds: float
    take: str | None
    trained: tuple[int, int]
    tested: tuple[int, int]
    learns_it: bool
    same_test: bool


@styled
def bundle_sizes(export: Export, base_bytes: int = 0, practice: bool = False) -> Picture:
    """The files of the bundle by size, the largest first; with ``base_bytes`` the base model they need beside."""
    files = sorted(export.files, key=lambda file: file[1], reverse=True)
    bars = [(name, size) for name, size, _ in files]
    if base_bytes:
        bars.insert(0, (message("chart.bundle.base"), base_bytes))
    alt = "\n".join(f"{name}: {_size(size)}" for name, size in bars)
    title = message("chart.bundle.title", total=_size(export.total_bytes))
    figure = picture(10, 1.2 + 0.34 * len(bars), title, alt, practice)
    axes = figure.subplots()
    names, sizes = zip(*reversed(bars), strict=True)
    drawn = axes.barh(names, sizes, color=AFTER, height=0.6)
    if base_bytes:
        drawn[-1].set(facecolor="white", edgecolor=SOFT, hatch="//")
    axes.bar_label(drawn, [_size(size) for size in sizes], padding=5)
    quiet(axes, grid="")
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.14)
    return figure


def bundle_table(export: Export) -> Markup:
    """The files of the bundle, their sizes, and what each is for."""
    headers = [message(f"chart.bundle.{name}") for name in ("file", "size", "purpose")]
    return table_html(headers, [(name, _size(size), purpose) for name, size, purpose in export.files])


def offers_table(offers: Sequence[Offer]) -> Markup:
    """The kinds of whole models: what each is, about how large, where it can be used, at which window."""
    headers = [message(f"chart.offers.{name}") for name in ("kind", "what", "size", "where", "window")]
    rows = []
    for offer in offers:
        size = (
            message("chart.offers.about", size=_size(offer.bytes)) if offer.bytes else message("chart.offers.unknown")
        )
        where = message(f"chart.offers.where.{offer.kind}")
        if offer.refused:
            size, where = message("chart.offers.no_size"), message("chart.offers.refused", code=offer.refused)
        window = message("chart.offers.seconds", window=f"{offer.window_s:g}")
        rows.append((offer.kind, message(f"chart.offers.what.{offer.kind}"), size, where, window))
    return table_html(headers, rows)


@styled
def latency(answers: Sequence[Answer], practice: bool = False) -> Picture:
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


@styled
def whole_way_stations(way: WholeWay, practice: bool = False) -> Picture:
    """One recording from being said to the next training: five stations, or three where corrections are not kept."""
    facts = {
        "said": _shortened(way.said, 8),
        "duration": f"{way.duration:.1f}",
        "seconds": f"{way.seconds:.2f}",
        "text": _shortened(way.text, 8) or message("chart.once.nothing"),
        "before": way.trained[0],
        "after": way.trained[1],
        "tested": way.tested[1],
    }
    doubt = "unsure" if way.uncertain else "sure"
    put_right = "confirmed" if normalise(way.text) == normalise(way.said) else "corrected"
    kept = (put_right, "learned") if way.take else ("not_kept", "not_learned")
    keys = ("said", "served", f"heard.{doubt}", *kept)
    said = [_two_parts(f"chart.once.{key}", facts) for key in keys]
    alt = "\n".join(" ".join(" ".join(parts).split()) for parts in said)
    figure = picture(11, 2.05, message("chart.once.title"), alt, practice)
    axes = figure.subplots()
    axes.set(xlim=(0, 110), ylim=(0, 15))
    axes.axis("off")
    for i, (key, words) in enumerate(zip(keys, said, strict=True)):
        reached = way.take or not key.startswith("not_")
        _box(axes, 1 + 22 * i, 1, 19, 13, AFTER if reached else BEFORE, *words)
        if i and reached:
            axes.annotate("", (22 * i + 1, 7.5), (22 * i - 2, 7.5), arrowprops={"arrowstyle": "->", "color": INK})
    return figure


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


def answered_table(answers: Sequence[Answer]) -> Markup:
    """Who was answered, what, and how fast."""
    headers = [message(f"chart.answered.{name}") for name in ("patient", "text", "seconds")]
    return table_html(headers, [(a.patient, a.text, f"{a.seconds:.2f} s") for a in answers])


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


def qr_card(code: str, address: str) -> Markup:
    """A QR code (``client.qr_svg``) on white, with its address as text below it for those who cannot scan."""
    frame = f'<div style="background:#fff;display:inline-block;padding:16px">{code}</div>'
    return Markup(f"{frame}<p><code>{escape(address)}</code></p>", message("chart.qr.alt", address=address))


def _size(size: int) -> str:
    return f"{size / 1e3:.1f} kB" if size < 1e6 else megabytes(size)
