"""The other side: a bundle becomes the adapter of a workspace, after everything about it was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...asr.adapter import refuse_other_patient
from ...asr.bundle import CHECKSUMS, unpack_adapter
from ...asr.manifest import ADAPTER_FILES, Manifest
from ...core.messages import ResonanceError
from ...core.workspace import Workspace, disk_full_is_said, make_folder, put_in_place


@dataclass(frozen=True)
class Imported:
    """Where the adapter lies now, and what it is."""

    folder: Path
    manifest: Manifest


def import_bundle(bundle: Path, output_dir: Path, patient_id: str = "", replace: bool = False) -> Imported:
    """Verify a zip of lesson 08 and make it ``output_dir/adapter``; ``patient_id`` is whose it has to be, if given.

    The base model need not be here yet: then the shapes are compared with its own when it is loaded. Raises RZ-0802 (no
    such file), what ``bundles.unpack_adapter`` raises, RZ-0803 (somebody else's bundle), RZ-0005 (somebody else's
    folder), RZ-0804 (an adapter is there and ``replace`` was not asked for), RZ-0004 (disk full). Nothing has changed
    when anything fails.
    """
    if not bundle.is_file():
        raise ResonanceError("RZ-0802", path=bundle)
    output = output_dir.expanduser().resolve()
    home = output / "adapter"
    disk = next(folder for folder in (output, *output.parents) if folder.is_dir())
    with disk_full_is_said(home), TemporaryDirectory(dir=disk, prefix=".import-") as staging:
        cache = output / "cache" / "base_models"
        folder, manifest = unpack_adapter(bundle, Path(staging) / "unpacked", (*ADAPTER_FILES, CHECKSUMS), cache)
        if patient_id and manifest.patient_id != patient_id:
            raise ResonanceError("RZ-0803", path=bundle, found=manifest.patient_id, given=patient_id)
        refuse_other_patient(Workspace(output, output, manifest.patient_id))
        if home.exists() and not replace:
            raise ResonanceError("RZ-0804", path=home, patient=manifest.patient_id)
        make_folder(output)
        put_in_place(folder, home)
    return Imported(home, manifest)
