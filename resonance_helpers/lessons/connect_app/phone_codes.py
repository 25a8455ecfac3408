"""Lesson 10: the QR codes that hand the service to a phone. Each holds a key, so it is shown only when somebody asks.

What is shown lives in the kernel and in the open page alone: a saved notebook keeps the plain sentence and no key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import ipywidgets as widgets
from IPython.display import display

from ...client import app_address as full_address
from ...client import qr_svg
from ...client.address import is_this_machine
from ...core.messages import ResonanceError, message
from ...core.workspace import Workspace
from ...service import links
from ...ui.fallback import as_html, bundle
from ...ui.html import escape
from .charts import qr_card


class PhoneCodes:
    """Two buttons, "phone page" and "app", and one that hides the code again.

    ``url`` is where the service is reached from outside; a key is made when a code is first asked for, and kept as long
    as this panel.
    """

    def __init__(self, workspace: Workspace, url: str) -> None:
        self._url = full_address(url).removesuffix("/transcribe")
        self._make: dict[str, Callable[[Workspace, str], str]] = {"page": links.phone_link, "app": links.app_address}
        self._workspace = workspace
        self._made: dict[str, str] = {}
        self.buttons = {kind: widgets.Button(layout={"width": "auto"}) for kind in (*self._make, "hide")}
        for kind, button in self.buttons.items():
            button.description = message(f"widget.codes.{kind}")
            button.on_click(partial(self._pressed, kind))
        self.shown = widgets.HTML()
        self.pressed = widgets.HBox(list(self.buttons.values()))
        self.box = widgets.VBox([self.pressed, self.shown])

    def show(self, kind: str) -> str:
        """Show the code of ``kind`` ("page" or "app") and give the link in it. Raises what ``make_key`` raises."""
        if kind not in self._made:
            self._made[kind] = self._make[kind](self._workspace, self._url)
        link = self._made[kind]
        said = [message(f"widget.codes.{kind}.how"), message("widget.codes.secret"), *self._warnings(kind)]
        self.shown.value = "".join(f"<p>{escape(line)}</p>" for line in said) + qr_card(qr_svg(link), link)
        return link

    def hide(self) -> None:
        self.shown.value = ""

    def _pressed(self, kind: str, _: object) -> None:
        try:
            self.hide() if kind == "hide" else self.show(kind)
        except ResonanceError as error:
            self.shown.value = f"<p>{escape(error)}</p>"

    def _warnings(self, kind: str) -> list[str]:
        if is_this_machine(self._url):
            return [message("widget.codes.loopback")]
        return [message("widget.codes.http")] if kind == "page" and self._url.startswith("http:") else []

    def _ipython_display_(self) -> None:
        plain = message("widget.codes.plain", url=self._url)
        display(bundle(self.box, plain, as_html(self.pressed)), raw=True)  # a code that is shown holds a key
