"""What a test found: the red list by its table of pairs, confusions by alignment, and what to record again."""

import json
from dataclasses import dataclass

import pytest

from resonance_helpers.audio.quality import Quality
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.dataset.index import read_index, write_index
from resonance_helpers.lessons import test_model
from resonance_helpers.lessons.test_model.recording_again import Advice, Reason
from resonance_helpers.lessons.test_model.takes import Take
from resonance_helpers.scoring import error_analysis
from resonance_helpers.scoring.error_analysis.confusions import Confused
from resonance_helpers.scoring.error_analysis.polarity import polarity_error_kind


@dataclass(frozen=True)
class Row:
    reference: str
    after: str
    before: str = ""
    split: str = "known"
    audio: str = "a.wav"


def take(text: str, part: str | None = "train", level: str = "ok", *reasons: str) -> Take:
    return Take("a.wav", text, part, Quality(2.0, -6.0, -20.0, 30.0, 1.5, 0.0), level, reasons)  # type: ignore[arg-type]


# ── The red list ─────────────────────────────────────────────────────────────
TRUE_ALARMS = """
negation:  我要/我不要  不要/要  我不疼。/我疼  別動/动  没吃药/吃药  要/不  不是/是  我不想去/我想去
negation:  可以/不可以  别走/走  不用/用  我要出去/我不要出去  不舒服/舒服  我没事/我有事  勿动/动
number:    吃两片药/吃三片药  吃 2 片药/吃20片药  一百二十/一百三十  吃一片药/吃三片药  吃三片药/吃片药
number:    八点/九点  三/四  几点了/七点了  第三/第四  打120/打110
when:      今天去/明天去  早上吃药/晚上吃药  上午去医院/下午去医院  现在吃/等会吃  马上来/等会儿来
where:     往左/往右  左边疼/右边疼  楼上/楼下  出去/进去  叫妈妈来/叫妈妈去  我要这个/我要那个  放里面/放外面
body:      头疼/腿疼  肚子疼/脖子疼  手麻/脚麻  左手疼/左腿疼
who:       叫妈妈来/叫爸爸来  妈妈/爸爸  叫医生/叫护士  我想喝水/你想喝水  扶我起来/扶他起来
opposite:  帮我开灯/帮我关灯  太冷了/太热了  我冷了/我热了  帮我开灯/关灯  声音大一点/声音小一点  吃饱了/吃饿了
opposite:  扶我起来/扶我躺下  慢一点/快一点  打开窗户/关上窗户  坐起来/坐下  我要坐/我要站
"""
FALSE_ALARMS = """
我不要/我不要。  吃2片药/吃两片药  我想喝水/我想喝睡  等一下/等下  停下/停一下  特别疼/特疼  对不起/对起  开灯/開燈
我不想去/我没想去  我不舒服/今天天气很好  两点/二点  他来了/她来了  您好/你好  我要喝水/我想喝水
十分疼/很疼  我想吃饭/我想七饭  关上门/帮我翻身  口渴了/关上门  我热了/头疼  想睡觉/给我推轮椅  叫妈妈来/妈妈要擦汗
你好/我  别/帮我开灯  不要/我  看电视/看店视  再来一点/再来点  马上来/来  妈/妈妈  早晨吃药/早上吃药
叫大夫/叫医生  我想坐起来/我想去公园
"""


def cases(table: str) -> list[tuple[str, ...]]:
    return [tuple(case.split("/")) for line in table.split("\n") for case in line.split("  ") if "/" in case]


@pytest.mark.parametrize(
    ("kind", "meant", "heard"),
    [
        (line.partition(":")[0], *case)
        for line in TRUE_ALARMS.strip().splitlines()
        for case in cases(line.partition(":")[2])
    ],
)
def test_an_answer_that_turns_the_meaning_round_is_found(kind: str, meant: str, heard: str) -> None:
    assert polarity_error_kind(meant, heard) == kind


@pytest.mark.parametrize(("meant", "heard"), [*cases(FALSE_ALARMS), ("我不要", ""), ("", "我要")])
def test_an_ordinary_error_is_not_called_a_flip(meant: str, heard: str) -> None:
    assert polarity_error_kind(meant, heard) is None


def test_the_red_list_holds_what_was_heard_after_training() -> None:
    rows = [
        Row("我不要", "我要", "我不要"),
        Row("我要", "我要", "我不要"),
        Row("吃两片药", "吃三片药"),
        Row("停", "听"),
    ]
    assert error_analysis.polarity_errors(rows) == (("我不要", "我要", "negation"), ("吃两片药", "吃三片药", "number"))


# ── Confusions ───────────────────────────────────────────────────────────────
def test_confused_characters_and_syllables_are_counted_from_the_alignment() -> None:
    rows = [
        Row("吃药", "吃要"),
        Row("我想喝水", "我想喝睡"),
        Row("喝水", "喝睡。"),
        Row("停一下", "停下"),
        Row("好", "好"),
    ]
    found = error_analysis.confusions(rows)
    assert found.characters == (
        Confused("水", "睡", 2, "我想喝水"),
        Confused("药", "要", 1, "吃药"),
        Confused("一", "", 1, "停一下"),
    )
    assert found.syllables == (Confused("shuǐ", "shuì", 2, "我想喝水"), Confused("yī", "", 1, "停一下"))
    assert found.phrases == () and (found.other_sentences, found.silent) == (0, 0)


def test_another_sentence_or_silence_invents_no_confusion() -> None:
    rows = [Row("关上门", "帮我翻身"), Row("帮我翻身", "帮我翻身"), Row("口渴了", ""), Row("……", "啊")]
    found = error_analysis.confusions(rows)
    assert found.characters == found.syllables == ()
    assert found.phrases == (Confused("关上门", "帮我翻身", 1, "关上门"),)
    assert (found.other_sentences, found.silent) == (1, 1)


def test_every_pair_of_the_alignment_is_an_edit_of_the_score() -> None:
    """Texts of mixed scripts must not shift syllables against characters."""
    found = error_analysis.confusions([Row("打开WiFi吧", "打开wifi把"), Row("看NBA", "看NBA吧")])
    assert [(each.meant, each.heard) for each in found.characters] == [("吧", "把"), ("", "吧")]
    assert [(each.meant, each.heard) for each in found.syllables] == [("ba", "bǎ"), ("", "ba")]


# ── What to record again ─────────────────────────────────────────────────────
def test_phrases_to_record_again_come_with_their_reasons_the_turned_ones_first() -> None:
    rows = [
        Row("喝水", "喝水"),
        Row("看电视", "看店视", "看电"),
        Row("看电视", "看电视"),
        Row("开灯", "关门", "开灯"),
        Row("我冷了", "我热了"),
        Row("我热了", "喝水。", split="new"),
    ]
    takes = [
        take("看电视"),
        take("看电视"),
        take("看电视", "known"),
        take("喝水", "train", "again", "太轻"),
        take("好"),
    ]
    advice = test_model.record_again(rows, takes)
    assert advice == (
        Advice(
            "我冷了",
            (
                Reason("flip", {"heard": "我热了", "kind": "opposite"}),
                Reason("wrong", {"wrong": 1, "tested": 1, "trained": 0}),
            ),
        ),
        Advice("开灯", (Reason("wrong", {"wrong": 1, "tested": 1, "trained": 0}), Reason("worse", {"count": 1}))),
        Advice("我热了", (Reason("unlearned", {"wrong": 1, "tested": 1}), Reason("mixed_up", {"other": "喝水"}))),
        Advice("看电视", (Reason("wrong", {"wrong": 1, "tested": 2, "trained": 2}),)),
        Advice("喝水", (Reason("sound", {"sentence": "太轻"}),)),
    )


def test_nothing_is_recorded_again_for_nothing() -> None:
    assert test_model.record_again([Row("好", "好。")], [take("好"), take("再见")]) == ()


# ── The recordings ───────────────────────────────────────────────────────────
def test_every_recording_is_measured_and_knows_what_it_was_used_for(own_sample: Workspace) -> None:
    labels = json.loads(own_sample.labels.read_text(encoding="utf-8"))
    first, second, third = (label["audio"] for label in labels[:3])
    index = read_index(own_sample)
    spoilt = {**index, "x.m4a": type(index[first])("x.m4a", "", "", "", 0.0, "RZ-0502")}
    write_index(own_sample, spoilt.values())
    takes = test_model.examine(own_sample, {"train": [first], "dev": [first], "known": [second]}, window_s=0.5)
    by_name = {each.audio: each for each in takes.used}
    assert [by_name[name].part for name in (first, second, third)] == ["train", "known", None]
    assert len(takes.used) == len(labels) == sum(takes.levels().values())
    assert by_name[first].level == "again" and "0.5" in by_name[first].reasons[0]  # all are longer than half a second
    assert [(left.source, left.problem) for left in takes.left_out] == [("x.m4a", "RZ-0502")]
