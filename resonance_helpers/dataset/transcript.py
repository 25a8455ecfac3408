"""What may stand as the text of a recording. Every way in for a text asks here: labels.json, new takes, files that come
in, lists of phrases, tables of other programs, corrections, the editor.

A model learns exactly what is written, so what is invisible must not be learned: invisible characters are left out
wherever a text is read, because there is only one way to read it without them; a file is changed only when its owner
says so. What can be read in several ways, or not at all, is refused.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from ..core.messages import ResonanceError
from ..core.settings import LONGEST_TEXT

Reason = Literal["empty", "wordless", "broken", "token", "long"]

SPECIAL_TOKEN = re.compile(
    r"<\|.*?\|>"
)  # how Whisper's vocabulary writes its commands: <|endoftext|>, <|zh|>, <|0.00|>
# Invisible, but neither control nor format characters: variation selectors, fillers, joiners, the blank of Braille.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
# Half of a character, a character that was lost, one that only somebody's own font has, or none at all.
_BROKEN = re.compile("[\ud800-\udfff\ufffd\ufdd0-\ufdef\ue000-\uf8ff\U000f0000-\U0010ffff]|[\ufffe\uffff]")
_CODES: dict[Reason, str] = {
    "empty": "RZ-0416",
    "wordless": "RZ-0416",
    "broken": "RZ-0480",
    "token": "RZ-0481",
    "long": "RZ-0482",
}
_SHOWN = 30  # characters of a text that an error repeats


def clean(text: str) -> str:
    """``text`` on one line, characters composed, without invisible ones; spaces in a row are one."""
    visible = (" " if each.isspace() else each for each in text if each.isspace() or not _is_invisible(each))
    return " ".join(unicodedata.normalize("NFC", "".join(visible)).split())


def invisible(text: str) -> tuple[str, ...]:
    """The invisible characters of ``text``, such as ``U+200B``, each once; spaces around it are none."""
    return tuple(dict.fromkeys(f"U+{ord(each):04X}" for each in text.strip(" \u3000") if _is_invisible(each)))


def has_word(text: str) -> bool:
    """Whether ``text`` says anything: a letter, a character or a digit is in it, for comparing too; ℃ is none."""
    return any(each.isalnum() and any(map(str.isalnum, unicodedata.normalize("NFKC", each))) for each in text)


def unfit(text: str) -> Reason | None:
    """Why ``text``, cleaned, is no text of a recording; None where it is one."""
    if not text:
        return "empty"
    if _BROKEN.search(text):
        return "broken"
    if SPECIAL_TOKEN.search(text):
        return "token"
    if not has_word(text):
        return "wordless"
    return "long" if length(text) > LONGEST_TEXT else None


def check(text: str) -> str:
    """``text`` cleaned. Raises RZ-0416 (nothing that can be said), RZ-0480 (a broken character), RZ-0481 (a command of
    the model in it), RZ-0482 (too long)."""
    cleaned = clean(text)
    if reason := unfit(cleaned):
        raise ResonanceError(_CODES[reason], **_facts(cleaned))
    return cleaned


def length(text: str) -> int:
    """How long ``text`` is for the model, in Chinese characters: three letters of the Latin alphabet weigh as one."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


def _facts(text: str) -> dict[str, object]:
    shown = _BROKEN.sub("\ufffd", text)
    broken, token = _BROKEN.search(text), SPECIAL_TOKEN.search(text)
    return {
        "text": shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…",
        "character": f"U+{ord(broken[0]):04X}" if broken else "",
        "place": broken.start() + 1 if broken else 0,
        "token": token[0] if token else "",
        "length": length(text),
        "limit": LONGEST_TEXT,
        "letters": 3 * LONGEST_TEXT,
    }


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") or bool(_BLANK.match(character))
