"""Which text belongs to which file: by a labels.json or another program's table that came along, or by the name that
the file was given.

A text on the wrong sound is worse than none, for a model learns exactly what is written: where it isn't clear which
file is meant, or what a name says, a person has to listen.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...core.messages import ResonanceError, message
from ...dataset.index import stem, whole, without_suffix
from ...dataset.labels import Label, read_labels
from .arrivals import Arrival
from .label_import import is_table, read_texts


# ── What a labels.json says ──────────────────────────────────────────────────
def texts_beside(found: Sequence[Arrival]) -> tuple[dict[Path, str], list[str]]:
    """What each labels.json or table among the files says of those below its folder, the nearest counts; notes."""
    texts: dict[Path, str] = {}
    notes = []
    sets = [file for file in found if says_texts(file.path)]
    for file in sorted(sets, key=lambda each: len(each.path.parts)):
        try:
            labels, coding = _read(file.path)
        except ResonanceError as error:
            notes.append(str(error))
            continue
        folder = file.path.parent
        below = [each.path for each in found if folder in each.path.parents and each not in sets]
        said = _said_of(below, folder, labels)
        texts |= said
        notes.append(message("phone.intake.labels", name=file.shown, n=len(said)))
        if coding == "gbk":
            notes.append(message("phone.intake.gbk", name=file.shown))
    return texts, notes


def says_texts(path: Path) -> bool:
    """Whether ``path`` is no recording but says what recordings say."""
    return path.name == "labels.json" or is_table(path)


def _read(path: Path) -> tuple[list[Label], str]:
    return (read_labels(path), "utf-8") if path.name == "labels.json" else read_texts(path)


def _said_of(paths: Sequence[Path], folder: Path, labels: Sequence[Label]) -> dict[Path, str]:
    """What ``labels`` say of ``paths`` below ``folder``: of the very file that an entry names or else, in another
    folder or of another kind, of one with its name; only where a single entry and a single file have it. A guess
    among several would be a wrong text."""
    texts: dict[Path, str] = {}
    for spelled in (whole, lambda name: stem(PurePosixPath(name).name)):
        names = {path: spelled(path.relative_to(folder).as_posix()) for path in paths}
        files, entries = Counter(names.values()), Counter(spelled(label.audio) for label in labels)
        said = {name: label.text for label in labels if entries[name := spelled(label.audio)] == 1}
        for path, name in names.items():
            if files[name] == 1 and name in said:
                texts.setdefault(path, said[name])
    return texts


# ── What a name says ─────────────────────────────────────────────────────────
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
_NUMBER_BEFORE = re.compile(r"^(?:\d{1,4}[\s._、．)）-]+|0\d+|\d{3,4})\s*(?=\D)")  # "001_", "12、", "001"; not "3点"
_AFTER = re.compile(
    r"""(?: [\s_-]* [(（] \s*\d+\s* [)）]      # a browser's (1)
        |   [\s_-]+ \d+                        # a take, a date, a time of day
        |   [\s_-]* (?:副本|拷贝|copy)         # a file manager's
    )$""",
    re.VERBOSE | re.IGNORECASE,
)
_DATE = re.compile(r"\d+\s*[年月日号时点分秒]")
_NO_PHRASE = re.compile(  # what recorders and messengers call everything
    r"新建|新的?录音|标准录音|通话录音|录音机?|语音(?:备忘录|消息|通话|转发)?|音频|视频|微信|备忘录|文件|未命名|无标题|会议"
    r"|来自|保存|下载|星期[一二三四五六日天]|周[一二三四五六日]|[上下]午|第?\s*\d+\s*[条段个]"
)


def guess_text(name: str) -> str | None:
    """The phrase that a recording's file name spells, without number, take and date; None where it is only what a
    recorder or messenger wrote. Phrases are looked for in Chinese characters alone: device names are in Latin."""
    plain = unicodedata.normalize("NFKC", without_suffix(name)).strip()
    text = _NUMBER_BEFORE.sub("", plain)
    while (shorter := _AFTER.sub("", text)) != text:
        text = shorter
    text = re.sub(r"[\s_]+", " ", text).strip(" -.、")
    text = re.sub(rf"(?<={_HAN.pattern}) (?={_HAN.pattern})", "", text)
    says_something = _HAN.search(_NO_PHRASE.sub("", _DATE.sub("", plain)))
    return text if says_something and _HAN.search(text) else None
