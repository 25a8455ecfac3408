"""Lesson 04: files, folders and zips taken in. It shows what ``recordings.intake`` decides, and nothing is written
before the button that says so is pressed."""

from __future__ import annotations

from collections.abc import Sequence
from operator import setitem
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets

from ...core.messages import message
from ...core.workspace import Workspace, make_folder
from ...ui.html import Markup, escape
from ...ui.output import player, show_in
from . import arrivals, intake
from .forms import NARROW, STYLE, WIDE, FormRow, Pages, Panel
from .intake import Item, Plan
from .staging import remove_abandoned


class _FileRow(FormRow):
    def __init__(self) -> None:
        super().__init__()
        self.text = widgets.Text(description=message("phone.take.text"), layout=WIDE, style=NARROW)
        self.text.placeholder = message("phone.take.text.hint")
        self.use = widgets.Checkbox(description=message("phone.take.use"), indent=False)
        self.box.children = (self.head, self.text, self.use)


class TakeIn(Panel):
    """``TakeIn(workspace)`` as the last line of a cell: upload recordings or read a folder, correct the texts in a
    table with players, put them into the patient's folder."""

    _tables: ClassVar[dict[Path, TakeIn]] = {}  # of each patient the one that is shown

    def __init__(self, workspace: Workspace) -> None:
        super().__init__("phone.take.title")
        self.workspace = workspace
        remove_abandoned(workspace)
        if before := self._tables.get(workspace.cache):
            before._clear()  # the cell was run again, and the kernel would hold what is staged until it ends
        self._tables[workspace.cache] = self
        self.plan = Plan(workspace, ())
        self.texts: list[str] = []  # of each item of the plan; what is not ticked stays here all the same
        self.used: list[bool] = []
        self.upload = widgets.FileUpload(
            multiple=True,
            description=message("phone.take.upload"),
            layout=widgets.Layout(width="300px"),
        )
        place = arrivals.folder(workspace)
        make_folder(place)  # so that files can be dragged into it
        self.source = widgets.Text(str(place), description=message("phone.take.folder"), layout=WIDE, style=STYLE)
        self.read = widgets.Button(description=message("phone.take.read"))
        self.pages = Pages(self._make_row, self._fill)
        self.save = widgets.Button(description=message("phone.take.save"), button_style="primary")
        self._on_upload(self.upload, self._uploaded)
        self._on_click(self.read, self._read, self.news)
        self._on_click(self.save, self._save, self.answer)
        self.box.children = (
            widgets.HTML(f"<p>{escape(arrivals.upload_hint(place))}</p>"),
            self.upload,
            widgets.HBox([self.source, self.read]),
            self.news,
            self.pages.box,
            self.save,
            self.answer,
        )
        self.save.layout.display = "none"

    def _uploaded(self, files: Sequence[arrivals.Upload]) -> None:
        arrivals.check_uploads(files, arrivals.folder(self.workspace))
        self._look(files)

    def _read(self) -> None:
        if given := self.source.value.strip():
            self._look([Path(given).expanduser()])
        else:
            self._say(self.news, "❌", message("phone.take.nowhere", example=arrivals.folder(self.workspace)))

    def _look(self, sources: Sequence[Path | arrivals.Upload]) -> None:
        self._say(self.news, "", message("phone.busy"))
        plan = intake.plan(sources, self.workspace)
        self.plan.discard()
        self.plan = plan
        self.texts = [item.text or "" for item in plan.items]
        self.used = [item.can_go_in for item in plan.items]
        self.pages.show(len(plan.items), first=0)
        ready, no_text = plan.count("ready", "no_text"), plan.count("no_text")
        self.save.layout.display = "" if ready else "none"
        facts: dict[str, Any] = {
            "total": len(plan.items),
            "ready": ready,
            "no_text": no_text,
            "rest": len(plan.items) - ready,
        }
        if plan.items:
            rest = message("phone.take.rest", **facts) if facts["rest"] else ""
            self._say(self.news, "", message("phone.take.found", **facts), rest, *plan.notes)
        else:
            self._say(self.news, "❌", message("phone.take.empty", path=self.source.value))

    def _make_row(self) -> _FileRow:
        row = _FileRow()
        row.text.observe(lambda change: setitem(self.texts, row.index, change.new), names="value")
        row.use.observe(lambda change: setitem(self.used, row.index, change.new), names="value")
        return row

    def _fill(self, row: _FileRow) -> None:
        item = self.plan.items[row.index]
        show_in(row.head, *_pieces(item))
        row.text.value, row.use.value = self.texts[row.index], self.used[row.index]
        row.text.tooltip = item.shown
        row.use.tooltip = message("phone.take.use.tip", name=item.shown)
        row.text.disabled = row.use.disabled = not item.can_go_in

    def _save(self) -> None:
        texts = [text if used else "" for text, used in zip(self.texts, self.used, strict=True)]
        result = intake.take_in(self.plan, texts)
        left = [f"{name}: {reason}" for name, reason in result.left_out]
        title = message("phone.take.left") if left else ""
        self._say(self.answer, "✅", message("phone.take.saved", added=len(result.added), left=len(left)), title, *left)
        self._clear()

    def _clear(self) -> None:
        self.plan.discard()
        self.plan, self.texts, self.used = Plan(self.workspace, ()), [], []
        self.pages.show(0)
        self.save.layout.display = "none"


def _pieces(item: Item) -> list[Markup]:
    facts: dict[str, Any] = {"name": item.shown, "size": f"{item.size / 1000:,.0f} KB", "seconds": item.seconds}
    title = message("phone.take.row" if item.seconds else "phone.take.row.bare", **facts)
    head = player(item.source, title) if item.can_go_in else Markup(f"<b>{escape(title)}</b>", title)
    return [head, Markup(f"<p>{escape(item.reason)}</p>", item.reason)] if item.reason else [head]
