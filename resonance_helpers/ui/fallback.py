"""A widget, and what it shows as plain HTML beside it: for a saved notebook, whose kernel is gone, and for a page made
of one, which would have to fetch the widgets' program from the network. The reader's program chooses."""

from __future__ import annotations

import html
import re
from functools import singledispatch
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython

from .html import Markup, escape, stack

VIEW = "application/vnd.jupyter.widget-view+json"
_BUTTON = "display:inline-block;border:1px solid #8888;border-radius:4px;padding:2px 8px;margin:2px;opacity:.7"


class _Frame(widgets.VBox):
    """What is shown of a widget. nbclient, which executes notebooks for papermill and nbconvert, keeps the state of
    what a cell opened, and of two forms nbconvert takes the live one where it has its state. So this is opened in no
    cell's name; JupyterLab does not mind."""

    def open(self) -> None:
        kernel = getattr(get_ipython(), "kernel", None)
        if kernel is None:
            super().open()
            return
        kernel.get_parent = lambda *_: {}
        try:
            super().open()
        finally:
            del kernel.get_parent


def bundle(widget: widgets.Widget, plain: str = "", shown: Markup | None = None) -> dict[str, Any]:
    """``widget`` for ``display(…, raw=True)``: live, as HTML, and in words.

    ``plain`` are the words, by default those of the HTML; ``shown`` is the HTML where not all may be kept.
    """
    shown = shown or as_html(widget)
    framed = f'<div style="border:1px solid #8884;padding:4px 10px">{shown}</div>'
    return {VIEW: _Frame([widget])._repr_mimebundle_()[VIEW], "text/html": framed, "text/plain": plain or shown.alt}


@singledispatch
def as_html(widget: Any) -> Markup:
    """What ``widget`` shows now. Nothing in it can be pressed, and what is hidden is left out."""
    value = getattr(widget, "value", "")
    return _field(widget, value if isinstance(value, str | int | float) else "")


@as_html.register
def _(widget: widgets.Box) -> Markup:
    pieces = [as_html(child) for child in widget.children if child.layout.display != "none"]
    if isinstance(widget, widgets.HBox):
        return Markup(" ".join(pieces), " ".join(piece.alt for piece in pieces))
    return stack(*(piece for piece in pieces if piece))


@as_html.register
def _(widget: widgets.HTML) -> Markup:
    return Markup(widget.value, html.unescape(re.sub(r"<[^>]*>", " ", widget.value)).strip())


@as_html.register
def _(widget: widgets.Label) -> Markup:
    return Markup(escape(widget.value), widget.value)


@as_html.register(widgets.Button)
@as_html.register(widgets.FileUpload)
def _(widget: Any) -> Markup:
    return Markup(f'<span style="{_BUTTON}">{escape(widget.description)}</span>', f"[{widget.description}]")


@as_html.register
def _(widget: widgets.Checkbox) -> Markup:
    words = f"{'☑' if widget.value else '☐'} {widget.description}"
    return Markup(escape(words), words)


@as_html.register
def _(widget: widgets.Dropdown) -> Markup:
    return _field(widget, widget.label or "")


@as_html.register
def _(widget: widgets.Select) -> Markup:
    lines = [f"{'▶' if label == widget.label else '　'} {label}" for label in widget._options_labels]
    style = f"max-height:{1.5 * widget.rows}em;overflow:auto;border:1px solid #8888;padding:2px 6px"
    return Markup(f'<div style="{style}">{"<br>".join(map(escape, lines))}</div>', "\n".join(lines))


@as_html.register
def _(widget: widgets.Output) -> Markup:
    return stack(*map(_output, widget.outputs))


def _output(output: dict[str, Any]) -> Markup:
    data = output.get("data", {})
    words = data.get("text/plain", output.get("text", ""))
    return Markup(data.get("text/html") or f"<pre>{escape(words)}</pre>", words)


def _field(widget: Any, value: object) -> Markup:
    hint = getattr(widget, "placeholder", "") or ""
    said = f"<b>{escape(value)}</b>" if value != "" else f'<span style="opacity:.6">{escape(hint or "–")}</span>'
    label = getattr(widget, "description", "") or type(widget).__name__
    return Markup(f"{escape(label)}: {said}", f"{label}: {hint if value == '' else value}")
