"""What lesson 03 shows: the packages, the builds of PyTorch, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.messages import message
from ...ui.output import check, html_table, say, show_list

if TYPE_CHECKING:
    from .logic import Proof, Requirement, TorchAdvice, TorchBuild


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
        show_list([advice.command])


def check_environment(requirements: Sequence[Requirement], proofs: Sequence[Proof], summary: str) -> None:
    """Lesson 03's check: everything is there in a version that fits, and can really be imported."""
    if all(requirement.status == "ok" for requirement in requirements):
        say(summary)  # brings its own ✅
    else:
        check(False, summary)
    broken = [f"{proof.name}（{proof.error}）" for proof in proofs if not proof.ok]
    names = message("list.comma").join(broken or [proof.name for proof in proofs])
    check(not broken, message("widget.proof.broken" if broken else "widget.proof.ok", names=names))
