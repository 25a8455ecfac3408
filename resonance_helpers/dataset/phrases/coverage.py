"""The sounds of Mandarin, and how often each of them was said.

A model that never heard a sound from this speaker can only guess it. The tables are pinyin as it is taught at school;
readings are the dictionary's, so 你好 counts two third tones although the first is spoken as a second.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pypinyin.contrib.tone_convert import to_finals, to_initials

from ...core.workspace import Workspace
from ...scoring.text import toned
from ..labels import read_labels
from .lists import read

NONE = ""  # the initial of 爱, 我 and 月
INITIALS = (
    *("b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h"),
    *("j", "q", "x", "zh", "ch", "sh", "r", "z", "c", "s", NONE),
)
# The i of 资 and the i of 知 are two other vowels than the i of 鸡.
FINALS = (
    *("a", "o", "e", "ai", "ei", "ao", "ou", "an", "en", "ang", "eng", "ong", "er"),
    *("i", "(z)i", "(zh)i", "ia", "ie", "iao", "iu", "ian", "in", "iang", "ing", "iong"),
    *("u", "ua", "uo", "uai", "ui", "uan", "un", "uang"),
    *("ü", "üe", "üan", "ün"),
)
TONES = ("1", "2", "3", "4", "5")  # 5 is the neutral one
RARE_FINALS = {  # finals that no list has to hold
    "ê": "only the interjection 诶",
    "io": "only the interjections 哟 and 唷",
    "ueng": "only 翁, 嗡, 瓮 and their like; not one everyday phrase needs them",
    "m, n, ng, hm, hng": "hummed interjections such as 嗯, without a vowel",
}

_SYLLABLE = re.compile(r"([a-zêü]+)([1-5])")
_AT_SCHOOL = {"iou": "iu", "uei": "ui", "uen": "un", "v": "ü", "ve": "üe", "van": "üan", "vn": "ün"}


@dataclass(frozen=True)
class Coverage:
    """How often each sound was said: every one of the tables in their order, 0 where it was not."""

    initials: Mapping[str, int]
    finals: Mapping[str, int]
    tones: Mapping[str, int]


def sounds(texts: Iterable[str]) -> Coverage:
    """The sounds of ``texts``. What is not Chinese, and a syllable with one of ``RARE_FINALS``, is not counted."""
    syllables = (_SYLLABLE.fullmatch(syllable) for text in texts for syllable in toned(text))
    spoken = [(to_initials(found[1]), _final(found[1]), found[2]) for found in syllables if found]
    spoken = [syllable for syllable in spoken if syllable[1] in FINALS]
    initials, finals, tones = (Counter(syllable[part] for syllable in spoken) for part in range(3))
    return Coverage(
        initials={each: initials[each] for each in INITIALS},
        finals={each: finals[each] for each in FINALS},
        tones={each: tones[each] for each in TONES},
    )


def recorded_sounds(workspace: Workspace) -> Coverage:
    """The sounds of all recordings so far, several takes counted several times. Raises what ``read_labels`` raises."""
    return sounds(label.text for label in read_labels(workspace.labels)) if workspace.labels.exists() else sounds(())


def wanted_sounds(workspace: Workspace) -> Coverage:
    """The sounds of the list, each phrase once. Raises what ``read`` raises."""
    return sounds(phrase.text for phrase in read(workspace))


def _final(syllable: str) -> str:
    initial, final = to_initials(syllable), to_finals(syllable)
    if final == "i" and initial in ("z", "c", "s"):
        return "(z)i"
    if final == "i" and initial in ("zh", "ch", "sh", "r"):
        return "(zh)i"
    if syllable == "yo":  # of which pypinyin makes an o
        return "io"
    return _AT_SCHOOL.get(final, final)
