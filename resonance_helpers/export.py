"""Lesson 08: one zip with everything that another machine needs, apart from the base model.

The same adapter gives the same bytes: the files stand in order of their names, at one fixed time.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import adapter
from .messages import catalogue, message
from .workspace import Workspace, replacing, require

CHECKSUMS = "SHA256SUMS"
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
NEEDED = (adapter.WEIGHTS, adapter.CONFIG, adapter.MANIFEST)


@dataclass(frozen=True)
class Export:
    """The bundle and what is in it: (file name, size in bytes, what it is for)."""

    zip: Path
    files: tuple[tuple[str, int, str], ...]
    total_bytes: int


def export_adapter(workspace: Workspace) -> Export:
    """Pack ``adapter/`` into ``export/<patient>-adapter.zip``, whole or not at all.

    Raises RZ-0006 (lesson 06 missing), RZ-0005 (another patient's adapter), RZ-0610/0611 (no manifest that we know).
    """
    for name in NEEDED:
        require(workspace.adapter / name, lesson=6)
    adapter.refuse_other_patient(workspace)
    contents = {path.name: path.read_bytes() for path in sorted(workspace.adapter.iterdir()) if path.is_file()}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items())
    contents[CHECKSUMS] = sums.encode()
    bundle = workspace.export / f"{workspace.patient_id}-adapter.zip"
    with replacing(bundle) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(f"{workspace.patient_id}-adapter/{name}", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    files = tuple((name, len(data), _purpose(name)) for name, data in contents.items())
    return Export(bundle, files, sum(len(data) for data in contents.values()))


def _purpose(name: str) -> str:
    key = f"export.file.{name}"
    return message(key if key in catalogue() else "export.file.other")
