"""Which patients this service answers for, where each one's adapter lies, and how another takes its place.

A patient id arrives from outside, so it never becomes part of a path by itself: it is looked up among the folders that
were found. What is not there is unknown; nothing is ever looked up on a hub.

Requests read a table that is never changed, only replaced; an administrator's changes are made one after the other. On
disk an adapter is whole or absent at every moment: what is unpacked or deleted lies in a folder ``.staging-…``, which
the next start removes if this process is killed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from ..asr import bundle as bundles
from ..asr.manifest import MANIFEST, Manifest, read_manifest
from ..core.messages import ResonanceError
from ..core.workspace import check_patient_id, disk_full_is_said, make_folder, put_in_place
from .keys import EVERYBODY, Access

STAGING = ".staging-"


@dataclass(frozen=True)
class Served:
    """One patient's adapter on disk, as it was when last looked at. ``folder`` has its links resolved."""

    folder: Path
    manifest: Manifest
    generation: int
    bytes: int  # of the files


class AdapterRegistry:
    """The adapters below a folder, or those of a mapping from patient id to adapter folder.

    A folder is the ``OUTPUT_DIR`` of one patient (or its ``adapter/`` itself), or holds ``<patient id>/adapter`` for
    many; links that lead out of it are not followed. Raises RZ-0921 (none found), RZ-0922 (a folder whose adapter
    belongs to somebody else), RZ-0927 (adapters of different base models or languages), RZ-0610 (a damaged manifest).

    Any thread may ask and change. ``root`` is where uploads go: None for a mapping, which stays as it is.
    """

    def __init__(self, adapters: Path | Mapping[str, Path]) -> None:
        self.root: Path | None = None
        self._only: tuple[str, Path] | None = None  # of a service for one patient: who, and the adapter's folder
        found = self._look(adapters) if isinstance(adapters, Path) else dict(adapters)
        if not found:
            raise ResonanceError("RZ-0921", path=adapters if isinstance(adapters, Path) else "{}")
        folders = {check_patient_id(patient): folder.resolve() for patient, folder in found.items()}
        self._served = {patient: _served(folder, read_manifest(folder), 0) for patient, folder in folders.items()}
        for patient, served in self._served.items():
            if served.manifest.patient_id != patient:
                raise ResonanceError("RZ-0922", path=found[patient], given=patient, found=served.manifest.patient_id)
        like = _like_all([served.manifest for served in self._served.values()])
        self.base_model, self.language = like.base_model["name"], like.language
        self._base = _base(like)
        self._generations = count(1)
        self._changing, self._moving = Lock(), Lock()  # one change at a time; a folder moves, or is being read

    # ── What is asked ────────────────────────────────────────────────────────
    @property
    def patients(self) -> tuple[str, ...]:
        return tuple(sorted(self._served))

    @property
    def served(self) -> tuple[Served, ...]:
        """Everybody's adapter, in order of the patient ids."""
        return tuple(served for _, served in sorted(self._served.items()))

    def choose(self, patient_id: str | None, access: Access = EVERYBODY) -> str:
        """The patient that a request is for. A key for one patient names them; else nobody is a default: without an id
        there must be exactly one patient that the key speaks for.

        Raises RZ-0904 (unknown, not an id at all, not for this key, or nobody is left), RZ-0905 (no id, several
        patients).
        """
        served = self._served
        if patient_id is None:
            mine = served if access.patients is None else access.patients
            if len(mine) > 1:
                raise ResonanceError("RZ-0905", count=len(mine))
            patient_id = next(iter(mine), "–")
        if patient_id not in served or not access.covers(patient_id):
            raise _unknown(patient_id)
        return patient_id

    def folder(self, patient_id: str) -> Path:
        """The adapter folder of a patient, links resolved. Raises RZ-0904."""
        return self._of(patient_id).folder

    @contextmanager
    def reading(self, patient_id: str) -> Iterator[Path]:
        """``folder``, which stays in its place for the length of the block. Raises RZ-0904."""
        with self._moving:
            yield self.folder(patient_id)

    def manifest(self, patient_id: str) -> Manifest:
        """What the patient's adapter was made from. Raises RZ-0904."""
        return self._of(patient_id).manifest

    def generation(self, patient_id: str) -> int:
        """Another number after every change of the patient's adapter, and always a larger one. Raises RZ-0904."""
        return self._of(patient_id).generation

    # ── What an administrator changes ────────────────────────────────────────
    def install(self, bundle: Path | BinaryIO) -> Served:
        """Unpack and verify the zip of lesson 08 and let it take the place of its patient's adapter.

        Raises what ``bundles.unpack_adapter`` raises, RZ-0945 (another base model or language), RZ-0946 (no place for
        this patient), RZ-0948 (disk full). Nothing has changed when anything fails.
        """
        with self._changing, self._staging() as staging, _short_of_disk(staging):
            folder, manifest = bundles.unpack_adapter(bundle, staging / "unpacked", cache=self._cache)
            self._check_base(manifest)
            home = self._home_or_refuse(manifest.patient_id)
            make_folder(home.parent)
            with self._moving:
                put_in_place(folder, home)
                return self._serve(home, manifest)

    def reload(self, patient_id: str) -> Served:
        """Look at the patient's adapter on disk again, or for the first time: somebody trained, or copied files.

        Raises RZ-0904 (unknown, and no adapter of that name), what ``bundles.verify`` raises, RZ-0945, RZ-0947 (it is
        somebody else's). What was known before stays when anything fails.
        """
        with self._changing:
            known = self._served.get(patient_id)
            folder = known.folder if known else self._home(patient_id)
            if folder is None or not (known or (folder / MANIFEST).is_file()):
                raise _unknown(patient_id)
            if folder.resolve() != folder:  # a link now, and it may lead anywhere
                raise ResonanceError("RZ-0946", patient=patient_id)
            manifest = bundles.verify(folder, self._cache)
            if manifest.patient_id != patient_id:
                raise ResonanceError("RZ-0947", given=patient_id, found=manifest.patient_id)
            self._check_base(manifest)
            return self._serve(folder, manifest)

    def remove(self, patient_id: str) -> None:
        """Forget the patient and delete their adapter, and nothing else of theirs. Raises RZ-0904 and RZ-0946."""
        with self._changing:
            self._of(patient_id)
            home = self._home_or_refuse(patient_id)
            with self._staging() as staging:
                with self._moving:
                    with suppress(FileNotFoundError):  # somebody was faster
                        home.rename(staging / "removed")
                    self._served = {other: served for other, served in self._served.items() if other != patient_id}
                shutil.rmtree(staging)

    def _serve(self, folder: Path, manifest: Manifest) -> Served:
        served = _served(folder, manifest, next(self._generations))
        self._served = {**self._served, manifest.patient_id: served}
        return served

    def _of(self, patient_id: str) -> Served:
        try:
            return self._served[patient_id]
        except KeyError:
            raise _unknown(patient_id) from None

    def _check_base(self, manifest: Manifest) -> None:
        if _base(manifest) != self._base:
            given = f"{self.base_model} {self._base[0][:8]} ({self.language})"
            raise ResonanceError("RZ-0945", found=_said(manifest), given=given)

    @property
    def _cache(self) -> Path | None:
        """Where the service keeps a base model that it fetched."""
        return self.root / "cache" if self.root else None

    # ── On disk ──────────────────────────────────────────────────────────────
    def _look(self, adapters: Path) -> dict[str, Path]:
        """Patient id and adapter folder of each adapter below ``adapters``; what a killed process left is removed."""
        root = adapters.expanduser().resolve()
        own = next((folder for folder in (root, root / "adapter") if _is_adapter(folder, root)), None)
        self.root = own.resolve().parent if own else root
        for left in self.root.glob(f"{STAGING}*"):
            shutil.rmtree(left)
        if own is None:
            return dict(_scan(root))
        self._only = read_manifest(own).patient_id, own.resolve()
        return dict([self._only])

    def _home(self, patient_id: str) -> Path | None:
        """Where the patient's adapter belongs. None: the service is for somebody else, or the place is a link."""
        if self._only:
            return self._only[1] if self._only[0] == patient_id else None
        if self.root is None:
            return None
        try:
            folder = self.root / check_patient_id(patient_id) / "adapter"
        except ResonanceError:
            return None
        return folder if folder.resolve() == folder else None

    def _home_or_refuse(self, patient_id: str) -> Path:
        home = self._home(patient_id)
        if home is None:
            raise ResonanceError("RZ-0946", patient=patient_id)
        return home

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder on the disk of the adapters that is never taken for a patient's, and gone after the block."""
        if self.root is None:
            raise ResonanceError("RZ-0946", patient="*")
        staging = Path(tempfile.mkdtemp(dir=self.root, prefix=STAGING))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _served(folder: Path, manifest: Manifest, generation: int) -> Served:
    return Served(folder, manifest, generation, sum(file.lstat().st_size for file in folder.iterdir()))


@contextmanager
def _short_of_disk(folder: Path) -> Iterator[None]:
    """A full disk said without a path, for whoever uploads is not always whoever may know it."""
    try:
        with disk_full_is_said(folder):
            yield
    except ResonanceError as error:
        if error.code != "RZ-0004":
            raise
        raise ResonanceError("RZ-0948", free=error.facts["free"]) from error


def _unknown(patient_id: str) -> ResonanceError:
    return ResonanceError("RZ-0904", patient=patient_id[:64])


def _like_all(manifests: Iterable[Manifest]) -> Manifest:
    """One that stands for all of them, because they have one base model: its weights decide, for it has several
    names."""
    bases = {_base(manifest): manifest for manifest in manifests}
    if len(bases) > 1:
        raise ResonanceError("RZ-0927", found="; ".join(sorted(map(_said, bases.values()))))
    (like,) = bases.values()
    return like


def _base(manifest: Manifest) -> tuple[str, str]:
    return manifest.base_model["tensors_sha256"], manifest.language


def _said(manifest: Manifest) -> str:
    weights, language = _base(manifest)
    return f"{manifest.base_model['name']} {weights[:8]} ({language})"


def _scan(root: Path) -> Iterator[tuple[str, Path]]:
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        if _is_adapter(entry / "adapter", root):
            yield entry.name, entry / "adapter"


def _is_adapter(folder: Path, root: Path) -> bool:
    manifest = folder / MANIFEST
    return manifest.is_file() and manifest.resolve().is_relative_to(root)
