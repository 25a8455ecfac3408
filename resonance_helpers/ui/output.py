"""Single lines and tables for a notebook: a check's result, a sentence, a player, the end of a log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from IPython.display import display

from ..core.messages import message
from ..core.workspace import read_json
from .html import Markup, escape, stack, table_html

if TYPE_CHECKING:
    from ipywidgets import Output


LOG_LINES = 20
_NO_BROWSER_PLAYS = (".amr", ".wma")


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


def show_commands(commands: Iterable[tuple[str, str]]) -> None:
    """A table of what is to be done and the command that does it."""
    headers = [message("lesson09.command.what"), message("lesson09.command")]
    html_table(headers, [(what, code(line)) for what, line in commands])


def code(command: str) -> Markup:
    """A command, to be copied."""
    return Markup(f"<code>{escape(command)}</code>", command)


def player(path: Path, caption: str = "") -> Markup:
    """A player that links to ``path``, or a sentence why there can be none. The sound itself never becomes part of the
    notebook."""
    title = caption or path.name
    link = linked(path)
    if link is None or path.suffix.lower() in _NO_BROWSER_PLAYS:
        why = "outside" if link is None else "kind"
        words = message(f"widget.player.{why}", name=title, path=path, folder=_jupyter_folder() or Path.cwd())
        return Markup(f"<p>{escape(words)}</p>", words)
    words = message("widget.player", name=title)
    controls = f'<audio controls preload="none" src="{escape(link)}" title="{escape(title)}"></audio>'
    return Markup(f"<div>{controls} <small>{escape(title)}</small></div>", words)


def linked(path: Path) -> str | None:
    """The link by which JupyterLab finds ``path`` from the notebook's folder, which is also the kernel's.

    None where there is none: JupyterLab serves only what lies in its own folder and is not hidden, and a link that
    leads out of it ends at another file within.
    """
    folder = _jupyter_folder()
    for spelled in (os.path.realpath, os.path.abspath):  # a link inside the folder may lead out of it
        target, here = Path(spelled(path)), Path(spelled(os.curdir))
        root = Path(spelled(folder)) if folder else Path(target.anchor)
        inside = target.is_relative_to(root) and here.is_relative_to(root)
        if inside and not (folder and any(part.startswith(".") for part in target.relative_to(root).parts)):
            return quote(Path(os.path.relpath(target, here)).as_posix())
    return None


def _jupyter_folder() -> Path | None:
    """The folder that JupyterLab was opened on, by what the server that started this kernel wrote of itself.

    The server is one of our forebears: on Windows the Python of an environment starts another one, and what
    ``JPY_PARENT_PID`` holds there is no process.
    """
    import psutil  # ipykernel brings it
    from jupyter_core.paths import jupyter_runtime_dir

    process = psutil.Process()
    try:
        while process := process.parent():
            about = Path(jupyter_runtime_dir()) / f"jpserver-{process.pid}.json"
            if about.is_file():
                return Path(read_json(about)["root_dir"])
    except (psutil.Error, OSError, ValueError, KeyError):
        return None  # a forebear that may not be asked, or a server that says it in another way
    return None


def show_in(place: Output, *pieces: Markup) -> None:
    """Show ``pieces`` in an output: only there JupyterLab finds the file that a player links to, not in an HTML widget,
    whose links would lead to a page of JupyterLab's own."""
    place.outputs = ({"output_type": "display_data", "data": stack(*pieces)._repr_mimebundle_(), "metadata": {}},)


def service_log(path: Path, lines: int = LOG_LINES) -> Markup:
    """The last ``lines`` of a service's log."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    tail = "\n".join(text.splitlines()[-lines:]) or message("widget.log.empty")
    return Markup(f"<pre>{escape(tail)}</pre>", tail)


def show_link(path: Path, text: str, how: str = 'target="_blank"') -> None:
    """A link that opens ``path`` from the notebook, where JupyterLab can reach it, and the path itself.

    ``how`` "download" saves it instead: what JupyterLab can't show, a zip for one, it answers with an error.
    """
    link = linked(path)
    name = escape(text) if link is None else f'<a href="{escape(link)}" {how}>{escape(text)}</a>'
    display(Markup(f"<p>{name} <code>{escape(path)}</code></p>", f"{text}: {path}"))


def show_list(lines: Sequence[str]) -> None:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    display(Markup(f"<ul>{items}</ul>", "\n".join(lines)))
