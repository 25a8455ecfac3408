"""What lesson 09 shows of a running service."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import DisplayHandle, display

from ...core.messages import ResonanceError, message
from ...core.settings import AUTODL_PORTS, ServiceSettings
from ...core.shell import resonance
from ...core.workspace import REPOSITORY, Workspace
from ...ui.html import Markup, escape
from ...ui.output import check, code, html_table, say, show_commands
from .charts import TimedAnswer, answered_table, where_things_run

if TYPE_CHECKING:
    from ...client import ResonanceClient, Transcript
    from ...service import ServiceProcess

UNIT = REPOSITORY / "docs" / "resonance.service"
UNIT_FILE = Path("/etc/systemd/system/resonance.service")
KEY_FILE = Path("/etc/resonance/resonance.env")  # RESONANCE_TOKEN=…, for root alone: others can read command lines
SESSION = "resonance"  # the name of the tmux session


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
    from ...asr import adapter  # torch

    manifest = adapter.read_manifest(workspace.adapter)
    display(where_things_run(server.url, manifest.base_model["name"], [manifest.patient_id]))


class Asked:
    """Asks for one patient and remembers the answers: who was answered and how fast is known to the asker alone.

    Call it with a recording, as ``TryIt`` does. Shown in a cell, it is a table that grows with every answer.
    """

    def __init__(self, client: ResonanceClient, patient_id: str) -> None:
        self.answers: list[TimedAnswer] = []
        self._client, self._patient_id = client, patient_id
        self._shown: list[DisplayHandle] = []

    def __call__(self, recording: Path) -> Transcript:
        began = time.perf_counter()
        transcript = self._client.transcribe(recording, patient_id=self._patient_id)
        self.answers.append(TimedAnswer(self._patient_id, transcript.text, time.perf_counter() - began))
        for place in self._shown:
            place.update(answered_table(self.answers))
        return transcript

    def each(self, recordings: Iterable[Path]) -> list[TimedAnswer]:
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


def check_service(client: ResonanceClient, answers: list[TimedAnswer]) -> None:
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
    """How a machine with systemd starts the service by itself: the commands, and ``docs/resonance.service``."""
    key = f'echo "RESONANCE_TOKEN=$(head -c 32 /dev/urandom | base64)" > {KEY_FILE}'
    options = "".join(f' "{word}"' for word in _with_base_model(base_model))
    values = {"/path/to/resonance": REPOSITORY, "/path/to/adapters": workspace.output_dir}
    filled = [f"s|{name}|{str(value).replace('%', '%%')}|g" for name, value in values.items()]
    if options:
        filled.append(f"s|^ExecStart=.*|&{options}|")
    edits = " ".join(f"-e {shlex.quote(edit)}" for edit in filled)
    owner = f"$(stat -c %U {shlex.quote(str(workspace.output_dir))})"
    rows = [
        (message("lesson09.unit.key"), f"sudo sh -c 'umask 077; mkdir -p {KEY_FILE.parent}; {key}'"),
        (
            message("lesson09.unit.write"),
            f'sed {edits} -e "s|^User=.*|User={owner}|" {shlex.quote(str(UNIT))} | sudo tee {UNIT_FILE}',
        ),
        (message("lesson09.unit.start"), "sudo systemctl daemon-reload && sudo systemctl enable --now resonance"),
        (message("lesson09.unit.look"), "journalctl -u resonance -f"),
        (message("lesson09.unit.read_key"), f"sudo cat {KEY_FILE}"),
        (message("lesson09.unit.stop"), "sudo systemctl disable --now resonance"),
    ]
    show_commands(rows)
    title, text = message("lesson09.unit.text"), UNIT.read_text(encoding="utf-8")
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


def _serve_command(workspace: Workspace, *options: str) -> str:
    return resonance("serve", str(workspace.output_dir), *options)


def _with_base_model(base_model: str) -> list[str]:
    return ["--base-model", base_model] if base_model else []
