"""HTML and SVG as strings that a notebook shows and a file can hold. Standard library only.

Every piece has an ``alt``: the same in plain text, for a screen reader, for a terminal, and for reading an executed
notebook where nothing renders. Text that comes from a person's files is escaped; only ``Markup`` passes as it is.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

CELL = "padding:4px 10px;text-align:left;vertical-align:top;border-bottom:1px solid #8884"


class Markup(str):
    """A piece of HTML. ``alt`` says the same in plain text."""

    mime = "text/html"
    alt: str

    def __new__(cls, text: str, alt: str = "") -> Markup:
        piece = super().__new__(cls, text)
        piece.alt = alt
        return piece

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {self.mime: str(self), "text/plain": self.alt}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.alt)  # IPython prefers its own printer for text/plain, and for a str that would be the HTML


class Svg(Markup):
    """A drawing. A notebook shows it as a picture."""

    mime = "image/svg+xml"


def escape(value: object) -> str:
    """``value`` as text that is safe inside HTML and SVG; ``Markup`` stays as it is."""
    return value if isinstance(value, Markup) else html.escape(str(value))


def plain(value: object) -> str:
    """``value`` as plain text: the ``alt`` of a ``Markup``, else itself."""
    return value.alt if isinstance(value, Markup) else str(value)


def table_html(
    headers: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "", notes: Sequence[str] = ()
) -> Markup:
    """A table; ``rows`` are sequences of cells as long as ``headers``. ``notes`` stand below it in small print."""
    rows = [list(row) for row in rows]
    head = "".join(f'<th style="{CELL}" scope="col">{escape(cell)}</th>' for cell in headers)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    bold = "font-weight:bold;text-align:left;padding:8px 0 4px;color:inherit"
    title = f'<caption style="{bold}">{escape(caption)}</caption>' if caption else ""
    small = "".join(table_note(note) for note in notes if note)
    lines = [caption, *(" | ".join(plain(cell) for cell in row) for row in [list(headers), *rows]), *notes]
    table = (
        f'<table style="border-collapse:collapse">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )
    return Markup(table + small, "\n".join(line for line in lines if line))


def table_note(text: str) -> Markup:
    """Small print below a table."""
    return Markup(f'<p style="font-size:85%;opacity:.8;margin:4px 0">{escape(text)}</p>', text)


def badge(text: str, colour: str, mark: str) -> Markup:
    """A short coloured label that also carries a ``mark``, so that it can be read without the colour."""
    style = f"color:{colour};border:1px solid {colour};border-radius:4px;padding:0 6px;white-space:nowrap"
    return Markup(f'<span style="{style}">{escape(mark)} {escape(text)}</span>', f"{mark} {text}")


def stack(*pieces: Markup) -> Markup:
    """Pieces of HTML one below the other."""
    return Markup(
        "".join(f'<div style="margin:8px 0">{piece}</div>' for piece in pieces), "\n".join(p.alt for p in pieces)
    )
