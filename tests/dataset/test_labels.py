"""labels.json: what people really write is read, what is wrong is said with its place, the file is never touched."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers import ResonanceError
from resonance_helpers.dataset.labels import Label, changing, clean_up, read_labels, write_labels

GUIDE = """[
  {"audio": "audio/001_我想喝水.wav", "text": "我想喝水"},
  {"audio": "audio/002_我想吃饭.wav", "text": "我想吃饭"},
  {"audio": "audio/003_帮我开灯.wav",  "text": "帮我开灯"}
]
"""

Refusal = Callable[[str | bytes], ResonanceError]


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.json"


@pytest.fixture
def refused(path: Path, lang: str) -> Refusal:
    """Reads ``content`` in both languages, expects an error of ours, and holds the file to its bytes."""

    def read(content: str | bytes) -> ResonanceError:
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data)
        with pytest.raises(ResonanceError) as caught:
            read_labels(path)
        assert path.read_bytes() == data
        assert list(path.parent.iterdir()) == [path]
        assert str(path) in str(caught.value)
        return caught.value

    return read


def entry(**changes: object) -> str:
    return json.dumps([{"audio": "audio/a.wav", "text": "我想喝水", **changes}], ensure_ascii=False)


# ── What is read ─────────────────────────────────────────────────────────────
def test_the_guides_example(path: Path) -> None:
    path.write_text(GUIDE, encoding="utf-8")
    labels = read_labels(path)
    assert [label.text for label in labels] == ["我想喝水", "我想吃饭", "帮我开灯"]
    assert labels[0] == Label("audio/001_我想喝水.wav", "我想喝水")
    assert (labels[0].take, labels[0].session, labels[0].split) == (1, None, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_notepads_byte_order_marks_are_accepted(path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_bytes((mark + GUIDE.replace("\n", "\r\n")).encode(encoding))
    assert [label.text for label in read_labels(path)] == ["我想喝水", "我想吃饭", "帮我开灯"]


def test_windows_paths_and_stray_spaces(path: Path) -> None:
    path.write_text(r'[{"audio": ".\\audio_raw\\a b.m4a", "text": " 我想喝水\u3000", "take": 2}]', encoding="utf-8")
    (label,) = read_labels(path)
    assert (label.audio, label.text, label.take) == ("audio_raw/a b.m4a", "我想喝水", 2)


def test_an_empty_list_is_a_list(path: Path) -> None:
    path.write_text(" [ ]\n", encoding="utf-8")
    assert read_labels(path) == []


# ── What is written ──────────────────────────────────────────────────────────
def test_unknown_keys_and_key_order_survive_a_rewrite(path: Path) -> None:
    entries = [
        {"id": 7, "text": "我想喝水", "note": {"by": "妈妈"}, "audio": "audio/a.wav", "take": 1, "room": None},
        {"audio": "audio/b.wav", "text": "帮我开灯", "split": "test", "session": None, "数字": 1.5},
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")
    first, second = read_labels(path)
    write_labels(path, [replace(first, text="我要喝水", split="train"), second])
    rewritten = json.loads(path.read_text(encoding="utf-8"))
    assert list(rewritten[0].items()) == [*(entries[0] | {"text": "我要喝水"}).items(), ("split", "train")]
    assert list(rewritten[1].items()) == list(entries[1].items())


def test_a_rewrite_looks_like_the_guide(path: Path) -> None:
    path.write_text(GUIDE.replace(",  ", ", "), encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    write_labels(path, read_labels(path))
    assert path.read_text(encoding="utf-8") == before


def test_a_new_label_writes_only_what_it_says(path: Path) -> None:
    write_labels(path, [Label("audio/a.wav", "疼", take=2, extra={"who": "奶奶"})])
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"audio": "audio/a.wav", "text": "疼", "take": 2, "who": "奶奶"}
    ]
    write_labels(path, [])
    assert read_labels(path) == []


def test_what_reading_would_refuse_is_not_written(path: Path) -> None:
    path.write_text(GUIDE, encoding="utf-8")
    labels = read_labels(path)
    with pytest.raises(ResonanceError, match="RZ-0404"):
        write_labels(path, [replace(labels[0], text="  ")])
    with pytest.raises(ResonanceError, match="RZ-0405"):
        write_labels(path, [labels[0], labels[0]])
    assert path.read_text(encoding="utf-8") == GUIDE
    assert list(path.parent.iterdir()) == [path]


words = st.text("疼水aé1“", min_size=0, max_size=3).map("我{}".format)
values = st.none() | st.booleans() | st.integers() | words | st.lists(words, max_size=2) | st.just({"b": [1.5, {}]})
entries_of_any_kind = st.fixed_dictionaries(
    {"audio": words, "text": words},
    optional={
        "take": st.integers(1, 9),
        "session": st.none() | words,
        "split": st.sampled_from([None, "train", "test"]),
        "note": values,
        "第二个键": values,
    },
)


@given(st.lists(entries_of_any_kind, max_size=4, unique_by=lambda entry: entry["audio"]), st.randoms())
def test_read_and_write_are_inverse(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]], rng: random.Random
) -> None:
    entries = [{key: entry[key] for key in rng.sample(list(entry), len(entry))} for entry in entries]
    path = tmp_path_factory.mktemp("labels") / "labels.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    write_labels(path, read_labels(path))
    again = json.loads(path.read_text(encoding="utf-8"))
    assert [list(entry.items()) for entry in again] == [list(entry.items()) for entry in entries]


# ── What is refused ──────────────────────────────────────────────────────────
def test_missing(path: Path, lang: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        read_labels(path)
    assert caught.value.code == "RZ-0401"
    assert str(path) in str(caught.value)
    assert '[{"audio": "audio/001_我想喝水.wav", "text": "我想喝水"}]' in str(caught.value)
    assert not path.exists()


FAULTS = {
    # name: (content with ▶ before the fault, words of the sentence in zh, in en)
    "trailing comma in the list": (GUIDE.replace('灯"}', '灯"}▶,'), "逗号多余", "one too many"),
    "trailing comma in an entry": (GUIDE.replace('饭"}', '饭"▶, }'), "逗号多余", "one too many"),
    "full-width comma": (GUIDE.replace('水"},', '水"}▶，'), "半角的「,」", "half-width ','"),
    "full-width comma inside an entry": (GUIDE.replace('水.wav",', '水.wav"▶，'), "半角的「,」", "half-width ','"),
    "full-width colon": (GUIDE.replace('"text":', '"text"▶：', 1), "半角的「:」", "half-width ':'"),
    "full-width quotes around a key": (GUIDE.replace('"text"', "▶“text”", 1), "双引号", "straight double quote"),
    "full-width quotes around a text": (GUIDE.replace('"我想吃饭"', "▶“我想吃饭”"), "双引号", "straight double quote"),
    "full-width closing quote": (GUIDE.replace('水.wav"', "水.wav▶”"), "双引号", "straight double quote"),
    "full-width closing quote at the end": (GUIDE.replace('吃饭"}', "吃饭▶”}"), "双引号", "straight double quote"),
    "full-width closing quote of a key": (GUIDE.replace('"text"', '"text▶”', 1), "双引号", "straight double quote"),
    "full-width closing quote, last": (GUIDE[: GUIDE.index('"}')] + "▶”", "双引号", "straight double quote"),
    "single quotes": (GUIDE.replace('"我想吃饭"', "▶'我想吃饭'"), "双引号", "straight double quote"),
    "full-width bracket": (GUIDE.replace("[", "▶［"), "半角的「[」", "half-width '['"),
    "backslash in a path": (GUIDE.replace("audio/002", "audio▶\\002"), "反斜杠", "backslash"),
    "no comma between entries": (GUIDE.replace('水"},', '水"}▶'), "少了一个逗号", "comma is missing"),
    "no comma inside an entry": (GUIDE.replace('饭.wav",', '饭.wav"▶'), "少了一个逗号", "comma is missing"),
    "a quote inside a text": (GUIDE.replace("想吃", '▶"想吃', 1).replace("想吃饭", "吃饭", 1), "去掉", "inside a text"),
    "no closing quote": (GUIDE.replace('"我想吃饭"', '▶"我想吃饭'), "少了结尾的引号", "closing quote"),
    "no closing quote, last": ('[{"audio": ▶"a.wav', "少了结尾的引号", "closing quote"),
    "cut off": (GUIDE.replace('饭"},', '饭"▶}|').partition("|")[0], "没有保存完整", "saved whole"),
    "cut off after a comma": (GUIDE.replace('饭"},', '饭"}▶,|').partition("|")[0], "没有保存完整", "saved whole"),
    "no brackets": (GUIDE[2:-2].replace('水"},', '水"}▶,'), "方括号", "square brackets"),
    "empty": ("▶", "空的", "empty"),
    "only spaces": ("▶ \n \n", "空的", "empty"),
    "not JSON at all": ("▶audio,text\na.wav,疼\n", "JSON", "JSON"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_hand_written_json(refused: Refusal, lang: str, name: str) -> None:
    content, zh, en = FAULTS[name]
    before, marker, after = content.partition("▶")
    assert marker, "this row of the table breaks nothing"
    error = refused(before + after)
    assert error.code == "RZ-0402"
    assert {"zh": zh, "en": en}[lang] in error.facts["fault"]
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    assert (error.facts["line"], error.facts["column"]) == (line, column), str(error)
    assert f"第 {line} 行第 {column} 列" in str(error) or f"line {line}, column {column}" in str(error)
    assert (before + after + "\n").split("\n")[line - 1].strip() in str(error)


def test_a_comma_fault_is_not_blamed_on_quotes_in_a_text(refused: Refusal) -> None:
    before, after = '[{"text": "他说“好”，走"', ' "audio": "a.wav"}]'
    assert refused(before + after).facts["column"] == len(before) + 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_gbk_is_named_with_the_way_out(refused: Refusal, lang: str, newline: str) -> None:
    error = refused(GUIDE.replace("\n", newline).encode("gbk"))
    assert error.code == "RZ-0408"
    for fact in ("GBK", "UTF-8", "001_我想喝水.wav", "另存为" if lang == "zh" else "Save as"):
        assert fact in str(error)


@pytest.mark.parametrize(
    ("content", "zh", "en"),
    [
        ('{"data": []}', "花括号", "curly"),
        ('"我想喝水"', "一段文字", "a text"),
        ('["audio/a.wav"]', "第 1 条（第 1 行）", "entry 1 (line 1)"),
        ("[\n null]", "第 1 条（第 2 行）", "entry 1 (line 2)"),
        ('[\n{"audio": "a.wav",\n"text": "疼"},\n\n{"text": "疼"}]', "第 2 条（第 5 行）", "entry 2 (line 5)"),
        ('[{"audio": "a.wav"}]', '缺少 "text"', 'no "text"'),
        ('[{"path": "a.wav", "sentence": "疼"}]', '有的是："path", "sentence"', 'it has: "path", "sentence"'),
        ('[\n{"audio": "a.wav",\n "text": "疼",\n "text": "停"}]', '（第 2 行）里 "text" 写了两次', '"text" twice'),
        ('[{"audio": "a.wav", "text": "疼", "x": [{"k": 1, "k": 2}]}]', '"k" 写了两次', '"k" twice'),
        ("[" * 100_000 + "]" * 100_000, "太多层", "too many times"),
        ('[{"audio": "a.wav", "text": "疼", "x": ' + "[" * 100_000 + "]" * 100_000 + "}]", "太多层", "too many times"),
        (f'[{{"audio": "a.wav", "text": "疼", "take": {"9" * 5000}}}]', "几千位", "thousands of digits"),
        (entry(audio=3), '"audio" 应该是引号里的文字', '"audio" should be a text'),
        (entry(text=110), "一个数字", "a number"),
        (entry(text=None), "null", "null"),
        (entry(text=True), "true", "true"),
        (entry(audio=""), "文件名", "no file"),
        (entry(audio="./"), "文件名", "no file"),
        (r'[{"audio": "audio\test.wav", "text": "疼"}]', "反斜杠", "backslash"),
        (entry(audio="a\0.wav"), "控制字符", "control character"),
        (entry(take="2"), '"take" 是 "2"', '"take" is "2"'),
        (entry(take=0), '"take" 是 0', '"take" is 0'),
        (entry(take=True), '"take" 是 true', '"take" is true'),
        (entry(take=1.5), '"take" 是 1.5', '"take" is 1.5'),
        (entry(session=3), '"session"', '"session"'),
        (entry(split="dev"), '"split" 是 "dev"', '"split" is "dev"'),
        (entry(split=["train"]), '"split" 是 ["train"]', '"split" is ["train"]'),
    ],
)  # fmt: skip
def test_wrong_shapes(refused: Refusal, lang: str, content: str, zh: str, en: str) -> None:
    error = refused(content)
    assert error.code == "RZ-0403"
    assert {"zh": zh, "en": en}[lang] in str(error)
    assert '"audio": "audio/001_我想喝水.wav"' in str(error)


@pytest.mark.parametrize("text", ["", "  ", "\u3000", "\ufeff", "\u200b\n"])
def test_empty_text(refused: Refusal, lang: str, text: str) -> None:
    error = refused('[{"audio": "audio/b.wav", "text": "疼"},\n' + entry(text=text)[1:])
    assert error.code == "RZ-0404"
    assert {"zh": "第 2 条（第 2 行）", "en": "entry 2 (line 2)"}[lang] in str(error)
    assert "audio/a.wav" in str(error)


TEXTS = [  # the text as JSON has it, whether it is refused, and the code or what training reads
    (r"我想喝水\ud83d", "RZ-0480"),
    (r"\udc00我想喝水", "RZ-0480"),
    ("我想喝\ufffd", "RZ-0480"),
    ("我想喝水\ue412", "RZ-0480"),
    ("我想喝水<|endoftext|>", "RZ-0481"),
    ("<|0.00|>我想喝水", "RZ-0481"),
    (r"<|end\u200boftext|>我想喝水", "RZ-0481"),
    ("？！……", "RZ-0416"),
    (r"\ud83d\ude00", "RZ-0416"),
    ("水" * 600, "RZ-0482"),
    ("water " * 100, "RZ-0482"),
    ("水" * 60, "水" * 60),
    ("I would like a glass of water, and then I want to go to sleep", None),
    (r"我\u200b想\u0000喝\ufe0f水", "我想喝水"),
    (r"\ufeff我想\n喝\u2067水\u00ad\u202e", "我想 喝水"),
    (r"我想喝水\ud83d\ude00", "我想喝水😀"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_every_text_is_read_clean_or_refused_with_its_reason(path: Path, lang: str, text: str, expected: str) -> None:
    path.write_text(f'[\n{{"audio": "audio/a.wav", "text": "{text}"}}]', encoding="utf-8")
    before = path.read_bytes()
    if expected and expected.startswith("RZ-"):
        with pytest.raises(ResonanceError) as caught:
            read_labels(path)
        said = str(caught.value)
        assert caught.value.code == "RZ-0483" and f"[{expected}]" in said and "audio/a.wav" in said
        assert {"zh": "第 1 条（第 2 行）", "en": "entry 1 (line 2)"}[lang] in said
        assert len(said.encode()) < 1200, "said in full, and printable"
    else:
        assert read_labels(path)[0].text == (expected or text)
    assert path.read_bytes() == before


def test_a_file_is_cleaned_only_on_request_and_only_in_its_texts(path: Path) -> None:
    path.write_text(
        '[{"n": "\u200b", "audio": "a.wav", "text": "我\u200b想\ufeff"},{"audio": "b.wav", "text": " 停 "}]'
    )
    with changing(path) as labels:
        labels.append(Label("c.wav", "疼"))
    kept = [entry["text"] for entry in json.loads(path.read_text())]
    assert kept == ["我\u200b想\ufeff", " 停 ", "疼"], "somebody else's new take changes no text"
    assert clean_up(path) == 1
    assert json.loads(path.read_text()) == [
        {"n": "\u200b", "audio": "a.wav", "text": "我想"},
        {"audio": "b.wav", "text": " 停 "},
        {"audio": "c.wav", "text": "疼"},
    ]
    assert clean_up(path) == 0


@pytest.mark.parametrize(
    "other", ["audio/é.wav", "./audio/é.wav", r"audio\\é.wav", "audio//é.wav", r".\\audio\\é.wav", "audio/e\u0301.wav"]
)
def test_the_same_file_twice(refused: Refusal, lang: str, other: str) -> None:
    entries = ['{"audio": "audio/é.wav", "text": "疼"}', '{"audio": "b.wav", "text": "水"}']
    error = refused("[" + ",\n".join([*entries, f'{{"audio": "{other}", "text": "不疼"}}']) + "]")
    assert error.code == "RZ-0405"
    places = {"zh": ("第 1 条（第 1 行）", "第 3 条（第 3 行）"), "en": ("entry 1 (line 1)", "entry 3 (line 3)")}
    assert all(place in str(error) for place in places[lang])


@pytest.mark.parametrize(
    "audio",
    ["../a.wav", "a/../../a.wav", "a/..", "/a.wav", r"..\a.wav", r"C:\a.wav", "C:a.wav", r"\\n\a.wav", "//n/a"],
)
def test_a_path_out_of_the_data_folder(refused: Refusal, lang: str, audio: str) -> None:
    error = refused(entry(audio=audio))
    assert error.code == "RZ-0409"
    assert audio in str(error)
    assert {"zh": "第 1 条（第 1 行）", "en": "entry 1 (line 1)"}[lang] in str(error)


@given(st.data())
def test_whatever_is_broken_is_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any one character of the guide's file lost, doubled or replaced: read, or refused in words."""
    at = data.draw(st.integers(0, len(GUIDE) - 1))
    put = data.draw(st.sampled_from(["", "“", "”", "，", "：", '"', "'", "\\", "\n", ",", "}", "]", GUIDE[at] * 2]))
    path = tmp_path_factory.mktemp("labels") / "labels.json"
    path.write_text(GUIDE[:at] + put + GUIDE[at + 1 :], encoding="utf-8")
    try:
        assert all(label.text for label in read_labels(path))
    except ResonanceError as error:
        assert error.code in {f"RZ-040{n}" for n in (2, 3, 4, 5, 9)}
        if error.code == "RZ-0402":
            lines = path.read_text(encoding="utf-8").split("\n")
            assert error.facts["text"] == lines[error.facts["line"] - 1].strip()
            assert 1 <= error.facts["column"] <= len(lines[error.facts["line"] - 1]) + 1
