"""The red list: answers that look right and say the opposite, another number, another person or place.

Speech that was heard as another sentence altogether is an error of another kind: a reader sees that something
is wrong. Here the sentence is the same but for the word that decides what it means. The tables below are all there is
to it; a pair that is missing is added there, with a line in the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from ..error_rates import diff
from ..text import normalise


class ClipResult(Protocol):
    """One test clip, as ``evaluation.TestRow`` has it: what was meant, and what was heard before and after training."""

    @property
    def audio(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def before(self) -> str: ...
    @property
    def after(self) -> str: ...
    @property
    def split(self) -> str: ...


class PolarityError(NamedTuple):
    """An answer that changes the meaning. ``kind`` is ``negation``, ``number`` or one of those in ``_CHOICES``."""

    reference: str
    heard: str
    kind: str


# ── What decides a meaning ───────────────────────────────────────────────────
_NEGATION = re.compile("[不没勿甭未]|别(?!人|的|处)|无(?!论)")
# An answer flips when a word of the same line takes the place of another. Each word is a pattern; what sounds alike but
# is written otherwise (他 她), and what means the same, is one word. Lines are tried from the top.
_CHOICES = tuple(
    (kind, tuple(words))
    for kind, *words in map(
        str.split,
        """
        when 今[天晚早] 明[天晚早] 昨[天晚] 后天 前天
        when 早上|早晨|上午 中午 下午 晚上|夜里
        when 现在|马上 [等待一]会儿?|等下
        when 早 晚
        when 先 后
        where 左 右
        where 上 下
        where 前 后
        where 里 外
        where 进 出
        where (?<!起)来 去
        where 这 那
        body 头 脸 眼 耳 鼻 牙 嘴 嗓|喉 脖 肩 手 胳膊|手臂 胸 心脏|心口 背 腰 肚|腹 胃 屁股 腿 膝 脚
        who 我 你|您 他|她|它
        who 妈 爸 爷 奶 姥|外婆 外公 哥 姐 弟 妹 叔 阿?姨 医生|大夫 护士 老师
        opposite 开 关
        opposite 冷 热
        opposite 快 慢
        opposite 大 小
        opposite 多 少
        opposite 高 低
        opposite 起来? 下[来去]? 躺下?
        opposite 坐 站 躺
        opposite 饱 饿
        opposite 轻 重
        opposite 长 短
        opposite 干 湿
        opposite 穿 脱
        opposite 松 紧
        opposite 软 硬
        opposite 睡 醒
        opposite 好 坏
        opposite 对 错
        opposite 推 拉
        opposite 停 走
        opposite 拿 放
        opposite 哭 笑
        opposite 喜欢 讨厌
        """.strip().splitlines(),
    )
)
# Words in which such a character decides nothing.
_HARMLESS = re.compile(
    "对不起|不好意思|差不多|不错|[特分差级区告]别|别[人的处]|"
    "[一等停]下(?!来|去)|下[雨雪]|上厕所|小[时心]|大家|开始|里头|外头|[馒枕骨石]头|洗手|手机|手表|牛奶|奶[粉茶]"
)
_NUMERAL = "零一二三四五六七八九十百千万亿两半几"
_COUNTED = "[个只条张块瓶杯份本辆台位天次口斤碗片件把双粒颗遍点元米分秒周岁月号楼层度年种句]|小时"
# A numeral counts as a number where it counts something, stands beside another one, or ends the sentence.
_NUMBER = re.compile(rf"[{_NUMERAL}]{{2,}}|[{_NUMERAL}](?={_COUNTED}|$)|(?<=第)[{_NUMERAL}]")
_NOT_A_NUMBER = re.compile(r"十分(?!钟)|万一|千万(?=别|不|要)|一[样起定直些共半]|百合|三明治")
_SAME_SENTENCE = 0.5  # of the shorter text must be in the other, or it is another sentence and not this one turned
_LONE_WORD = 2  # characters; "不" heard as "好" is a flip, "不" heard as a whole other sentence is not


def polarity_errors(rows: Iterable[ClipResult]) -> tuple[PolarityError, ...]:
    """The answers after training that say the opposite of what was meant (要/不要, 疼/不疼) or another number."""
    kinds = ((row, polarity_error_kind(row.reference, row.after)) for row in rows)
    return tuple(PolarityError(row.reference, row.after, kind) for row, kind in kinds if kind)


def polarity_error_kind(reference: str, heard: str) -> str | None:
    """How ``heard`` turns ``reference`` round, or None."""
    meant, said = normalise(reference), normalise(heard)
    if not said or meant == said:
        return None
    if _negations(meant) % 2 != _negations(said) % 2 and _differ_only_in(_NEGATION, meant, said):
        return "negation"
    if _another_number(meant, said) and _differ_only_in(re.compile(f"[{_NUMERAL}]"), meant, said):
        return "number"
    return next((kind for kind, words in _CHOICES if _another_choice(words, meant, said)), None)


def is_same_sentence(meant: str, said: str) -> bool:
    """Whether half of the shorter of two normalised texts is found in the other."""
    shared = sum(len(piece) for kind, piece, _ in diff(meant, said) if kind == "equal")
    return shared >= _SAME_SENTENCE * min(len(meant), len(said))


def _negations(text: str) -> int:
    return len(_NEGATION.findall(_HARMLESS.sub("", text)))


def _another_choice(words: tuple[str, ...], meant: str, said: str) -> bool:
    deciding = re.compile("|".join(words))
    before, after = (_chosen(words, _HARMLESS.sub("", text)) for text in (meant, said))
    return bool(before - after and after - before) and _differ_only_in(deciding, meant, said)


def _chosen(words: tuple[str, ...], text: str) -> set[str]:
    return {word for word in words if re.search(word, text)}


def _another_number(meant: str, said: str) -> bool:
    before, after = (
        [number.replace("两", "二") for number in _NUMBER.findall(_NOT_A_NUMBER.sub("", text))]
        for text in (meant, said)
    )
    if len(before) != len(after):  # 等一下 and 等下 mean the same
        before, after = ([number for number in numbers if number != "一"] for numbers in (before, after))
    return before != after


def _differ_only_in(deciding: re.Pattern[str], meant: str, said: str) -> bool:
    """Whether the texts are the same sentence when the words that may have turned it are taken out."""
    meant, said = deciding.sub("", meant), deciding.sub("", said)
    if meant and said:
        return is_same_sentence(meant, said)
    return max(len(meant), len(said)) <= (_LONE_WORD if deciding is _NEGATION else 0)
