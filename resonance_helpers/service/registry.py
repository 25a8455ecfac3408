"""Which patients this service answers for, and where each one's adapter lies.

A patient id arrives from outside, so it never becomes part of a path: it is looked up among the folders that were found
at start. What is not there is unknown; nothing is ever looked up on a hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..adapter import MANIFEST, Manifest, read_manifest
from ..messages import ResonanceError
from ..workspace import check_patient_id
from .keys import EVERYBODY, Access


class AdapterRegistry:
    """The adapters below a folder, or those of a mapping from patient id to adapter folder.

    A folder is the ``OUTPUT_DIR`` of one patient (or its ``adapter/`` itself), or holds ``<patient id>/adapter`` for
    many; links that lead out of it are not followed. Raises RZ-0921 (none found), RZ-0922 (a folder whose adapter
    belongs to somebody else), RZ-0927 (adapters of different base models or languages), RZ-0610 (a damaged manifest).
    """

    def __init__(self, adapters: Path | Mapping[str, Path]) -> None:
        found = dict(_scan(adapters) if isinstance(adapters, Path) else adapters)
        if not found:
            raise ResonanceError("RZ-0921", path=adapters if isinstance(adapters, Path) else "{}")
        self._folders = {check_patient_id(patient): folder.resolve() for patient, folder in found.items()}
        self._manifests = {patient: read_manifest(folder) for patient, folder in self._folders.items()}
        for patient, manifest in self._manifests.items():
            if manifest.patient_id != patient:
                raise ResonanceError("RZ-0922", path=found[patient], given=patient, found=manifest.patient_id)
        self.base_model, self.language = _common_base(self._manifests.values())

    @property
    def patients(self) -> tuple[str, ...]:
        return tuple(sorted(self._folders))

    def choose(self, patient_id: str | None, access: Access = EVERYBODY) -> str:
        """The patient that a request is for. A key for one patient names them; else nobody is a default: without an id
        there must be exactly one patient that the key speaks for.

        Raises RZ-0904 (unknown, not an id at all, or not for this key), RZ-0905 (no id, several patients).
        """
        if patient_id is None:
            mine = self._folders if access.patients is None else access.patients
            if len(mine) != 1:
                raise ResonanceError("RZ-0905", count=len(mine))
            (patient_id,) = mine
        if patient_id not in self._folders or not access.covers(patient_id):
            raise ResonanceError("RZ-0904", patient=patient_id[:64])
        return patient_id

    def folder(self, patient_id: str) -> Path:
        """The adapter folder of a patient, links resolved. Raises RZ-0904."""
        return self._folders[self.choose(patient_id)]

    def manifest(self, patient_id: str) -> Manifest:
        return self._manifests[self.choose(patient_id)]


def _common_base(manifests: Iterable[Manifest]) -> tuple[str, str]:
    """Name and language of the one base model; its weights decide, because one model has several names."""
    bases = {(m.base_model["tensors_sha256"], m.language): m.base_model["name"] for m in manifests}
    if len(bases) > 1:
        found = sorted(f"{name} {weights[:8]} ({language})" for (weights, language), name in bases.items())
        raise ResonanceError("RZ-0927", found="; ".join(found))
    (((_, language), name),) = bases.items()
    return name, language


def _scan(root: Path) -> Iterator[tuple[str, Path]]:
    """Patient id and adapter folder of each adapter below ``root``."""
    root = root.expanduser().resolve()
    for single in (root, root / "adapter"):
        if _is_adapter(single, root):
            yield read_manifest(single).patient_id, single
            return
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        if _is_adapter(entry / "adapter", root):
            yield entry.name, entry / "adapter"


def _is_adapter(folder: Path, root: Path) -> bool:
    manifest = folder / MANIFEST
    return manifest.is_file() and manifest.resolve().is_relative_to(root)
