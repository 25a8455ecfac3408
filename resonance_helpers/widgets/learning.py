"""Lessons 06 and 07: what a run did, one recording heard twice, and the lines that say whether it worked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import display

from ..charts.markup import Markup, escape
from ..charts.style import CARE, FAULT, GOOD
from ..charts.testing import diff_html, diff_legend, eight_of_ten
from ..messages import message
from ..report import limits
from ..settings import PRACTICE_MODEL
from ..workspace import Workspace, megabytes
from .lines import check, html_table, linked, player, say
from .live_training import cost, ended
from .progress_bar import duration

if TYPE_CHECKING:
    from ..evaluation import Report
    from ..training import Outlook, TrainingResult
    from ..utterances import Utterance

HELPED_BY = 0.05  # a dev CER that fell by less than this may be chance on a few clips
VERDICT_COLOURS = {"usable": GOOD, "careful": CARE, "not_yet": FAULT}
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json", "resonance.json")


# ── Lesson 06 ────────────────────────────────────────────────────────────────
def show_outlook(outlook: Outlook, yuan_per_hour: float = 0.0) -> None:
    """Before training: whether the steps suit the recordings, how long it takes and what that costs."""
    facts: dict[str, Any] = {
        "recordings": outlook.recordings,
        "passes": f"{outlook.passes:.0f}",
        "steps": outlook.usual_steps,
    }
    words = message(f"lesson06.outlook.{outlook.suits}", **facts)
    if outlook.seconds is None:
        say(words + message("lesson06.outlook.unknown"))
    else:
        time = message("lesson06.outlook.time", time=duration(outlook.seconds))
        say(words + time + cost(outlook.seconds, yuan_per_hour))


def show_training_facts(result: TrainingResult) -> None:
    """Why the run stopped, how few weights it moved, and what was chosen for this machine."""
    share = f"{result.trainable / result.total_parameters:.2%}"
    facts = {
        "weights": message(
            "lesson06.weights", trainable=f"{result.trainable:,}", total=f"{result.total_parameters:,}", share=share
        ),
        "learned": message(
            "lesson06.learned",
            recordings=result.recordings,
            phrases=result.phrases,
            seconds=f"{result.audio_seconds:.0f}",
        )
        + (message("lesson06.left_out", n=result.left_out) if result.left_out else ""),
        "held_out": message(f"lesson06.held_out.{result.dev_by}", steps=result.finishing_steps),
        "window": message("lesson06.window", seconds=f"{result.window_s:g}"),
        "batch": message("lesson06.batch", size=result.batch_size),
        "precision": f"{result.precision}：{result.precision_reason}",
        "time": message("lesson06.time", time=duration(result.wall_seconds), device=result.device),
    }
    say(ended(result))
    headers = [message("lesson06.fact"), message("lesson06.value")]
    html_table(headers, [(message(f"lesson06.fact.{name}"), value) for name, value in facts.items()])
    if result.is_practice:
        say(message("chart.practice"))


def check_training(workspace: Workspace, result: TrainingResult) -> None:
    """Lesson 06's check: the adapter is there, whole, and the held-out recordings came out better than at first."""
    missing = [name for name in ADAPTER_FILES if not (workspace.adapter / name).is_file()]
    if missing:
        check(False, message("lesson06.check.missing", path=workspace.adapter, missing=", ".join(missing)))
        return
    size = megabytes((workspace.adapter / ADAPTER_FILES[0]).stat().st_size)
    check(True, message("lesson06.check.saved", path=workspace.adapter, size=size))
    measured = [point.dev_cer for point in result.history if point.dev_cer is not None]
    facts: dict[str, Any] = {"first": f"{measured[0]:.2f}", "best": f"{result.best_cer:.2f}", "step": result.best_step}
    if len(measured) < 2:
        check(True, message("lesson06.check.once", **facts))
    else:
        learned = result.best_cer == 0 or measured[0] - result.best_cer >= HELPED_BY
        check(learned, message("lesson06.check.cer", **facts), message("lesson06.check.cer.fix"))


# ── Lesson 07 ────────────────────────────────────────────────────────────────
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
    for name in ("known", "new"):
        both = getattr(report, name)
        if both is not None:
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
    both = report.known or report.new
    if both is not None:
        split = message("chart.split.known" if report.known else "chart.split.new")
        facts: dict[str, Any] = {"split": split, "before": f"{both.before.cer:.2f}", "after": f"{both.after.cer:.2f}"}
        helped = both.after.cer < both.before.cer
        check(helped, message("lesson07.check.helped", **facts), message("lesson07.check.helped.fix"))


def show_link(path: Path, text: str, how: str = 'target="_blank"') -> None:
    """A link that opens ``path`` from the notebook, where JupyterLab can reach it, and the path itself.

    ``how`` "download" saves it instead: what JupyterLab can't show, a zip for one, it answers with an error.
    """
    link = linked(path)
    name = escape(text) if link is None else f'<a href="{escape(link)}" {how}>{escape(text)}</a>'
    display(Markup(f"<p>{name} <code>{escape(path)}</code></p>", f"{text}: {path}"))
