"""What lesson 07 shows of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.display import display

from ...core.messages import message
from ...core.settings import PRACTICE_MODEL
from ...core.workspace import Workspace
from ...ui.html import Markup, escape
from ...ui.output import check, html_table, player, say
from ...ui.plots import CARE, FAULT, GOOD
from .charts import diff_html, diff_legend, eight_of_ten
from .report.page import limits

if TYPE_CHECKING:
    from ...dataset.index import Utterance
    from .logic import Report


VERDICT_COLOURS = {"usable": GOOD, "careful": CARE, "not_yet": FAULT}


def show_one_recording(clip: Utterance, before: str, after: str) -> None:
    """A player for one recording, what was meant, and what the model heard before and after training."""
    display(player(clip.wav, clip.audio))
    rows = [
        (message("chart.clips.reference"), clip.text),
        (message("chart.clips.before"), diff_html(clip.text, before)),
        (message("chart.clips.after"), diff_html(clip.text, after)),
    ]
    html_table([message("lesson07.one"), clip.audio], rows)
    display(diff_legend())


def show_ten(report: Report, practice: bool = False) -> None:
    """Dots for ten sentences, once for the known and once for the new phrases: two questions, never added up."""
    for name, both in report.tested.items():
        display(eight_of_ten(both.after, message(f"chart.split.{name}"), practice))


def show_verdict(workspace: Workspace, report: Report) -> None:
    """可以用 / 小心用 / 先别用, the rule that decided it, and what the figures do not say."""
    level = report.verdict.level
    words = message(f"verdict.{level}")
    style = f"font-size:140%;color:{VERDICT_COLOURS[level]}"
    display(Markup(f'<p style="{style}"><b>{escape(words)}</b></p><p>{escape(report.verdict.rule)}</p>', words))
    for line in [*report.warnings, *limits(report.base_model == PRACTICE_MODEL, workspace.is_sample)]:
        say(line)


def check_test(workspace: Workspace, report: Report) -> None:
    """Lesson 07's check: both files are written, and training has helped on what it was trained for."""
    written = workspace.report_json.exists() and workspace.report_html.exists()
    files = f"{workspace.report_json.name}, {workspace.report_html.name}"
    words = message("lesson07.check.written", n=len(report.rows), path=workspace.output_dir, files=files)
    check(written, words, message("lesson07.check.written.fix"))
    both = report.seen or report.unseen
    if both is not None:
        split = message("chart.split.known" if report.seen else "chart.split.new")
        facts: dict[str, Any] = {"split": split, "before": f"{both.before.cer:.2f}", "after": f"{both.after.cer:.2f}"}
        helped = both.after.cer < both.before.cer
        check(helped, message("lesson07.check.helped", **facts), message("lesson07.check.helped.fix"))
