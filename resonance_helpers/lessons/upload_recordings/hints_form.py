"""Lesson 04: a base model listens for texts that may have been swapped. Only when somebody asks for it: it takes a
model, and a second or two for each recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
from IPython.display import display

from ...asr import base_models
from ...asr.whisper import load_speech_model
from ...core.messages import ResonanceError, message
from ...core.workspace import Workspace
from ...ui.fallback import bundle
from ...ui.output import say
from ...ui.progress_bar import progress
from .. import upload_recordings as recordings
from .view import show_hints

if TYPE_CHECKING:
    from .checking import RecordingsCheck


class SecondOpinion:
    """``SecondOpinion(workspace, checked, BASE_MODEL)`` as the last line of a cell: a button, and the hints."""

    def __init__(self, workspace: Workspace, checked: RecordingsCheck, base_model: str = "") -> None:
        self.workspace, self.checked = workspace, checked
        self.base_model = base_models.default_name(workspace, base_model)
        self.button = widgets.Button(description=message("widget.opinion.button"), layout={"width": "max-content"})
        self.said = widgets.Output()
        self.button.on_click(self._ask)
        self.box = widgets.VBox([self.button, self.said])

    def _ipython_display_(self) -> None:
        display(bundle(self.box, message("widget.opinion.plain")), raw=True)

    def _ask(self, _: widgets.Button) -> None:
        self.button.disabled = True
        self.said.clear_output()
        with self.said:
            try:
                bar = progress(message("widget.opinion.listening", model=self.base_model))
                speech = load_speech_model(base_models.resolve(self.base_model, self.workspace.cache))
                show_hints(recordings.hear(self.workspace, self.checked.rows, speech, bar))
            except ResonanceError as error:
                say(f"❌ {error}")
        self.button.disabled = False
