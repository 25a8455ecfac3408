"""Pictures of lesson 07: how many of ten, how sure that is, and what went wrong character by character."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from ...core.messages import message
from ...scoring.error_rates import TEN, diff, of_ten
from ...ui.html import Markup, escape, stack, table_html, table_note
from ...ui.plots import AFTER, BEFORE, FAULT, INK, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ...scoring.error_rates import Score
    from .logic import BeforeAfter, Report, TestRow

COVERAGE = 0.8  # of the range for another ten sentences: "four times out of five"
# The marks carry the meaning, the colour repeats it.
_EDITS = {
    "equal": ("", "{0}"),
    "substitute": ("background:#ffe1d1;color:#7a2a00", "[{0}→{1}]"),
    "delete": ("background:#ffe9b8;color:#6b4500", "[-{0}]"),
    "insert": ("background:#d6e8f7;color:#003f66;text-decoration:underline", "[+{1}]"),
}


def another_ten(right: float, n: int) -> tuple[int, int]:
    """How many of another ten phrases may come out right, given ``right`` of ``n`` phrases: the middle 80 %.

    The beta-binomial prediction with Jeffreys' prior. It treats phrases as independent, and several takes of one as no
    more than one, so ``right`` may be a fraction; it knows nothing of another day or another room.
    """
    a, b = right + 0.5, n - right + 0.5
    chance = [_choose(TEN, k) * exp(_log_beta(a + k, b + TEN - k) - _log_beta(a, b)) for k in range(TEN + 1)]
    reached = [sum(chance[: k + 1]) for k in range(TEN + 1)]
    tail = (1 - COVERAGE) / 2
    low = next(k for k in range(TEN + 1) if reached[k] > tail)
    high = next((k for k in range(TEN + 1) if reached[k] >= 1 - tail), TEN)
    return low, high


def eight_of_ten_words(score: Score) -> str:
    """The headline: "10 句对 8 句", out of how many, and what another ten might give."""
    low, high = another_ten(score.sentence_accuracy * score.phrases, score.phrases)
    return message("chart.ten.headline", right=of_ten(score.sentence_accuracy), n=score.n) + message(
        "chart.ten.another", low=low, high=high
    )


@styled
def eight_of_ten(score: Score, title: str = "", practice: bool = False) -> Picture:
    """Ten dots, filled for the sentences that came out right, and the range that another ten might give."""
    words = eight_of_ten_words(score)
    right = of_ten(score.sentence_accuracy)
    low, high = another_ten(score.sentence_accuracy * score.phrases, score.phrases)
    figure = picture(9, 2.6, title or message("chart.ten.title"), words, practice)
    axes = figure.subplots()
    axes.set_axis_off()
    for k in range(TEN):
        filled = k < right
        axes.plot(k, 0, "o", markersize=26, markerfacecolor=AFTER if filled else "white", markeredgecolor=AFTER)
        axes.text(k, 0, "✓" if filled else "", ha="center", va="center", color="white", fontsize=16)
    axes.plot([low - 1.4, high - 0.6], [-0.75, -0.75], color=INK, linewidth=1.2)
    for end in (low - 1.4, high - 0.6):
        axes.plot([end, end], [-0.85, -0.65], color=INK, linewidth=1.2)
    axes.text((low + high) / 2 - 1, -1.25, message("chart.ten.range", low=low, high=high), ha="center", va="center")
    axes.text(-0.5, 0.95, message("chart.ten.headline", right=right, n=score.n), fontsize=13, va="center")
    axes.set(xlim=(-1.6, TEN + 0.2), ylim=(-1.6, 1.3))
    return figure


@styled
def before_after(report: Report, practice: bool = False) -> Picture:
    """Exact sentences and CER, before and after, with 95 % intervals, for known and for new phrases."""
    groups = [*report.tested.items()]
    alt = "\n".join(before_after_lines(report))
    figure = picture(10, 4.4, message("chart.before_after.title"), alt, practice)
    exact_axes, cer_axes = figure.subplots(1, 2)
    labels = [message(f"chart.split.{name}.n", n=both.after.n) for name, both in groups]
    for axes, measure in ((exact_axes, "sentence_accuracy"), (cer_axes, "cer")):
        _paired_bars(axes, [both for _, both in groups], measure)
        axes.set_title(message(f"chart.before_after.{measure}"))
        axes.set_xticks(range(len(groups)), labels)
        axes.tick_params(axis="x", length=0)
    exact_axes.set_ylim(0, 1.12)
    exact_axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    cer_axes.set_ylim(0, max([1.0, *(both.before.cer_ci[1] for _, both in groups)]) * 1.12)
    figure.legend(*exact_axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _paired_bars(axes: Axes, pairs: Sequence[BeforeAfter], measure: str) -> None:
    quiet(axes)
    for offset, moment, colour, hatch in ((-0.2, "before", BEFORE, "//"), (0.2, "after", AFTER, "")):
        scores = [getattr(pair, moment) for pair in pairs]
        values = [getattr(score, measure) for score in scores]
        spans = [getattr(score, measure + "_ci") for score in scores]
        low = [max(0.0, value - span[0]) for value, span in zip(values, spans, strict=True)]
        high = [max(0.0, span[1] - value) for value, span in zip(values, spans, strict=True)]
        places = [index + offset for index in range(len(pairs))]
        axes.bar(
            places,
            values,
            0.36,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            yerr=[low, high],
            ecolor=INK,
            capsize=4,
            label=message(f"chart.{moment}"),
        )
        for place, value, top in zip(places, values, high, strict=True):
            shown = f"{value:.0%}" if measure == "sentence_accuracy" else f"{value:.2f}"
            axes.text(place, value + top + 0.02, shown, ha="center", va="bottom")


def before_after_lines(report: Report) -> list[str]:
    """The same figures as sentences."""
    lines = []
    for name, both in report.tested.items():
        facts: dict[str, Any] = {**_facts("before", both.before), **_facts("after", both.after)}
        lines.append(message("chart.before_after.line", split=message(f"chart.split.{name}"), n=both.after.n, **facts))
    return lines


# The lines of the table of scores: a field of ``Score``, whose interval is the field of that name with "_ci", and how
# it is written. A new measure is a line here and a message "chart.before_after.<field>".
MEASURES = (("sentence_accuracy", ".0%"), ("cer", ".2f"))
SYLLABLES = (
    ("syllable_error_rate", ".2f"),
    ("toneless_syllable_error_rate", ".2f"),
)  # in the table, not drawn: they say where errors come from


def before_after_table(report: Report) -> Markup:
    """The figures as tables, one for the known and one for the new phrases, each with n and 95 % intervals."""
    headers = [message("chart.before_after.measure"), message("chart.before"), message("chart.after")]
    tables = []
    for name, both in report.tested.items():
        rows = [
            (message(f"chart.before_after.{field}"), *(written(s, field, form) for s in (both.before, both.after)))
            for field, form in MEASURES + SYLLABLES
        ]
        caption = message("chart.before_after.caption", split=message(f"chart.split.{name}"), n=both.after.n)
        tables.append(table_html(headers, rows, caption))
    return stack(*tables, table_note(message("chart.before_after.note")))


def _facts(moment: str, score: Score) -> dict[str, str]:
    return {f"{moment}_{field}": written(score, field, form) for field, form in MEASURES}


def written(score: Score, field: str, form: str) -> str:
    low, high = getattr(score, field + "_ci")
    return message(
        "chart.interval", value=format(getattr(score, field), form), low=format(low, form), high=format(high, form)
    )


def diff_html(reference: str, hypothesis: str) -> Markup:
    """What was heard, with the differences from what was meant: [A→B] another character, [-A] missing, [+B] added."""
    html, text = [], []
    for kind, meant, heard in diff(reference, hypothesis):
        style, pattern = _EDITS[kind]
        words = pattern.format(meant, heard)
        text.append(words)
        html.append(f'<span style="{style}">{escape(words)}</span>' if style else escape(words))
    return Markup("".join(html), "".join(text))


def diff_legend() -> Markup:
    """How to read the marks of ``diff_html``."""
    return Markup(f"<p>{escape(message('chart.diff.legend'))}</p>", message("chart.diff.legend"))


def clips_table(rows: Sequence[TestRow], limit: int | None = None) -> Markup:
    """Each test clip: what was meant, what was heard before and after, the differences marked."""
    headers = [message(f"chart.clips.{name}") for name in ("audio", "split", "reference", "before", "after")]
    cells = [
        (
            row.audio,
            message(f"chart.split.{row.split}"),
            row.reference,
            diff_html(row.reference, row.before),
            diff_html(row.reference, row.after),
        )
        for row in rows[:limit]
    ]
    more = message("chart.clips.more", more=len(rows) - limit) if limit is not None and len(rows) > limit else ""
    return table_html(headers, cells, notes=[message("chart.diff.legend"), more])


def polarity_table(flips: Sequence[tuple[str, str, str]]) -> Markup:
    """The red list: (meant, heard, why) of every answer that would say the opposite or another number."""
    if not flips:
        return Markup(f"<p>✓ {escape(message('chart.polarity.none'))}</p>", "✓ " + message("chart.polarity.none"))
    headers = [message(f"chart.polarity.{name}") for name in ("reference", "heard", "kind")]
    rows = [(meant, _red(heard), message(f"chart.polarity.kind.{kind}")) for meant, heard, kind in flips]
    return table_html(headers, rows, message("chart.polarity.title", n=len(flips)), [message("chart.polarity.note")])


def _red(words: str) -> Markup:
    return Markup(f'<strong style="color:{FAULT}">⚠ {escape(words)}</strong>', f"⚠ {words}")


def _choose(n: int, k: int) -> float:
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1))


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
