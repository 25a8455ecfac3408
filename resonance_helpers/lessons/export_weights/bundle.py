"""The zip: an adapter, the files that other programs look for, and two pages for people.

The same adapter gives the same bytes: the files stand in order of their names, at one fixed time, from one system.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ...asr import adapter
from ...asr.bundle import CARD, CHECKSUMS, README, belongs
from ...asr.manifest import ADAPTER_FILES
from ...core.messages import ResonanceError, catalogue, message
from ...core.workspace import Workspace, replacing, require
from .compatibility import PROCESSOR, TOKENIZER, for_other_programs
from .pages import model_card, readme
from .place import BUNDLE, alone, check_room, home

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_UNIX = 3  # of ``create_system``
_ROOM_BYTES = 1_000_000  # beside the files themselves: the zip's table, and what else is writing


@dataclass(frozen=True)
class Export:
    """The bundle and what is in it: (file name, size in bytes, what it is for)."""

    zip: Path
    files: tuple[tuple[str, int, str], ...]
    total_bytes: int


def export_adapter(workspace: Workspace) -> Export:
    """Pack ``adapter/`` into ``export/<patient>-adapter.zip``, whole or not at all.

    Raises RZ-0006 (lesson 06 missing), RZ-0005 (another patient's adapter), what ``adapter.verify`` raises, RZ-0807
    (another export is under way here), RZ-0801 (not enough disk: nothing was begun), RZ-0004 (the disk filled up
    meanwhile).
    """
    for name in ADAPTER_FILES:
        require(workspace.adapter / name, lesson=6)
    adapter.refuse_other_patient(workspace)
    manifest = adapter.verify(workspace.adapter, workspace.cache / "base_models").manifest
    contents = _contents(workspace, manifest)
    bundle, total = home(workspace, BUNDLE), sum(map(len, contents.values()))
    with alone(workspace):
        check_room(bundle, total + _ROOM_BYTES)
        with replacing(bundle) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, data in contents.items():
                archive.writestr(_entry(f"{bundle.stem}/{name}"), data)
    files = tuple((name, len(data), purpose(name)) for name, data in contents.items())
    return Export(bundle, files, total)


def _contents(workspace: Workspace, manifest: adapter.Manifest) -> dict[str, bytes]:
    """The files of the bundle by name, their checksums last."""
    lying = {
        path.name: path.read_bytes() for path in workspace.adapter.iterdir() if path.is_file() and belongs(path.name)
    }
    lying.pop(CHECKSUMS, None)  # of the zip that this adapter once came from
    pages = {README: readme(manifest).encode(), CARD: model_card(workspace, manifest, lying.get(CARD)).encode()}
    try:
        made = for_other_programs(lying)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ResonanceError("RZ-0614", path=workspace.adapter, detail=f"{TOKENIZER}, {PROCESSOR}") from error
    contents = dict(sorted((lying | made | pages).items()))
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items())
    return contents | {CHECKSUMS: sums.encode()}


def _entry(name: str) -> zipfile.ZipInfo:
    """A file of the zip that tells nothing of when and on which system it was packed."""
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = _UNIX  # whose rights follow
    entry.external_attr = 0o644 << 16
    return entry


def purpose(name: str) -> str:
    """What the file ``name`` of an export is for."""
    key = f"export.file.{name}"
    return message(key if key in catalogue() else "export.file.other")
