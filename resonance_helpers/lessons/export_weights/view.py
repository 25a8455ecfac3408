"""What lesson 08 shows of bundles and merged models."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...asr.manifest import ADAPTER_FILES
from ...core.messages import message
from ...core.workspace import megabytes
from ...ui.output import check, html_table, say, show_link

if TYPE_CHECKING:
    from .bundle import Export
    from .merged import ExportedModel


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
