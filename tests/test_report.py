"""report.html: whole, self-contained, honest about its limits; and the red list of answers that flip the meaning."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from resonance_helpers import report
from resonance_helpers.charts import Picture
from resonance_helpers.evaluation import BeforeAfter, Report, TestRow, Verdict
from resonance_helpers.messages import message
from resonance_helpers.scoring import score
from resonance_helpers.settings import PRACTICE_MODEL
from resonance_helpers.workspace import Workspace

ROWS = (
    ("001_2.wav", "我不要", "啊", "我要", "known"),
    ("002_2.wav", "我想喝水", "", "我想喝水", "known"),
    ("003.wav", "吃两片药", "吃药药药", "吃三片药", "new"),
    ("<b>.wav", "<script>alert(1)</script>", "", "停", "new"),
)


def rows() -> tuple[TestRow, ...]:
    return tuple(TestRow(audio, Path(audio), *rest) for audio, *rest in ROWS)  # type: ignore[arg-type]


def a_report(base_model: str = "openai/whisper-small") -> Report:
    def part(split: str) -> BeforeAfter:
        chosen = [row for row in rows() if row.split == split]
        meant = [row.reference for row in chosen]
        scores = [score(meant, [getattr(row, moment) for row in chosen]) for moment in ("before", "after")]
        return BeforeAfter(len(chosen), *scores)

    train = {"recordings": 80, "phrases": 40, "audio_seconds": 160.0, "steps": 120, "wall_seconds": 33.0}
    verdict = Verdict("careful", "规则：见上")
    return Report(base_model, 4.0, train, part("known"), part("new"), verdict, rows(), ("peft 换了版本",))


class Page(HTMLParser):
    """Collects what a browser would fetch, the tags, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "poster", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return str(request.param)


@pytest.fixture
def fast_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Picture, "png", lambda _: b"")


# ── The page ─────────────────────────────────────────────────────────────────
def test_the_page_says_everything_and_fetches_nothing(lang: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path / "out", "someone")
    path = report.write_html(workspace, a_report())
    assert path == workspace.report_html
    page = Page(path.read_text(encoding="utf-8"))
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "audio", "iframe", "link", "object"} & set(page.tags)
    assert "url(" not in path.read_text(encoding="utf-8")
    for words in (*report.headlines(a_report()), *report.limits(practice=False, simulated=False)):
        assert words in page.text
    assert message("verdict.careful") in page.text and "规则：见上" in page.text and "peft 换了版本" in page.text
    for row in rows():
        assert row.audio in page.text and row.reference in page.text
    assert "我[-不]要" in page.text and "⚠ 吃三片药" in page.text
    assert "openai/whisper-small" in page.text and "120" in page.text


def test_the_limits_are_named_in_plain_words() -> None:
    words = message("report.limits", lang="zh")
    assert all(limit in words for limit in ("紧急", "用药", "法律"))
    words = message("report.limits", lang="en")
    assert all(limit in words for limit in ("emergencies", "medication", "legal consent"))


@pytest.mark.usefixtures("fast_pictures")
def test_a_rehearsal_says_that_it_is_one(lang: str) -> None:
    practice, simulated = message("chart.practice"), message("report.simulated")
    text = Page(report.page(a_report(PRACTICE_MODEL), simulated=True)).text
    assert practice in text and simulated in text
    assert not {practice, simulated} & set(report.limits(practice=False, simulated=False))


@pytest.mark.usefixtures("fast_pictures")
def test_a_part_that_was_not_tested_is_left_out() -> None:
    known = replace(a_report(), new=None)
    assert len(report.headlines(known)) == 1
    assert (report.page(known).count("<img"), report.page(a_report()).count("<img")) == (2, 3)


@pytest.mark.usefixtures("fast_pictures")
def test_a_failure_leaves_the_earlier_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path, tmp_path, "someone")
    report.write_html(workspace, a_report())
    before = workspace.report_html.read_bytes()
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("broken")))
    with pytest.raises(OSError, match="broken"):
        report.write_html(workspace, a_report())
    assert workspace.report_html.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


# ── The red list ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("meant", "heard", "kind"),
    [
        ("我要", "我不要", "negation"),
        ("不要", "要", "negation"),
        ("我不疼。", "我疼", "negation"),
        ("別動", "动", "negation"),
        ("没吃药", "吃药", "negation"),
        ("帮我开灯", "帮我关灯", "opposite"),
        ("太冷了", "太热了", "opposite"),
        ("帮我开灯", "关灯", "opposite"),
        ("要", "不", "negation"),
        ("吃两片药", "吃三片药", "number"),
        ("吃 2 片药", "吃20片药", "number"),
        ("一百二十", "一百三十", "number"),
    ],
)
def test_an_answer_that_turns_the_meaning_round_is_found(meant: str, heard: str, kind: str) -> None:
    assert report.flip_kind(meant, heard) == kind


@pytest.mark.parametrize(
    ("meant", "heard"),
    [
        ("我不要", "我不要。"),
        ("吃2片药", "吃两片药"),
        ("我想喝水", "我想喝睡"),
        ("我不要", ""),
        ("等一下", "等下"),
        ("特别疼", "特疼"),
        ("对不起", "对起"),
        ("我不舒服", "今天天气很好"),
        ("开灯", "開燈"),
        ("我不想去", "我没想去"),
    ],
)
def test_an_ordinary_error_is_not_called_a_flip(meant: str, heard: str) -> None:
    assert report.flip_kind(meant, heard) is None


def test_the_list_holds_what_was_heard_after_training() -> None:
    assert report.meaning_flips(rows()) == (("我不要", "我要", "negation"), ("吃两片药", "吃三片药", "number"))
    kinds = {report.flip_kind(meant, heard) for meant, heard in (("要", "不要"), ("开灯", "关灯"), ("二十", "三十"))}
    assert all(re.match(r"\S", message(f"chart.flips.kind.{kind}")) for kind in kinds)
