"""Lessons 08–10: the bundle to take home, the service, what an app sends, and the lines that say whether it worked."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import display

from ..charts.markup import Markup, escape
from ..charts.serving import Answer
from ..messages import ResonanceError, message
from ..settings import AUTODL_PORTS
from ..text import normalise
from ..workspace import Workspace, megabytes
from .learning import ADAPTER_FILES, show_link
from .lines import check, html_table, say

if TYPE_CHECKING:
    from ..client import ResonanceClient, Transcript
    from ..export import Export
    from ..service import ServiceProcess

SESSION = "resonance"  # the name of the tmux session


# ── Lesson 08 ────────────────────────────────────────────────────────────────
def show_bundle(export: Export) -> None:
    """Where the zip lies, how large it is, its SHA-256, and a link to download it."""
    with export.zip.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    rows = [
        (message("lesson08.file"), export.zip),
        (message("lesson08.size"), megabytes(export.zip.stat().st_size)),
        ("SHA-256", digest),
    ]
    html_table([message("lesson06.fact"), message("lesson06.value")], rows)
    show_link(export.zip, message("lesson08.download"))


def check_bundle(export: Export) -> None:
    """Lesson 08's check: the zip can be read again, byte for byte, and holds what an adapter needs."""
    with zipfile.ZipFile(export.zip) as bundle:
        broken = bundle.testzip()
        held = {Path(name).name for name in bundle.namelist()}
    missing = [name for name in ADAPTER_FILES if name not in held]
    words = message("lesson08.check.ok", name=export.zip.name, n=len(held), path=export.zip.parent)
    if broken or missing:
        words = message("lesson08.check.missing", name=export.zip.name, missing=", ".join([*missing, broken or ""]))
    check(not (broken or missing), words, message("lesson08.check.fix"))


# ── Lesson 09 ────────────────────────────────────────────────────────────────
def show_service(server: ServiceProcess) -> None:
    """Address, key and log of a running service, and what it is not for."""
    rows = [
        (message("lesson09.address"), server.url),
        (message("lesson09.key"), server.token),
        (message("lesson09.log"), server.log_path),
    ]
    html_table([message("lesson06.fact"), message("lesson06.value")], rows)
    say(message("service.not_for"))


def ask(client: ResonanceClient, recordings: Iterable[Path], patient_id: str) -> list[Answer]:
    """Send ``recordings`` one after another and time each from sending to the answer."""
    answers = []
    for recording in recordings:
        began = time.perf_counter()
        text = client.transcribe(recording, patient_id=patient_id).text
        answers.append(Answer(patient_id, text, time.perf_counter() - began))
    return answers


def expect_refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Make a call that must be refused, and show the refusal as the success that it is."""
    try:
        call(*args, **kwargs)
    except ResonanceError as refusal:
        check(True, message("lesson09.refused", sentence=refusal))
    else:
        check(False, message("lesson09.not_refused"), message("lesson09.not_refused.fix"))


def check_service(client: ResonanceClient, answers: list[Answer]) -> None:
    """Lesson 09's check: ``/health`` says ok and every recording was answered with text."""
    healthy = client.health().get("status") == "ok"
    answered = sum(bool(answer.text) for answer in answers)
    words = message("lesson09.check", answered=answered, n=len(answers))
    check(healthy and answered == len(answers), words, message("lesson09.check.fix"))


def show_serving_commands(workspace: Workspace, base_model: str = "") -> None:
    """The commands that keep the service running on a server, with this workspace's folder and AutoDL's first port."""
    serve = f"resonance serve {shlex.quote(str(workspace.output_dir))} --port {AUTODL_PORTS[0]}"
    serve += f" --base-model {shlex.quote(base_model)}" if base_model else ""
    rows = [
        (message("lesson09.command.open"), f"tmux new -s {SESSION}"),
        (message("lesson09.command.serve"), serve),
        (message("lesson09.command.leave"), "Ctrl + B, D"),
        (message("lesson09.command.back"), f"tmux attach -t {SESSION}"),
        (message("lesson09.command.stop"), "Ctrl + C"),
    ]
    html_table(
        [message("lesson09.command.what"), message("lesson09.command")], [(what, _code(line)) for what, line in rows]
    )
    say(message("lesson09.ports", ports=", ".join(map(str, AUTODL_PORTS))))


# ── Lesson 10 ────────────────────────────────────────────────────────────────
def show_app_address(address: str, key: str) -> None:
    """The two things that go into an app's settings."""
    rows = [(message("lesson10.address"), address), (message("lesson09.key"), key)]
    html_table([message("lesson10.field"), message("lesson10.value")], rows)


def show_answer(reference: str, answer: Transcript) -> None:
    """The answer as an app shows it, large, beside what was meant."""
    took = message("lesson10.seconds", work=f"{answer.seconds:.2f}", sound=f"{answer.duration:.1f}")
    rows = [
        (message("chart.clips.reference"), reference),
        (message("lesson10.heard"), _large(answer.text or message("widget.try.silence"))),
        (message("lesson10.took"), took),
    ]
    html_table([message("lesson06.fact"), message("lesson06.value")], rows)
    say(message("widget.try.limits"))


def show_request(address: str, recording: Path, answer: Transcript, patient_id: str) -> None:
    """The same request as a ``curl`` command, and the service's answer as it comes over the line. Without the key."""
    lines = [
        f"curl {address}",
        '     -H "Authorization: Bearer $TOKEN"',
        f"     -F patient_id={patient_id}",
        f"     -F {shlex.quote(f'file=@{recording}')}",
    ]
    for title, text in (
        (message("lesson10.request"), " \\\n".join(lines)),
        (message("lesson10.response"), json.dumps(asdict(answer), ensure_ascii=False, indent=2)),
    ):
        display(Markup(f"<p>{escape(title)}</p><pre><code>{escape(text)}</code></pre>", f"{title}\n{text}"))


def check_answer(reference: str, answer: Transcript) -> None:
    """Lesson 10's check: the answer has arrived. Whether it is right is another question, and is said apart."""
    check(bool(answer.text), message("lesson10.check", text=answer.text), message("lesson10.check.fix"))
    same = normalise(answer.text) == normalise(reference)
    say(message("lesson10.check.same" if same else "lesson10.check.other", reference=reference))


def show_whole_way(workspace: Workspace) -> None:
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


def _code(command: str) -> Markup:
    return Markup(f"<code>{escape(command)}</code>", command)


def _large(text: str) -> Markup:
    return Markup(f'<span style="font-size:160%">{escape(text)}</span>', text)
