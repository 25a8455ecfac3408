"""labels.json: which recording says what.

The guide has people write it by hand in Notepad, so its mistakes are Notepad's: each is named with its line, and
nothing is guessed. A UTF-8 or UTF-16 byte-order mark is unambiguous and simply accepted. GBK (Notepad's "ANSI") is not:
Big5 or Shift-JIS bytes read as GBK give other characters without an error, and the label is exactly what the model
learns; so such a file is refused with the way to save it as UTF-8. Reading never changes the file: invisible characters
in a text are left out when it is read, and stay in the file until ``clean_up`` is called.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from ..core.messages import ResonanceError, message
from ..core.workspace import locked, remove_leftovers, write_text
from . import transcript

_KNOWN_KEYS = ("audio", "text", "take", "session", "split")
_SPLITS = ("train", "test")
_SHOWN = 60  # characters of a value that an error repeats
CORRECTIONS = "corrections"  # the session of what was put right while the service was used: only ever trained on


@dataclass(frozen=True)
class Label:
    """One entry of labels.json. ``audio`` is relative to DATA_DIR, with forward slashes and without ``./``; ``text`` is
    without the invisible characters that may be in the file."""

    audio: str
    text: str
    take: int = 1  # counted from 1
    session: str | None = None
    split: Literal["train", "test"] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)  # keys that are not ours, in order
    keys: tuple[str, ...] = field(default=(), repr=False, compare=False)  # all keys as the file had them, for rewriting
    written: str = field(default="", repr=False, compare=False)  # the text as the file had it, for rewriting


def read_labels(path: Path) -> list[Label]:
    """The entries of labels.json in order.

    Raises RZ-0401 (missing), RZ-0402 (not JSON: line, column and the fault), RZ-0403 (wrong shape), RZ-0404 (empty
    text), RZ-0405 (the same file twice), RZ-0408 (not UTF-8), RZ-0409 (a path out of the data folder), RZ-0483 (a text
    that ``transcript.check`` refuses).
    """
    if not path.is_file():
        raise ResonanceError("RZ-0401", path=path, close=_close(path))
    return _parse(_decode(path.read_bytes(), path), path)


def misnamed(path: Path) -> list[str]:
    """Files beside ``path`` that are probably meant to be it: another spelling, a second ending, a browser's (1)."""
    if not path.parent.is_dir():
        return []
    others = (each.name for each in path.parent.iterdir() if each.name != path.name and not each.name.startswith("."))
    return [
        name for name in sorted(others) if difflib.get_close_matches(_plain(name), [_plain(path.name)], cutoff=0.85)
    ]


def _plain(name: str) -> str:
    """``name`` without what a file manager or a browser adds to it."""
    name = name.casefold().removesuffix(".txt")
    return re.sub(r"[\s_-]*(?:[(（]\d+[)）]|副本|拷贝|copy)", "", name)


def _close(path: Path) -> str:
    names = misnamed(path)
    return message("labels.close", names=" / ".join(names), name=path.name) if names else ""


def write_labels(path: Path, labels: Iterable[Label]) -> None:
    """Write labels.json whole or not at all, one line for each entry as in the guide.

    Keys that are not ours and the order of keys survive. What ``read_labels`` would refuse is not written.
    """
    lines = ",\n".join(f"  {json.dumps(_entry(label), ensure_ascii=False)}" for label in labels)
    text = f"[\n{lines}\n]\n" if lines else "[]\n"
    _parse(text, path)
    write_text(path, text)


@contextmanager
def changing(path: Path) -> Iterator[list[Label]]:
    """The entries of labels.json, to be changed in place; none where there is no file yet. They are written when the
    block ends well.

    Whoever else changes them, a notebook or the service, waits meanwhile: no entry is lost. Raises what
    ``read_labels``, ``write_labels`` and ``workspace.locked`` raise.
    """
    with locked(path):
        remove_leftovers(path)
        labels = read_labels(path) if path.exists() else []
        yield labels
        write_labels(path, labels)


def clean_up(path: Path) -> int:
    """Take the invisible characters out of the texts in the file itself, for who was asked; how many texts changed."""
    with changing(path) as labels:
        dirty = [label for label in labels if transcript.invisible(label.written)]
        labels[:] = [replace(label, written="") if label in dirty else label for label in labels]
    return len(dirty)


def _entry(label: Label) -> dict[str, Any]:
    ours = {key: getattr(label, key) for key in _KNOWN_KEYS}
    if label.written and transcript.clean(label.written) == label.text:
        ours["text"] = label.written
    unset = {"take": 1, "session": None, "split": None}
    wanted = {key: value for key, value in ours.items() if key in label.keys or value != unset.get(key, "")}
    everything = {**wanted, **label.extra}
    return {key: everything[key] for key in dict.fromkeys((*label.keys, *everything)) if key in everything}


# ── From bytes to entries ────────────────────────────────────────────────────
def _decode(data: bytes, path: Path) -> str:
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # what Notepad calls Unicode
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        read_as_gbk = data.splitlines()[line - 1].decode("gb18030", errors="replace").strip()
        raise ResonanceError("RZ-0408", path=path, line=line, text=read_as_gbk) from error


def _parse(text: str, path: Path) -> list[Label]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        position, fault = _fault(text, error)
        raise _not_json(path, text, position, fault) from error
    except (RecursionError, ValueError) as error:  # brackets in brackets without end; a number of thousands of digits
        raise _shape(path, "endless") from error
    if not isinstance(entries, list):
        raise _shape(path, "top", found=_kind(entries))
    lines: list[int] = []
    labels: list[Label] = []
    first_of: dict[str, int] = {}
    for number, (entry, line) in enumerate(_entries(text, path), start=1):
        lines.append(line)
        label = as_label(entry, path, number, line)
        same = unicodedata.normalize("NFC", label.audio)  # macOS takes accents apart
        if same in first_of:
            first = {"first": first_of[same], "first_line": lines[first_of[same] - 1]}
            raise ResonanceError("RZ-0405", path=path, audio=label.audio, entry=number, line=line, **first)
        first_of[same] = number
        labels.append(label)
    return labels


def _entries(text: str, path: Path) -> Iterator[tuple[Any, int]]:
    """The entries of a JSON list, each with the line on which it begins, counted from 1."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    number, line, counted = 1, 1, 0
    position = _skip_space(text, text.index("[") + 1)
    while text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        try:
            entry, position = decoder.raw_decode(text, position)
        except _Twice as twice:
            raise _shape(path, "twice", entry=number, line=line, key=twice) from twice
        yield entry, line
        number, position = number + 1, _skip_space(text, position)
        if text[position] == ",":
            position = _skip_space(text, position + 1)


class _Twice(Exception):
    """A key that stands twice in one JSON object. Python would take the last one and say nothing."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in found if keys.count(key) > 1))
    return found


def _skip_space(text: str, position: int) -> int:
    while text[position] in " \t\r\n":
        position += 1
    return position


# ── One entry ────────────────────────────────────────────────────────────────
def as_label(entry: Any, path: Path, number: int, line: int) -> Label:
    """The label that ``entry`` of a file is, number ``number`` of it on ``line``. Raises RZ-0403, RZ-0404, RZ-0409 and
    RZ-0483."""
    where = {"entry": number, "line": line}
    if not isinstance(entry, dict):
        raise _shape(path, "entry", **where, found=_kind(entry))
    for key in ("audio", "text"):
        if key not in entry:
            raise _shape(path, "missing", **where, key=key, found=", ".join(map(_shown, entry)) or "–")
        if not isinstance(entry[key], str):
            raise _shape(path, "string", **where, key=key, found=_kind(entry[key]))
    return Label(
        audio=_audio(entry["audio"], path, where),
        text=_text(entry["text"], path, {**where, "audio": entry["audio"]}),
        take=_take(entry.get("take", 1), path, where),
        session=_session(entry.get("session"), path, where),
        split=_split(entry.get("split"), path, where),
        extra={key: value for key, value in entry.items() if key not in _KNOWN_KEYS},
        keys=tuple(entry),
        written=entry["text"],
    )


def _text(text: str, path: Path, where: Mapping[str, Any]) -> str:
    if not transcript.clean(text):
        raise ResonanceError("RZ-0404", path=path, **where)
    try:
        return transcript.check(text)
    except ResonanceError as error:
        raise ResonanceError("RZ-0483", path=path, problem=error, **where) from error


def _audio(audio: str, path: Path, where: Mapping[str, int]) -> str:
    """``audio`` with forward slashes and without ``./``, if it stays inside the data folder; a whole path into that
    folder, here or where the file was written, as what it is there."""
    if any(unicodedata.category(character) == "Cc" for character in audio):
        raise _shape(path, "backslash", **where, found=_shown(audio))
    windows = PureWindowsPath(audio.strip('"\u202a\u202c '))  # what Windows copies along with a path
    inside = _below(path.parent, windows) if windows.root else None
    relative = inside or PurePosixPath(audio.replace("\\", "/"))
    if ((windows.drive or windows.root) and not inside) or ".." in relative.parts:
        raise ResonanceError("RZ-0409", path=path, audio=audio, **where)
    if not relative.name:
        raise _shape(path, "no_file", **where)
    return str(relative)


def _below(folder: Path, whole: PureWindowsPath) -> PurePosixPath | None:
    """What the absolute path ``whole`` is below ``folder``: with its whole path before it or, where it was written on
    another computer, with its name alone, if that stands there once. None where it lies elsewhere, or may."""
    parts = [_as_seen(part) for part in whole.parts]
    for place in (folder, folder.resolve()):
        start = [_as_seen(part) for part in PureWindowsPath(place).parts]
        if parts[: len(start)] == start:
            return PurePosixPath(*whole.parts[len(start) :])
    name = _as_seen(folder.resolve().name)
    with suppress(OSError):
        if parts.count(name) == 1 and not Path(whole.as_posix()).exists():  # else it is another file of this computer
            after = whole.parts[parts.index(name) + 1 :]
            return PurePosixPath(*after) if len(after) == 1 or after[:1] in (("audio",), ("audio_raw",)) else None
    return None


def _as_seen(part: str) -> str:
    return unicodedata.normalize("NFC", part).casefold()


def _take(take: Any, path: Path, where: Mapping[str, int]) -> int:
    if not isinstance(take, int) or isinstance(take, bool) or take < 1:
        raise _shape(path, "take", **where, found=_shown(take))
    return take


def _session(session: Any, path: Path, where: Mapping[str, int]) -> str | None:
    if session is not None and not isinstance(session, str):
        raise _shape(path, "string", **where, key="session", found=_kind(session))
    return session


def _split(split: Any, path: Path, where: Mapping[str, int]) -> Literal["train", "test"] | None:
    if split is not None and split not in _SPLITS:
        raise _shape(path, "split", **where, found=_shown(split))
    return split


def _shape(path: Path, problem: str, **facts: Any) -> ResonanceError:
    return ResonanceError("RZ-0403", path=path, problem=message(f"labels.shape.{problem}", **facts))


def _shown(value: Any) -> str:
    """A JSON value as the file has it, or its beginning."""
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return message(f"labels.kind.{names.get(type(value), 'number')}")


# ── Notepad's faults ─────────────────────────────────────────────────────────
_QUOTES = "“”‘’「」『』＂＇'"
_MARKS = {"，": ",", "、": ",", "；": ",", "：": ":", "｛": "{", "｝": "}", "［": "[", "］": "]", "【": "[", "】": "]"}
# A quote of the wrong kind where a string should end or begin.
_WRONG_QUOTE = re.compile(rf"[{_QUOTES}](?=\s*(?:[,，:：}}\]｝］]|$))", re.MULTILINE)


def _fault(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    """Where the mistake really is (an index into ``text``) and its sentence."""
    at = error.pos
    here = text[at : at + 1]
    before = text[:at].rstrip()
    if not before and not here.strip():
        return 0, message("labels.fault.empty")
    if here in _MARKS:
        return at, message("labels.fault.full_width", found=here, right=_MARKS[here])
    if here and here in _QUOTES:
        return at, message("labels.fault.quotes", found=here)
    comma = len(before) - 1 if before.endswith(",") else at  # Python 3.13 points at the comma, 3.11 behind it
    if text[comma : comma + 1] == "," and (bracket := text[comma + 1 :].lstrip()[:1]) in ("]", "}"):
        return comma, message("labels.fault.trailing_comma", bracket=bracket)
    if error.msg.startswith("Invalid \\"):
        return at, message("labels.fault.backslash")
    return _string_fault(text, error, before) or _structure_fault(text, error, before)


def _string_fault(text: str, error: json.JSONDecodeError, before: str) -> tuple[int, str] | None:
    """A string that was not closed where it should have been: it ran on, and the parser stumbled only later."""
    at = error.pos
    runs_on = error.msg.startswith(("Unterminated string", "Invalid control character"))
    if not runs_on and (not before.endswith('"') or text[at : at + 1] in ('"', "{", "[", "")):
        return None
    if error.msg.startswith("Unterminated string"):
        start, end = at, _end_of_line(text, at)
    else:
        start, end = text.rfind('"', 0, len(before) - (not runs_on)), at
    if wrong := _WRONG_QUOTE.search(text, start, end):
        return wrong.start(), message("labels.fault.quotes", found=wrong[0])
    if runs_on:
        return start, message("labels.fault.open_string")
    if error.msg.startswith("Expecting ',' delimiter"):
        return len(before) - 1, message("labels.fault.inner_quote")
    return None


def _structure_fault(text: str, error: json.JSONDecodeError, before: str) -> tuple[int, str]:
    if error.msg.startswith("Extra data") and text.lstrip().startswith("{"):
        return error.pos, message("labels.fault.no_brackets")
    if error.pos >= len(text.rstrip()):
        return max(0, len(before) - 1), message("labels.fault.cut_off")
    if error.msg.startswith("Expecting ',' delimiter"):
        return len(before), message("labels.fault.no_comma")
    return error.pos, message("labels.fault.other", detail=error.msg)


def _not_json(path: Path, text: str, position: int, fault: str) -> ResonanceError:
    start = text.rfind("\n", 0, position) + 1
    line = text.count("\n", 0, position) + 1
    offending = text[start : _end_of_line(text, position)].strip()
    return ResonanceError("RZ-0402", path=path, line=line, column=position - start + 1, fault=fault, text=offending)


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end
