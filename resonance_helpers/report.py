"""report.html: what lesson 07 found, for a family to read. One file, no network, no sound in it.

Also the red list: answers that look right and say the opposite, or another number.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .charts.markup import Markup, escape
from .charts.style import Picture
from .charts.testing import (
    before_after,
    before_after_table,
    clips_table,
    eight_of_ten,
    eight_of_ten_words,
    flips_table,
)
from .messages import language, message
from .scoring import diff
from .settings import PRACTICE_MODEL
from .text import normalise
from .workspace import Workspace, write_text

if TYPE_CHECKING:
    from .evaluation import Report, TestRow

# ── Errors that flip the meaning ─────────────────────────────────────────────
_NEGATION = re.compile("[不没勿甭未]|别(?!人|的|处)|无(?!论)")
_NO_NEGATION = re.compile("对不起|不好意思|差不多|不错|[特分差级区告]别|别[人的处]")  # 不 and 别 that deny nothing
_NUMERALS = frozenset("零一二三四五六七八九十百千万亿两半几")
_OPPOSITES = frozenset(
    frozenset(pair)
    for pair in ("开关", "冷热", "左右", "上下", "快慢", "大小", "多少", "高低", "进出", "来去", "坐站", "起躺")
)
_TURNING = _NUMERALS.union(*_OPPOSITES)
_SAME_SENTENCE = (
    0.5  # of the shorter text must be in the other, or it is another sentence and not this one turned round
)


class Flip(NamedTuple):
    """An answer that changes the meaning. ``kind`` is ``negation``, ``opposite`` or ``number``."""

    reference: str
    heard: str
    kind: str


def meaning_flips(rows: Iterable[TestRow]) -> tuple[Flip, ...]:
    """The answers after training that say the opposite of what was meant (要/不要, 疼/不疼) or another number."""
    kinds = ((row, flip_kind(row.reference, row.after)) for row in rows)
    return tuple(Flip(row.reference, row.after, kind) for row, kind in kinds if kind)


def flip_kind(reference: str, heard: str) -> str | None:
    """How ``heard`` turns ``reference`` round, or None. Another sentence altogether is an error of another kind."""
    meant, said = normalise(reference), normalise(heard)
    if not said or meant == said or not _is_same_sentence(meant, said):
        return None
    if _negations(meant) % 2 != _negations(said) % 2:
        return "negation"
    lost, added = set(meant) - set(said), set(said) - set(meant)
    if any(pair & lost and pair & added for pair in _OPPOSITES):
        return "opposite"
    return "number" if any(_another_number(before, after) for _, before, after in diff(meant, said)) else None


def _negations(text: str) -> int:
    return len(_NEGATION.findall(_NO_NEGATION.sub("", text)))


def _another_number(meant: str, said: str) -> bool:
    before, after = ([c for c in piece if c in _NUMERALS] for piece in (meant, said))
    if before and after:
        return before != after
    return any(c != "一" for c in before + after)  # 等一下 and 等下 mean the same


def _is_same_sentence(meant: str, said: str) -> bool:
    """Whether the texts share enough beside the characters that may have turned one into the other."""
    meant, said = ("".join(c for c in _NEGATION.sub("", text) if c not in _TURNING) for text in (meant, said))
    shared = sum(len(piece) for kind, piece, _ in diff(meant, said) if kind == "equal")
    return shared >= _SAME_SENTENCE * min(len(meant), len(said))


# ── The page ─────────────────────────────────────────────────────────────────
_STYLE = """
body { font: 16px/1.6 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', sans-serif; color: #222; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.headline { font-size: 1.25rem; border-left: .3rem solid #0072b2; padding-left: 1rem; }
.limits { background: #fff6e5; border: 1px solid #e69f00; border-radius: .5rem; padding: .5rem 1rem; }
img { max-width: 100%; } table { max-width: 100%; } td { overflow-wrap: anywhere; }
@media print { body { margin: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""
# The page may show what is in it and fetch nothing: it is opened on somebody's own computer.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_html(workspace: Workspace, report: Report) -> Path:
    """Write ``report`` as ``report.html``, whole or not at all, in the user's language. Returns its path."""
    write_text(workspace.report_html, page(report, simulated=workspace.is_sample))
    return workspace.report_html


def page(report: Report, simulated: bool = False) -> str:
    """The whole page as text. ``simulated`` says that the recordings are nobody's voice."""
    practice = report.base_model == PRACTICE_MODEL
    title = escape(message("report.title"))
    parts = [
        f"<h1>{title}</h1>",
        *(f'<p class="headline">{escape(line)}</p>' for line in headlines(report)),
        f"<p><b>{escape(message(f'verdict.{report.verdict.level}'))}</b> {escape(report.verdict.rule)}</p>",
        _limits([*limits(practice, simulated), *report.warnings]),
        _section("report.scores", *_dots(report, practice), _image(before_after(report, practice))),
        before_after_table(report),
        _section("report.flips", flips_table(meaning_flips(report.rows))),
        _section("report.clips", clips_table(report.rows)),
        _section("report.settings", _settings(report)),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{_STYLE}</style>'
    )
    tag = "zh-CN" if language() == "zh" else "en"
    return f'<!doctype html>\n<html lang="{tag}"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def headlines(report: Report) -> list[str]:
    """One sentence for the known and one for the new phrases, such as "10 句对 8 句"."""
    splits = [(name, getattr(report, name)) for name in ("known", "new")]
    return [
        message("report.headline", split=message(f"chart.split.{name}"), words=eight_of_ten_words(both.after))
        for name, both in splits
        if both is not None
    ]


def limits(practice: bool, simulated: bool) -> list[str]:
    """What these figures do not say, and what the service is not for."""
    notes = [message("chart.practice")] if practice else []
    notes += [message("report.simulated")] if simulated else []
    return [*notes, message("report.limits"), message("report.few")]


def _limits(lines: list[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="limits"><ul>{items}</ul></div>'


def _dots(report: Report, practice: bool) -> list[Markup]:
    splits = [(name, getattr(report, name)) for name in ("known", "new")]
    return [
        _image(eight_of_ten(both.after, message(f"chart.split.{name}"), practice))
        for name, both in splits
        if both is not None
    ]


def _settings(report: Report) -> Markup:
    facts = {"base_model": report.base_model, "window_s": report.window_s, **report.train}
    lines = [f"{message(f'report.fact.{name}')}: {value}" for name, value in facts.items()]
    return Markup("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>", "\n".join(lines))


def _section(key: str, *pieces: Markup) -> str:
    return f"<h2>{escape(message(key))}</h2>\n" + "\n".join(pieces)


def _image(picture: Picture) -> Markup:
    data = base64.b64encode(picture.png()).decode()
    return Markup(f'<p><img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}"></p>', picture.alt)
