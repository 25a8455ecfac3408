"""The learning curve as a picture and as sentences: measured figures only, the guide's expectation is never in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from ..core.messages import message
from ..scoring.error_rates import PARTS
from ..ui.plots import AFTER, BEFORE, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ..scoring.error_rates import Part, Score
    from ..scoring.learning_curve import CurvePoint

# part, colour, marker and line, and which way it steps aside so that the two intervals do not hide each other
_SERIES: tuple[tuple[Part, str, str, int], ...] = (("known", AFTER, "o-", -1), ("new", BEFORE, "s--", 1))
_ASIDE = 0.006  # of the width of the axis


@styled
def learning_curve_chart(points: Sequence[CurvePoint], practice: bool = False) -> Picture:
    """Whole phrases right and CER against the number of phrases, with 95 % intervals, known and new apart."""
    alt = "\n".join(learning_curve_lines(points))
    figure = picture(10, 4.4, message("chart.learning.title"), alt, practice)
    exact_axes, cer_axes = figure.subplots(1, 2)
    sizes = [point.phrases for point in points]
    for axes, measure in ((exact_axes, "sentence_accuracy"), (cer_axes, "cer")):
        quiet(axes)
        tops = [_line(axes, points, measure, *series) for series in _SERIES]
        axes.set_title(message(f"chart.before_after.{measure}"))
        axes.set_xlabel(message("chart.learning.phrases"))
        axes.set_xlim(0, sizes[-1] * 1.06)
        axes.set_xticks(sizes)
        axes.set_ylim(0, max(1.0, *tops) * 1.04)
    exact_axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    figure.legend(*exact_axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _line(
    axes: Axes, points: Sequence[CurvePoint], measure: str, part: Part, colour: str, style: str, side: int
) -> float:
    """One series with its intervals; the top of the highest."""
    scored = [(point.phrases, score) for point in points if (score := point.score_of(part)) is not None]
    if not scored:
        return 0.0
    aside = side * _ASIDE * points[-1].phrases
    places = [phrases + aside for phrases, _ in scored]
    values = [getattr(score, measure) for _, score in scored]
    spans = [getattr(score, measure + "_ci") for _, score in scored]
    low = [max(0.0, value - span[0]) for value, span in zip(values, spans, strict=True)]
    high = [max(0.0, span[1] - value) for value, span in zip(values, spans, strict=True)]
    name = message(f"chart.split.{part}")
    axes.errorbar(places, values, [low, high], fmt=style, color=colour, capsize=4, linewidth=1.6, label=name)
    return max(span[1] for span in spans)


def learning_curve_lines(points: Sequence[CurvePoint]) -> list[str]:
    """The same figures as sentences."""
    return [
        message("chart.learning.line", phrases=point.phrases, split=message(f"chart.split.{part}"), **_facts(score))
        for point in points
        for part in PARTS
        if (score := point.score_of(part)) is not None
    ]


def _facts(score: Score) -> dict[str, Any]:
    def within(value: float, span: tuple[float, float], style: str) -> str:
        return message("chart.interval", value=f"{value:{style}}", low=f"{span[0]:{style}}", high=f"{span[1]:{style}}")

    return {
        "sentence_accuracy": within(score.sentence_accuracy, score.sentence_accuracy_ci, ".0%"),
        "cer": within(score.cer, score.cer_ci, ".2f"),
    }
