"""Lesson 04: one long recording, taken apart, checked piece by piece and saved. It shows what
``recordings.long_recording`` decides; what is uploaded is kept as it came, and no piece is written before the button
that says so is pressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import ipywidgets as widgets

from ...audio import segment
from ...audio.segment import CutOptions
from ...core.messages import message
from ...core.settings import SAMPLE_RATE
from ...core.workspace import Workspace, make_folder
from ...dataset import phrases
from ...ui.html import escape
from ...ui.output import player, show_in
from ...ui.progress_bar import duration
from . import arrivals, long_recording
from .forms import NARROW, STYLE, WIDE, FormRow, Pages, Panel
from .long_recording import LongRecording as Recording
from .long_recording import Pairing, State


class _PieceRow(FormRow):
    NAMES = ("confirm", "later", "earlier", "drop", "join")

    def __init__(self, act: Callable[[str, _PieceRow], None]) -> None:
        super().__init__()
        self.text = widgets.Text(description=message("phone.long.text"), layout=WIDE, style=NARROW)
        self.text.placeholder = message("phone.long.text.hint")
        self.buttons = {name: widgets.Button(description=message(f"phone.long.{name}")) for name in self.NAMES}
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: act(name, self))
        self.box.children = (self.head, self.text, widgets.HBox(tuple(self.buttons.values())), self.note)


class LongRecordingForm(Panel):
    """``LongRecordingForm(workspace)`` as a cell's last line: choose a recording of a read list, take it apart, check
    every piece, save. The phrases are the patient's list."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__("phone.long.title")
        self.workspace = workspace
        self.phrases = tuple(phrase.text for phrase in phrases.read(workspace))
        self.recording: Recording | None = None
        self.pairing = Pairing((), ())
        self.upload = widgets.FileUpload(
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
        self.pages = Pages(partial(_PieceRow, self._act), self._fill)
        self.counted = widgets.HTML()
        self.again = widgets.Checkbox(description=message("phone.long.again"), indent=False)
        self.save = widgets.Button(description=message("phone.long.save"), button_style="primary")
        self._on_upload(self.upload, self._uploaded)
        self._on_click(self.refresh, self._list, self.news)
        self._on_click(self.cut, self._cut, self.news)
        self._on_click(self.suggested, self._cut_as_suggested, self.news)
        self._on_click(self.save, self._save, self.answer)
        place = long_recording.folder(workspace)
        make_folder(place)  # so that a recording can be dragged into it
        hint = arrivals.upload_hint(place)
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
        before = self.chosen.value
        self.chosen.options = options or [(message("phone.long.none", folder=place), None)]
        # a list that was empty chooses nothing by itself
        self.chosen.index = next((n for n, (_, path) in enumerate(options) if path == before), 0)
        self.cut.disabled = not options
        if left := long_recording.unlisted(self.workspace):
            self._say(self.news, "", message("RZ-0477", folder=place, n=len(left), names=", ".join(left)))

    def _uploaded(self, files: Sequence[arrivals.Upload]) -> None:
        place = long_recording.folder(self.workspace)
        arrivals.check_uploads(files, place)
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
        stretches = segment.split_at_pauses(recording.samples, options)
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
        better = segment.pause_for(recording.samples, wanted) if pieces != wanted else None
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


def _clock(sample: int) -> str:
    """Where a sample lies, as a player shows it."""
    minutes, seconds = divmod(sample // SAMPLE_RATE, 60)
    return f"{minutes}:{seconds:02d}"
