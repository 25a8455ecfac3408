"""Lesson 04: what is going to be recorded, and an editor for it.

The editor is a list box with fields below it, all of the browser's own, so that it works with the keyboard alone. In
JupyterLab the arrow keys leave a list box for the next cell, so a field with the number of the phrase moves in it too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from ...core.messages import ResonanceError, message
from ...core.workspace import Workspace
from ...dataset import phrases
from ...dataset.phrases.lists import Phrase
from ...ui.fallback import bundle
from ...ui.html import escape, table_html

WIDE = {"width": "560px"}  # each widget makes a layout of its own from it, which can be hidden alone
SHOWN = 14  # phrases at once
IN_WORDS = 20  # phrases in the plain form


def show_phrases(workspace: Workspace) -> None:
    """The list by topics, and whether it is the patient's own."""
    listed = sorted(phrases.read(workspace), key=_place)
    rows = [
        (phrases.topic_name(topic), message("list.comma").join(f"{each.picture} {each.text}".strip() for each in some))
        for topic, some in groupby(listed, key=lambda phrase: phrase.topic)
    ]
    headers = [message("widget.phrases.topic"), message("widget.phrases.phrases")]
    display(table_html(headers, rows, _title(workspace, len(listed))))


def _place(phrase: Phrase) -> tuple[int, str]:
    """Our topics in their order, then the patient's own by name, then none."""
    known = phrases.TOPICS.index(phrase.topic) if phrase.topic in phrases.TOPICS else len(phrases.TOPICS)
    return known + (not phrase.topic), phrase.topic


def _title(workspace: Workspace, n: int) -> str:
    own = phrases.own_list(workspace).exists()
    return message("widget.phrases.own" if own else "widget.phrases.everyday", n=n)


class PhraseList:
    """``PhraseList(workspace)`` as the last line of a cell: edit, reorder, add, remove, import, save.

    Everything happens in ``phrases``, a list in memory; ``DATA_DIR/phrases.csv`` is written only when the button is
    pressed, and not over a file that changed since unless asked. Raises what ``phrases.read`` raises.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.phrases = list(phrases.read(workspace))
        self._seen = self._on_disk()
        self.title = widgets.HTML()
        self.list = widgets.Select(rows=SHOWN, layout=WIDE)
        self.number = widgets.BoundedIntText(min=1, description=message("widget.phrases.number"), layout=WIDE)
        self.text = _field("text")
        self.topic = _field("topic", widgets.Combobox, options=[phrases.topic_name(each) for each in phrases.TOPICS])
        self.picture = _field("picture")
        self.up = _button("up", lambda: self._move(-1))
        self.down = _button("down", lambda: self._move(1))
        self.add = _button("add", self._add)
        self.remove = _button("remove", self._remove)
        self.file = widgets.FileUpload(accept=".csv,.txt,.tsv,.xlsx,.xls", description=message("widget.phrases.import"))
        self.replace = widgets.Checkbox(description=message("widget.phrases.replace"), indent=False, layout=WIDE)
        self.replace.layout.display = "none"  # appears when there is something to replace
        self.save = _button("save", self._save)
        self.save.button_style = "primary"
        self.answer = widgets.HTML()
        self.list.observe(lambda _: self._fill(), names="value")
        self.number.observe(lambda _: self._go(), names="value")
        for field in (self.text, self.topic, self.picture):
            field.observe(lambda _: self._edit(), names="value")
        self.file.observe(self._import, names="value")
        self.box = widgets.VBox(
            [
                self.title,
                self.list,
                self.number,
                widgets.HBox([self.up, self.down, self.add, self.remove]),
                self.text,
                self.topic,
                self.picture,
                self.file,
                self.replace,
                self.save,
                self.answer,
            ]
        )
        self._choose(0)
        if self._seen is not None:
            self._say("ℹ️", *(each.sentence for each in phrases.parse(phrases.own_list(workspace)).left_out))

    def _ipython_display_(self) -> None:
        display(bundle(self.box, self.plain()), raw=True)

    def plain(self) -> str:
        """The list in words, its first ``IN_WORDS`` phrases."""
        more = len(self.phrases) - IN_WORDS
        lines = [_line(n, each) for n, each in enumerate(self.phrases[:IN_WORDS], start=1)]
        lines += [message("widget.phrases.more", n=more)] if more > 0 else []
        return "\n".join([_title(self.workspace, len(self.phrases)), *lines])

    # ── One phrase ───────────────────────────────────────────────────────────
    def _choose(self, index: int) -> None:
        """Show the list as it is now, with the phrase ``index`` chosen."""
        self.title.value = f"<b>{escape(_title(self.workspace, len(self.phrases)))}</b>"
        chosen = min(index, len(self.phrases) - 1)
        self.list.options = [(_line(n, each), n - 1) for n, each in enumerate(self.phrases, start=1)]
        self.list.value = chosen if self.phrases else None
        self._fill()

    def _fill(self) -> None:
        """Put the chosen phrase into the fields."""
        phrase = Phrase("") if self.list.value is None else self.phrases[self.list.value]
        shown = (phrase.text, phrases.topic_name(phrase.topic), phrase.picture)
        self._fills = True  # a field that is filled is not edited
        self.number.max = max(1, len(self.phrases))
        self.number.value = (self.list.value or 0) + 1
        for field, value in zip((self.text, self.topic, self.picture), shown, strict=True):
            field.value = value
        self._fills = False

    def _go(self) -> None:
        if not self._fills and self.phrases:
            self.list.value = self.number.value - 1

    def _edit(self) -> None:
        if self._fills or self.list.value is None:
            return
        topic = phrases.topic_key(self.topic.value.strip())
        self.phrases[self.list.value] = Phrase(self.text.value.strip(), topic, self.picture.value.strip())
        self._choose(self.list.value)

    def _move(self, by: int) -> None:
        here = self.list.value
        if here is not None and 0 <= here + by < len(self.phrases):
            self.phrases.insert(here + by, self.phrases.pop(here))
            self._choose(here + by)

    def _add(self) -> None:
        place = 0 if self.list.value is None else self.list.value + 1
        self.phrases.insert(place, Phrase(""))
        self._choose(place)
        self.text.focus()

    def _remove(self) -> None:
        if self.list.value is not None:
            gone = self.phrases.pop(self.list.value)
            self._choose(self.list.value)
            self._say("ℹ️", message("widget.phrases.removed", text=gone.text))

    # ── Files ────────────────────────────────────────────────────────────────
    def _import(self, _: Any) -> None:
        for file in self.file.value:
            try:
                parsed = phrases.parse(bytes(file["content"]), file["name"])
            except ResonanceError as error:
                self._say("❌", str(error))
                continue
            new = phrases.new_to(self.phrases, parsed.phrases)
            known = len(parsed.phrases) - len(new)
            self.phrases += new
            self._choose(len(self.phrases) - len(new))
            said = message("widget.phrases.imported", name=file["name"], new=len(new), known=known)
            self._say("✅", said, *(each.sentence for each in parsed.left_out))
        self.file.value = ()

    def _save(self) -> None:
        path = phrases.own_list(self.workspace)
        if self._on_disk() not in (None, self._seen) and not self.replace.value:
            self.replace.layout.display = ""
            self._say("❌", message("widget.phrases.changed", path=path))
            return
        try:
            phrases.write(self.workspace, self.phrases)
        except ResonanceError as error:
            self._say("❌", str(error))
            return
        self._seen = self._on_disk()
        self.replace.value, self.replace.layout.display = False, "none"
        self._choose(self.list.value)
        self._say("✅", message("widget.phrases.saved", path=path, n=len(self.phrases)))

    def _on_disk(self) -> bytes | None:
        path = phrases.own_list(self.workspace)
        return path.read_bytes() if path.exists() else None

    def _say(self, mark: str, *sentences: str) -> None:
        self.answer.value = "".join(f"<p>{mark} {escape(sentence)}</p>" for sentence in sentences)


def _line(n: int, phrase: Phrase) -> str:
    name = phrase.text or message("widget.phrases.empty")
    return " ".join(part for part in (f"{n}.", phrase.picture, name, _aside(phrase.topic)) if part)


def _aside(topic: str) -> str:
    return f"· {phrases.topic_name(topic)}" if topic else ""


def _field(name: str, kind: type[widgets.Text] = widgets.Text, **options: Any) -> widgets.Text:
    hint = message(f"widget.phrases.{name}.hint")
    label = message(f"widget.phrases.{name}")
    return kind(description=label, placeholder=hint, continuous_update=False, layout=WIDE, **options)


def _button(name: str, press: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=message(f"widget.phrases.{name}"))
    button.on_click(lambda _: press())
    return button
