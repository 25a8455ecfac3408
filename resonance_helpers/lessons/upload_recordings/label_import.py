"""Which recording says what, as other programs write it: ``metadata.csv`` and ``metadata.jsonl`` (Hugging Face), Common
Voice's ``validated.tsv``, a manifest of NeMo, a table from Excel.

``preview`` reads and writes nothing; a person looks at it, at the characters of a GBK file above all; ``write`` then
adds what is new to labels.json. An entry that is there already is changed only when that was asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.messages import ResonanceError, message
from ...core.settings import AUDIO_SUFFIXES
from ...core.workspace import Workspace, megabytes
from ...dataset import tables
from ...dataset.index import Recordings, is_recording, repaired
from ...dataset.labels import Label, as_label, changing, read_labels
from ...dataset.takes import next_label
from ...scoring.text import normalise

MOST_BYTES = 20_000_000  # of a table; ten thousand lines have a tenth of it
_COLUMNS = {  # what people and programs call them, the surest name first
    "audio": (
        *("audio", "file_name", "audio_filepath", "audio_path", "filename", "file", "path", "wav", "recording"),
        *("录音", "录音文件", "音频", "音频文件", "文件名", "文件", "路径"),
    ),
    "text": (
        *("text", "transcription", "transcript", "sentence", "raw_transcription", "label", "phrase"),
        *("文字", "文本", "句子", "内容", "转写", "标注", "短语"),
    ),
    "take": ("take", "第几遍"),
    "session": ("session",),
    "split": ("split",),
}
_USUAL = re.compile(r"(metadata|labels?|train|dev|test|validated|other|transcripts?)\.[a-z]+", re.IGNORECASE)


@dataclass(frozen=True)
class Preview:
    """What a table would add. ``columns`` is ours → as the table calls it (the number of the column where it has no
    heading); ``coding`` is that of the text, empty for a workbook; ``new`` are the entries that labels.json lacks,
    ``different`` those it has with another text (its entry, and as it would be), ``same`` how many it has already;
    ``problems`` are sentences about lines that give no entry."""

    workspace: Workspace
    path: Path
    coding: str
    columns: Mapping[str, str]
    new: tuple[Label, ...]
    different: tuple[tuple[Label, Label], ...]
    same: int
    problems: tuple[str, ...]


def find(workspace: Workspace) -> tuple[Path, ...]:
    """The tables in DATA_DIR and the folders in it that say what recordings say, or are called so."""
    paths = (path for pattern in ("*", "*/*") for path in workspace.data_dir.glob(pattern))
    return tuple(path for path in sorted(paths) if is_table(path))


def preview(path: Path, workspace: Workspace) -> Preview:
    """What ``path`` would add to labels.json. Raises RZ-0491 (missing or too large), RZ-0488 (no columns), what
    ``tables.read`` raises and what ``read_labels`` raises."""
    lines, coding, columns = _read(path)
    there = _There(workspace, path.parent)
    problems: list[str] = []
    found: dict[str, Label] = {}
    unclear = set()
    for line, entry in lines:
        try:
            label = there.label(entry, path, line)
            first = found.setdefault(label.audio, label)
            if normalise(first.text) != normalise(label.text):
                unclear.add(label.audio)
                facts = {"audio": label.audio, "text": label.text, "other": first.text}
                raise ResonanceError("RZ-0490", path=path, line=line, **facts)
        except ResonanceError as error:
            problems.append(str(error))
    known = [(there.entries.get(audio), label) for audio, label in found.items() if audio not in unclear]
    both = [(old, replace(old, text=label.text, written="")) for old, label in known if old]
    different = tuple((old, new) for old, new in both if old != new)
    same = len(both) - len(different)
    new = tuple(there.with_take(label for old, label in known if old is None))
    return Preview(workspace, path, coding, columns, new, different, same, tuple(problems))


def write(given: Preview, replace_texts: bool = False) -> int:
    """Add what is new to labels.json, and with ``replace_texts`` put the table's text where labels.json has another
    one; how many entries were written. An entry that was changed since the preview stays as it is.

    Raises RZ-0417 for the bundled sample, and what ``labels.changing`` raises.
    """
    if given.workspace.is_sample:
        raise ResonanceError("RZ-0417")
    with changing(given.workspace.labels) as labels:
        audios = {label.audio for label in labels}
        changes = [(old, new) for old, new in given.different if replace_texts and old in labels]
        for old, new in changes:
            labels[labels.index(old)] = new
        added = [label for label in given.new if label.audio not in audios]
        labels += added
    return len(added) + len(changes)


# ── The table ────────────────────────────────────────────────────────────────
def read_texts(path: Path) -> tuple[list[Label], str]:
    """What a table says, its recordings as it names them and its texts as they are written; and its coding. Raises
    RZ-0491, RZ-0488 and what ``tables.read`` raises."""
    lines, coding, _ = _read(path)
    return [Label(entry["audio"].replace("\\", "/"), entry["text"]) for _, entry in lines], coding


def is_table(path: Path) -> bool:
    """Whether ``path`` says what recordings say, or is called so."""
    if path.name.startswith((".", "~$")) or path.suffix.lower() not in tables.SUFFIXES or not path.is_file():
        return False
    try:
        return path.name != "phrases.csv" and bool(_read(path))
    except ResonanceError:
        return bool(_USUAL.fullmatch(path.name)) and not is_recording(path)  # preview says why it can't be read


def _read(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], str, dict[str, str]]:
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise ResonanceError("RZ-0491", path=path, most=megabytes(MOST_BYTES))
    rows, coding = tables.read(path.read_bytes(), path.name)
    rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    heading = rows[0][1] if rows else []
    if columns := _by_heading(heading):
        names, rows = {ours: heading[at].strip() for ours, at in columns.items()}, rows[1:]
    elif columns := _by_content([cells for _, cells in rows]):
        names = {ours: str(at + 1) for ours, at in columns.items()}
    else:
        raise ResonanceError("RZ-0488", path=path, found=", ".join(cell.strip()[:30] for cell in heading) or "–")
    entries = [(line, {ours: cells[at] for ours, at in columns.items() if at < len(cells)}) for line, cells in rows]
    return [(line, _typed(entry)) for line, entry in entries], coding, names


def _by_heading(heading: Sequence[str]) -> dict[str, int]:
    """Where each of our columns is; empty where the row is no heading with both that are needed."""
    cells = [cell.strip().casefold() for cell in heading]
    columns = {ours: cells.index(name) for ours, names in _COLUMNS.items() for name in reversed(names) if name in cells}
    return columns if {"audio", "text"} <= columns.keys() else {}


def _by_content(rows: Sequence[Sequence[str]]) -> dict[str, int]:
    """Of two columns without a heading, the one that names recordings, and the other."""
    if not rows or any(len(cells) != 2 for cells in rows):
        return {}
    for at in (0, 1):
        if all(cells[at].strip().lower().endswith(AUDIO_SUFFIXES) for cells in rows):
            return {"audio": at, "text": 1 - at}
    return {}


def _typed(entry: dict[str, str]) -> dict[str, Any]:
    """``entry`` without empty cells but the text, a take as a number."""
    kept = {key: value.strip() for key, value in entry.items() if value.strip() or key in ("audio", "text")}
    take = kept.get("take", "")
    return {"audio": "", "text": "", **kept} | ({"take": int(take)} if take.isdecimal() and len(take) < 10 else {})


# ── What is in the folder ────────────────────────────────────────────────────
class _There:
    """The recordings in DATA_DIR, by the names that a table beside or among them may use, and their entries."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self._workspace, self._folder = workspace, folder
        self._recordings = Recordings(workspace)
        self._labels = read_labels(workspace.labels) if workspace.labels.exists() else []
        matches = self._recordings.match(self._labels)
        self.entries = {match.source or match.label.audio: match.label for match in matches}

    def label(self, entry: dict[str, Any], path: Path, line: int) -> Label:
        """The entry for labels.json. Raises RZ-0489 (no such recording, or several) and what labels.json would."""
        said = entry["audio"]
        sources = self._sources(said.replace("\\", "/"))
        if said and len(sources) != 1:
            raise ResonanceError("RZ-0489", path=path, line=line, audio=said, found=", ".join(sources) or "–")
        return as_label({**entry, "audio": "".join(sources)}, path, line, line)

    def with_take(self, labels: Iterable[Label]) -> Iterator[Label]:
        """``labels``, each with the number of its take where the table says none."""
        all_ = list(self._labels)
        for label in labels:
            if "take" not in label.keys:
                label = replace(label, take=next_label(self._workspace, all_, label.text).take)
            all_.append(label)
            yield label

    def _sources(self, name: str) -> list[str]:
        """The recordings, relative to DATA_DIR, that ``name`` may mean: beside the table, in DATA_DIR, or the ones
        with that name anywhere in it."""
        for folder in (self._folder, self._workspace.data_dir):
            relative = Path(os.path.relpath(folder / name, self._workspace.data_dir)).as_posix()
            if not relative.startswith("..") and (source := self._recordings.find(Label(relative, "")).source):
                return [source]
        file = repaired(PurePosixPath(name).name).casefold()
        return self._by_name.get(file) or self._by_name.get(file.rpartition(".")[0] or file, [])

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Recordings by their name, and by their name without what kind they are."""
        found: dict[str, list[str]] = {}
        for path in sorted(self._workspace.data_dir.rglob("*")):
            if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                name = path.relative_to(self._workspace.data_dir).as_posix()
                if not any(part.startswith(".") for part in name.split("/")) and not self._recordings.is_ours(name):
                    for key in (repaired(path.name).casefold(), repaired(path.stem).casefold()):
                        found.setdefault(key, []).append(name)
        return found


def found_sentences(workspace: Workspace) -> list[tuple[str, str]]:
    """For the check of lesson 04: a code and a sentence for each table that says something labels.json does not."""
    said = []
    for path in find(workspace):
        name = path.relative_to(workspace.data_dir).as_posix()
        try:
            looked = preview(path, workspace)
        except ResonanceError as error:
            said.append((error.code, f"{name} · {error}"))  # which of several files of one name
            continue
        if looked.new or looked.different or looked.problems:
            new, different, problems = map(len, (looked.new, looked.different, looked.problems))
            facts: dict[str, Any] = {"name": name, "new": new, "different": different, "problems": problems}
            said.append(("RZ-0486", message("RZ-0486", **facts)))
    return said
