"""Small SVG drawings for lessons that run before matplotlib is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .html import Svg, escape

if TYPE_CHECKING:
    pass


INK, SOFT, GRID = "#222222", "#666666", "#dddddd"
FITS, TOO_LARGE, UNKNOWN = "#0072b2", "#e69f00", "#9aa5ad"
GOOD, CARE, FAULT = "#00664a", "#8a5a00", "#a63a00"
FONT = "'Noto Sans CJK SC','Microsoft YaHei','PingFang SC','WenQuanYi Micro Hei',sans-serif"


def box(x: int, y: int, title: str, lines: Sequence[str], width: int = 290) -> list[str]:
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="152" rx="8" fill="#f4f7fa" stroke="{SOFT}"/>'
    fitting = [clipped(line, width - 28, 13) for line in lines]
    texts = [text_at(x + 14, y + 58 + 24 * index, line) for index, line in enumerate(fitting)]
    return [frame, text_at(x + 14, y + 28, title, size=15), *texts]


def clipped(words: str, width: float, size: int) -> str:
    """``words`` without its middle where it would be wider than ``width``; the picture's alt has the whole."""
    while len(words) > 4 and sum(size * (1.0 if ord(c) > 0x2E7F else 0.58) for c in words) > width:
        middle = len(words) // 2
        words = f"{words[: middle - 1].rstrip('…')}…{words[middle + 1 :].lstrip('…')}"
    return words


def text_at(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start", colour: str = INK) -> str:
    look = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(words)}</text>'


def svg(width: int, height: int, parts: Sequence[str], alt: str) -> Svg:
    body = "\n".join(parts)
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(alt)}" font-family="{FONT}">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n{body}\n</svg>',
        alt,
    )
