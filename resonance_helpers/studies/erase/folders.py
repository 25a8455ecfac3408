"""One folder of a person: what in it is theirs, what says so, and what is not to be touched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ...core.messages import ResonanceError
from ...core.workspace import INCOMING, LONG_RECORDINGS, REPOSITORY, Workspace, check_patient_id
from ...dataset.consent import read_consent
from ...dataset.index import is_named_as_recording, is_recording, read_index
from ...dataset.labels import read_labels
from ...service.keys import KEYS_FILE
from .disk import is_link, read_object

Role = Literal["data", "output", "adapter"]

MARKER = ".forgetting.json"  # says whose folder it is while its other signs are going
RECORDINGS = ("audio", "audio_raw", LONG_RECORDINGS, INCOMING)
DATA = {"phrases.csv": "labels", "labels.json": "labels", "consent.json": "consent", MARKER: "marker"}
OUTPUT = {
    "adapter": "adapter",
    "runs": "runs",
    "learning_curve": "runs",
    "cross_validation": "runs",
    "export": "export",
    "notebooks": "notebooks",
    "cache": "cache",
    "sample_data": "recordings",
    "recorder_practice": "recordings",
    "report.json": "reports",
    "report.html": "reports",
    "reading_list.html": "labels",
    "summary.json": "reports",
    KEYS_FILE: "keys",
    MARKER: "marker",
}
BASE_MODELS = PurePosixPath("cache/base_models")  # public weights, no person's voice
STAGING = (".staging-", ".import-")  # where the service and lesson 08 unpack an adapter
MANIFEST = "resonance.json"  # ``adapter.MANIFEST``; that module would bring torch
_OF_AN_ADAPTER = (".json", ".safetensors", ".txt")
_OF_SOMEBODY = ("labels.json", "consent.json", MANIFEST, f"adapter/{MANIFEST}")
_REPOSITORY_PARTS = ("notebooks", "resonance_helpers", "data_sample", "tests", "benchmarks", "docs", ".git", ".ci")
_LISTS_OF_NAMES = (".DS_Store", "Thumbs.db", "desktop.ini")  # a system's own, of the files beside them
_TEMPORARY = re.compile(r"\.(.{1,40}?)\.(?:lock|[a-z0-9_]{8}(?:\.\w+)*)")  # what ``workspace.replacing`` leaves


@dataclass(frozen=True)
class Piece:
    """A file or a link to be removed. ``shown`` stands for it in lists, for a file's name may be a phrase; ``target``
    is where a link leads."""

    path: Path
    kind: str
    shown: Path
    bytes: int
    target: Path | None = None


def piece(path: Path, kind: str, shown: Path) -> Piece:
    """The piece at ``path``, measured."""
    if is_link(path):
        return Piece(path, kind, shown, 0, path.readlink())
    return Piece(path, kind, shown, path.lstat().st_size)


class Survey:
    """What lies in ``home``: DATA_DIR, OUTPUT_DIR or an adapter's folder of ``patient_id``, or several of these in one.

    ``pieces`` are to be removed, ``left`` stays. ``homes`` are all folders that are looked at, each by itself. Raises
    RZ-1801 (more than one person's) and RZ-1806 (can't be read).
    """

    def __init__(self, home: Path, roles: Iterable[Role], patient_id: str, homes: Iterable[Path]) -> None:
        self.home, self.patient_id = home, patient_id
        self.pieces: list[Piece] = []
        self.left: list[Path] = []
        self._roles, self._homes = set(roles), set(homes)
        self._others: list[Path] = []  # folders in it that look like another person's data or output
        self._marked = read_object(home / MARKER)
        if _is_too_much(home):
            raise ResonanceError("RZ-1801", path=home)
        self._named = self._named_recordings() if "data" in self._roles else set()
        if home.is_dir():
            self._look(home)

    def refuse(self, data_of: Mapping[Path, str]) -> None:
        """Raises RZ-1802 (somebody else's), RZ-1803 (it does not say whose) and RZ-1804 (others' folders are in it).

        ``data_of``: DATA_DIR → patient, as the summaries of the output folders have it.
        """
        if self._others:
            names = "  ".join(str(path) for path in self._others[:5])
            raise ResonanceError("RZ-1804", path=self.home, folders=names)
        signs = dict(self._signs(data_of)) if self.pieces else {}
        for sign, patient in signs.items():
            if patient != self.patient_id:
                raise ResonanceError("RZ-1802", path=self.home, sign=sign, found=patient, given=self.patient_id)
        if self.pieces and not signs and self.home.name != self.patient_id:
            raise ResonanceError("RZ-1803", path=self.home, patient=self.patient_id)

    def _signs(self, data_of: Mapping[Path, str]) -> Iterator[tuple[str, str]]:
        """(what says it, the pseudonym that it says)."""
        if self._marked:
            yield MARKER, str(self._marked.get("patient_id"))
        for folder in ("adapter", "."):
            if patient := patient_of(self.home / folder):
                yield str(Path(folder) / MANIFEST), patient
        if "output" in self._roles and (given := last_run(self.home)):
            yield "summary.json", given["PATIENT_ID"]
        if "data" in self._roles:
            if self.home in data_of:
                yield "OUTPUT_DIR/summary.json", data_of[self.home]
            with suppress(ResonanceError):  # a name instead of a pseudonym says neither yes nor no
                yield "consent.json", check_patient_id(read_consent(self.home / "consent.json").person)

    def _named_recordings(self) -> set[str]:
        """Recordings that only labels.json, the index of lesson 05 or an interrupted run know to be ours."""
        workspace = Workspace(self.home, self.home, self.patient_id)
        names = {str(name) for name in self._marked.get("recordings", ())}
        with suppress(ResonanceError):  # labels that can't be read name nothing; they go nevertheless
            names |= {label.audio for label in read_labels(workspace.labels)}
        with suppress(ResonanceError):
            names |= {name for each in read_index(workspace).values() for name in (each.source, each.wav) if name}
        return names

    # ── Walking ──────────────────────────────────────────────────────────────
    def _look(self, folder: Path) -> None:
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise ResonanceError("RZ-1806", path=folder, reason=error.strerror or error) from error
        for entry in entries:
            if entry in self._homes:
                continue
            if is_link(entry) or not entry.is_dir():
                self._sort(entry)
            elif self._is_somebodys(entry):
                self._others.append(entry)
            else:
                self._look(entry)

    def _sort(self, path: Path) -> None:
        relative = PurePosixPath(path.relative_to(self.home).as_posix())
        kind = self._kind(relative)
        if kind:
            self.pieces.append(piece(path, kind, self._shown(path, kind)))
        else:
            self.left.append(self._shown_as_left(path, relative))

    def _is_somebodys(self, folder: Path) -> bool:
        if self._kind(PurePosixPath(folder.relative_to(self.home).as_posix()) / "x.wav"):
            return False
        return any((folder / sign).exists() for sign in _OF_SOMEBODY)

    # ── What a file is ───────────────────────────────────────────────────────
    def _kind(self, relative: PurePosixPath) -> str | None:
        """What to call the file ``relative`` of the folder, None where it is not ours to remove."""
        meant = _original(relative)
        top, alone = _plain(meant.parts[0]), len(meant.parts) == 1
        if "data" in self._roles and (kind := self._kind_of_data(relative, meant, top)):
            return kind
        if "output" in self._roles and not meant.is_relative_to(BASE_MODELS):
            if top.startswith(STAGING):
                return "adapter"
            if top in OUTPUT:
                return OUTPUT[top]
        is_adapters = meant.suffix in _OF_AN_ADAPTER or meant.name in ("SHA256SUMS", "README.md")
        return "adapter" if "adapter" in self._roles and alone and is_adapters else None

    def _kind_of_data(self, relative: PurePosixPath, meant: PurePosixPath, top: str) -> str | None:
        alone, name = len(meant.parts) == 1, meant.name
        lists_names = name in _LISTS_OF_NAMES or name.startswith("._")
        is_index = top == "audio" and _plain(name) == "conversion.json"
        # zips and their labels, too
        is_to_take_in = top == INCOMING and (meant.suffix.lower() == ".zip" or name == "labels.json")
        is_in_place = alone or top in RECORDINGS
        if meant.as_posix() in self._named or (is_in_place and (lists_names or is_index or is_to_take_in)):
            return "recordings"
        path = self.home / relative
        if is_in_place and (is_named_as_recording(name) or (not is_link(path) and is_recording(path))):
            return "recordings"
        if alone and top in RECORDINGS:  # a link that stands for the whole folder
            return "recordings"
        return DATA.get(top) if alone else None

    def _shown(self, path: Path, kind: str) -> Path:
        """The folder of a recording, for its name is often a phrase; of what is ours the topmost name says enough."""
        if "data" in self._roles and kind == "recordings":
            return path.parent
        return self.home / path.relative_to(self.home).parts[0]

    def _shown_as_left(self, path: Path, relative: PurePosixPath) -> Path:
        if relative.is_relative_to(BASE_MODELS):
            return self.home / BASE_MODELS
        return path if relative.parts[0] in RECORDINGS else self.home / relative.parts[0]


def patient_of(adapter: Path) -> str:
    """Whose adapter lies in the folder ``adapter``; empty where none does."""
    return str(read_object(adapter / MANIFEST).get("patient_id") or "")


def last_run(output: Path) -> dict[str, str]:
    """PATIENT_ID and DATA_DIR of the last run of lessons into ``output``; empty where there was none."""
    given = read_object(output / "summary.json").get("parameters")
    if not isinstance(given, dict) or not given.get("PATIENT_ID"):
        return {}
    return {name: str(given.get(name) or "") for name in ("PATIENT_ID", "DATA_DIR")}


def loose_pieces(folder: Path, patient_id: str) -> Iterator[Piece]:
    """In a folder of many: the person's place where that is a link; their adapter where a killed process left it."""
    if is_link(folder / patient_id):
        yield piece(folder / patient_id, "adapter", folder / patient_id)
    for staging in stagings(folder):
        if any(patient_of(manifest.parent) == patient_id for manifest in staging.rglob(MANIFEST)):
            yield from (
                piece(path, "adapter", staging) for path in staging.rglob("*") if not path.is_dir() or is_link(path)
            )


def stagings(folder: Path) -> Iterator[Path]:
    """Where adapters are being unpacked in ``folder``, or were when a process was killed."""
    for prefix in STAGING:
        yield from folder.glob(f"{prefix}*")


def _is_too_much(folder: Path) -> bool:
    """A whole disk, a home folder, the repository, or a part of it that is no workspace."""
    if any(home.is_relative_to(folder) for home in (Path(folder.anchor), Path.home().resolve(), REPOSITORY)):
        return True
    return folder.is_relative_to(REPOSITORY) and folder.relative_to(REPOSITORY).parts[0] in _REPOSITORY_PARTS


def _original(relative: PurePosixPath) -> PurePosixPath:
    """What a copy of Jupyter's was copied from, or ``relative`` itself."""
    if ".ipynb_checkpoints" not in relative.parts:
        return relative
    folders = (part for part in relative.parts[:-1] if part != ".ipynb_checkpoints")
    return PurePosixPath(*folders, relative.name.replace("-checkpoint", "", 1))


def _plain(name: str) -> str:
    """The name that a temporary or lock file of ours stands for, or ``name`` itself."""
    ours = _TEMPORARY.fullmatch(name)
    return ours[1] if ours else name
