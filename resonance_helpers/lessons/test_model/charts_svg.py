"""Lesson 07's pictures once more as SVG, 360 units wide: report.html is read on phones, where a plot's words shrink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.messages import message
from ...scoring.error_rates import TEN, of_ten
from ...ui.html import Svg, escape
from ...ui.plots import AFTER, BEFORE, GRID, INK
from .charts import another_ten, eight_of_ten_words, written

if TYPE_CHECKING:
    from ...scoring.error_rates import Score
    from .logic import Report

_WIDTH = 360
_STEP, _RADIUS = 34, 14  # of the ten dots
_RANGE_HALF = 165  # of the longest words of the range, in English
_LEFT, _BAR = 4, 352  # where bars begin, and the length of a whole one


def ten_dots_svg(score: Score) -> Svg:
    """Ten dots, filled and ticked for the sentences that came out right, above the range that another ten may give."""
    right, (low, high) = (
        of_ten(score.sentence_accuracy),
        another_ten(score.sentence_accuracy * score.phrases, score.phrases),
    )
    parts = []
    for k in range(TEN):
        x = _STEP / 2 + 10 + k * _STEP
        fill = AFTER if k < right else "none"
        parts.append(f'<circle cx="{x:g}" cy="18" r="{_RADIUS}" fill="{fill}" stroke="{AFTER}" stroke-width="2"/>')
        if k < right:
            parts.append(f'<path d="M{x - 6:g} 18l4 5l8-10" fill="none" stroke="#fff" stroke-width="3"/>')
    # the range is a bracket below dots low to high; where none may come out right it begins before the first
    start, end = 10 + max(low - 1, 0) * _STEP, 10 + max(high, 0.5) * _STEP
    parts.append(f'<path d="M{start:g} 40v6H{end:g}v-6" fill="none" stroke="{INK}" stroke-width="1.5"/>')
    middle = min(max((start + end) / 2, _RANGE_HALF), _WIDTH - _RANGE_HALF)  # the words stay inside
    parts.append(_text(middle, 62, message("chart.ten.range", low=low, high=high), anchor="middle"))
    return _svg(70, parts, eight_of_ten_words(score))


def intervals_svg(report: Report, field: str, form: str) -> Svg:
    """One measure before and after training, with its 95 % intervals as lines across the bars' ends.

    ``field`` is a field of ``Score`` and ``form`` how it is written, both as in ``testing.MEASURES``.
    """
    scores = [score for both in report.tested.values() for score in (both.before, both.after)]
    most = max(1.0, *(getattr(score, field + "_ci")[1] for score in scores))
    y, parts = 0, []
    lines = []
    for name, both in report.tested.items():
        parts.append(_text(_LEFT, y + 18, message(f"chart.split.{name}"), bold=True))
        y += 26
        for moment, colour in (("before", BEFORE), ("after", AFTER)):
            score = getattr(both, moment)
            words = f"{message(f'chart.{moment}')} {written(score, field, form)}"
            lines.append(f"{message(f'chart.split.{name}')}: {words}")
            parts += [_text(_LEFT, y + 14, words), *_bar(y + 20, score, field, most, colour)]
            y += 46
    return _svg(y, parts, "\n".join(lines))


def _bar(y: float, score: Score, field: str, most: float, colour: str) -> list[str]:
    value, *ends = (part / most * _BAR for part in (getattr(score, field), *getattr(score, field + "_ci")))
    low, high = (_LEFT + end for end in ends)
    return [
        f'<rect x="{_LEFT}" y="{y}" width="{_BAR}" height="14" fill="none" stroke="{GRID}"/>',
        f'<rect x="{_LEFT}" y="{y}" width="{value:.1f}" height="14" fill="{colour}"/>',
        f'<path d="M{low:.1f} {y - 2}v18M{low:.1f} {y + 7}H{high:.1f}M{high:.1f} {y - 2}v18" stroke="#fff" '
        'stroke-width="5" opacity=".7"/>',
        f'<path d="M{low:.1f} {y - 2}v18M{low:.1f} {y + 7}H{high:.1f}M{high:.1f} {y - 2}v18" stroke="{INK}" '
        'stroke-width="2"/>',
    ]


def _text(x: float, y: float, words: str, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="14" fill="{INK}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
    )


def _svg(height: float, parts: list[str], alt: str) -> Svg:
    head = f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(alt)}">'
    return Svg(head + "".join(parts) + "</svg>", alt)
