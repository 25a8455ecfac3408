"""Lists of phrases: the bundled one, the patient's own, and those in a user's file.

A list comes from a spreadsheet or from Notepad, and every phrase is shown before it is spoken: ``tables`` says which
codings are read.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from ...core.messages import LANGUAGES, ResonanceError, message
from ...core.workspace import Workspace, megabytes, replacing
from ...scoring.text import normalise
from .. import tables
from ..transcript import clean, unfit

TOPICS = ("needs", "pain", "family", "feelings", "care", "school", "answers", "devices")
MOST_BYTES = 1_000_000
MOST_PHRASES = 2_000

_COLUMNS = ("text", "topic", "picture")
_HEADERS = {  # what people call the columns
    "text": ("text", "phrase", "sentence", "句子", "短语", "文字", "文本", "内容", "词语"),
    "topic": ("topic", "主题", "分类", "类别"),
    "picture": ("picture", "emoji", "图", "图片", "表情"),
}
_NUMBERING = re.compile(r"^(?:\d{1,4}\s*(?:[.．](?!\d)|[、)）])\s*)+")  # "1. 我想喝水", but not "3.5度"


@dataclass(frozen=True)
class Phrase:
    """Something to say. ``topic`` is one of ``TOPICS``, or whatever the patient's own list says; ``picture`` is an
    emoji for those who don't read. Both may be empty."""

    text: str
    topic: str = ""
    picture: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Lines of a file, counted from 1, that gave no phrase: ``reason`` is one of ``transcript.Reason`` or ``twice``
    (then ``of`` is the line that has it)."""

    reason: str
    line: int
    text: str = ""
    of: int = 0

    @property
    def sentence(self) -> str:
        text = self.text if len(self.text) <= 30 else self.text[:30] + "…"
        return message(f"phrases.left_out.{self.reason}", line=self.line, text=text, of=self.of)


@dataclass(frozen=True)
class Parsed:
    """The phrases of a file in order, and the lines that are none."""

    phrases: tuple[Phrase, ...]
    left_out: tuple[LeftOut, ...] = ()


# ── The two lists ────────────────────────────────────────────────────────────
def read(workspace: Workspace) -> tuple[Phrase, ...]:
    """The phrases to record, in order: the patient's own list where there is one, else ``everyday()``.

    Lines that are no phrase are left out; ``parse(own_list(workspace))`` names them. Raises what ``parse`` raises.
    """
    path = own_list(workspace)
    return parse(path).phrases if path.exists() else everyday()


def own_list(workspace: Workspace) -> Path:
    """Where the patient's own list lies, or would lie."""
    return workspace.data_dir / "phrases.csv"


@cache
def everyday() -> tuple[Phrase, ...]:
    """The bundled phrases, the ten most useful first."""
    bundled = resources.files(__package__).joinpath("everyday.csv").read_text(encoding="utf-8")
    return tuple(Phrase(**row) for row in csv.DictReader(io.StringIO(bundled)))


def write(workspace: Workspace, phrases: Iterable[Phrase]) -> Path:
    """Write the patient's own list whole or not at all, so that Excel opens it; where it is now.

    Topics are written by their names in the user's language. Raises RZ-0444 (nothing in it), RZ-0445 (an entry that
    reading would leave out), RZ-0442 (too many), RZ-0004 (disk full).
    """
    path = own_list(workspace)
    parsed = _phrases([(n, vars(each)) for n, each in enumerate(phrases, start=1)], path.name)
    if parsed.left_out:
        raise ResonanceError("RZ-0445", problem=parsed.left_out[0].sentence)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows((each.text, topic_name(each.topic), each.picture) for each in parsed.phrases)
    return path


def new_to(mine: Iterable[Phrase], others: Iterable[Phrase]) -> tuple[Phrase, ...]:
    """Those of ``others`` that say something else than every one of ``mine``."""
    said = {normalise(each.text) for each in mine}
    return tuple(each for each in others if normalise(each.text) not in said)


def topic_key(name: str) -> str:
    """A topic of ours for its name in either language, else ``name``."""
    ours = {message(f"phrases.topic.{topic}", lang): topic for topic in TOPICS for lang in LANGUAGES}
    return ours.get(name, name)


def topic_name(topic: str) -> str:
    """A topic as people read it; one of the patient's own is its own name."""
    return message(f"phrases.topic.{topic}") if topic in TOPICS else topic


# ── From a file ──────────────────────────────────────────────────────────────
def parse(source: Path | bytes, name: str = "") -> Parsed:
    """The phrases of a CSV or a workbook of Excel (with or without a heading: text, topic, picture) or of a text file
    with one on each line.

    ``name`` says what bytes were called: ``.csv`` has columns, anything else lines, unless there are tabs, as in
    Excel's "Unicode text". Numbers before the phrases are dropped; a phrase of the bundled list gets its topic and
    picture where it has none. Raises RZ-0440 (coding), RZ-0441 (no text file), RZ-0442 (too many), RZ-0443 (too
    large), RZ-0444 (no phrase in it), RZ-0446 (an endless cell).
    """
    name = source.name if isinstance(source, Path) else name
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > MOST_BYTES:
        raise ResonanceError("RZ-0443", name=name, size=megabytes(size), most=megabytes(MOST_BYTES))
    return _phrases(_rows(source.read_bytes() if isinstance(source, Path) else source, name), name)


def _phrases(rows: Iterable[tuple[int, Mapping[str, str]]], name: str) -> Parsed:
    phrases: list[Phrase] = []
    left_out: list[LeftOut] = []
    first: dict[str, int] = {}
    for line, row in rows:
        text = _NUMBERING.sub("", clean(row["text"]), count=1)
        words = normalise(text)
        if reason := unfit(text) or ("twice" if words in first else ""):
            left_out.append(LeftOut(reason, line, text, first.get(words, 0)))
        else:
            first[words] = line
            phrases.append(_completed(Phrase(text, topic_key(clean(row["topic"])), _picture(row["picture"]))))
    if not phrases:
        raise ResonanceError("RZ-0444", name=name)
    if len(phrases) > MOST_PHRASES:
        raise ResonanceError("RZ-0442", name=name, n=len(phrases), most=MOST_PHRASES)
    return Parsed(tuple(phrases), tuple(left_out))


def _picture(text: str) -> str:
    """An emoji without what stands around it; ``?`` is what GBK makes of one. Its parts are joined by an invisible
    character, which stays."""
    visible = (c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(visible).strip("?")


def _completed(phrase: Phrase) -> Phrase:
    known = _everyday_by_words().get(normalise(phrase.text), phrase)
    return Phrase(phrase.text, phrase.topic or known.topic, phrase.picture or known.picture)


@cache
def _everyday_by_words() -> dict[str, Phrase]:
    return {normalise(each.text): each for each in everyday()}


# ── From bytes to rows ───────────────────────────────────────────────────────
def _rows(data: bytes, name: str) -> list[tuple[int, dict[str, str]]]:
    """Line and columns of each row; a heading is none."""
    if tables.is_workbook(data):
        cells = tables.of_workbook(data, name)
    else:
        text, _ = tables.decode(data, name)
        if "\t" in text.rstrip().partition("\n")[0] or name.lower().endswith((".csv", ".tsv")):
            cells = tables.of_text(text, name)
        else:
            cells = [(line, [row]) for line, row in enumerate(text.rstrip().splitlines(), start=1)]
    columns = _columns(cells[0][1]) if cells else None
    order = columns or list(_COLUMNS)
    return [
        (line, {"text": "", "topic": "", "picture": "", **dict(zip(order, row, strict=False))})
        for line, row in cells[bool(columns) :]
    ]


def _columns(row: Sequence[str]) -> list[str] | None:
    """What the columns hold, if ``row`` is a heading."""
    called = [next((ours for ours in _COLUMNS if cell.strip().lower() in _HEADERS[ours]), cell) for cell in row]
    return called if "text" in called else None
