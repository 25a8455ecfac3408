"""The command line: ``resonance run``, ``learning-curve``, ``cross-validate``, ``serve``, ``keys``, ``export``,
``import``, ``forget`` and ``version``.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from . import __version__
from .core.messages import ResonanceError, make_console_print_everything, message
from .core.settings import SAMPLE_PATIENT, ServiceSettings, TrainingSettings
from .core.shell import resonance
from .core.workspace import REPOSITORY, megabytes, open_workspace, require_unicode_names

if TYPE_CHECKING:
    from .service.keys import StoredKey
    from .studies.lessons import OnLesson
    from .studies.retraining import OnProgress


class _Commands(TyperGroup):
    """Makes the console able to print before anything is printed, the help too."""

    def main(self, *given: Any, **options: Any) -> Any:
        make_console_print_everything()
        return super().main(*given, **options)


app = typer.Typer(
    cls=_Commands,
    help=message("cli.help"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(help=message("cli.keys.help"), no_args_is_help=True)
app.add_typer(keys, name="keys")
LAST_LESSON = 10


@app.command(help=message("cli.run.help"))
def run(
    data: Annotated[str, typer.Option(help=message("cli.run.data"))] = "",
    output: Annotated[str, typer.Option(help=message("cli.run.output"))] = "",
    base_model: Annotated[str, typer.Option(help=message("cli.run.base_model"))] = "",
    patient: Annotated[str, typer.Option(help=message("cli.run.patient"))] = SAMPLE_PATIENT,
    lessons: Annotated[str, typer.Option(help=message("cli.run.lessons"))] = "",
    steps: Annotated[int | None, typer.Option(help=message("cli.run.steps"))] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=message("cli.run.set"))] = None,
    resume: Annotated[bool, typer.Option("--resume", help=message("cli.run.resume"))] = False,
) -> None:
    with _said_plainly():
        chosen = parse_lessons(lessons) if lessons else None
        extra = dict(parse_setting(text) for text in set_ or ())
        from .studies.lessons import run_lessons

        with _lesson_bar() as show:
            summary = run_lessons(data, output, base_model, patient, chosen, steps, extra, resume, show)
        if summary.headline:
            typer.echo(summary.headline)
        typer.echo(message("cli.run.finished", path=open_workspace(data, output, patient).output_dir))


@app.command(name="learning-curve", help=message("cli.learning_curve.help"))
def learning_curve(
    data: Annotated[str, typer.Option(help=message("cli.run.data"))] = "",
    output: Annotated[str, typer.Option(help=message("cli.run.output"))] = "",
    base_model: Annotated[str, typer.Option(help=message("cli.run.base_model"))] = "",
    patient: Annotated[str, typer.Option(help=message("cli.run.patient"))] = SAMPLE_PATIENT,
    sizes: Annotated[str, typer.Option(help=message("cli.learning_curve.sizes"))] = "",
    seeds: Annotated[str, typer.Option(help=message("cli.learning_curve.seeds"))] = "1,2,3",
    steps: Annotated[int | None, typer.Option(help=message("cli.run.steps"))] = None,
) -> None:
    with _said_plainly():
        chosen = parse_numbers(sizes, "--sizes", "10,30,50,100") if sizes else None
        draws = parse_numbers(seeds, "--seeds", "1,2,3")
        from .studies.curve import learning_curve as draw_curve

        with _training_bar() as show:
            curve = draw_curve(
                open_workspace(data, output, patient), chosen, draws, steps, base_model, on_progress=show
            )
        typer.echo("\n".join([*curve.lines, "", curve.answer]))
        typer.echo(message("cli.studies.files", paths=f"{curve.json}  {curve.png}"))


@app.command(name="cross-validate", help=message("cli.cross_validate.help"))
def cross_validate(
    data: Annotated[str, typer.Option(help=message("cli.run.data"))] = "",
    output: Annotated[str, typer.Option(help=message("cli.run.output"))] = "",
    base_model: Annotated[str, typer.Option(help=message("cli.run.base_model"))] = "",
    patient: Annotated[str, typer.Option(help=message("cli.run.patient"))] = SAMPLE_PATIENT,
    folds: Annotated[int, typer.Option(help=message("cli.cross_validate.folds"))] = 5,
    seed: Annotated[int, typer.Option(help=message("cli.cross_validate.seed"), min=0)] = TrainingSettings.seed,
    steps: Annotated[int | None, typer.Option(help=message("cli.run.steps"))] = None,
) -> None:
    with _said_plainly():
        from .studies.cross_validation import cross_validate as judge_folds

        with _training_bar() as show:
            result = judge_folds(
                open_workspace(data, output, patient), folds, seed, steps, base_model, on_progress=show
            )
        typer.echo(result.sentence)
        typer.echo(message("cli.studies.files", paths=result.json))


@app.command(help=message("cli.serve.help"))
def serve(
    adapters: Annotated[Path, typer.Argument(help=message("cli.serve.adapters"))],
    base_model: Annotated[str, typer.Option(help=message("cli.serve.base_model"))] = "",
    host: Annotated[str, typer.Option(help=message("cli.serve.host"))] = ServiceSettings.host,
    port: Annotated[int, typer.Option(help=message("cli.serve.port"))] = ServiceSettings.port,
    tls: Annotated[bool, typer.Option("--tls", help=message("cli.serve.tls"))] = False,
    tls_cert: Annotated[Path | None, typer.Option(help=message("cli.serve.tls_cert"))] = None,
    tls_key: Annotated[Path | None, typer.Option(help=message("cli.serve.tls_key"))] = None,
    corrections: Annotated[Path | None, typer.Option(help=message("cli.serve.corrections"))] = None,
) -> None:
    with _said_plainly():
        from . import service
        from .service import certificates

        secure = certificates.chosen(tls, tls_cert, tls_key)
        service.serve(adapters, base_model, host, port, tls=secure, corrections=corrections)


@keys.command(name="make", help=message("cli.keys.make.help"))
def make_key(
    adapters: Annotated[Path, typer.Argument(help=message("cli.serve.adapters"))],
    patient: Annotated[list[str] | None, typer.Option(help=message("cli.keys.patient"))] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help=message("cli.keys.everybody"))] = False,
    address: Annotated[bool, typer.Option("--address", help=message("cli.keys.address"))] = False,
    note: Annotated[str, typer.Option(help=message("cli.keys.note"))] = "",
) -> None:
    with _said_plainly():
        from .service import keys as service_keys

        if bool(patient) == everybody:
            raise ResonanceError("RZ-0931")
        place: service_keys.Place = "address" if address else "header"
        stored, key = service_keys.make_key(_keys_file(adapters), patient, place, note)
        typer.echo(message("cli.keys.made", id=stored.id, whom=_whom(stored)))
        typer.echo(message(f"cli.keys.use.{place}", key=key))


@keys.command(name="list", help=message("cli.keys.list.help"))
def list_keys(adapters: Annotated[Path, typer.Argument(help=message("cli.serve.adapters"))]) -> None:
    with _said_plainly():
        from .service import keys as service_keys

        known = service_keys.read_keys(_keys_file(adapters))
        for key in known:
            typer.echo(
                f"{key.id}  {key.made}  {message(f'cli.keys.place.{key.place}')}  {_whom(key)}  {key.note}".rstrip()
            )
        if not known:
            typer.echo(message("cli.keys.none"))


@keys.command(name="revoke", help=message("cli.keys.revoke.help"))
def revoke_key(
    adapters: Annotated[Path, typer.Argument(help=message("cli.serve.adapters"))],
    key_id: Annotated[str, typer.Argument(help=message("cli.keys.id"))],
) -> None:
    with _said_plainly():
        from .service import keys as service_keys

        revoked = service_keys.revoke_key(_keys_file(adapters), key_id)
        typer.echo(message("cli.keys.revoked", id=revoked.id, whom=_whom(revoked)))


def _keys_file(adapters: Path) -> Path:
    from .service.keys import KEYS_FILE
    from .service.server import adapters_folder

    return adapters_folder(adapters) / KEYS_FILE


def _whom(key: StoredKey) -> str:
    return message("cli.keys.whom.everybody") if key.patients is None else ", ".join(key.patients)


@app.command(help=message("cli.forget.help"))
def forget(
    patient: Annotated[str, typer.Argument(help=message("cli.forget.patient"))],
    data: Annotated[Path | None, typer.Option(help=message("cli.forget.data"))] = None,
    output: Annotated[Path | None, typer.Option(help=message("cli.run.output"))] = None,
    adapters: Annotated[list[Path] | None, typer.Option(help=message("cli.forget.adapters"))] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=message("cli.forget.dry_run"))] = False,
    yes: Annotated[bool, typer.Option("--yes", help=message("cli.forget.yes"))] = False,
) -> None:
    with _said_plainly():
        from .studies.erase.forget import Erasure

        forgetting = Erasure(patient, data, output or REPOSITORY / "workspaces" / patient, tuple(adapters or ()))
        if dry_run or not yes:
            typer.echo("\n".join(forgetting.look().lines))
            if dry_run:
                return
            raise ResonanceError("RZ-1805")
        removed = forgetting.remove()
        typer.echo("\n".join(removed.lines))
        if not removed.is_complete:
            raise ResonanceError("RZ-1808")


@app.command(name="check-service", help=message("cli.check.help"))
def check_service(
    url: Annotated[str, typer.Argument(help=message("cli.check.url"))],
    key_file: Annotated[Path | None, typer.Option(help=message("cli.check.key_file"))] = None,
    patient: Annotated[str | None, typer.Option(help=message("cli.check.patient"))] = None,
    recording: Annotated[Path | None, typer.Option(help=message("cli.check.recording"))] = None,
    ca_file: Annotated[Path | None, typer.Option(help=message("cli.check.ca_file"))] = None,
) -> None:
    with _said_plainly():
        from . import client

        steps = client.check_service(url, client.read_key(key_file), patient, recording, ca_file)
        for step in steps:
            question = message(f"check.step.{step.name}")
            typer.echo(message("cli.check.step", mark="✅" if step.ok else "❌", question=question, words=step.words))
        good = all(step.ok for step in steps)
        typer.echo(message("cli.check.good" if good else "cli.check.bad"))
        if not good:
            raise typer.Exit(1)


@app.command(name="export", help=message("cli.export.help"))
def make_export(
    data: Annotated[str, typer.Option(help=message("cli.run.data"))] = "",
    output: Annotated[str, typer.Option(help=message("cli.run.output"))] = "",
    patient: Annotated[str, typer.Option(help=message("cli.run.patient"))] = SAMPLE_PATIENT,
    kind: Annotated[list[str] | None, typer.Option(help=message("cli.export.kind"))] = None,
    base_model: Annotated[str, typer.Option(help=message("cli.run.base_model"))] = "",
) -> None:
    with _said_plainly():
        workspace = open_workspace(data, output, patient)
        from .lessons import export_weights as export

        if not kind:
            typer.echo(message("cli.export.bundle", path=export.export_adapter(workspace).zip))
            return
        for made in export.export_models(workspace, ",".join(kind), base_model):
            typer.echo(
                message("cli.export.model", path=made.folder, size=megabytes(made.bytes), window=f"{made.window_s:g}")
            )


@app.command(name="import", help=message("cli.import.help"))
def import_bundle(
    bundle: Annotated[Path, typer.Argument(help=message("cli.import.bundle"))],
    output: Annotated[Path, typer.Option(help=message("cli.import.output"))],
    patient: Annotated[str, typer.Option(help=message("cli.import.patient"))] = "",
    replace: Annotated[bool, typer.Option("--replace", help=message("cli.import.replace"))] = False,
) -> None:
    with _said_plainly():
        from .lessons import export_weights as export

        taken = export.import_bundle(bundle, output, patient, replace)
        made, base = taken.manifest, taken.manifest.base_model
        patient, date, count = made.patient_id, made.time[:10], made.recordings
        typer.echo(message("cli.import.done", path=taken.folder, patient=patient, date=date, recordings=count))
        revision, serve = base.get("revision", ""), resonance("serve", str(output))
        typer.echo(message("cli.import.base", base_model=base["name"], revision=revision, serve=serve))


@app.command(help=message("cli.version.help"))
def version() -> None:
    typer.echo(f"resonance {__version__}")


def parse_lessons(text: str) -> list[int]:
    """``4-8``, ``6`` or ``1,3,5-7`` as lesson numbers, sorted, each once. Raises RZ-1402."""
    chosen: set[int] = set()
    for part in text.replace("，", ",").split(","):
        numbers = re.fullmatch(r"(\d{1,2})(?:[-–](\d{1,2}))?", part.strip())
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (0, 0)
        if not 1 <= first <= last <= LAST_LESSON:
            raise ResonanceError("RZ-1402", value=text, last=LAST_LESSON)
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def parse_numbers(text: str, option: str, example: str) -> list[int]:
    """``10,30,50`` as numbers, in their order. Raises RZ-1601, which names the ``option`` and an ``example``."""
    parts = [part.strip() for part in text.replace("，", ",").split(",")]
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise ResonanceError("RZ-1601", option=option, value=text, example=example)
    return [int(part) for part in parts]


def parse_setting(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` as its two parts; the value stays text. Raises RZ-1404."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise ResonanceError("RZ-1404", value=text)
    return name.strip(), value.strip()


@contextmanager
def _lesson_bar() -> Iterator[OnLesson]:
    """A bar over the lessons; a line stays for each one that is finished."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(highlight=False), transient=True) as progress:
        bar = progress.add_task("", total=None)
        running, started = "", 0.0

        def show(done: int, total: int, name: str) -> None:
            nonlocal running, started
            if running:
                seconds = round(time.monotonic() - started)
                progress.console.print(message("cli.run.lesson_done", lesson=_title(running), seconds=seconds))
            running, started = name, time.monotonic()
            progress.update(bar, completed=done, total=total)
            if name:
                progress.update(bar, description=message("cli.run.doing", lesson=_title(name)))

        yield show


@contextmanager
def _training_bar() -> Iterator[OnProgress]:
    """A bar over several trainings, which moves with their steps and says how long is left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(highlight=False), transient=True) as progress:
        bar = progress.add_task("", total=None)
        said = ""

        def show(done: float, total: int, doing: str) -> None:
            nonlocal said
            progress.update(bar, completed=done, total=total, description=doing)
            if doing != said:
                said = doing
                if doing:
                    progress.console.print(f"{round(done) + 1}/{total}  {doing}")

        yield show


def _title(notebook: str) -> str:
    return message(f"lesson.{notebook[:2]}")


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Show an error that a user can mend as its sentence alone, and end with exit code 1."""
    try:
        require_unicode_names()
        yield
    except ResonanceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
