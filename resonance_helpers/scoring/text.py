"""Chinese text: one form for comparing, simplified characters for showing, syllables for grouping what sounds alike.

Whisper writes Traditional characters, punctuation and Arabic digits as it pleases, so two texts are compared only after
``normalise``. What it decides, and a table of cases in the tests fixes:

- Numerals go from digits to characters (20 → 二十), never back: a digit string is surely a numeral, while 一 in 一起 or
  十 in 十分 is part of a word, and a digit there would break it. 1起 and 一起 meet, as do 10分 and 十分.
- 廿 and 卅 are 二十 and 三十. 壹, 贰, 拾 … stay: they are also 收拾, 队伍, 陆地.
- 2 before a measure word is 两 (2个 → 两个), elsewhere 二 (第2个, 2号). The characters 两 and 二 stay as they are said,
  but before 百, 千, 万 and 亿 both are 二: of 200 it is unknown which was said.
- Digit by digit: more than six digits, a leading zero, groups as of a telephone, years, what is 打, 拨 or 叫.
- A date 2024-3-5 is 二零二四年三月五日; 8:30 is 八点三十, and 八点半, which is said otherwise, stays 八点半.
- 50% is 百分之五十, 100% is 百分之百; 3.5 is 三点五; -5 is 负五; ℃ and 摄氏度 are 度.
- Other ways of saying the same amount stay different: 一百二十 and 一二零, 二百五 and 二百五十, 俩 and 两个.
- English is compared in lower case, without spaces; it is neither translated nor spelt out (kg is not 公斤).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Literal

import cn2an
from opencc import OpenCC
from pypinyin import Style, lazy_pinyin

Script = Literal["simplified", "traditional"]
_HAN = re.compile(r"[\u4e00-\u9fff]")

# OpenCC's t2s leaves these; its tw2s breaks others (么 → 幺, 抬 → 擡). 著 means 着 (看著) except in such words.
_ZHE = re.compile(r"(?<![原名专显编论巨土遗昭卓拙译合])著(?![名作称书者述录])")
_LEFT_BY_OPENCC = (("妳", "你"), ("甚么", "什么"), ("衞", "卫"), ("擡", "抬"))

# ── Reading digits aloud ─────────────────────────────────────────────────────
_LONGEST_NUMBER = 6  # digits; longer strings are telephone or card numbers, said digit by digit
_MEASURE = "[个只条张块瓶杯份本辆台位天次口斤碗片件把双粒颗遍下岁点元米分秒周家名人种句]|年(?!级)|小时"
_SPOKEN_DIGIT = "零一二三四五六七八九"


def _digits(text: str) -> str:
    """``"007"`` → ``"零零七"``; anything that is no digit is left out."""
    return "".join(_SPOKEN_DIGIT[int(c)] for c in text if c.isdigit())


def _number(text: str) -> str:
    """``"36.5"`` → ``"三十六点五"``; digit by digit where a number is not read as an amount."""
    whole, point, fraction = text.partition(".")
    by_digit = len(whole) > _LONGEST_NUMBER or (len(whole) > 1 and whole.startswith("0"))
    spoken = _digits(whole) if by_digit else cn2an.an2cn(whole, "low")
    return spoken + ("点" + _digits(fraction) if point else "")


def _clock(match: re.Match[str]) -> str:
    """``8:05`` → ``八点零五``."""
    hour = "两" if match[1] == "2" else cn2an.an2cn(match[1])
    return f"{hour}点" + ("" if match[2] == "00" else _number(match[2]))


def _date(match: re.Match[str]) -> str:
    """``2024-3-5`` → ``二零二四年三月五日``."""
    year, _, month, day = match.groups()
    return f"{_digits(year)}年{cn2an.an2cn(month)}月{cn2an.an2cn(day)}日"


def _percent(match: re.Match[str]) -> str:
    """``50%`` → ``百分之五十``; ``100%`` is said ``百分之百``."""
    return "百分之" + ("百" if match[1] == "100" else _number(match[1]))


# Tried in this order; what no rule takes stays.
_READINGS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.ASCII), reading)
    for pattern, reading in (
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),  # 1,000
        (r"(?<!\d)((?:1[89]|20)\d\d)([-/.])(0?[1-9]|1[0-2])\2(0?[1-9]|[12]\d|3[01])(?!\d)", _date),  # 2024-03-05
        (r"(?<![\d:])(\d{1,2}):([0-5]\d)(?![\d:])", _clock),  # 8:30
        (r"(?<![\d.])\d{3,4}(?:[- ]\d{3,4})+(?!\d)", lambda m: _digits(m[0])),  # 138-0013-8000
        (rf"(?<=[打拨叫])\d{{3,}}(?![\d.]|{_MEASURE})", lambda m: _digits(m[0])),  # 打120
        (r"(?<!\d)(?:1[89]|20)\d\d(?=年)", lambda m: _digits(m[0])),  # 2024年
        (r"(?<!\w)-(?=\d)", "负"),  # -5
        (r"(\d+(?:\.\d+)?)\s*%", _percent),  # 50%
        (r"(\d+)[/⁄](\d+)", lambda m: f"{_number(m[2])}分之{_number(m[1])}"),  # 1/2
        (r"°C?", "度"),  # °C is what NFKC makes of ℃
        (rf"(?<![\d.第{_SPOKEN_DIGIT}十廿卅百千万亿点])2(?={_MEASURE})", "两"),  # 2个 is said 两个; 第2个 is not
        (r"\d+(?:\.\d+)?", lambda m: _number(m[0])),
    )
)
# Tried at the end, on text that is characters only.
_SAME: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile("〇"), "零"),
    (re.compile("廿"), "二十"),
    (re.compile("卅"), "三十"),
    (re.compile("两(?=[百千万亿])"), "二"),
    (re.compile("(?:摄氏)+度"), "度"),
    (re.compile(rf"幺+(?=[{_SPOKEN_DIGIT}])|(?<=[{_SPOKEN_DIGIT}])幺+"), lambda m: "一" * len(m[0])),  # not 老幺
)
_SPACE_IN_CHINESE = re.compile(r"\s+(?=[^\x00-\x7f])|(?<=[^\x00-\x7f])\s+")


@cache
def _opencc(direction: str = "t2s") -> OpenCC:
    return OpenCC(direction)  # reads its dictionaries, so once


def simplify(text: str) -> str:
    """``text`` in simplified characters, punctuation and everything else as it is: what a user is shown."""
    simplified = _ZHE.sub("着", _opencc().convert(text))
    for written, meant in _LEFT_BY_OPENCC:
        simplified = simplified.replace(written, meant)
    return simplified


def show(phrases: Sequence[str], script: Script = "simplified", punctuation: bool = True) -> str:
    """What was said in pieces, one behind the other, in the ``script`` that the reader wants.

    A comma stands between two pieces where there is no sign already; without ``punctuation`` a space stands for any.
    """
    joined = ""
    for phrase in phrases:
        comma = "，" if _HAN.search(joined) else ", "
        joined += phrase if not joined or _is_sign(joined[-1]) else comma + phrase
    shown = simplify(joined)
    if script == "traditional":
        shown = _opencc("s2t").convert(shown)
    if not punctuation:
        shown = " ".join("".join(" " if _is_sign(c) else c for c in shown).split())
    return shown


def _is_sign(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


@lru_cache(maxsize=4096)
def normalise(text: str) -> str:
    """The one form in which texts are compared.

    NFKC → simplified → digits read as Chinese numerals → lower case → letters, characters and numerals only. It may be
    empty (a text of punctuation). 儿 is kept: it cannot be told by rule whether it is a suffix or a child.
    """
    text = _SPACE_IN_CHINESE.sub("", unicodedata.normalize("NFKC", text))
    text = simplify(text)
    for pattern, reading in _READINGS:
        text = pattern.sub(reading, text)
    text = "".join(c for c in text.lower() if c.isalnum())
    for pattern, reading in _SAME:
        text = pattern.sub(reading, text)
    return text


@lru_cache(maxsize=4096)
def syllables(written: str, tones: bool) -> tuple[str, ...]:
    """Pinyin of a text as it is written, 喝水 → ("he", "shui"), with ``tones`` as numbers 1–5: ("he1", "shui3").

    What is not Chinese is one syllable for each stretch without spaces, punctuation too.
    """
    style = Style.TONE3 if tones else Style.NORMAL
    pinyin = lazy_pinyin(written, style=style, neutral_tone_with_five=True)
    return tuple(syllable for stretch in pinyin for syllable in stretch.split())


def toneless(text: str) -> tuple[str, ...]:
    """The pinyin syllables of ``normalise(text)`` without tones: 喝水 → ("he", "shui")."""
    return syllables(normalise(text), tones=False)


def toned(text: str) -> tuple[str, ...]:
    """The pinyin syllables of ``normalise(text)`` with tone numbers 1–5: 喝水 → ("he1", "shui3")."""
    return syllables(normalise(text), tones=True)
