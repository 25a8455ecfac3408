"""Pictures of lessons 08–10: what is in the bundle, how fast answers come, who was answered, the QR code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..messages import message
from ..workspace import megabytes
from .markup import Markup, escape, table_html
from .style import AFTER, INK, SOFT, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ..export import Export


@dataclass(frozen=True)
class Answer:
    """One answered request, as the lesson saw it."""

    patient: str
    text: str
    seconds: float  # from sending to the answer


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


def answered_table(answers: Sequence[Answer]) -> Markup:
    """Who was answered, what, and how fast."""
    headers = [message(f"chart.answered.{name}") for name in ("patient", "text", "seconds")]
    return table_html(headers, [(a.patient, a.text, f"{a.seconds:.2f} s") for a in answers])


def qr_card(code: str, address: str) -> Markup:
    """A QR code (``client.qr_svg``) on white, with its address as text below it for those who cannot scan."""
    frame = f'<div style="background:#fff;display:inline-block;padding:16px">{code}</div>'
    return Markup(f"{frame}<p><code>{escape(address)}</code></p>", message("chart.qr.alt", address=address))


def _size(size: int) -> str:
    return f"{size / 1e3:.1f} kB" if size < 1e6 else megabytes(size)
