"""Lessons 08–10: the bundle to take home, the service, what an app sends, and the lines that say whether it worked."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import DisplayHandle, display

from ..charts.markup import Markup, escape
from ..charts.serving import Answer, WholeWay, answered_table, where_things_run
from ..messages import ResonanceError, message
from ..settings import AUTODL_PORTS, ServiceSettings
from ..shell import resonance
from ..text import normalise
from ..workspace import Workspace, megabytes
from .learning import ADAPTER_FILES, show_link
from .lines import check, code, html_table, say, show_commands

if TYPE_CHECKING:
    from ..client import ResonanceClient, Step, Transcript
    from ..export import Export, ExportedModel
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
    show_link(export.zip, message("lesson08.download"), how="download")


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


def show_models(made: Sequence[ExportedModel]) -> None:
    """Where each whole model lies, how large it is and at which window it listens; or that none was chosen."""
    if not made:
        say(message("lesson08.models.none"))
        return
    headers = [message(f"lesson08.models.{name}") for name in ("kind", "folder", "size", "window")]
    seconds = [message("chart.offers.seconds", window=f"{model.window_s:g}") for model in made]
    html_table(
        headers,
        [(m.kind, m.folder, megabytes(m.bytes), window) for m, window in zip(made, seconds, strict=True)],
    )


def check_models(made: Sequence[ExportedModel]) -> None:
    """Lesson 08's check of each whole model that was made: every file is there with all its bytes. None is no fault."""
    for model in made:
        lying = {path.name: path.stat().st_size for path in model.folder.iterdir()} if model.folder.is_dir() else {}
        wrong = [name for name, size, _ in model.files if lying.get(name) != size]
        words = message("lesson08.models.ok", name=model.folder.name, n=len(model.files), window=f"{model.window_s:g}")
        if wrong:
            words = message("lesson08.models.wrong", name=model.folder.name, files=", ".join(wrong))
        check(not wrong, words, message("lesson08.models.fix"))


# ── Lesson 09 ────────────────────────────────────────────────────────────────
def show_service(server: ServiceProcess) -> None:
    """Address and log of a running service, where its key is, and what it is not for.

    The key itself is not shown: what a cell shows is kept in the saved notebook.
    """
    rows = [
        (message("lesson09.address"), server.url),
        (message("lesson09.key"), message("lesson09.key.where")),
        (message("lesson09.log"), server.log_path),
    ]
    html_table([message("lesson06.fact"), message("lesson06.value")], rows)
    say(message("service.not_for"))


def show_where_it_runs(workspace: Workspace, server: ServiceProcess) -> None:
    """The way of a recording through the service that runs now."""
    from .. import adapter  # torch

    manifest = adapter.read_manifest(workspace.adapter)
    display(where_things_run(server.url, manifest.base_model["name"], [manifest.patient_id]))


class Asked:
    """Asks for one patient and remembers the answers: who was answered and how fast is known to the asker alone.

    Call it with a recording, as ``TryIt`` does. Shown in a cell, it is a table that grows with every answer.
    """

    def __init__(self, client: ResonanceClient, patient_id: str) -> None:
        self.answers: list[Answer] = []
        self._client, self._patient_id = client, patient_id
        self._shown: list[DisplayHandle] = []

    def __call__(self, recording: Path) -> Transcript:
        began = time.perf_counter()
        transcript = self._client.transcribe(recording, patient_id=self._patient_id)
        self.answers.append(Answer(self._patient_id, transcript.text, time.perf_counter() - began))
        for place in self._shown:
            place.update(answered_table(self.answers))
        return transcript

    def each(self, recordings: Iterable[Path]) -> list[Answer]:
        """Send ``recordings`` one after another; the answers to these."""
        before = len(self.answers)
        for recording in recordings:
            self(recording)
        return self.answers[before:]

    def _ipython_display_(self) -> None:
        place = display(answered_table(self.answers), display_id=True)
        if place:  # none outside a notebook
            self._shown.append(place)


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
    serve = _serve_command(workspace, "--port", str(AUTODL_PORTS[0]), *_with_base_model(base_model))
    rows = [
        (message("lesson09.command.open"), f"tmux new -s {SESSION}"),
        (message("lesson09.command.serve"), serve),
        (message("lesson09.command.leave"), "Ctrl + B, D"),
        (message("lesson09.command.back"), f"tmux attach -t {SESSION}"),
        (message("lesson09.command.stop"), "Ctrl + C"),
    ]
    show_commands(rows)
    say(message("lesson09.ports", ports=message("list.comma").join(map(str, AUTODL_PORTS))))


def show_unit(workspace: Workspace, base_model: str = "") -> None:
    """How a machine with systemd starts the service by itself: the commands, and the unit that they install."""
    from ..service import unit
    from ..service.systemd import KEY_FILE, UNIT_FILE

    key = f'echo "RESONANCE_TOKEN=$(head -c 32 /dev/urandom | base64)" > {KEY_FILE}'
    write = _serve_command(workspace, *_with_base_model(base_model), "--print-unit")
    rows = [
        (message("lesson09.unit.key"), f"sudo sh -c 'umask 077; mkdir -p {KEY_FILE.parent}; {key}'"),
        (message("lesson09.unit.write"), f"{write} | sudo tee {UNIT_FILE}"),
        (message("lesson09.unit.start"), "sudo systemctl daemon-reload && sudo systemctl enable --now resonance"),
        (message("lesson09.unit.look"), "journalctl -u resonance -f"),
        (message("lesson09.unit.read_key"), f"sudo cat {KEY_FILE}"),
        (message("lesson09.unit.stop"), "sudo systemctl disable --now resonance"),
    ]
    show_commands(rows)
    title, text = message("lesson09.unit.text"), unit(workspace, base_model)
    folded = f"<details><summary>{escape(title)}</summary><pre><code>{escape(text)}</code></pre></details>"
    display(Markup(folded, f"{title}\n\n{text}"))


def show_doors(workspace: Workspace) -> None:
    """The ways to a service from outside: the command, who can read along, whether a phone may use its microphone."""
    port = ServiceSettings.port
    commands = {
        "here": _serve_command(workspace),
        "ssh": f"ssh -N -L 127.0.0.1:{port}:127.0.0.1:{port} {message('lesson09.door.ssh.to')}",
        "tls": _serve_command(workspace, "--tls", "--host", "0.0.0.0"),
        "tailscale": f"tailscale serve --bg {port}",
        "cloudflare": f"cloudflared tunnel --url http://127.0.0.1:{port}",
        "autodl": _serve_command(workspace, "--port", str(AUTODL_PORTS[0])),
    }
    columns = ("name", "sees", "microphone", "when")
    headers = [message(f"lesson09.door.{column}") for column in columns]
    rows = [
        [*(message(f"lesson09.door.{way}.{column}") for column in columns), code(command)]
        for way, command in commands.items()
    ]
    html_table([*headers, message("lesson09.command")], rows)


# ── Lesson 10 ────────────────────────────────────────────────────────────────
def show_app_address(address: str) -> None:
    """The address that goes into an app's settings, and which key: shown, it would be in the saved notebook."""
    key = message("lesson10.key.where", button=message("widget.codes.app"))
    rows = [(message("lesson10.address"), address), (message("lesson10.key"), key)]
    html_table([message("lesson10.field"), message("lesson10.value")], rows)


def show_service_check(steps: Iterable[Step]) -> None:
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


def check_whole_way(way: WholeWay) -> None:
    """Lesson 10's last check: a correction is learned by the next training and judges nothing; or none was allowed."""
    if way.take is None:
        say(message("lesson10.once.no_consent"))
        return
    words = message("lesson10.once.check", take=way.take, tested=way.tested[1])
    check(way.learns_it and way.same_test, words, message("lesson10.once.fix"))


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


def _serve_command(workspace: Workspace, *options: str) -> str:
    return resonance("serve", str(workspace.output_dir), *options)


def _with_base_model(base_model: str) -> list[str]:
    return ["--base-model", base_model] if base_model else []


def _large(text: str) -> Markup:
    return Markup(f'<span style="font-size:160%">{escape(text)}</span>', text)
