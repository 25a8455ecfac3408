"""A progress bar with the time left, as HTML updated in place: it needs no widget and stays in a saved notebook."""

from __future__ import annotations

import time
from collections.abc import Callable

from IPython.display import DisplayHandle, display

from ..core.messages import message
from .html import Markup, escape

REDRAW_S = 0.2  # more often would only slow the work down


def progress(description: str) -> Callable[[int, int], None]:
    """Show an empty bar and return its ``on_progress(done, total)``."""
    return _Bar(description)


class _Bar:
    def __init__(self, description: str) -> None:
        self.description = description
        self.began = time.monotonic()
        self.drawn = 0.0
        self.handle: DisplayHandle | None = display(self._picture(0, 0), display_id=True)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.handle and (done >= total or now - self.drawn >= REDRAW_S):
            self.drawn = now
            self.handle.update(self._picture(done, total, is_over=done >= total))

    def _picture(self, done: int, total: int, is_over: bool = False) -> Markup:
        words = f"{self.description} {done}/{total if total or is_over else '?'} · {self._time(done, total, is_over)}"
        position = f'value="{done}" max="{total}"' if total else 'value="1"' if is_over else ""
        return Markup(f"<div><progress {position}></progress> {escape(words)}</div>", words)

    def _time(self, done: int, total: int, is_over: bool) -> str:
        spent = time.monotonic() - self.began
        if is_over:
            return message("widget.progress.done", time=duration(spent))
        if not done:
            return message("widget.progress.begun")
        return message("widget.progress.left", time=duration(spent / done * (total - done)))


def duration(seconds: float) -> str:
    """``seconds`` as a person says it: "45 秒" or "3 分 20 秒"."""
    minutes, rest = divmod(round(seconds), 60)
    return message("widget.minutes", m=minutes, s=rest) if minutes else message("widget.seconds", s=rest)
