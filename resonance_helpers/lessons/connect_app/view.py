"""What lesson 10 shows of an app's requests and answers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import display

from ...core.messages import message
from ...core.workspace import Workspace
from ...scoring.text import normalise
from ...ui.html import Markup, escape
from ...ui.output import check, html_table, say

if TYPE_CHECKING:
    from ...client import CheckStep, Transcript
    from ...dataset.labels import Label
    from ...dataset.splits import Split


def show_app_address(address: str) -> None:
    """The address that goes into an app's settings, and which key: shown, it would be in the saved notebook."""
    key = message("lesson10.key.where", button=message("widget.codes.app"))
    rows = [(message("lesson10.address"), address), (message("lesson10.key"), key)]
    html_table([message("lesson10.field"), message("lesson10.value")], rows)


def show_service_check(steps: Iterable[CheckStep]) -> None:
    """What ``client.check_service`` found, question by question: the same as ``resonance check-service`` prints."""
    headers = [message("lesson10.step.question"), message("lesson10.step.found")]
    questions = [(f"{'✅' if step.ok else '❌'} {message(f'check.step.{step.name}')}", step.words) for step in steps]
    html_table(headers, questions)


def show_answer(reference: str, answer: Transcript) -> None:
    """The answer as an app shows it, large, beside what was meant."""
    took = message("lesson10.seconds", work=f"{answer.seconds:.2f}", sound=f"{answer.duration:.1f}")
    rows = [
        (message("chart.clips.reference"), reference),
        (message("lesson10.heard"), _large(answer.text or message("widget.try.silence"))),
        (message("lesson10.sure"), message("lesson10.unsure.yes" if answer.uncertain else "lesson10.unsure.no")),
        (message("lesson10.took"), took),
    ]
    html_table([message("lesson06.fact"), message("lesson06.value")], rows)
    say(message("widget.try.limits"))


def show_request(address: str, recording: Path, answer: Transcript, patient_id: str) -> None:
    """The same request as a ``curl`` command, and the service's answer as it comes over the line. Without the key."""
    said = {name: value for name, value in asdict(answer).items() if name != "answer"}  # which comes as a header
    lines = [
        f"curl {address}",
        '     -H "Authorization: Bearer $TOKEN"',
        f"     -F patient_id={patient_id}",
        f"     -F {shlex.quote(f'file=@{recording};filename=recording')}",
    ]
    for title, text in (
        (message("lesson10.request"), " \\\n".join(lines)),
        (message("lesson10.response"), json.dumps(said, ensure_ascii=False, indent=2)),
    ):
        display(Markup(f"<p>{escape(title)}</p><pre><code>{escape(text)}</code></pre>", f"{title}\n{text}"))


def check_answer(reference: str, answer: Transcript) -> None:
    """Lesson 10's check: the answer has arrived. Whether it is right is another question, and is said apart."""
    check(bool(answer.text), message("lesson10.check", text=answer.text), message("lesson10.check.fix"))
    same = normalise(answer.text) == normalise(reference)
    say(message("lesson10.check.same" if same else "lesson10.check.other", reference=reference))


def check_correction(before: Split, after: Split, added: Sequence[Label]) -> None:
    """Lesson 10's last check: a correction is learned by the next training and judges nothing; or none was allowed."""
    if not added:
        say(message("lesson10.once.no_consent"))
        return
    takes, tests = (
        {label.audio for label in added},
        [{u.audio for u in each.seen + each.unseen} for each in (before, after)],
    )
    learned = takes <= {u.audio for u in after.train}
    words = message("lesson10.once.check", take=", ".join(sorted(takes)), tested=len(tests[1]))
    check(learned and tests[0] == tests[1], words, message("lesson10.once.fix"))


def show_files_made(workspace: Workspace) -> None:
    """What each lesson has left behind in the patient's folders."""
    left = [
        (4, workspace.labels),
        (5, workspace.audio),
        (6, workspace.adapter),
        (7, workspace.report_html),
        (8, workspace.export),
    ]
    rows = [(message(f"lesson.{number:02d}"), path, "✅" if path.exists() else "—") for number, path in left]
    headers = [message("lesson10.way.lesson"), message("lesson10.way.file"), message("lesson10.way.there")]
    html_table(headers, rows)


def _large(text: str) -> Markup:
    return Markup(f'<span style="font-size:160%">{escape(text)}</span>', text)
