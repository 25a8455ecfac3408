"""An error of ours as its sentence, with the traceback folded behind it."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

from IPython import get_ipython
from IPython.display import display

from ..core.messages import ResonanceError, message
from .html import Markup, escape


def install_friendly_errors() -> None:
    """From now on a ResonanceError in a cell shows its sentence. The cell still fails, for papermill and for "run all".

    Does nothing outside IPython.
    """
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((ResonanceError,), _show)


def _show(shell: Any, kind: type[ResonanceError], error: ResonanceError, trace: TracebackType, **_: Any) -> list[str]:
    """IPython's custom exception handler: ``error`` as its only line, after the folded details."""
    display(_folded(kind, error, trace))
    lines = [str(error)]
    shell._showtraceback(kind, error, lines)  # what sends the error on; IPython leaves that to the handler
    return lines


def _folded(kind: type[ResonanceError], error: ResonanceError, trace: TracebackType) -> Markup:
    details = "".join(traceback.format_exception(kind, error, trace))
    last = traceback.extract_tb(trace)[-1]
    summary = message("widget.error.details")
    return Markup(
        f"<details><summary>{escape(summary)}</summary><pre>{escape(details)}</pre></details>",
        f"{summary}: {last.name}, line {last.lineno}",
    )
