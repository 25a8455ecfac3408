"""Sizes and contents of what lesson 08 exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.messages import message
from ...core.workspace import megabytes
from ...ui.html import Markup, table_html
from ...ui.plots import AFTER, SOFT, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from .bundle import Export
    from .merged import Offer


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


def _size(size: int) -> str:
    return f"{size / 1e3:.1f} kB" if size < 1e6 else megabytes(size)
