"""report.html: whole, self-contained, honest about its limits, readable by everybody; sound only when asked."""

import base64
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from resonance_helpers.asr.manifest import MANIFEST, Manifest
from resonance_helpers.audio.quality import Quality
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import PRACTICE_MODEL
from resonance_helpers.core.workspace import Workspace, write_json
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.lessons.test_model import report
from resonance_helpers.lessons.test_model.charts import eight_of_ten_words
from resonance_helpers.lessons.test_model.logic import (
    BeforeAfter,
    Forgetting,
    RealTimeFactor,
    Report,
    Silence,
    TestRow,
    Verdict,
)
from resonance_helpers.lessons.test_model.recording_again import Kind
from resonance_helpers.lessons.test_model.report.background import Background
from resonance_helpers.lessons.test_model.report.players import Players
from resonance_helpers.lessons.test_model.takes import Left, Take, Takes
from resonance_helpers.scoring.error_analysis import polarity as meaning
from resonance_helpers.scoring.error_rates import difference, score

EVIL = "<script>alert(1)</script>"
ROWS = (
    ("001_2.wav", "我不要", "啊", "我要", "known"),
    ("002_2.wav", "我想喝水", "", "我想喝水", "known"),
    ("003.wav", "吃两片药", "吃药药药", "吃三片药", "new"),
    ("<b>.wav", EVIL, "", "停", "new"),
)
VOID = {"meta", "br", "img", "input", "link", "circle", "path", "rect"}


def rows() -> tuple[TestRow, ...]:
    return tuple(TestRow(audio, Path(audio), *rest) for audio, *rest in ROWS)  # type: ignore[arg-type]


def a_report(base_model: str = "openai/whisper-small", given: tuple[TestRow, ...] = ()) -> Report:
    given = given or rows()

    def part(split: str) -> BeforeAfter:
        chosen = [row for row in given if row.split == split]
        meant = [row.reference for row in chosen]
        scores = [score(meant, [getattr(row, moment) for row in chosen]) for moment in ("before", "after")]
        return BeforeAfter(len(chosen), *scores)

    train = {"recordings": 80, "phrases": 40, "audio_seconds": 160.0, "steps": 120, "wall_seconds": 33.0}
    verdict = Verdict("careful", "规则：见上")
    return Report(base_model, 4.0, train, part("known"), part("new"), verdict, given, ("peft 换了版本",))


def background(**changes: object) -> Background:
    good, poor = Quality(2.0, -6.0, -20.0, 30.0, 1.5, 0.0), Quality(2.0, -50.0, -60.0, 9.0, 1.5, 0.0)
    takes = Takes(
        (Take("001.wav", "我不要", "train", good, "ok", ()), Take(EVIL, EVIL, "train", poor, "again", ("录得太轻",))),
        (Left(f"{EVIL}.m4a", "RZ-0502"),),
    )
    settings = {"base_model": "openai/whisper-small @ main", "seed": "17"}
    return replace(Background("p-01", "2026-01-02", False, takes, settings, {"torch": "2.13.0"}), **changes)


class Page(HTMLParser):
    """Collects what a browser would fetch, the tags and the visible text; nesting must be sound."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "poster", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if not self._open or self._open[-1] != "style" else ""


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return str(request.param)


@pytest.fixture
def tested(own_sample: Workspace) -> tuple[Workspace, Report]:
    """The sample as somebody's own, with what lesson 06 leaves behind, and a report on five of its recordings."""
    utterances = load_utterances(own_sample)
    chosen = utterances[:5]
    manifest = Manifest(
        patient_id=own_sample.patient_id,
        base_model={"name": "openai/whisper-small", "revision": "abc123", "tensors_sha256": "0" * 64},
        language="zh",
        window_s=4.0,
        lora={"r": 16, "alpha": 32, "dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
        recordings=80,
        phrases=40,
        audio_seconds=160.0,
        data_sha256="f" * 64,
        run="1",
        steps=120,
        seed=17,
        wall_seconds=33.0,
        scores={},
        versions={"torch": "2.13.0"},
        time="2026-01-01T00:00:00+00:00",
    )
    write_json(own_sample.adapter / MANIFEST, asdict(manifest))
    names = [each.audio for each in utterances]
    split = {"train": names[5:], "dev": [], "known": names[:3], "new": names[3:5]}
    write_json(own_sample.runs / "1" / "split.json", split)
    write_json(own_sample.runs / "1" / "run.json", {"preset": {"learning_rate": 0.001, "augment": ["room", "gain"]}})
    heard = tuple(
        TestRow(each.audio, each.wav, each.text, "", each.text if i else "听错了", "known" if i < 3 else "new")
        for i, each in enumerate(chosen)
    )
    return own_sample, a_report(given=heard)


# ── The page ─────────────────────────────────────────────────────────────────
def test_the_page_says_everything_and_fetches_nothing(lang: str) -> None:
    text = report.page(a_report(), background())
    page = Page(text)
    assert page.links and all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not {"script", "audio", "iframe", "link", "object", "img"} & set(page.tags)
    assert "url(" not in text and "http:" not in text and "https:" not in text and "@import" not in text
    for words in (*report.headlines(a_report()), *report.limits(practice=False, simulated=False)):
        assert words in page.text
    assert message("verdict.careful") in page.text and message("report.verdict.careful") in page.text
    assert "规则：见上" in page.text and "peft 换了版本" in page.text
    for row in rows():
        assert row.audio in page.text and row.reference in page.text
    assert "我[-不]要" in page.text and "⚠ 吃三片药" in page.text
    assert "不 → " in page.text or message("report.confusions.lost", text="不") in page.text
    assert "RZ-0502" in page.text and "录得太轻" in page.text
    for fact in ("p-01", "2026-01-02", "openai/whisper-small", "120", "2.13.0"):
        assert fact in page.text


def test_a_family_reads_the_verdict_and_the_headline_first() -> None:
    text = Page(report.page(a_report(), background())).text
    first = [message("verdict.careful"), *report.headlines(a_report()), message("report.limits"), "openai/whisper"]
    places = [text.index(words) for words in first]
    assert places == sorted(places) and places[0] < 200


def test_what_flips_the_meaning_is_announced_beside_the_verdict() -> None:
    flips = message("report.verdict.polarity", n=2)
    assert flips in Page(report.page(a_report(), background())).text
    calm = a_report(given=tuple(replace(row, after=row.reference) for row in rows()))
    text = Page(report.page(calm, background(takes=Takes()))).text
    assert message("report.verdict.polarity", n=0) not in text and message("chart.polarity.none") in text
    for none in ("report.again.none", "report.confusions.none", "report.quality.unknown"):
        assert message(none) in text


def test_a_screen_reader_finds_its_way(lang: str) -> None:
    page = Page(report.page(a_report(), background()))
    assert dict(page.attributes)["html"]["lang"] == {"zh": "zh-CN", "en": "en"}[lang]
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    drawings = [attrs for tag, attrs in page.attributes if tag == "svg"]
    assert drawings and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)
    assert eight_of_ten_words(a_report().seen.after) in [attrs["aria-label"] for attrs in drawings]  # type: ignore[union-attr]
    headers = [attrs for tag, attrs in page.attributes if tag == "th"]
    assert headers and all(attrs["scope"] == "col" for attrs in headers)


def test_what_a_colour_says_a_mark_or_a_word_says_too(lang: str) -> None:
    text = Page(report.page(a_report(), background())).text
    assert text.count(message("report.clips.wrong")) == 3 and text.count(message("report.clips.right")) == 1
    assert "[两→三]" in text and "⚠ " + message("verdict.careful") in text
    assert message("report.clips.silence") in text


def test_the_wrong_answers_come_first() -> None:
    text = Page(report.page(a_report(), background())).text
    start = text.rindex(message("report.clips"))
    assert text.index("001_2.wav", start) < text.index("002_2.wav", start)
    right_first = a_report(given=(rows()[1], rows()[0], *rows()[2:]))
    text = Page(report.page(right_first, background())).text
    assert text.index("001_2.wav", start) < text.index("002_2.wav", start)


def test_the_same_test_gives_the_same_page_but_for_the_date() -> None:
    one, other = (report.page(a_report(), background(tested_on=date)) for date in ("2026-01-02", "2027-03-04"))
    assert one == report.page(a_report(), background())
    assert other.replace("2027-03-04", "2026-01-02") == one


def test_the_limits_are_named_in_plain_words() -> None:
    words = message("report.limits", lang="zh")
    assert all(limit in words for limit in ("紧急", "用药", "法律"))
    words = message("report.limits", lang="en")
    assert all(limit in words for limit in ("emergencies", "medication", "legal consent"))


def test_a_rehearsal_says_that_it_is_one(lang: str) -> None:
    practice, simulated = message("chart.practice"), message("report.simulated")
    text = Page(report.page(a_report(PRACTICE_MODEL), background(simulated=True))).text
    assert practice in text and simulated in text
    assert not {practice, simulated} & set(report.limits(practice=False, simulated=False))


def test_a_part_that_was_not_tested_is_left_out() -> None:
    known = replace(a_report(), unseen=None, rows=rows()[:2])
    assert len(report.headlines(known)) == 1
    assert (report.page(known, background()).count("<svg"), report.page(a_report(), background()).count("<svg")) == (
        3,
        4,
    )
    assert message("chart.split.new") not in Page(report.page(known, background())).text


# ── From a workspace ─────────────────────────────────────────────────────────
def test_the_workspace_adds_quality_settings_and_versions(tested: tuple[Workspace, Report]) -> None:
    workspace, result = tested
    path = report.write_html(workspace, result)
    assert path == workspace.report_html
    text = Page(path.read_text(encoding="utf-8")).text
    utterances = load_utterances(workspace)
    assert f"一共 {len(utterances)} 条录音" in text
    for fact in ("openai/whisper-small @ abc123", "r=16, α=32, q_proj/v_proj", "0.001", "ffffffffffff", "2.13.0"):
        assert fact in text
    trained = sum(each.text == result.rows[0].reference for each in utterances[5:])
    assert message("report.again.wrong", trained=trained, tested=3, wrong=1) in text


def test_no_path_of_this_machine_and_no_sound_is_in_it(tested: tuple[Workspace, Report]) -> None:
    workspace, result = tested
    text = report.write_html(workspace, result).read_text(encoding="utf-8")
    for folder in (workspace.data_dir, workspace.output_dir, Path.home()):
        assert str(folder) not in text
    assert "<audio" not in text and "base64" not in text


def test_sound_is_in_it_when_asked_and_the_page_says_so(tested: tuple[Workspace, Report]) -> None:
    workspace, result = tested
    page = Page(report.write_html(workspace, result, with_audio=True).read_text(encoding="utf-8"))
    sounds = [link.removeprefix("data:audio/wav;base64,") for link in page.links if not link.startswith("#")]
    assert {base64.b64decode(sound) for sound in sounds} == {row.wav.read_bytes() for row in result.rows}
    players = [attrs for tag, attrs in page.attributes if tag == "audio"]
    assert [attrs["aria-label"] for attrs in players] == [row.audio for row in result.rows]
    assert message("report.audio", n=len(result.rows)) in page.text


def test_sound_is_bounded_and_the_wrong_answers_go_first(tested: tuple[Workspace, Report]) -> None:
    _, result = tested
    swapped = replace(result, rows=(result.rows[1], result.rows[0], *result.rows[2:]))
    players = Players(limit=result.rows[0].wav.stat().st_size)
    page = Page(report.page(swapped, background(), players))
    assert next(attrs["aria-label"] for tag, attrs in page.attributes if tag == "audio") == result.rows[0].audio
    assert players.embedded + players.left_out == len(result.rows) and players.left_out >= 3
    assert message("report.audio.left_out", n=players.left_out) in page.text


def test_a_failure_leaves_the_earlier_page(tested: tuple[Workspace, Report], monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, result = tested
    report.write_html(workspace, result)
    before, files = workspace.report_html.read_bytes(), sorted(workspace.output_dir.iterdir())
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("broken")))
    with pytest.raises(OSError, match="broken"):
        report.write_html(workspace, result)
    assert workspace.report_html.read_bytes() == before
    assert sorted(workspace.output_dir.iterdir()) == files


def test_a_run_that_was_killed_before_its_facts_were_written_still_gives_a_page(
    tested: tuple[Workspace, Report],
) -> None:
    workspace, result = tested
    (workspace.runs / "1" / "run.json").unlink()
    assert message("report.fact.seed") in report.write_html(workspace, result).read_text(encoding="utf-8")


# ── Every message that is named by a variable ────────────────────────────────
def test_every_kind_and_fact_has_its_words(lang: str) -> None:
    kinds = {"negation", "number", *(kind for kind, _ in meaning._CHOICES)}
    assert len({message(f"chart.polarity.kind.{kind}") for kind in kinds}) == len(kinds)
    for level in ("usable", "careful", "not_yet"):
        page = report.page(replace(a_report(), verdict=Verdict(level, "规则")), background())  # type: ignore[arg-type]
        assert message(f"report.verdict.{level}") in Page(page).text
    facts = dict.fromkeys(("heard", "kind", "wrong", "tested", "trained", "count", "other", "sentence"), "x")
    for kind in get_args(Kind):
        assert "x" in message(f"report.again.{kind}", **facts)  # type: ignore[arg-type]


def test_what_training_changed_and_what_it_may_have_spoilt_is_said_where_it_was_measured() -> None:
    bare = report.page(a_report(), background())
    assert "健康人的话" not in bare and "没有人说话时" not in bare, "nothing is said of what was not measured"
    meant, was, now = ["我想喝水", "不要", "谢谢"], ["我想", "不要", ""], ["我想喝水", "不要", "谢"]
    both = BeforeAfter(
        3, score(meant, was), score(meant, now, truncated=[False, False, True]), difference(meant, was, now)
    )
    silence = Silence(300, 132, 0.89, (0.82, 0.94), 0.2, (0.16, 0.24), 0.24, {"beep": 20}, 52, 1)
    facts = {"seen": both, "unseen": None, "silence": silence, "real_time_factor": RealTimeFactor(0.5, 0.25)}
    forgetting = Forgetting(3, both.before, both.after, both.difference, 2)
    full = report.page(replace(a_report(), forgetting=forgetting, **facts), background())
    assert both.difference and both.difference.sentence_accuracy == pytest.approx(1 / 3)
    for words in ("整句全对 +33 个百分点（", "到 +100 个百分点）"):
        assert words in full, f"a difference of shares has no unit of its own: {words}"
    for words in (
        f"{both.difference.cer:+.2f}",
        "训练前 0 条，训练后 1 条",
        "300 段",
        "89%",
        "20%",
        "52 条录音中的 1 条",
        "0.25 秒",
    ):
        assert words in full, words
    assert message("chart.before_after.syllable_error_rate") in full and "健康人的话" in full
