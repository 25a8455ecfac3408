"""Phrase lists: the bundled one holds every sound, files from anywhere are read or refused, nothing goes silently."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opencc import OpenCC
from pypinyin import Style, lazy_pinyin

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.core.settings import LONGEST_TEXT
from resonance_helpers.dataset import phrases
from resonance_helpers.dataset.labels import Label, write_labels
from resonance_helpers.dataset.phrases.lists import MOST_BYTES, MOST_PHRASES, Phrase
from resonance_helpers.lessons.upload_recordings import phrase_list_form as phrase_list
from resonance_helpers.lessons.upload_recordings.phrase_list_form import PhraseList, show_phrases
from resonance_helpers.scoring.text import normalise, toneless

EVERYDAY = phrases.everyday()
GUIDE = ("我想喝水", "我想吃饭", "帮我开灯")
# What pypinyin calls the finals of our table, written down apart from the code that is tested.
STRICT_FINALS = [
    *("a", "o", "e", "ai", "ei", "ao", "ou", "an", "en", "ang", "eng", "ong", "er"),
    *("i", "ia", "ie", "iao", "iou", "ian", "in", "iang", "ing", "iong"),
    *("u", "ua", "uo", "uai", "uei", "uan", "uen", "uang", "v", "ve", "van", "vn"),
]
STRICT_INITIALS = [
    *("b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x"),
    *("zh", "ch", "sh", "r", "z", "c", "s", ""),  # without one: 我
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, tmp_path / "out", "anna")


def code(content: bytes, name: str = "list.csv") -> str:
    with pytest.raises(ResonanceError) as caught:
        phrases.parse(content, name)
    return caught.value.code


# ── The bundled list ─────────────────────────────────────────────────────────
def test_a_hundred_and_twenty_phrases_that_nobody_mixes_up() -> None:
    texts = [phrase.text for phrase in EVERYDAY]
    assert len(texts) == 120 == len({normalise(text) for text in texts})
    assert all(1 <= len(text) <= 8 and text == "".join(text.split()) for text in texts)
    assert not [text for text, n in Counter(map(toneless, texts)).items() if n > 1], "homophones, tones aside"


def test_the_most_useful_come_first_and_the_guides_are_there() -> None:
    texts = [phrase.text for phrase in EVERYDAY]
    assert set(GUIDE) <= set(texts)
    assert {"我很疼", "不要", "我想喝水", "停"} <= set(texts[:10])


def test_every_topic_is_there_and_every_phrase_has_a_picture_of_its_own() -> None:
    assert min(Counter(phrase.topic for phrase in EVERYDAY).values()) >= 8
    assert {phrase.topic for phrase in EVERYDAY} == set(phrases.TOPICS)
    pictures = [phrase.picture for phrase in EVERYDAY]
    assert len(set(pictures)) == len(pictures)
    assert all(any(unicodedata.category(c) in ("So", "Me") for c in picture) for picture in pictures)


def test_the_list_holds_every_sound_of_mandarin_more_than_once() -> None:
    """Measured with pypinyin itself, not with the code under test."""
    texts = [normalise(phrase.text) for phrase in EVERYDAY]
    initials = Counter(part for text in texts for part in lazy_pinyin(text, style=Style.INITIALS, strict=True))
    finals = Counter(part for text in texts for part in lazy_pinyin(text, style=Style.FINALS, strict=True))
    spoken = [
        part for text in texts for part in lazy_pinyin(text, style=Style.FINALS_TONE3, neutral_tone_with_five=True)
    ]
    tones = Counter(part[-1] for part in spoken)
    assert set(initials) == set(STRICT_INITIALS) and min(initials.values()) >= 5
    assert set(finals) == set(STRICT_FINALS) and min(finals.values()) >= 2
    assert set(tones) == set("12345") and min(tones.values()) >= 20
    counted = phrases.sounds(texts)
    assert counted.initials == {each: initials[each] for each in phrases.INITIALS}
    assert counted.tones == {each: tones[each] for each in phrases.TONES}
    assert sum(counted.finals.values()) == finals.total() and min(counted.finals.values()) >= 2
    assert {each: counted.finals[each] for each in ("iu", "ui", "un", "ü", "uang")} == {
        "iu": finals["iou"], "ui": finals["uei"], "un": finals["uen"], "ü": finals["v"], "uang": finals["uang"]
    }  # fmt: skip


# ── The sounds ───────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "initials", "finals", "tones"),
    [
        ("我想喝水", ["", "x", "h", "sh"], ["uo", "iang", "e", "ui"], "3313"),
        ("自己", ["z", "j"], ["(z)i", "i"], "43"),
        ("吃药", ["ch", ""], ["(zh)i", "iao"], "14"),
        ("女学员", ["n", "x", ""], ["ü", "üe", "üan"], "322"),
        ("6个", ["l", "g"], ["iu", "e"], "44"),
        ("开wifi！", ["k"], ["ai"], "1"),
        ("嗯", [], [], ""),
        ("哟", [], [], ""),
        ("老翁", ["l"], ["ao"], "3"),
        ("", [], [], ""),
    ],
)
def test_sounds_of_a_text(text: str, initials: list[str], finals: list[str], tones: str) -> None:
    heard = phrases.sounds([text])
    assert {name: n for name, n in heard.initials.items() if n} == Counter(initials)
    assert {name: n for name, n in heard.finals.items() if n} == Counter(finals)
    assert {name: n for name, n in heard.tones.items() if n} == Counter(tones)
    assert (tuple(heard.initials), tuple(heard.finals), tuple(heard.tones)) == (
        phrases.INITIALS,
        phrases.FINALS,
        phrases.TONES,
    )


def test_what_was_recorded_and_what_is_wanted(workspace: Workspace) -> None:
    assert phrases.recorded_sounds(workspace) == phrases.sounds(())
    write_labels(workspace.labels, [Label("a.wav", "喝水"), Label("b.wav", "喝水", take=2)])
    assert phrases.recorded_sounds(workspace).initials["h"] == 2
    assert phrases.wanted_sounds(workspace) == phrases.sounds(phrase.text for phrase in EVERYDAY)
    phrases.write(workspace, [Phrase("开灯")])
    assert phrases.wanted_sounds(workspace) == phrases.sounds(["开灯"])


# ── The patient's own list ───────────────────────────────────────────────────
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_what_is_written_is_read_again(workspace: Workspace, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    assert phrases.read(workspace) is EVERYDAY
    mine = (Phrase("开「灯」, 好吗", "吃饭", "👩‍🏫"), Phrase('他说"好"', "pain"), Phrase("不要", "answers", "🛑"))
    assert phrases.write(workspace, mine) == workspace.data_dir / "phrases.csv"
    assert phrases.read(workspace) == mine
    monkeypatch.setenv("RESONANCE_LANG", "en" if lang == "zh" else "zh")
    assert phrases.read(workspace) == mine, "topics are known by their names in both languages"


def test_a_spreadsheet_opens_what_is_written(workspace: Workspace) -> None:
    content = phrases.write(workspace, EVERYDAY[:2]).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")  # without it Excel takes UTF-8 for GBK
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert rows == [["text", "topic", "picture"], ["我很疼", "疼痛与不适", "😣"], ["不要", "回答与选择", "🙅"]]


@given(
    st.lists(
        st.builds(
            Phrase,
            st.text(st.sampled_from('我想喝水停 ,;"\t\n1.、') | st.characters(), min_size=1, max_size=20),
            st.sampled_from(["", *phrases.TOPICS]) | st.text(max_size=5),
            st.sampled_from(["", "💧", "👩‍🏫", "2️⃣"]) | st.text(max_size=3),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_list_is_written_as_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, mine: list[Phrase]
) -> None:
    folder = tmp_path_factory.mktemp("list")
    workspace = Workspace(folder, folder, "anna")
    try:
        path = phrases.write(workspace, mine)
    except ResonanceError as error:
        assert error.code in ("RZ-0444", "RZ-0445") and not list(folder.iterdir())
        return
    again = phrases.parse(path)
    assert not again.left_out
    assert len(again.phrases) == len(mine)
    assert phrases.write(workspace, again.phrases) == path and phrases.read(workspace) == again.phrases


@pytest.mark.parametrize(
    ("mine", "expected", "said"),
    [
        ([], "RZ-0444", "phrases.csv"),
        ([Phrase("停"), Phrase("停！")], "RZ-0445", "第 2 行「停！」和第 1 行"),
        ([Phrase("停"), Phrase(" ")], "RZ-0445", "第 2 行是空的"),
        ([Phrase("停"), Phrase("💧")], "RZ-0445", "没有字"),
        ([Phrase("停"), Phrase("水" * (LONGEST_TEXT + 1))], "RZ-0445", "太长"),
    ],
)
def test_what_reading_would_leave_out_is_not_written(
    workspace: Workspace, mine: list[Phrase], expected: str, said: str
) -> None:
    path = phrases.write(workspace, EVERYDAY)
    before = path.read_bytes()
    with pytest.raises(ResonanceError, match=expected) as caught:
        phrases.write(workspace, mine)
    assert said in str(caught.value)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


# ── Files from elsewhere ─────────────────────────────────────────────────────
LINES = "我想喝水\r\n脖子酸\r\n帮我把嗓子擦一擦\r\n"


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "gb18030"])
@pytest.mark.parametrize("name", ["list.txt", "list.csv", "LIST.CSV", ""])
def test_a_phrase_on_each_line_in_every_coding_of_notepad_and_excel(coding: str, name: str, tmp_path: Path) -> None:
    parsed = phrases.parse(LINES.encode(coding), name)
    assert parsed.phrases == (EVERYDAY[2], Phrase("脖子酸", "pain", "🧣"), Phrase("帮我把嗓子擦一擦"))
    assert not parsed.left_out
    path = tmp_path / (name or "list")
    path.write_bytes(LINES.encode(coding))
    assert phrases.parse(path) == parsed


@pytest.mark.parametrize("n", [6, 20])
def test_gbk_and_big5_are_not_mixed_up(n: int) -> None:
    """Every few phrases of the list: as GBK they are read, as Big5 they are refused and never other characters."""
    traditional = OpenCC("s2tw")
    for start in range(0, 120, n):
        some = EVERYDAY[start : start + n]
        content = "\r\n".join(phrase.text for phrase in some)
        assert phrases.parse(content.encode("gbk"), "a.txt").phrases == some
        assert code(traditional.convert(content).encode("big5"), "a.txt") == "RZ-0440"


@pytest.mark.parametrize(
    "content",
    [
        "我想喝水\n幫我開燈\n不要".encode("big5"),
        "水を飲みたい".encode("shift-jis"),
        "水を飲みたい".encode("euc-jp"),
        "要る".encode("euc-jp"),  # its kana are GBK's too
        "謝謝".encode("big5"),  # in GBK it is 谅谅
        "je préfère l'été".encode("latin-1"),
        LINES.encode("gbk")[:-3],  # cut in the middle of a character
        LINES.encode("utf-16")[:-1],
    ],
)
def test_a_coding_that_cannot_be_told_is_refused(content: bytes) -> None:
    assert code(content) == "RZ-0440"


def test_columns_with_and_without_a_heading() -> None:
    with_heading = "序号,主题,句子,表情\n1,心情,我要回家,🏡\n2,,不要,?\n"
    assert phrases.parse(with_heading.encode(), "a.csv").phrases == (
        Phrase("我要回家", "feelings", "🏡"),
        Phrase("不要", "answers", "🙅"),  # Excel's GBK has no emoji; ours is known
    )
    assert phrases.parse("我要回家;Feelings\n停;".encode(), "a.csv").phrases == (
        Phrase("我要回家", "feelings"),
        EVERYDAY[3],
    )
    excels_unicode_text = "text\ttopic\n对不起，我累了, 好吗\t心情\n".encode("utf-16")
    assert phrases.parse(excels_unicode_text, "a.txt").phrases == (Phrase("对不起，我累了, 好吗", "feelings"),)
    assert phrases.parse("好, 谢谢".encode(), "a.txt").phrases == (Phrase("好, 谢谢"),)


def test_numbers_before_phrases_and_invisible_characters_go() -> None:
    listed = "1. 我要回家\n2、开 灯\n（3）吃饭\n12) 喝茶\n3.5度\n\ufeff我\u200b累了\n"
    read = [phrase.text for phrase in phrases.parse(listed.encode(), "a.txt").phrases]
    assert read == ["我要回家", "开 灯", "（3）吃饭", "喝茶", "3.5度", "我累了"]


def test_what_is_no_phrase_is_named_with_its_line() -> None:
    content = f"停\n\n停！\n℃——\n{'水' * 99}\n不要\n\n\n"
    parsed = phrases.parse(content.encode(), "a.txt")
    assert [phrase.text for phrase in parsed.phrases] == ["停", "不要"]
    assert [(each.reason, each.line, each.of) for each in parsed.left_out] == [
        ("empty", 2, 0),
        ("twice", 3, 1),
        ("wordless", 4, 0),
        ("long", 5, 0),
    ]
    assert parsed.left_out[1].sentence == "第 3 行「停！」和第 1 行是同一句话。"
    assert len(parsed.left_out[3].sentence) < 60


def test_limits_and_files_that_are_no_text() -> None:
    assert code(b"", "a.txt") == code(b"text,topic\r\n") == code(" \n。".encode()) == "RZ-0444"
    assert code(b"PK\x03\x04rest", "a.xlsx") == code(b"\xd0\xcf\x11\xe0rest", "a.doc") == code(b"a\0b") == "RZ-0441"
    many = "\n".join(f"数{n}" for n in range(MOST_PHRASES + 1))
    assert code(many.encode()) == "RZ-0442"
    assert len(phrases.parse(many.rpartition("\n")[0].encode()).phrases) == MOST_PHRASES
    assert code(b"a" * (MOST_BYTES + 1)) == "RZ-0443"
    assert code(b'"' + b"a" * 200_000) == "RZ-0446"


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("gb18030", errors="ignore")))
def test_any_bytes_give_phrases_or_an_error_of_ours(content: bytes) -> None:
    for name in ("a.csv", "a.txt"):
        try:
            parsed = phrases.parse(content, name)
        except ResonanceError as error:
            assert error.code.startswith("RZ-044")
        else:
            assert all(normalise(phrase.text) for phrase in parsed.phrases)


# ── The editor ───────────────────────────────────────────────────────────────
@pytest.fixture
def editor(workspace: Workspace) -> PhraseList:
    return PhraseList(workspace)


def texts(editor: PhraseList, n: int = 5) -> list[str]:
    return [phrase.text for phrase in editor.phrases[:n]]


def put_in(editor: PhraseList, name: str, content: bytes) -> None:
    """What the browser sends for a file that was chosen."""
    fields = {"name": name, "type": "", "size": len(content), "last_modified": datetime.now(UTC)}
    editor.file.value = ({**fields, "content": memoryview(content)},)


def test_phrases_are_edited_moved_added_and_removed(editor: PhraseList) -> None:
    assert texts(editor) == ["我很疼", "不要", "我想喝水", "停", "我要上厕所"]
    assert [child for child in editor.box.children if child.layout.display == "none"] == [editor.replace]
    assert (editor.text.value, editor.topic.value, editor.picture.value) == ("我很疼", "疼痛与不适", "😣")
    editor.text.value = " 我疼 "
    editor.topic.value = "家人与朋友"
    assert editor.phrases[0] == Phrase("我疼", "family", "😣")
    editor.up.click()  # the first one stays
    editor.down.click()
    editor.down.click()
    assert texts(editor) == ["不要", "我想喝水", "我疼", "停", "我要上厕所"]
    assert (editor.list.value, editor.text.value) == (2, "我疼"), "the phrase that was moved stays chosen"
    editor.add.click()
    assert (editor.list.value, editor.text.value) == (3, "")
    editor.text.value = "抱我"
    editor.picture.value = "🤗"
    editor.list.value = 0
    assert (editor.text.value, editor.phrases[3]) == ("不要", Phrase("抱我", "", "🤗"))
    editor.remove.click()
    assert texts(editor, 4) == ["我想喝水", "我疼", "抱我", "停"]
    assert "「不要」" in editor.answer.value
    assert [label for label, _ in editor.list.options[:3]] == [
        "1. 💧 我想喝水 · 基本需要",
        "2. 😣 我疼 · 家人与朋友",
        "3. 🤗 抱我",
    ]
    editor.list.value = 119
    editor.down.click()
    editor.remove.click()
    assert (editor.list.value, len(editor.phrases)) == (118, 119)


def test_the_number_of_a_phrase_chooses_it_as_arrow_keys_would(editor: PhraseList) -> None:
    assert (editor.number.value, editor.number.max) == (1, 120)
    editor.number.value = 4
    assert (editor.list.value, editor.text.value) == (3, "停")
    editor.list.value = 2
    assert editor.number.value == 3
    editor.up.click()
    assert (editor.number.value, editor.text.value) == (2, "我想喝水")
    editor.number.value = 120
    editor.remove.click()
    assert (editor.number.value, editor.number.max, editor.list.value) == (119, 119, 118)


def test_everything_can_be_removed_and_begun_again(editor: PhraseList) -> None:
    for _ in range(121):
        editor.remove.click()
    assert (editor.phrases, editor.list.value, editor.text.value) == ([], None, "")
    editor.up.click()
    editor.text.value = "没有选中"
    assert editor.phrases == []
    editor.save.click()
    assert "RZ-0444" in editor.answer.value
    editor.add.click()
    editor.text.value = "停"
    assert editor.phrases == [Phrase("停")]


def test_a_file_is_written_only_when_the_button_is_pressed(editor: PhraseList, workspace: Workspace) -> None:
    editor.text.value = "我疼"
    editor.remove.click()
    put_in(editor, "a.txt", "我要回家\n".encode())
    assert not list(workspace.data_dir.iterdir())
    editor.save.click()
    assert "✅" in editor.answer.value and "数据文件夹里的 phrases.csv" in editor.title.value
    assert phrases.read(workspace) == tuple(editor.phrases)
    editor.remove.click()
    editor.save.click()  # what this editor itself wrote is its own to replace
    assert phrases.read(workspace) == tuple(editor.phrases)
    assert PhraseList(workspace).phrases == editor.phrases


def test_what_changed_on_the_disk_is_not_replaced_unasked(editor: PhraseList, workspace: Workspace) -> None:
    theirs = phrases.write(workspace, [Phrase("奶奶写的")]).read_bytes()
    editor.save.click()
    assert phrases.own_list(workspace).read_bytes() == theirs
    assert "❌" in editor.answer.value and editor.replace.layout.display != "none"
    editor.replace.value = True
    editor.save.click()
    assert phrases.read(workspace) == EVERYDAY
    assert (editor.replace.value, editor.replace.layout.display) == (False, "none")


def test_what_cannot_be_read_again_is_not_saved(editor: PhraseList, workspace: Workspace) -> None:
    editor.add.click()
    editor.save.click()
    assert "RZ-0445" in editor.answer.value and "第 2 行是空的" in editor.answer.value
    editor.text.value = "不要！"
    editor.save.click()
    assert "第 3 行「不要」和第 2 行是同一句话" in editor.answer.value
    assert not phrases.own_list(workspace).exists()


def test_imported_phrases_follow_and_known_ones_are_counted(editor: PhraseList) -> None:
    put_in(editor, "我的 <表>.csv", "句子,主题\n我想喝水。,\n我要回家,去处\n\n我要回家,\n".encode("gbk"))
    assert editor.phrases[120:] == [Phrase("我要回家", "去处")]
    assert (editor.list.value, editor.text.value) == (120, "我要回家")
    assert "我的 &lt;表&gt;.csv：加了 1 句" in editor.answer.value and "另有 1 句" in editor.answer.value
    assert "第 4 行是空的" in editor.answer.value and "第 5 行「我要回家」" in editor.answer.value
    assert editor.file.value == ()
    put_in(editor, "a.xlsx", b"PK\x03\x04")
    assert "RZ-0441" in editor.answer.value and len(editor.phrases) == 121


def test_lines_of_the_own_list_that_are_no_phrase_are_named(workspace: Workspace) -> None:
    phrases.own_list(workspace).write_text("text\n停\n停。\n", encoding="utf-8")
    assert "第 3 行「停。」" in PhraseList(workspace).answer.value


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_lists_have_a_plain_form(workspace: Workspace, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    plain = PhraseList(workspace).plain().splitlines()
    assert plain[1].startswith("1. 😣 我很疼 · ") and "100" in plain[-1] and len(plain) == 22
    shown: list[str] = []
    monkeypatch.setattr(phrase_list, "display", lambda table: shown.append(str(table)))
    show_phrases(workspace)
    assert shown[0].count("<tr>") == 1 + len(phrases.TOPICS)
    assert all(f"{phrase.picture} {phrase.text}" in shown[0] for phrase in EVERYDAY)
    phrases.write(workspace, [Phrase("抱我"), Phrase("回家", "去处"), Phrase("喝水", "needs")])
    show_phrases(workspace)
    assert shown[1].index("喝水") < shown[1].index("去处") < shown[1].index("抱我") and "phrases.csv" in shown[1]
