"""Single lines and tables for a notebook: a check's result, a sentence, a player, the end of a log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from IPython.display import display

from ..charts.markup import Markup, escape, stack, table_html
from ..messages import message

if TYPE_CHECKING:
    from ipywidgets import Output

LOG_LINES = 20


def say(*sentences: str) -> None:
    """Show each sentence on a line of its own."""
    for text in sentences:
        display(Markup(f"<p>{escape(text)}</p>", text))


def check(ok: bool, text: str, fix: str = "") -> None:
    """The line at a lesson's end: ✅ with what holds, or ❌ with what doesn't and ``fix``, what to do about it."""
    mark = "✅" if ok else "❌"
    advice = "" if ok or not fix else message("widget.check.fix", fix=fix)
    words = f"{mark} {text}{advice}"
    display(Markup(f'<p style="font-size:110%">{escape(words)}</p>', words))


def html_table(headers: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "") -> None:
    """Show a table. Cells are escaped."""
    display(table_html(headers, rows, caption))


def player(path: Path, caption: str = "") -> Markup:
    """A player that links to ``path``. The sound itself never becomes part of the notebook.

    JupyterLab resolves the link from the notebook's folder, which is also the kernel's working folder.
    """
    link = quote(Path(os.path.relpath(path)).as_posix())
    title = caption or path.name
    words = message("widget.player", name=title)
    controls = f'<audio controls preload="none" src="{escape(link)}" title="{escape(title)}"></audio>'
    return Markup(f"<div>{controls} <small>{escape(title)}</small></div>", words)


def show_in(place: Output, *pieces: Markup) -> None:
    """Show ``pieces`` in an output: only there JupyterLab finds the file that a player links to, not in an HTML widget,
    whose links would lead to a page of JupyterLab's own."""
    place.outputs = ({"output_type": "display_data", "data": stack(*pieces)._repr_mimebundle_(), "metadata": {}},)


def service_log(path: Path, lines: int = LOG_LINES) -> Markup:
    """The last ``lines`` of a service's log."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    tail = "\n".join(text.splitlines()[-lines:]) or message("widget.log.empty")
    return Markup(f"<pre>{escape(tail)}</pre>", tail)
