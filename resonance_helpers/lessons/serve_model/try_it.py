"""Lessons 09 and 10: choose a recording, send it, see the answer. The answer is shown; nothing acts on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import ipywidgets as widgets
from IPython.display import display

from ...core.messages import ResonanceError, message
from ...ui.fallback import bundle
from ...ui.html import escape


class HasText(Protocol):
    """What a transcription gives back, such as ``client.Transcript``."""

    @property
    def text(self) -> str: ...


class TryIt:
    """A list of ``recordings``, a button that sends the chosen one through ``transcribe``, the answer in large type."""

    def __init__(self, transcribe: Callable[[Path], HasText], recordings: Sequence[Path]) -> None:
        self.transcribe = transcribe
        self.choice = widgets.Dropdown(
            options=[(path.name, path) for path in recordings], description=message("widget.try.recording")
        )
        self.button = widgets.Button(description=message("widget.try.send"), button_style="primary")
        self.answer = widgets.HTML()
        self.button.on_click(self._send)
        self.box = widgets.VBox([widgets.HBox([self.choice, self.button]), self.answer])

    def _ipython_display_(self) -> None:
        display(bundle(self.box), raw=True)

    def _send(self, _: widgets.Button) -> None:
        try:
            text = self.transcribe(self.choice.value).text or message("widget.try.silence")
        except ResonanceError as error:
            text = str(error)
        self.answer.value = (
            f'<p style="font-size:160%">{escape(text)}</p><small>{escape(message("widget.try.limits"))}</small>'
        )
