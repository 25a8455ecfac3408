"""Pictures of lesson 06: the curve, the guesses, the two recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from ...asr.augmentation import effects_in_words
from ...core.messages import message
from ...core.settings import ALL_LINEAR, LoraSettings
from ...ui.html import Markup, escape, table_html
from ...ui.plots import AFTER, BEFORE, INK, SOFT, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ...core.settings import TrainingSettings
    from .records import Guess, Point

SHOWN_SETTINGS = (
    "steps",
    "batch_size",
    "learning_rate",
    "warmup_steps",
    "eval_every",
    "patience",
    "window_s",
    "augment",
    "lora",
    "lora.dropout",
)


@styled
def training_curve(
    history: Sequence[Point], best_step: int | None = None, total_steps: int | None = None, practice: bool = False
) -> Picture:
    """Loss, dev CER and learning rate against the step; the kept checkpoint is marked. Works while a run is growing."""
    losses = [(p.step, p.loss) for p in history if p.loss is not None]
    rates = [(p.step, p.learning_rate) for p in history if p.learning_rate is not None]
    cers = [(p.step, p.dev_cer) for p in history if p.dev_cer is not None]
    alt = "\n".join(message("chart.curve.alt", step=step, cer=f"{cer:.2f}") for step, cer in cers)
    figure = picture(10, 4.2, message("chart.curve.title"), alt, practice)
    loss_axes, cer_axes, rate_axes = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    _line(loss_axes, losses, BEFORE, "o-", message("chart.curve.loss"))
    _line(cer_axes, cers, AFTER, "s-", message("chart.curve.cer"))
    _line(rate_axes, rates, SOFT, "-", message("chart.curve.rate"))
    rate_axes.yaxis.set_major_formatter("{x:g}")
    cer_axes.set_ylim(0, max([1.0, *(cer for _, cer in cers)]) * 1.05)
    last = total_steps or max([p.step for p in history], default=1)
    for axes in (loss_axes, cer_axes, rate_axes):
        axes.set_xlim(0, last * 1.03)
        axes.set_xlabel(message("chart.curve.step"))
    best = dict(cers).get(best_step) if best_step is not None else None
    if best is not None and best_step is not None:
        _mark_best(cer_axes, best_step, best)
        figure.alt += "\n" + message("chart.curve.best", step=best_step, cer=f"{best:.2f}")
    return figure


def _line(axes: Axes, points: Sequence[tuple[int, float]], colour: str, style: str, title: str) -> None:
    quiet(axes)
    axes.set_title(title)
    if points:
        axes.plot(*zip(*points, strict=True), style, color=colour, markersize=4, linewidth=1.6, clip_on=False)
        axes.set_ylim(bottom=0)
    else:
        axes.text(0.5, 0.5, message("chart.curve.waiting"), transform=axes.transAxes, ha="center", color=SOFT)


def _mark_best(axes: Axes, step: int, cer: float) -> None:
    axes.plot([step], [cer], "*", color=INK, markersize=16, zorder=5, clip_on=False)
    axes.annotate(
        message("chart.curve.best", step=step, cer=f"{cer:.2f}"),
        (step, cer),
        xytext=(0.98, 0.92),  # the upper right: a curve that learns has left it
        textcoords="axes fraction",
        ha="right",
        arrowprops={"arrowstyle": "-", "color": SOFT, "shrinkB": 8},
    )


def guesses_table(guesses: Sequence[Guess]) -> Markup:
    """What the model makes of the same clips as training goes on: a row for each clip, a column for each evaluation."""
    if not guesses:
        waiting = message("chart.guesses.waiting")
        return Markup(f"<p>{escape(waiting)}</p>", waiting)
    steps: dict[int, list[Guess]] = {}
    for guess in guesses:
        steps.setdefault(guess.step, []).append(guess)  # always the same clips in the same order
    headers = [message("chart.guesses.meant"), *(message("chart.guesses.step", step=step) for step in steps)]
    rows = [[clip[0].text, *(_said(guess) for guess in clip)] for clip in zip(*steps.values(), strict=True)]
    return table_html(headers, rows, message("chart.guesses.title"))


def _said(guess: Guess) -> str:
    if guess.guess == guess.text:
        return f"✓ {guess.guess}"
    return guess.guess or message("chart.guesses.silence")


def presets_table(presets: Mapping[str, TrainingSettings]) -> Markup:
    """The recipes beside each other, and why they differ, for every setting in which they do."""
    names = list(presets)
    rows = []
    for field in SHOWN_SETTINGS:
        values = [_setting(field, attrgetter(field)(presets[name])) for name in names]
        rows.append([message(f"chart.presets.{field}"), *values, message(f"chart.presets.{field}.why")])
    headers = [
        message("chart.presets.setting"),
        *(message(f"chart.presets.name.{name}") for name in names),
        message("chart.presets.why"),
    ]
    return table_html(headers, rows, message("chart.presets.title"))


def _setting(field: str, value: object) -> str:
    if field == "window_s" and value == 0:  # chosen from the recordings
        return message("chart.presets.auto")
    if isinstance(value, tuple):
        return effects_in_words(value)
    if isinstance(value, LoraSettings):
        kinds = [name.removesuffix("_proj") for name in value.target_modules]
        return message("chart.presets.lora.all") if value.target_modules == ALL_LINEAR else ", ".join(kinds)
    return f"{value:g}" if isinstance(value, float) else str(value)
