"""Chinese text: one form for comparing, simplified characters for showing, syllables for grouping what sounds alike.

Whisper writes Traditional characters, punctuation and Arabic digits as it pleases, so two texts are compared only after
``normalise``. Numerals go from digits to characters (20 → 二十), never back: a digit string is surely a numeral, while
一 in 一心一意 or 十 in 十分 is part of a word, and a digit there would break it. What is said differently stays
different: 一百二十 and 一二零, 两 and 二.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache

import cn2an
from opencc import OpenCC
from pypinyin import Style, lazy_pinyin

# OpenCC's t2s leaves these; its tw2s breaks others (么 → 幺, 抬 → 擡). 著 means 着 (看著) except in such words.
_ZHE = re.compile(r"(?<![原名专显编论巨土遗昭卓拙译合])著(?![名作称书者述录])")
_LEFT_BY_OPENCC = (("妳", "你"), ("甚么", "什么"))

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


# Tried in this order; what no rule takes stays.
_READINGS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.ASCII), reading)
    for pattern, reading in (
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),  # 1,000
        (r"(?<![\d:])(\d{1,2}):([0-5]\d)(?![\d:])", _clock),  # 8:30
        (r"(?<![\d.])\d{3,4}(?:[- ]\d{3,4})+(?!\d)", lambda m: _digits(m[0])),  # 138-0013-8000
        (rf"(?<=[打拨叫])\d{{3,}}(?![\d.]|{_MEASURE})", lambda m: _digits(m[0])),  # 打120
        (r"(?<!\d)(?:1[89]|20)\d\d(?=年)", lambda m: _digits(m[0])),  # 2024年
        (r"(?<!\w)-(?=\d)", "负"),  # -5
        (r"(\d+(?:\.\d+)?)%", lambda m: "百分之" + _number(m[1])),  # 50%
        (r"(\d+)[/⁄](\d+)", lambda m: f"{_number(m[2])}分之{_number(m[1])}"),  # 1/2
        (r"°C", "摄氏度"),  # what NFKC makes of ℃
        (r"°", "度"),
        (rf"(?<![\d.第{_SPOKEN_DIGIT}十百千万亿点])2(?={_MEASURE})", "两"),  # 2个 is said 两个; 第2个 is not
        (r"\d+(?:\.\d+)?", lambda m: _number(m[0])),
    )
)
_YAO = re.compile(rf"幺+(?=[{_SPOKEN_DIGIT}])|(?<=[{_SPOKEN_DIGIT}])幺+")  # 幺二零, but not 老幺
_SPACE_IN_CHINESE = re.compile(r"\s+(?=[^\x00-\x7f])|(?<=[^\x00-\x7f])\s+")


@cache
def _opencc() -> OpenCC:
    return OpenCC("t2s")  # reads its dictionaries, so once


def simplify(text: str) -> str:
    """``text`` in simplified characters, punctuation and everything else as it is: what a user is shown."""
    simplified = _ZHE.sub("着", _opencc().convert(text))
    for written, meant in _LEFT_BY_OPENCC:
        simplified = simplified.replace(written, meant)
    return simplified


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
    text = "".join(c for c in text.lower() if c.isalnum()).replace("〇", "零")
    return _YAO.sub(lambda yao: "一" * len(yao[0]), text)


@lru_cache(maxsize=4096)
def toneless(text: str) -> tuple[str, ...]:
    """The pinyin syllables of ``normalise(text)`` without tones: 喝水 → ("he", "shui")."""
    return tuple(lazy_pinyin(normalise(text)))


@lru_cache(maxsize=4096)
def toned(text: str) -> tuple[str, ...]:
    """The pinyin syllables of ``normalise(text)`` with tone numbers 1–5: 喝水 → ("he1", "shui3")."""
    return tuple(lazy_pinyin(normalise(text), style=Style.TONE3, neutral_tone_with_five=True))
