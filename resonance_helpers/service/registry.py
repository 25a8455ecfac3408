"""The patients that a service answers for, as the adapters on disk are when a request is answered.

A patient id in a request is never used as a path unless it is a valid pseudonym; nothing is looked up on a hub. An
adapter that is added, replaced or removed is noticed by the inode, time and size of its files, so ``resonance import``
and ``resonance forget`` need no request to a running service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..asr.manifest import MANIFEST, WEIGHTS, Manifest, read_manifest
from ..core.messages import ResonanceError, message
from ..core.workspace import check_patient_id
from .keys import EVERYBODY, Access

# Only Linux exchanges two folders in one step; elsewhere a replaced adapter is missing for less than a millisecond
REPLACING_S, REPLACING_CHECKS = 0.005, 4
log = logging.getLogger("resonance.service")


@dataclass(frozen=True)
class ServedAdapter:
    """One patient's adapter on disk. ``folder`` has its links resolved; ``version`` changes with the files."""

    folder: Path
    manifest: Manifest
    version: Hashable


class AdapterRegistry:
    """The adapters below a folder, or those of a mapping from patient id to adapter folder.

    A folder is the ``OUTPUT_DIR`` of one patient (or its ``adapter/`` itself), or holds ``<patient id>/adapter`` for
    many; links that lead out of it are not followed. Raises RZ-0921 (no adapter), RZ-0922 (the adapter of another
    patient), RZ-0927 (adapters of different base models or languages), RZ-0610 (a damaged manifest).

    Later, an adapter that is damaged, another patient's or for another base model does not replace the known one; the
    log says so. Any thread may call any method.
    """

    def __init__(self, adapters: Path | Mapping[str, Path]) -> None:
        self._root: Path | None = None  # of a folder with many patients
        self._fixed: dict[str, Path] = {}  # the adapters of any other service
        if isinstance(adapters, Path):
            self._set_folder(adapters.expanduser().resolve())
        else:
            self._fixed = {patient: folder.resolve() for patient, folder in adapters.items()}
        found = dict(self._fixed or _scan(self._root))
        if not found:
            raise ResonanceError("RZ-0921", path=adapters if isinstance(adapters, Path) else "{}")
        manifests = {check_patient_id(patient): read_manifest(folder) for patient, folder in found.items()}
        for patient, manifest in manifests.items():
            if manifest.patient_id != patient:
                raise ResonanceError("RZ-0922", path=found[patient], given=patient, found=manifest.patient_id)
        base = _common_base(manifests.values())
        self.base_model, self.language, self._base = base.base_model["name"], base.language, _base(base)
        # of each patient the version that was looked at last, and the adapter in use
        self._seen: dict[str, tuple[Hashable, ServedAdapter | None]] = {}

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient ids with an adapter on disk, sorted."""
        names = self._fixed or dict(_scan(self._root))
        return tuple(patient for patient in sorted(names) if self._look(patient))

    def choose(self, patient_id: str | None, access: Access = EVERYBODY) -> str:
        """The patient that a request is for. Without an id the key has to allow exactly one patient.

        Raises RZ-0904 (unknown, not a valid id, not allowed by the key) and RZ-0905 (no id, several patients).
        """
        if patient_id is None:
            allowed = self.patients if access.patients is None else access.patients
            if len(allowed) > 1:
                raise ResonanceError("RZ-0905", count=len(allowed))
            patient_id = next(iter(allowed), "–")
        if not access.covers(patient_id):
            raise _unknown(patient_id)
        self.find(patient_id)
        return patient_id

    def find(self, patient_id: str) -> ServedAdapter:
        """The patient's adapter as it is on disk now. Raises RZ-0904."""
        served = self._look(patient_id)
        if served is None:
            raise _unknown(patient_id)
        return served

    def _look(self, patient_id: str) -> ServedAdapter | None:
        seen, used = self._seen.get(patient_id, (None, None))
        folder, version = self._on_disk(patient_id)
        checks = REPLACING_CHECKS if used else 0
        while folder is None and checks:
            time.sleep(REPLACING_S)
            folder, version = self._on_disk(patient_id)
            checks -= 1
        if folder is None:
            self._seen.pop(patient_id, None)
            return None
        if version != seen:
            used = self._read(patient_id, folder, version) or used
            self._seen[patient_id] = version, used
        return used

    def _read(self, patient_id: str, folder: Path, version: Hashable) -> ServedAdapter | None:
        """A new or changed adapter; None where it can't be used, which the log says."""
        try:
            manifest = read_manifest(folder)
            if manifest.patient_id != patient_id:
                raise ResonanceError("RZ-0947", given=patient_id, found=manifest.patient_id)
            if _base(manifest) != self._base:
                given = f"{self.base_model} {self._base[0][:8]} ({self.language})"
                raise ResonanceError("RZ-0945", found=_describe_base(manifest), given=given)
        except ResonanceError as error:
            log.error(message("service.log.not_used", code=error.code))
            return None
        return ServedAdapter(folder, manifest, version)

    # ── On disk ──────────────────────────────────────────────────────────────
    def _set_folder(self, root: Path) -> None:
        one = next((folder for folder in (root, root / "adapter") if _is_adapter(folder, root)), None)
        if one:
            self._fixed = {read_manifest(one).patient_id: one.resolve()}
        else:
            self._root = root

    def _on_disk(self, patient_id: str) -> tuple[Path | None, Hashable]:
        """The patient's adapter folder with links resolved, and the version of its files; None for no adapter."""
        try:
            root = self._root or self._fixed[patient_id]  # a link that leads out of it is not followed
            folder = root / check_patient_id(patient_id) / "adapter" if self._root else root
            if not _is_adapter(folder, root):
                return None, None
            folder = folder.resolve()
            return folder, tuple(_stamp(folder / name) for name in (MANIFEST, WEIGHTS))
        except (OSError, KeyError, ResonanceError):
            return None, None


def _stamp(file: Path) -> tuple[int, int, int]:
    """What changes when ``file`` is written anew: inode, time in ns, bytes."""
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _unknown(patient_id: str) -> ResonanceError:
    return ResonanceError("RZ-0904", patient=patient_id[:64])


def _common_base(manifests: Iterable[Manifest]) -> Manifest:
    """One manifest for all, which have the same base model: its weights decide, because it has several names."""
    bases = {_base(manifest): manifest for manifest in manifests}
    if len(bases) > 1:
        raise ResonanceError("RZ-0927", found="; ".join(sorted(map(_describe_base, bases.values()))))
    (common,) = bases.values()
    return common


def _base(manifest: Manifest) -> tuple[str, str]:
    return manifest.base_model["tensors_sha256"], manifest.language


def _describe_base(manifest: Manifest) -> str:
    weights, language = _base(manifest)
    return f"{manifest.base_model['name']} {weights[:8]} ({language})"


def _scan(root: Path | None) -> Iterator[tuple[str, Path]]:
    """Patient id and adapter folder of each adapter below ``root``; a name with a dot first is a temporary folder."""
    for entry in sorted(root.iterdir()) if root and root.is_dir() else ():
        if not entry.name.startswith(".") and _is_adapter(entry / "adapter", root):
            yield entry.name, entry / "adapter"


def _is_adapter(folder: Path, root: Path | None) -> bool:
    manifest = folder / MANIFEST
    return root is not None and manifest.is_file() and manifest.resolve().is_relative_to(root)
