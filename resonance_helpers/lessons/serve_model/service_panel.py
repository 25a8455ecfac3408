"""Lesson 09: a button that starts and stops the service, and what it says as it says it.

Loading a model takes seconds and a log never ends, so both are followed from threads: the kernel stays free for the
other cells. The key is not shown: what a page shows is kept in the saved notebook.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.display import display

from ...core.messages import ResonanceError, message
from ...ui.fallback import bundle
from ...ui.html import escape
from ...ui.output import service_log

if TYPE_CHECKING:
    from ...service import ServiceProcess

REFRESH_S = 1.0
LOG_LINES = 10


class ServicePanel:
    """Start and stop by button or by ``start()`` and ``stop()``; below, the end of the log while the service runs.

    ``start_service(*args, **options)`` gives a ``ServiceProcess``, as ``service.start`` does. After a stop it is asked
    for the same port and key, so that earlier clients are connected again.
    """

    def __init__(self, start_service: Callable[..., ServiceProcess], *args: Any, **options: Any) -> None:
        self.server: ServiceProcess | None = None
        self._start_service, self._args, self._options = start_service, args, options
        self._one_at_a_time = threading.Lock()
        self.button = widgets.Button()
        self.button.on_click(lambda _: threading.Thread(target=self._pressed, daemon=True).start())
        self.status = widgets.HTML()
        self.log = widgets.HTML()
        self.box = widgets.VBox([widgets.HBox([self.button, self.status]), self.log])
        self._show("off")

    def start(self) -> ServiceProcess:
        """Start the service, as the button does, and wait until it answers. Raises what ``start_service`` raises."""
        with self._one_at_a_time:
            if self.server is None or not self.server.running:
                self._show("starting")
                try:
                    self.server = self._start_service(*self._args, **self._options)
                except BaseException as error:
                    self._show("failed", reason=error)
                    raise
                self._options |= {"port": int(self.server.url.rpartition(":")[2]), "token": self.server.token}
                self._show("running", url=self.server.url)
                threading.Thread(target=self._follow, args=(self.server,), daemon=True).start()
            return self.server

    def stop(self) -> None:
        """Let the service finish the answers that it is giving, and end it. May be called again."""
        with self._one_at_a_time:
            if self.server and self.server.running:
                self._show("stopping")
                self.server.stop()
                self._show_log(self.server)
                self._show("off")

    def _ipython_display_(self) -> None:
        display(bundle(self.box, self._plain), raw=True)

    def _pressed(self) -> None:
        with contextlib.suppress(ResonanceError):  # it stands in the panel
            if self.server and self.server.running:
                self.stop()
            else:
                self.start()

    def _follow(self, server: ServiceProcess) -> None:
        """Show the end of the log until the service has ended, by the button or by itself."""
        while server.running:
            self._show_log(server)
            time.sleep(REFRESH_S)
        self._show_log(server)
        with self._one_at_a_time:
            if self.server is server and not self._is_off:
                self._show("ended")

    def _show_log(self, server: ServiceProcess) -> None:
        self.log.value = service_log(server.log_path, LOG_LINES)

    def _show(self, state: str, **facts: Any) -> None:
        self._is_off = state == "off"
        self._plain = message(f"widget.service.{state}", **facts)
        self.status.value = escape(self._plain)
        does = "stop" if state in ("running", "stopping") else "start"
        self.button.description = message(f"widget.service.{does}")
        self.button.disabled = state in ("starting", "stopping")
        self.button.button_style = "danger" if does == "stop" else "success"
