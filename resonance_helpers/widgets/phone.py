"""Lesson 04, recordings from a phone: one long recording taken apart, or files taken in. Nothing is written before the
button that says so is pressed.

The two widgets show what ``recordings.long_recording`` and ``recordings.intake`` decide. Every control has a name of
its own for a screen reader and is reached with the tab key; rows are filled page by page, because a hundred pieces
with a player each would keep a browser busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import setitem
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import ipywidgets as widgets
from IPython.display import display

from .. import phrases
from ..charts.markup import Markup, escape
from ..messages import ResonanceError, message
from ..recordings import intake, long_recording
from ..recordings.intake import Item, Plan
from ..recordings.long_recording import CutOptions, Pairing, State
from ..recordings.long_recording import LongRecording as Recording
from ..settings import AUDIO_SUFFIXES, SAMPLE_RATE
from ..workspace import Workspace
from .lines import player, show_in
from .progress_bar import duration

ROWS = 10  # on a page
WIDE = widgets.Layout(width="560px")
STYLE = {"description_width": "150px"}
NARROW = {"description_width": "70px"}


class _Panel:
    """What both widgets are: a box with a title, a plain form, and two places for an answer that a screen reader
    speaks: ``news`` above the rows and ``answer`` below them, each beside the buttons that it answers."""

    def __init__(self, title: str) -> None:
        self.title = message(title)
        self.news, self.answer = widgets.HTML(), widgets.HTML()
        self.box = widgets.VBox()

    def _ipython_display_(self) -> None:
        plain = message("phone.plain", title=self.title)
        display({**self.box._repr_mimebundle_(), "text/plain": plain}, raw=True)

    def _say(self, place: widgets.HTML, mark: str, *lines: str) -> None:
        words = "".join(f"<p>{escape(line)}</p>" for line in (f"{mark} {lines[0]}".strip(), *lines[1:]) if line)
        place.value = f'<div role="status" aria-live="polite">{words}</div>'

    def _on_click(self, button: widgets.Button, act: Callable[[], None], place: widgets.HTML) -> None:
        button.on_click(lambda _: self._try(act, place))

    def _on_upload(self, button: widgets.FileUpload, act: Callable[[Sequence[intake.Upload]], None]) -> None:
        """``act`` gets the files that were chosen; then the button is empty again, so that the same can be chosen."""

        def chosen(_: Any) -> None:
            if files := [(each["name"], bytes(each["content"])) for each in button.value]:
                button.value = ()
                self._try(lambda: act(files), self.news)

        button.observe(chosen, names="value")

    def _try(self, act: Callable[[], None], place: widgets.HTML) -> None:
        """An error of ours is a sentence in ``place``; nobody looks for a traceback there."""
        try:
            place.value = ""
            act()
        except ResonanceError as error:
            self._say(place, "❌", str(error))


Row = TypeVar("Row", bound="_Row")


class _Row:
    """The widgets of one row; ``box`` holds them."""

    def __init__(self) -> None:
        self.index = 0
        self.head, self.note = widgets.Output(), widgets.HTML()
        self.box = widgets.VBox(layout=widgets.Layout(border="1px solid #8888", padding="6px", margin="4px 0"))


class _Pages(Generic[Row]):
    """``total`` rows in the widgets of ``ROWS``: ``fill(row)`` puts what belongs to ``row.index`` into a row."""

    def __init__(self, make: Callable[[], Row], fill: Callable[[Row], None]) -> None:
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


# ── One long recording ───────────────────────────────────────────────────────
class _PieceRow(_Row):
    NAMES = ("confirm", "later", "earlier", "drop", "join")

    def __init__(self, act: Callable[[str, _PieceRow], None]) -> None:
        super().__init__()
        self.text = widgets.Text(description=message("phone.long.text"), layout=WIDE, style=NARROW)
        self.text.placeholder = message("phone.long.text.hint")
        self.buttons = {name: widgets.Button(description=message(f"phone.long.{name}")) for name in self.NAMES}
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: act(name, self))
        self.box.children = (self.head, self.text, widgets.HBox(tuple(self.buttons.values())), self.note)


class LongRecording(_Panel):
    """``LongRecording(workspace)`` as the last line of a cell: choose a recording of a read list, take it apart, check
    every piece, save. The phrases are the patient's list."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__("phone.long.title")
        self.workspace = workspace
        self.phrases = tuple(phrase.text for phrase in phrases.read(workspace))
        self.recording: Recording | None = None
        self.pairing = Pairing((), ())
        self.upload = widgets.FileUpload(
            accept=",".join(AUDIO_SUFFIXES),
            description=message("phone.long.upload"),
            layout=widgets.Layout(width="300px"),
        )
        self.chosen = widgets.Dropdown(description=message("phone.long.chosen"), layout=WIDE, style=STYLE)
        self.refresh = widgets.Button(description=message("phone.long.refresh"))
        self.pause = widgets.BoundedFloatText(
            CutOptions().pause_s, min=0.3, max=10.0, step=0.1, description=message("phone.long.pause"), style=STYLE
        )
        self.cut = widgets.Button(description=message("phone.long.cut"), button_style="primary")
        self.suggested = widgets.Button()
        self.pages = _Pages(partial(_PieceRow, self._act), self._fill)
        self.counted = widgets.HTML()
        self.again = widgets.Checkbox(description=message("phone.long.again"), indent=False)
        self.save = widgets.Button(description=message("phone.long.save"), button_style="primary")
        self._on_upload(self.upload, self._uploaded)
        self._on_click(self.refresh, self._list, self.news)
        self._on_click(self.cut, self._cut, self.news)
        self._on_click(self.suggested, self._cut_as_suggested, self.news)
        self._on_click(self.save, self._save, self.answer)
        place = long_recording.folder(workspace)
        place.mkdir(parents=True, exist_ok=True)  # somebody wants to drag a recording into it
        hint = intake.upload_hint(place)
        self.box.children = (
            widgets.HTML(f"<p>{escape(message('phone.long.intro', n=len(self.phrases)))}</p><p>{escape(hint)}</p>"),
            self.upload,
            widgets.HBox([self.chosen, self.refresh]),
            widgets.HBox([self.pause, self.cut, self.suggested]),
            self.news,
            self.pages.box,
            self.counted,
            self.again,
            self.save,
            self.answer,
        )
        self.suggested.layout.display = self.again.layout.display = self.save.layout.display = "none"
        self._list()

    # Which recording
    def _list(self) -> None:
        place = long_recording.folder(self.workspace)
        options = [(path.name, path) for path in long_recording.listed(self.workspace)]
        self.chosen.options = options or [(message("phone.long.none", folder=place), None)]
        self.cut.disabled = not options

    def _uploaded(self, files: Sequence[intake.Upload]) -> None:
        place = long_recording.folder(self.workspace)
        intake.check_uploads(files, place)
        for name, content in files:
            path = long_recording.keep(self.workspace, name, content)
            self._list()
            self.chosen.value = path
            self._say(self.news, "✅", message("phone.long.kept", name=path.name, folder=place))

    # Its pieces
    def _cut(self) -> None:
        self._say(self.news, "", message("phone.busy"))
        options = CutOptions(pause_s=self.pause.value)
        self.recording = recording = long_recording.read(self.chosen.value, options)
        stretches = long_recording.cut(recording.samples, options)
        self.pairing = long_recording.pair(stretches, self.phrases)
        long_recording.clear_pieces(self.workspace)
        self.again.value = False
        self._show(first=0)
        clicks = [_clock(stretch.start) for stretch in stretches if stretch.kind == "click"]
        too_short = message("phone.long.clicks", times=", ".join(clicks)) if clicks else ""
        self._say(self.news, "", *self._found(recording), too_short)

    def _found(self, recording: Recording) -> list[str]:
        """What was found, and what may be wrong with it."""
        pieces, wanted = len(self.pairing.lines), len(self.phrases)
        facts: dict[str, Any] = {
            "name": recording.name,
            "time": duration(recording.seconds),
            "pieces": pieces,
            "phrases": wanted,
        }
        lines = [message("phone.long.found", **facts) if pieces else message("phone.long.nothing")]
        better = long_recording.pause_for(recording.samples, wanted) if pieces != wanted else None
        self.suggested.layout.display = "none" if better is None else ""
        if better is not None:
            self.suggested.description = message("phone.long.suggest.button", pause=better)
            self.suggested.tooltip = message("phone.long.suggest", pause=better, phrases=wanted)
            self.better = better
            lines.append(self.suggested.tooltip)
        before = long_recording.taken_before(self.workspace, recording)
        self.again.layout.display = "" if before else "none"
        if before:
            lines.append("⚠ " + message("RZ-0458", n=len(before), example=before[0].audio))
        return lines

    def _cut_as_suggested(self) -> None:
        self.pause.value = self.better
        self._cut()

    def _show(self, first: int | None = None) -> None:
        self.pages.show(len(self.pairing.lines), first)
        counts: dict[str, Any] = {state: self.pairing.count(state) for state in get_args(State)}
        self.counted.value = f"<p>{escape(message('phone.long.counted', **counts))}</p>" if self.pairing.lines else ""
        self.save.layout.display = "" if self.pairing.lines else "none"

    def _fill(self, row: _PieceRow) -> None:
        assert self.recording is not None
        number, line = row.index + 1, self.pairing.lines[row.index]
        facts: dict[str, Any] = {"number": number, "time": _clock(line.piece.start), "seconds": line.piece.seconds}
        path = long_recording.piece_file(self.workspace, self.recording, line.piece)
        title = message("phone.long.piece", **facts)
        show_in(row.head, player(path, title))
        row.text.tooltip, row.note.value = title, ""
        row.text.value, row.text.disabled = self.pairing.text(row.index), line.state != "open"
        for name, button in row.buttons.items():
            button.tooltip = message(f"phone.long.{name}.tip", number=number)
            button.disabled = line.state == "dropped" and name != "drop"
        confirmed, dropped = line.state == "confirmed", line.state == "dropped"
        row.buttons["confirm"].description = message(f"phone.long.{'confirmed' if confirmed else 'confirm'}")
        row.buttons["confirm"].button_style = "success" if confirmed else ""
        row.buttons["drop"].description = message(f"phone.long.{'restore' if dropped else 'drop'}")
        row.box.layout.border = "1px solid #8883" if dropped else "1px solid #8888"
        if row.index + 1 == len(self.pairing.lines):
            row.buttons["join"].disabled = True
        if line.number == 0:
            row.buttons["earlier"].disabled = True

    def _act(self, name: str, row: _PieceRow) -> None:
        self._try(partial(self._change, name, row), row.note)

    def _change(self, name: str, row: _PieceRow) -> None:
        index, state = row.index, self.pairing.lines[row.index].state
        if name == "confirm" and state == "open":
            self.pairing = self.pairing.confirm(index, row.text.value)
        else:
            taken_back = {("confirm", "confirmed"): "reopen", ("drop", "dropped"): "restore"}
            self.pairing = getattr(self.pairing, taken_back.get((name, state), name))(index)
        self._show()

    def _save(self) -> None:
        if self.recording is None or not self.pairing.count("confirmed"):
            self._say(self.answer, "❌", message("phone.long.saved.nothing"))
            return
        before = long_recording.taken_before(self.workspace, self.recording)
        if before and self.again.layout.display == "" and not self.again.value:
            self._say(self.answer, "❌", message("RZ-0458", n=len(before), example=before[0].audio))
            return
        saved = long_recording.save(self.workspace, self.recording, self.pairing)
        self._say(self.answer, "✅", message("phone.long.saved", added=len(saved.added), there=len(saved.there)))


# ── Files, folders, zips ─────────────────────────────────────────────────────
class _FileRow(_Row):
    def __init__(self) -> None:
        super().__init__()
        self.text = widgets.Text(description=message("phone.take.text"), layout=WIDE, style=NARROW)
        self.text.placeholder = message("phone.take.text.hint")
        self.use = widgets.Checkbox(description=message("phone.take.use"), indent=False)
        self.box.children = (self.head, self.text, self.use)


class TakeIn(_Panel):
    """``TakeIn(workspace)`` as the last line of a cell: upload recordings or read a folder, correct the texts in a
    table with players, put them into the patient's folder."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__("phone.take.title")
        self.workspace = workspace
        intake.remove_abandoned(workspace)
        self.plan = Plan(workspace, ())
        self.texts: list[str] = []  # of each item of the plan; what is not ticked stays here all the same
        self.used: list[bool] = []
        self.upload = widgets.FileUpload(
            accept=",".join((*AUDIO_SUFFIXES, ".zip")),
            multiple=True,
            description=message("phone.take.upload"),
            layout=widgets.Layout(width="300px"),
        )
        place = intake.folder(workspace)
        place.mkdir(parents=True, exist_ok=True)  # somebody wants to drag files into it
        self.source = widgets.Text(str(place), description=message("phone.take.folder"), layout=WIDE, style=STYLE)
        self.read = widgets.Button(description=message("phone.take.read"))
        self.pages = _Pages(self._make_row, self._fill)
        self.save = widgets.Button(description=message("phone.take.save"), button_style="primary")
        self._on_upload(self.upload, self._uploaded)
        self._on_click(self.read, self._read, self.news)
        self._on_click(self.save, self._save, self.answer)
        self.box.children = (
            widgets.HTML(f"<p>{escape(intake.upload_hint(place))}</p>"),
            self.upload,
            widgets.HBox([self.source, self.read]),
            self.news,
            self.pages.box,
            self.save,
            self.answer,
        )
        self.save.layout.display = "none"

    def _uploaded(self, files: Sequence[intake.Upload]) -> None:
        intake.check_uploads(files, intake.folder(self.workspace))
        self._look(files)

    def _read(self) -> None:
        if given := self.source.value.strip():
            self._look([Path(given).expanduser()])
        else:
            self._say(self.news, "❌", message("phone.take.nowhere", example=intake.folder(self.workspace)))

    def _look(self, sources: Sequence[Path | intake.Upload]) -> None:
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
        self.plan = Plan(self.workspace, ())
        self.pages.show(0)
        self.save.layout.display = "none"


# ── What both show ───────────────────────────────────────────────────────────
def _clock(sample: int) -> str:
    """Where a sample lies, as a player shows it."""
    minutes, seconds = divmod(sample // SAMPLE_RATE, 60)
    return f"{minutes}:{seconds:02d}"


def _pieces(item: Item) -> list[Markup]:
    facts: dict[str, Any] = {"name": item.shown, "size": f"{item.size / 1000:,.0f} KB", "seconds": item.seconds}
    title = message("phone.take.row" if item.seconds else "phone.take.row.bare", **facts)
    head = player(item.source, title) if item.can_go_in else Markup(f"<b>{escape(title)}</b>", title)
    return [head, Markup(f"<p>{escape(item.reason)}</p>", item.reason)] if item.reason else [head]
