"""Pictures of lessons 01–03 as SVG and HTML text: they run before matplotlib is installed. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..messages import message
from .markup import Markup, Svg, badge, escape, table_html

if TYPE_CHECKING:
    from ..environment import Requirement
    from ..gpu import Need
    from ..server_access import Place

INK, SOFT, GRID = "#222222", "#666666", "#dddddd"
FITS, TOO_LARGE, UNKNOWN = "#0072b2", "#e69f00", "#9aa5ad"
GOOD, CARE, FAULT = "#00664a", "#8a5a00", "#a63a00"
FONT = "'Noto Sans CJK SC','Microsoft YaHei','PingFang SC','WenQuanYi Micro Hei',sans-serif"


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

    parts = [_text(12, 26, message("chart.memory.title"), size=16)]
    lines = []
    for index, need in enumerate(needs):
        y = top + index * row
        colour, verdict = _fit(need.gb, have_gb)
        name = message("chart.memory.row", model=need.model, batch=need.batch_size)
        value = message("chart.memory.value", gb=f"{need.gb:.1f}")
        parts += [
            _text(left - 10, y + 15, name, anchor="end"),
            f'<rect x="{left}" y="{y + 2}" width="{x(need.gb) - left:.1f}" height="{row - 8}" rx="3" fill="{colour}"/>',
            _text(left + width + 14, y + 15, f"{value} {verdict}".strip()),
        ]
        lines.append(f"{name}: {value} {verdict}".strip())
    if have_gb:
        have = message("chart.memory.have", gb=f"{have_gb:.1f}")
        end = top + row * len(needs)
        parts += [
            f'<line x1="{x(have_gb):.1f}" y1="{top - 6}" x2="{x(have_gb):.1f}" y2="{end}" stroke="{INK}" '
            'stroke-width="2" stroke-dasharray="6 4"/>',
            _text(min(x(have_gb), left + width), top - 12, have, anchor="middle"),
        ]
    else:
        have = message("chart.memory.none")
        parts.append(_text(left, top - 12, have, colour=SOFT))
    parts.append(_text(12, height - 16, message("chart.memory.note"), size=12, colour=SOFT))
    alt = "\n".join([message("chart.memory.title"), have, *lines, message("chart.memory.note")])
    return _svg(left + width + 170, height, parts, alt)


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
        _text(12, 26, message("chart.tunnel.title"), size=16),
        *_box(12, 48, message("chart.tunnel.you"), mine if place.is_server else mine + here),
        *_box(558, 48, message("chart.tunnel.server"), theirs + here if place.is_server else theirs),
        f'<rect x="302" y="92" width="256" height="30" fill="{TOO_LARGE}" fill-opacity=".25" stroke="{TOO_LARGE}"/>',
        f'<line x1="312" y1="107" x2="540" y2="107" stroke="{INK}" stroke-width="2"/>',
        f'<path d="M540 101 l12 6 l-12 6 z" fill="{INK}"/>',
        _text(430, 82, message("chart.tunnel.ssh"), anchor="middle"),
        _text(430, 142, _clipped(address, 240, 12), anchor="middle", size=12, colour=SOFT),
        _text(12, 234, message("chart.tunnel.note", local=local_port, remote=remote_port), size=12, colour=SOFT),
    ]
    alt = message("chart.tunnel.alt", local=local_port, address=address, remote=remote_port) + "\n" + " ".join(here)
    return _svg(860, 250, parts, alt)


def requirements_table_html(requirements: Sequence[Requirement]) -> Markup:
    """What lesson 03 needs, what was found, and the command that mends it."""
    rows = [
        (r.name, r.needed, r.found or message("chart.none"), r.tested or "", _requirement_badge(r.status), _code(r.fix))
        for r in requirements
    ]
    headers = [message(f"chart.requirements.{name}") for name in ("name", "needed", "found", "tested", "status", "fix")]
    return table_html(headers, rows)


def _requirement_badge(status: str) -> Markup:
    colour, mark = {"ok": (GOOD, "✓"), "mismatch": (CARE, "!")}.get(status, (FAULT, "✗"))
    return badge(message(f"chart.requirements.{status}"), colour, mark)


def _code(command: str | None) -> Markup:
    return Markup(f"<code>{escape(command)}</code>", command) if command else Markup("")


def _fit(need_gb: float, have_gb: float | None) -> tuple[str, str]:
    if not have_gb:
        return UNKNOWN, ""
    fits = need_gb <= have_gb
    return (FITS, message("chart.memory.fits")) if fits else (TOO_LARGE, message("chart.memory.too_large"))


def _box(x: int, y: int, title: str, lines: Sequence[str], width: int = 290) -> list[str]:
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="152" rx="8" fill="#f4f7fa" stroke="{SOFT}"/>'
    fitting = [_clipped(line, width - 28, 13) for line in lines]
    texts = [_text(x + 14, y + 58 + 24 * index, line) for index, line in enumerate(fitting)]
    return [frame, _text(x + 14, y + 28, title, size=15), *texts]


def _clipped(words: str, width: float, size: int) -> str:
    """``words`` without its middle where it would be wider than ``width``; the picture's alt has the whole."""
    while len(words) > 4 and sum(size * (1.0 if ord(c) > 0x2E7F else 0.58) for c in words) > width:
        middle = len(words) // 2
        words = f"{words[: middle - 1].rstrip('…')}…{words[middle + 1 :].lstrip('…')}"
    return words


def _text(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start", colour: str = INK) -> str:
    look = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(words)}</text>'


def _svg(width: int, height: int, parts: Sequence[str], alt: str) -> Svg:
    body = "\n".join(parts)
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(alt)}" font-family="{FONT}">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n{body}\n</svg>',
        alt,
    )
