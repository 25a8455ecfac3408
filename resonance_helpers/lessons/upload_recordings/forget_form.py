"""Lesson 04's way back: what was kept of the person is listed first, and goes only when their pseudonym is typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import ipywidgets as widgets
from IPython.display import display

from ...core.messages import ResonanceError, message
from ...ui.fallback import bundle
from ...ui.html import escape

WIDE = widgets.Layout(width="560px")
STYLE = {"description_width": "180px"}


class Listed(Protocol):
    """What there is, or what was removed, in sentences."""

    @property
    def lines(self) -> tuple[str, ...]: ...


class FoundData(Listed, Protocol):
    @property
    def is_empty(self) -> bool: ...


class Forgets(Protocol):
    """``studies.Erasure``, which is a layer above."""

    @property
    def patient_id(self) -> str: ...

    def look(self) -> FoundData: ...

    def remove(self) -> Listed: ...


class ForgetForm:
    """``ForgetForm(Erasure.of(workspace))`` as the last line of a cell shows the form. Nothing is looked at before
    its first button is pressed, and nothing is removed before its second."""

    def __init__(self, forgetting: Forgets) -> None:
        self.forgetting = forgetting
        intro = widgets.HTML(f"<p>{escape(message('widget.forget.intro'))}</p>")
        self.look = widgets.Button(description=message("widget.forget.look"), layout=widgets.Layout(width="auto"))
        self.typed = widgets.Text(description=message("widget.forget.type"), layout=WIDE, style=STYLE)
        self.remove = widgets.Button(
            description=message("widget.forget.remove"), button_style="danger", layout=widgets.Layout(width="auto")
        )
        self.confirm = widgets.VBox([self.typed, self.remove])
        self.answer = widgets.HTML()
        self.look.on_click(lambda _: self._try(self._list))
        self.remove.on_click(lambda _: self._try(self._remove))
        self._ask(False)
        self.box = widgets.VBox([intro, self.look, self.answer, self.confirm])

    def _ipython_display_(self) -> None:
        display(bundle(self.box, message("widget.forget.plain")), raw=True)

    def _list(self) -> None:
        found = self.forgetting.look()
        self._say(*found.lines)
        self._ask(not found.is_empty)

    def _remove(self) -> None:
        if self.typed.value.strip() != self.forgetting.patient_id:
            self._say(message("widget.forget.mistyped", patient=self.forgetting.patient_id))
            return
        self._ask(False)
        self._say(*self.forgetting.remove().lines)

    def _ask(self, whether: bool) -> None:
        self.typed.value = ""
        self.confirm.layout.display = "" if whether else "none"

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ResonanceError as error:
            self._ask(False)
            self._say(f"❌ {error}")

    def _say(self, *lines: str) -> None:
        words = escape("\n".join(lines))
        self.answer.value = f'<div role="status" aria-live="polite" style="white-space:pre-wrap">{words}</div>'
