"""Lesson 04: every recording with its text, its verdict and what to do about it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets
from IPython.display import display

from ...core.messages import ResonanceError, message
from ...core.workspace import Workspace
from ...dataset.consent import require_consent
from ...dataset.labels import changing, clean_up, read_labels
from ...dataset.transcript import check as check_text
from ...dataset.transcript import invisible
from ...ui.fallback import bundle
from ...ui.html import Markup, badge, escape, table_html
from ...ui.output import check, player, say, show_in
from ...ui.plots import VERDICTS
from .charts import draw_clip_view, verdict
from .clip_view import load_clip_view

if TYPE_CHECKING:
    from .checking import RecordingRow, RecordingsCheck
    from .hints import Hint


def show_recordings(check: RecordingsCheck) -> None:
    """A summary, what is better recorded again, and a table of the recordings that need a look; where none does, all of
    them, folded. Notices stand below it."""
    if not check.rows:
        say(*(notice.sentence for notice in check.notices))
        return
    say(*_summary(check))
    careful = [row for row in check.rows if row.level != "ok"]
    headers = [message(f"widget.recordings.{name}") for name in ("audio", "text", "seconds", "verdict", "why")]
    rows = [
        (
            row.audio,
            row.text,
            f"{row.seconds:.1f}" if row.seconds else "–",
            badge(message(f"chart.verdict.{row.level}"), *VERDICTS[row.level]),
            " ".join(row.reasons),
        )
        for row in careful or check.rows
    ]
    counted = message("widget.recordings.counted", shown=len(rows), total=len(check.rows))
    table = table_html(headers, rows, counted, [notice.sentence for notice in check.notices])
    display(table if careful else _folded(message("widget.recordings.all_ok", total=len(check.rows)), table))


def _summary(check: RecordingsCheck) -> list[str]:
    totals = check.totals
    lines = [
        message(
            "widget.recordings.summary",
            total=len(check.rows),
            ok=check.count("ok"),
            again=check.count("again"),
            listen=check.count("listen"),
            unusable=check.count("unusable"),
        ),
        message("widget.recordings.sound", minutes=totals.seconds / 60, phrases=totals.phrases, takes=totals.takes),
    ]
    again = dict.fromkeys(row.text for row in check.rows if row.level == "again")
    return [*lines, message("widget.recordings.again", texts="、".join(again))] if again else lines


def show_hints(hints: Sequence[Hint]) -> None:
    """What ``recordings.hear`` found: texts that may have been swapped, and that this is no verdict."""
    if not hints:
        say(message("widget.recordings.no_hints"))
        return
    headers = [message(f"widget.recordings.{name}") for name in ("audio", "text", "heard", "nearer")]
    rows = [(hint.audio, hint.text, hint.heard, hint.nearer) for hint in hints]
    title = message("widget.recordings.hints", n=len(hints))
    display(table_html(headers, rows, title, [message("widget.recordings.hints.note")]))


def _folded(title: str, content: Markup) -> Markup:
    return Markup(f"<details><summary>{escape(title)}</summary>{content}</details>", f"{title}\n{content.alt}")


WIDE = widgets.Layout(width="560px")


def show_folder(workspace: Workspace, limit: int = 4) -> None:
    """What lies in DATA_DIR, as a tree; of each folder at most ``limit`` files."""
    tree = _tree(workspace.data_dir, "", limit) if workspace.data_dir.is_dir() else []
    lines = [f"{workspace.data_dir.name}/", *(tree or [message("widget.folder.empty")])]
    _preformatted("\n".join(lines))


def _tree(folder: Path, indent: str, limit: int) -> list[str]:
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: (p.is_file(), p.name))
    folders, files = [p for p in entries if p.is_dir()], [p for p in entries if p.is_file()]
    more = len(files) - limit
    names = [f"{p.name}/" for p in folders] + [p.name for p in files[:limit]]
    names += [message("widget.folder.more", n=more)] if more > 0 else []
    lines = []
    for position, name in enumerate(names):
        last = position == len(names) - 1
        lines.append(f"{indent}{'└──' if last else '├──'} {name}")
        if position < len(folders):
            lines += _tree(folders[position], indent + ("    " if last else "│   "), limit)
    return lines


def show_labels(workspace: Workspace, limit: int = 3) -> None:
    """The first entries of the learner's own labels.json, as they may be written; or how one is made."""
    if not workspace.labels.exists():
        say(message("widget.labels.none"))
        return
    labels = read_labels(workspace.labels)
    entries = [json.dumps({"audio": label.audio, "text": label.text}, ensure_ascii=False) for label in labels[:limit]]
    title = message("widget.labels.first", shown=len(entries), total=len(labels))
    _preformatted(f"{title}\n[\n  " + ",\n  ".join(entries) + "\n]")


def _preformatted(text: str) -> None:
    display(Markup(f'<pre style="font-family:monospace">{escape(text)}</pre>', text))


class LabelEditor:
    """``LabelEditor(workspace, checked)`` as the last line of a cell: hear and see a recording, correct its text, save.

    Those that need a look come first. Only the text of the chosen entry is changed in labels.json, and only when the
    button is pressed; another one, there where it is needed, takes invisible characters out of all texts.
    """

    def __init__(self, workspace: Workspace, checked: RecordingsCheck) -> None:
        self.workspace = workspace
        self.rows = {row.audio: row for row in sorted(checked.rows, key=lambda row: row.level == "ok")}
        options = [(f"{verdict(row.level)} · {row.text} · {row.audio}", row.audio) for row in self.rows.values()]
        self.chosen = widgets.Dropdown(options=options, description=message("widget.editor.chosen"), layout=WIDE)
        self.sound = widgets.Output()
        self.picture = widgets.HTML()
        self.text = widgets.Text(description=message("widget.editor.text"), layout=WIDE)
        self.button = widgets.Button(description=message("widget.editor.save"))
        self.answer = widgets.HTML()
        self.chosen.observe(lambda _: self._show(), names="value")
        self.button.on_click(self._save)
        self.clean = widgets.Button(description=message("widget.editor.clean"), layout=widgets.Layout(width="260px"))
        self.clean.on_click(self._clean_up)
        buttons = widgets.HBox([self.button, self.clean])
        self.box = widgets.VBox([self.chosen, self.sound, self.picture, self.text, buttons, self.answer])
        if self.rows:
            self._show()

    def _ipython_display_(self) -> None:
        if self.rows:
            display(bundle(self.box), raw=True)
        else:
            say(message("widget.editor.nothing"))

    def _show(self) -> None:
        row = self.rows[self.chosen.value]
        show_in(self.sound, *_sound(self.workspace, row))
        self.picture.value = _picture(self.workspace, row)
        labels = read_labels(self.workspace.labels)
        self.text.value = next((label.text for label in labels if label.audio == row.audio), row.text)
        self.clean.layout.display = "" if any(invisible(label.written) for label in labels) else "none"
        self.answer.value = ""

    def _save(self, _: widgets.Button) -> None:
        if not self.text.value.strip():
            self._say("❌", message("widget.editor.empty"))
            return
        try:
            new = check_text(self.text.value)
            with changing(self.workspace.labels) as labels:
                labels[:] = [
                    replace(each, text=new, written="") if each.audio == self.chosen.value else each for each in labels
                ]
        except ResonanceError as error:
            self._say("❌", str(error))
            return
        self._say("✅", message("widget.editor.saved", text=new))

    def _clean_up(self, _: widgets.Button) -> None:
        try:
            n = clean_up(self.workspace.labels)
        except ResonanceError as error:
            self._say("❌", str(error))
            return
        self.clean.layout.display = "none"
        self._say("✅", message("widget.editor.cleaned", n=n))

    def _say(self, mark: str, text: str) -> None:
        self.answer.value = f"<p>{mark} {escape(text)}</p>"


def _sound(workspace: Workspace, row: RecordingRow) -> list[Markup]:
    reasons = [Markup(f"<p>{escape(reason)}</p>", reason) for reason in row.reasons]
    return [player(workspace.data_dir / row.source, row.audio), *reasons] if row.source else reasons


def _picture(workspace: Workspace, row: RecordingRow) -> str:
    """The wave and the mel picture of a recording; nothing where it can't be read, which the reasons say."""
    try:
        clip = load_clip_view(workspace, row)
    except ResonanceError as error:  # the file changed since the check
        return f"<p>{escape(str(error))}</p>"
    if clip is None:
        return ""
    drawn = draw_clip_view(row, clip)
    png = base64.b64encode(drawn.png()).decode()
    return f'<img alt="{escape(drawn.alt)}" style="max-width:100%" src="data:image/png;base64,{png}">'


def check_recordings(workspace: Workspace, checked: RecordingsCheck) -> None:
    """Lesson 04's check: enough recordings that belong together, and the consent."""
    totals = checked.totals
    if checked.is_ready:
        seconds = round(totals.seconds)
        ready = message(
            "widget.recordings.ready", recordings=totals.recordings, phrases=totals.phrases, seconds=seconds
        )
        check(True, ready)
    for notice in checked.notices:
        if notice.code in ("RZ-0406", "RZ-0466", "RZ-0470", "RZ-0471"):
            check(False, notice.sentence)
    missing, unlabelled = len(checked.missing), len(checked.unlabelled)
    if missing or unlabelled:
        unmatched = message("widget.recordings.unmatched", missing=missing, unlabelled=unlabelled)
        check(False, unmatched, message("widget.recordings.unmatched.fix"))
    try:
        consent = require_consent(workspace)
    except ResonanceError as error:
        check(False, str(error))
    else:
        check(True, message("widget.consent.sample") if consent is None else message("widget.consent.given"))
