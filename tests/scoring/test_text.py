"""The one form in which texts are compared: a table of what is equal, what must not be, and properties of any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers.scoring.text import normalise, simplify, syllables, toned, toneless

FORMS = [
    # script
    ("我想喝水", "我想喝水"),
    ("幫我開燈", "帮我开灯"),
    ("後來餓了", "后来饿了"),
    ("頭髮乾淨", "头发干净"),
    ("看著電視", "看着电视"),
    ("著名的著作", "著名的著作"),
    ("妳在做甚麼", "你在做什么"),
    ("衞生間", "卫生间"),
    ("擡高", "抬高"),
    ("皇后在后面", "皇后在后面"),
    # width, spaces, punctuation
    ("ＡＢＣ", "abc"),
    ("２０", "二十"),
    ("我 想 喝 水", "我想喝水"),
    ("我　想\n喝水 ", "我想喝水"),
    ("我想喝水。", "我想喝水"),
    ("“我想，喝水……”！？", "我想喝水"),
    ("♪ 我想喝水 ♪", "我想喝水"),
    ("《西游记》·（上）", "西游记上"),
    ("。。", ""),
    ("", ""),
    # amounts
    ("20", "二十"),
    ("二十", "二十"),
    ("0", "零"),
    ("10个", "十个"),
    ("11", "十一"),
    ("105", "一百零五"),
    ("一百〇五", "一百零五"),
    ("110块", "一百一十块"),
    ("1010", "一千零一十"),
    ("1,000", "一千"),
    ("10000", "一万"),
    ("3万", "三万"),
    ("1万2", "一万二"),
    ("20几", "二十几"),
    ("3.14", "三点一四"),
    ("38.5度", "三十八点五度"),
    ("38℃", "三十八度"),
    ("三十八摄氏度", "三十八度"),
    ("0.5片", "零点五片"),
    ("廿", "二十"),
    ("廿五", "二十五"),
    ("廿2个", "二十二个"),
    ("两，百", "二百"),
    ("卅", "三十"),
    ("200毫升", "二百毫升"),
    ("两百毫升", "二百毫升"),
    ("2千", "二千"),
    ("两千", "二千"),
    ("两万三", "二万三"),
    ("-5度", "负五度"),
    ("50%", "百分之五十"),
    ("５０ ％", "百分之五十"),
    ("99.5%", "百分之九十九点五"),
    ("100%", "百分之百"),
    ("１／２", "二分之一"),
    ("½", "二分之一"),
    ("①", "一"),
    # what is no amount
    ("第2", "第二"),
    ("第2个", "第二个"),
    ("2年级", "二年级"),
    ("2024年", "二零二四年"),
    ("20年", "二十年"),
    ("2024-03-05", "二零二四年三月五日"),
    ("2024/3/5", "二零二四年三月五日"),
    ("2024.12.31", "二零二四年十二月三十一日"),
    ("2024年3月5日", "二零二四年三月五日"),
    ("3月5日", "三月五日"),
    ("2月2号", "二月二号"),
    ("8:30", "八点三十"),
    ("8：05", "八点零五"),
    ("2:00", "两点"),
    ("007", "零零七"),
    ("13800138000", "一三八零零一三八零零零"),
    ("138-0013-8000", "一三八零零一三八零零零"),
    ("138 0013 8000", "一三八零零一三八零零零"),
    ("打120", "打一二零"),
    ("打幺二零", "打一二零"),
    ("拨打10086", "拨打一零零八六"),
    ("打100个电话", "打一百个电话"),
    ("老幺", "老幺"),
    ("我家小幺", "我家小幺"),
    ("三幺幺房", "三一一房"),
    # 2 before a measure word is said 两; the characters 两 and 二 are left alone
    ("2个", "两个"),
    ("2 个", "两个"),
    ("2点半", "两点半"),
    ("12个", "十二个"),
    ("1-2天", "一两天"),
    ("两个", "两个"),
    ("二个", "二个"),
    # words that hold a numeral
    ("一心一意", "一心一意"),
    ("1心1意", "一心一意"),
    ("一起", "一起"),
    ("1起", "一起"),
    ("1下", "一下"),
    ("一样", "一样"),
    ("10分", "十分"),
    ("收拾", "收拾"),
    ("半斤八两", "半斤八两"),
    ("不三不四", "不三不四"),
    ("十分", "十分"),
    ("三心二意", "三心二意"),
    ("一点儿", "一点儿"),
    ("1点儿", "一点儿"),
    ("花儿", "花儿"),
    ("千万别动", "千万别动"),
    ("百分之百", "百分之百"),
    # mixed
    ("我要 OK 绷", "我要ok绷"),
    ("打开 Wi-Fi", "打开wifi"),
    ("做 CT 2 次", "做ct两次"),
    ("T恤", "t恤"),
    ("Hello, World!", "helloworld"),
    ("5G", "五g"),
]

DIFFERENT = [
    ("两个", "二个"),
    ("一百二十", "一二零"),
    ("二百五", "250"),
    ("8点半", "8:30"),
    ("俩", "两个"),
    ("一起", "一下"),
    ("二十", "二十一"),
    ("3.5", "35"),
    ("-5度", "5度"),
    ("5kg", "5公斤"),
    ("2024-13-05", "2024年13月5日"),
    ("一点", "一点儿"),
    ("这儿", "这里"),
    ("第二个", "两个"),
    ("三十", "十三"),
    ("不疼", "疼"),
    ("买", "卖"),
    ("一心一意", "一心二意"),
    ("十分", "十点"),
    ("陆地", "六地"),
]


@pytest.mark.parametrize(("written", "form"), FORMS)
def test_the_form_of(written: str, form: str) -> None:
    assert normalise(written) == form
    assert normalise(form) == form


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_is_said_differently_stays_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_the_table_is_long_enough() -> None:
    assert len(FORMS) >= 40


daily = st.text("我要喝水兩两二个個第十一百零幺着著名打電话0123456789２，。：:-.%/ aB儿", max_size=12)


@given(daily)
def test_the_form_of_a_form_is_itself(text: str) -> None:
    form = normalise(text)
    assert normalise(form) == form
    assert not set(form) & set("0123456789２，。：:-.%/ B")


@given(st.text())
def test_any_text_has_a_form_of_letters_and_numerals(text: str) -> None:
    assert all(c.isalnum() for c in normalise(text))


@given(st.integers(0, 999_999))
def test_an_amount_reads_as_an_independent_reading_says(amount: int) -> None:
    assert normalise(str(amount)) == normalise(f"{amount:,}") == read_aloud(amount)


def read_aloud(amount: int) -> str:
    """Chinese numerals below a million, by sections of four digits."""
    if amount >= 10_000:
        tens, rest = divmod(amount, 10_000)
        zero = "零" if 0 < rest < 1000 else ""
        return read_aloud(tens) + "万" + zero + (section(rest) if rest else "")
    return section(amount).removeprefix("一") if 10 <= amount < 20 else section(amount)


def section(amount: int) -> str:
    if amount == 0:
        return "零"
    said, waiting = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = amount // unit % 10
        if digit:
            said += ("零" if waiting and said else "") + "零一二三四五六七八九"[digit] + name
        waiting = digit == 0
    return said


def test_what_is_shown_keeps_punctuation_and_digits() -> None:
    assert simplify("我想喝2杯水，幫我開燈！OK？") == "我想喝2杯水，帮我开灯！OK？"
    assert simplify("") == ""


def test_simplified_characters_stay() -> None:
    """Of GB2312's level 1, the characters of everyday use, only two change alone, and not in their own words."""
    everyday = "".join(bytes([hi, lo]).decode("gb2312") for hi in range(0xB0, 0xD7) for lo in range(0xA1, 0xFA))
    changed = {c for c in everyday if simplify(c) != c}
    assert changed == {"乾", "著"}
    assert simplify("乾坤") == "乾坤" and simplify("著名") == "著名"


def test_syllables() -> None:
    assert toneless("我想喝水。") == ("wo", "xiang", "he", "shui")
    assert toned("我想喝水") == ("wo3", "xiang3", "he1", "shui3")
    assert toned("好的") == ("hao3", "de5")
    assert toneless("買") == toneless("卖") and toned("買") != toned("卖")
    assert toneless("20") == toneless("二十") == ("er", "shi")
    assert toneless("綠色") == ("lv", "se")
    assert toneless("") == toned("。") == ()


def test_syllables_of_a_text_as_it_is_written() -> None:
    assert syllables("我想喝水。", tones=False) == ("wo", "xiang", "he", "shui", "。")
    assert syllables("買 20 個！", tones=True) == ("mai3", "20", "ge4", "！")
    assert syllables(" \n", tones=True) == ()
