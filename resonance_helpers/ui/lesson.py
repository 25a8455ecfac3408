"""The frame that every lesson has: whose files it works on, and the step as a plain script."""

from __future__ import annotations

from IPython.display import display

from ..core.messages import message
from ..core.shell import resonance
from ..core.workspace import REPOSITORY, Workspace, misplaced
from .html import Markup, escape, table_html
from .output import check, show_commands

SCRIPTS = REPOSITORY / "benchmarks" / "lessons"


def show_workspace(workspace: Workspace) -> None:
    """Whose files these are and where they lie; of the sample it says that it is nobody's voice."""
    rows = [
        ("PATIENT_ID", workspace.patient_id),
        ("DATA_DIR", workspace.data_dir),
        ("OUTPUT_DIR", workspace.output_dir),
    ]
    note = message("widget.workspace.sample" if workspace.is_sample else "widget.workspace.own")
    headers = [message("widget.workspace.name"), message("widget.workspace.value")]
    display(table_html(headers, rows, notes=[note]))
    if error := misplaced(workspace.data_dir):
        check(False, str(error))


def show_in_terminal(workspace: Workspace, *names: str, url: str = "") -> None:
    """Commands for a terminal on this machine, with this person's folders filled in; ``url`` is a service's."""
    data = [] if workspace.is_sample else ["--data", str(workspace.data_dir)]
    folder, patient = str(workspace.output_dir), workspace.patient_id
    forget = ["forget", patient, *data, "--output", folder]
    commands = {
        "forget": forget,
        "forget.yes": [*forget, "--yes"],
        "cross-validate": ["cross-validate", *data, "--output", folder, "--patient", patient],
        "check-service": ["check-service", url, "--patient", patient],
        "keys.make": ["keys", "make", folder, "--patient", patient],
        "keys.address": ["keys", "make", folder, "--patient", patient, "--address"],
        "keys.list": ["keys", "list", folder],
        "keys.revoke": ["keys", "revoke", folder, message("widget.terminal.id")],
    }
    show_commands([(message(f"widget.terminal.{name}"), resonance(*commands[name])) for name in names])


def show_script(name: str) -> None:
    """A script of ``benchmarks/lessons/``, folded: the file itself, so that what is shown is code that tests run."""
    source = (SCRIPTS / name).read_text(encoding="utf-8")
    title = message("widget.script", path=f"benchmarks/lessons/{name}", lines=len(source.splitlines()))
    folded = f"<details><summary>{escape(title)}</summary><pre><code>{escape(source)}</code></pre></details>"
    display(Markup(folded, f"{title}\n\n{source}"))
