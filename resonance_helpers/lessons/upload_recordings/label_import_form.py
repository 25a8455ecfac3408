"""Lesson 04: the texts of another program's table taken over. It shows what ``recordings.label_import`` reads, and
nothing is written before the button that says so is pressed."""

from __future__ import annotations

import ipywidgets as widgets

from ...core.messages import message
from ...core.workspace import Workspace
from ...dataset.labels import Label
from ...ui.html import table_html
from . import label_import
from .forms import STYLE, WIDE, Panel
from .label_import import Preview

_SHOWN = 100  # lines; the first ones show whether the characters are right


class ImportLabels(Panel):
    """``ImportLabels(workspace)`` as the last line of a cell: choose a table that lies in the data folder, look at what
    it says, put it into labels.json."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__("widget.import.title")
        self.workspace = workspace
        self.looked: Preview | None = None
        tables = [(path.relative_to(workspace.data_dir).as_posix(), path) for path in label_import.find(workspace)]
        self.chosen = widgets.Dropdown(
            options=tables, description=message("widget.import.chosen"), layout=WIDE, style=STYLE
        )
        self.look = widgets.Button(description=message("widget.import.look"))
        self.shown = widgets.HTML()
        self.replace = widgets.Checkbox(description=message("widget.import.replace"), indent=False, layout=WIDE)
        self.save = widgets.Button(description=message("widget.import.save"), button_style="primary")
        self._on_click(self.look, self._look, self.news)
        self._on_click(self.save, self._save, self.answer)
        self.box.children = (
            widgets.HBox([self.chosen, self.look]),
            *(self.news, self.shown, self.replace, self.save, self.answer),
        )
        self._offer(None)
        if not tables:
            self.look.disabled = True
            self._say(self.news, "", message("widget.import.none"))

    def _offer(self, looked: Preview | None) -> None:
        """Show what ``looked`` holds, and the buttons for it."""
        self.looked = looked
        self.shown.value = _table(looked) if looked else ""
        self.replace.value = False
        self.replace.layout.display = "" if looked and looked.different else "none"
        self.save.layout.display = "" if looked and (looked.new or looked.different) else "none"

    def _look(self) -> None:
        self._offer(None)
        looked = label_import.preview(self.chosen.value, self.workspace)
        self._offer(looked)
        columns = ", ".join(f"{ours} ← {theirs}" for ours, theirs in looked.columns.items())
        self._say(
            self.news,
            "",
            message("widget.import.columns", columns=columns),
            message("widget.import.gbk") if looked.coding == "gbk" else "",
            message("widget.import.same", n=looked.same) if looked.same else "",
            *looked.problems,
        )

    def _save(self) -> None:
        if self.looked:
            n = label_import.write(self.looked, self.replace.value)
            self._offer(None)
            self._say(self.answer, "✅", message("widget.import.saved", n=n))


def _table(looked: Preview) -> str:
    headers = [message(f"widget.import.column.{name}") for name in ("audio", "text", "now")]
    new: list[tuple[Label | None, Label]] = [(None, label) for label in looked.new]
    rows = [(label.audio, label.text, old.text if old else "–") for old, label in (*looked.different, *new)]
    counted = message("widget.import.counted", shown=min(len(rows), _SHOWN), total=len(rows))
    return str(table_html(headers, rows[:_SHOWN], counted)) if rows else ""
