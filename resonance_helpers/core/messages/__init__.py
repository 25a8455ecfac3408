"""What the package says to a person, in Chinese and English, each sentence under a stable code.

The sentences live in TOML files beside this module, one file for each room. A code ``RZ-0502`` belongs to lesson 05 and
is an error or a warning that a person may look up; a dotted key (``check.gpu.ready``) is ordinary text.
Standard library only, because lessons 01–03 run before anything is installed.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, Literal

from ..shell import pip, resonance

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
COMMANDS = {"{resonance}": resonance, "{pip}": pip}  # in a sentence: as they can be typed on this machine


def language() -> Language:
    """The language of the user: ``RESONANCE_LANG``, Chinese unless it says ``en``."""
    return "en" if os.environ.get("RESONANCE_LANG", "zh").lower().startswith("en") else "zh"


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """All sentences: key → {"zh", "en"}. A key that stands in two files is a mistake of ours."""
    sentences: dict[str, dict[str, str]] = {}
    for entry in sorted(resources.files(__package__).iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            for key, both in _entries(tomllib.loads(entry.read_text(encoding="utf-8"))):
                if key in sentences:
                    raise KeyError(f"{key} stands in two message files")
                sentences[key] = both
    return sentences


def _entries(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Each key of ``tree`` with its two sentences; ``a.b.zh`` and ``a.b.en`` are those of ``a.b``."""
    sentences = {name: value for name, value in tree.items() if isinstance(value, str)}
    if sentences:
        yield prefix, sentences
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _entries(value, f"{prefix}.{name}" if prefix else name)


def message(key: str, /, lang: Language | None = None, **facts: Any) -> str:
    """The sentence of ``key`` with ``facts`` filled in, in ``lang`` or the user's language. It can be printed, whatever
    stands in the facts."""
    sentence = catalogue()[key][lang or language()]
    typed = {place[1:-1]: command() for place, command in COMMANDS.items() if place in sentence}
    return _printable(sentence.format(**typed, **facts))


def _printable(text: str) -> str:
    """``text`` without surrogates: bytes that the system's locale could not read, as in a path, are read as UTF-8."""
    bare = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text)
    return bare.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def make_console_print_everything() -> None:
    """A Windows console in GBK cannot print ✅: better a "?" than a crash. Where the locale is ASCII, nothing that we
    say could be read at all; such terminals show UTF-8, as Python assumes by itself unless it was told not to."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(errors="replace", **({"encoding": "utf-8"} if is_ascii else {}))


class ResonanceError(Exception):
    """An error that a user can mend: what was given, what is allowed, how to fix it, under a code.

    ``str(error)`` is the sentence in the user's language behind its code, so that a log, a notebook and a terminal
    all show the same words.
    """

    def __init__(self, code: str, /, **facts: Any) -> None:
        self.code = code
        self.facts = facts
        super().__init__(f"[{code}] {message(code, **facts)}")

    def __reduce__(self) -> tuple[Any, ...]:  # keeps code and facts when a worker process sends the error home
        return _rebuild, (type(self), self.code, self.facts)


def _rebuild(kind: type[ResonanceError], code: str, facts: dict[str, Any]) -> ResonanceError:
    return kind(code, **facts)
