"""The memory each model needs beside what the graphics card has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.messages import message
from ...ui.html import Svg
from ...ui.svg import FITS, INK, SOFT, TOO_LARGE, UNKNOWN, svg, text_at

if TYPE_CHECKING:
    from .memory import Need


def memory_bars_svg(needs: Sequence[Need], have_gb: float | None) -> Svg:
    """How much graphics memory each model and batch needs (``needs``) beside what this machine has (``have_gb``).

    ``None`` means no GPU: the needs are drawn alone. Sizes in GB; the needs are estimates and the picture says so.
    """
    left, row, width = 265, 26, 420
    top, bottom = 58, 54
    most = max([need.gb for need in needs] + [have_gb or 0.0]) or 1.0
    height = top + row * len(needs) + bottom

    def x(gb: float) -> float:
        return left + gb / most * width

    parts = [text_at(12, 26, message("chart.memory.title"), size=16)]
    lines = []
    for index, need in enumerate(needs):
        y = top + index * row
        colour, verdict = _fit(need.gb, have_gb)
        name = message("chart.memory.row", model=need.model, batch=need.batch_size)
        value = message("chart.memory.value", gb=f"{need.gb:.1f}")
        parts += [
            text_at(left - 10, y + 15, name, anchor="end"),
            f'<rect x="{left}" y="{y + 2}" width="{x(need.gb) - left:.1f}" height="{row - 8}" rx="3" fill="{colour}"/>',
            text_at(left + width + 14, y + 15, f"{value} {verdict}".strip()),
        ]
        lines.append(f"{name}: {value} {verdict}".strip())
    if have_gb:
        have = message("chart.memory.have", gb=f"{have_gb:.1f}")
        end = top + row * len(needs)
        parts += [
            f'<line x1="{x(have_gb):.1f}" y1="{top - 6}" x2="{x(have_gb):.1f}" y2="{end}" stroke="{INK}" '
            'stroke-width="2" stroke-dasharray="6 4"/>',
            text_at(min(x(have_gb), left + width), top - 12, have, anchor="middle"),
        ]
    else:
        have = message("chart.memory.none")
        parts.append(text_at(left, top - 12, have, colour=SOFT))
    parts.append(text_at(12, height - 16, message("chart.memory.note"), size=12, colour=SOFT))
    alt = "\n".join([message("chart.memory.title"), have, *lines, message("chart.memory.note")])
    return svg(left + width + 170, height, parts, alt)


def _fit(need_gb: float, have_gb: float | None) -> tuple[str, str]:
    if not have_gb:
        return UNKNOWN, ""
    fits = need_gb <= have_gb
    return (FITS, message("chart.memory.fits")) if fits else (TOO_LARGE, message("chart.memory.too_large"))
