"""What the two widgets for recordings from a phone are made of: a panel that answers, and rows by the page.

Every control has a name of its own for a screen reader and is reached with the tab key; rows are filled page by page,
because a hundred pieces with a player each would keep a browser busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import ipywidgets as widgets
from IPython.display import display

from ...core.messages import ResonanceError, message
from ...ui.fallback import bundle
from ...ui.html import escape
from . import arrivals

ROWS = 10  # on a page
WIDE = widgets.Layout(width="560px")
STYLE = {"description_width": "150px"}
NARROW = {"description_width": "70px"}


class Panel:
    """What both widgets are: a box with a title, a plain form, and two places for an answer that a screen reader
    speaks: ``news`` above the rows and ``answer`` below them, each beside the buttons that it answers."""

    def __init__(self, title: str) -> None:
        self.title = message(title)
        self.news, self.answer = widgets.HTML(), widgets.HTML()
        self.box = widgets.VBox()

    def _ipython_display_(self) -> None:
        plain = message("phone.plain", title=self.title)
        display(bundle(self.box, plain), raw=True)

    def _say(self, place: widgets.HTML, mark: str, *lines: str) -> None:
        words = "".join(f"<p>{escape(line)}</p>" for line in (f"{mark} {lines[0]}".strip(), *lines[1:]) if line)
        place.value = f'<div role="status" aria-live="polite">{words}</div>'

    def _on_click(self, button: widgets.Button, act: Callable[[], None], place: widgets.HTML) -> None:
        button.on_click(lambda _: self._try(act, place))

    def _on_upload(self, button: widgets.FileUpload, act: Callable[[Sequence[arrivals.Upload]], None]) -> None:
        """``act`` gets the files that were chosen; then the button is empty again, so that the same can be chosen."""

        def chosen(_: Any) -> None:
            if files := [(each["name"], bytes(each["content"])) for each in button.value]:
                button.value = ()
                self._try(lambda: act(files), self.news)

        button.observe(chosen, names="value")

    def _try(self, act: Callable[[], None], place: widgets.HTML) -> None:
        """An error of ours is a sentence in ``place``; nobody looks for a traceback there. Any other is named there
        too, because JupyterLab shows no more of it than a line in its log."""
        try:
            place.value = ""
            act()
        except ResonanceError as error:
            self._say(place, "❌", str(error))
        except Exception as error:
            self._say(place, "❌", message("phone.unexpected"), f"{type(error).__name__}: {error}")
            raise


class FormRow:
    """The widgets of one row; ``box`` holds them."""

    def __init__(self) -> None:
        self.index = 0
        self.head, self.note = widgets.Output(), widgets.HTML()
        self.box = widgets.VBox(layout=widgets.Layout(border="1px solid #8888", padding="6px", margin="4px 0"))


AnyRow = TypeVar("AnyRow", bound=FormRow)


class Pages(Generic[AnyRow]):
    """``total`` rows in the widgets of ``ROWS``: ``fill(row)`` puts what belongs to ``row.index`` into a row."""

    def __init__(self, make: Callable[[], AnyRow], fill: Callable[[AnyRow], None]) -> None:
        self.rows = [make() for _ in range(ROWS)]
        self.fill, self.total, self.first = fill, 0, 0
        self.label = widgets.Label()
        self.before = widgets.Button(description=message("phone.page.before"))
        self.after = widgets.Button(description=message("phone.page.after"))
        self.before.on_click(lambda _: self.show(self.total, self.first - ROWS))
        self.after.on_click(lambda _: self.show(self.total, self.first + ROWS))
        self.turns = widgets.HBox([self.before, self.label, self.after])
        self.box = widgets.VBox([*(row.box for row in self.rows), self.turns])
        self.show(0)

    def show(self, total: int, first: int | None = None) -> None:
        """Fill the page that begins at ``first``, or at what is shown now."""
        last_page = max(0, total - 1) // ROWS * ROWS
        self.total, self.first = total, min(max(0, self.first if first is None else first), last_page)
        for position, row in enumerate(self.rows):
            row.index = self.first + position
            row.box.layout.display = "" if row.index < total else "none"
            if row.index < total:
                self.fill(row)
        last = min(total, self.first + ROWS)
        self.label.value = message("phone.page", first=self.first + 1, last=last, total=total)
        self.before.disabled, self.after.disabled = self.first == 0, last == total
        self.turns.layout.display = "" if total > ROWS else "none"
