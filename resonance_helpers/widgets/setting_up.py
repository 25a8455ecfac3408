"""Lessons 01–03: facts about the machine, steps to follow, and the line that says whether it worked.

Standard library and IPython only: these lessons run before the rest is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from IPython.display import display

from ..charts.guide import success_mark
from ..charts.markup import Markup, escape, stack
from ..messages import message
from .lines import check, html_table, say

if TYPE_CHECKING:
    from ..environment import Proof, Requirement, TorchAdvice, TorchBuild
    from ..gpu import Verdict
    from ..server_access import Place, Server, Step, Way

EXAMPLE_HOSTS = ("example.com", "example.org", "example.net")  # set aside by RFC 2606: nobody's server


# ── Lesson 01 ────────────────────────────────────────────────────────────────
def show_machine(facts: Sequence[tuple[str, str]]) -> None:
    """``gpu.facts(machine)`` as a table."""
    html_table([message("widget.place.what"), message("widget.place.value")], facts)


def show_gpu_verdict(verdict: Verdict) -> None:
    """What the machine is good for, why, and what to start with."""
    say(verdict.sentence)
    _list(verdict.reasons)
    rows = [
        (message("widget.gpu.model"), verdict.model),
        (message("widget.gpu.batch"), verdict.batch_size),
        (message("widget.gpu.precision"), f"{verdict.precision}：{verdict.precision_reason}"),
    ]
    html_table([message("widget.gpu.setting"), message("widget.gpu.advised")], rows)


def check_gpu(verdict: Verdict) -> None:
    """Lesson 01's check: the guide's mark of success, or what can be done without it."""
    ready = verdict.level == "ready"
    mark = message(f"widget.gpu.mark.{'reached' if ready else 'missed'}", mark=success_mark(1))
    check(ready, mark, message(f"widget.gpu.{verdict.level}.fix"))


# ── Lesson 02 ────────────────────────────────────────────────────────────────
def show_place(place: Place) -> None:
    """Which machine this notebook runs on."""
    rows = [
        (message("widget.place.hostname"), place.hostname),
        (message("widget.place.os"), place.os),
        (message("widget.place.user"), place.user),
        (message("widget.place.python"), place.python),
        (message("widget.place.jupyter"), place.jupyter_port or message("widget.place.unknown")),
    ]
    say(place.text)
    html_table([message("widget.place.what"), message("widget.place.value")], rows)


def show_ways(ways: Sequence[Way]) -> None:
    """Ways to reach a goal, each folded open by its title; commands stand apart, to be copied."""
    display(stack(*(_way(way) for way in ways)))


def _way(way: Way) -> Markup:
    items = "".join(f"<li>{escape(step.text)}{_command(step)}</li>" for step in way.steps)
    lines = [way.title, *(f"{n}. {step.text} {step.command}".rstrip() for n, step in enumerate(way.steps, start=1))]
    html = f"<details><summary><b>{escape(way.title)}</b></summary><ol>{items}</ol></details>"
    return Markup(html, "\n".join(lines))


def _command(step: Step) -> str:
    return f"<pre><code>{escape(step.command)}</code></pre>" if step.command else ""


def check_connection(server: Server, place: Place) -> None:
    """Lesson 02's check: are the commands for a real server, and does this run there?"""
    if server.host.endswith(EXAMPLE_HOSTS):
        check(False, message("widget.connection.example", host=server.host), message("widget.connection.example.fix"))
    else:
        check(True, message("widget.connection.address", host=server.host, port=server.port))
    if place.is_server:
        check(True, message("widget.connection.here", hostname=place.hostname))
    else:
        check(False, message("widget.connection.local"), message("widget.connection.local.fix"))


# ── Lesson 03 ────────────────────────────────────────────────────────────────
def show_torch_builds(builds: Sequence[TorchBuild], advice: TorchAdvice) -> None:
    """The builds of torch, how large each is and for whom; then which one fits this machine."""
    headers = [message(f"widget.torch.{name}") for name in ("build", "for", "size", "command")]
    rows = [
        (build.title, build.for_whom, message("widget.torch.gb", gb=f"{build.download_gb:g}"), build.command)
        for build in builds
    ]
    html_table(headers, rows)
    say(advice.sentence)
    if advice.command:
        _list([advice.command])


def check_environment(requirements: Sequence[Requirement], proofs: Sequence[Proof], summary: str) -> None:
    """Lesson 03's check: everything is there in a version that fits, and can really be imported."""
    if all(requirement.status == "ok" for requirement in requirements):
        say(summary)  # brings its own ✅
    else:
        check(False, summary)
    broken = [f"{proof.name}（{proof.error}）" for proof in proofs if not proof.ok]
    names = message("list.comma").join(broken or [proof.name for proof in proofs])
    check(not broken, message("widget.proof.broken" if broken else "widget.proof.ok", names=names))


def _list(lines: Sequence[str]) -> None:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    display(Markup(f"<ul>{items}</ul>", "\n".join(lines)))
