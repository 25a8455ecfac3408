"""All folders of a person at once: what there is, removing it, and saying so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

from ...core.messages import ResonanceError, message
from ...core.settings import SAMPLE_PATIENT
from ...core.workspace import NOTEBOOKS_DIR, Workspace, check_patient_id, megabytes, write_json
from ...service.keys import KEYS_FILE, StoredKey, read_keys, withdraw
from . import lessons as course
from .disk import Failures, attempt, exists, folders_in, is_link, unlink
from .folders import (
    BASE_MODELS,
    MANIFEST,
    MARKER,
    OUTPUT,
    RECORDINGS,
    STAGING,
    Piece,
    Role,
    Survey,
    last_run,
    loose_pieces,
    patient_of,
    stagings,
)

# the order of removal, which lists keep: no voice is answered with first, consent goes last
KINDS = ("adapter", "recordings", "runs", "export", "reports", "notebooks", "cache", "keys", "labels", "consent")
_PLACE = {kind: place for place, kind in enumerate((*KINDS, "marker"))}


@dataclass(frozen=True)
class Found:
    """What is kept of a person. ``keys`` of services for several people, by file; ``lessons`` are saved notebooks of
    the course that show something of theirs; ``left`` is in their folders and stays; ``absent`` folders are not there;
    ``elsewhere`` is a DATA_DIR of theirs that was not given; ``unseen``: they were trained or tested, and
    it was not given where the recordings lie."""

    patient_id: str
    pieces: tuple[Piece, ...]
    keys: tuple[tuple[Path, tuple[StoredKey, ...]], ...]
    lessons: tuple[Path, ...]
    left: tuple[Path, ...]
    absent: tuple[Path, ...]
    elsewhere: tuple[Path, ...]
    unseen: bool

    @property
    def is_empty(self) -> bool:
        return not (self.pieces or self.keys or self.lessons)

    @property
    def lines(self) -> tuple[str, ...]:
        """What would be removed and what would stay, as sentences."""
        title = "forget.nothing" if self.is_empty else "forget.would"
        return (message(title, patient=self.patient_id), *_listing(self), *_staying(self))


@dataclass(frozen=True)
class Removed:
    """``gone`` is what was removed, and what stays; ``failed``: what could not be removed, with the system's reason."""

    gone: Found
    failed: tuple[tuple[Path, str], ...]
    is_complete: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """The receipt: folders and counts, and no phrase but in the name of a file that stays."""
        title = "forget.nothing" if self.gone.is_empty else "forget.removed"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        ended = any(piece.kind == "consent" for piece in self.gone.pieces)
        return (
            message(title, patient=self.gone.patient_id, time=now),
            *_listing(self.gone),
            *(message("forget.failed", path=path, reason=reason) for path, reason in self.failed),
            *([message("forget.consent_ended")] if ended else []),
            message("forget.service"),
            *_staying(self.gone),
            message("forget.out_of_reach"),
        )


@dataclass(frozen=True)
class Erasure:
    """Everything of ``patient_id`` in their folders. ``data`` and ``output`` are DATA_DIR and OUTPUT_DIR, ``adapters``
    the folders that services serve; ``lessons`` is where the notebooks of the course lie.

    Raises RZ-0002 for a patient id that can't be one.
    """

    patient_id: str
    data: Path | None = None
    output: Path | None = None
    adapters: tuple[Path, ...] = ()
    lessons: Path = NOTEBOOKS_DIR

    def __post_init__(self) -> None:
        check_patient_id(self.patient_id)

    @classmethod
    def of(cls, workspace: Workspace) -> Erasure:
        """Of one workspace, as a lesson has it."""
        return cls(workspace.patient_id, workspace.data_dir, workspace.output_dir)

    def look(self) -> Found:
        """What is there now. Changes nothing.

        Raises RZ-1801 (a folder that is more than one person's), RZ-1802 (somebody else's), RZ-1803 (it does not say
        whose), RZ-1804 (others' folders are in it), RZ-1806 (can't be read) and RZ-0928 (a file of keys that can't).
        """
        surveys = self._surveys()
        for survey in surveys:
            survey.refuse(self._data_of)
        return self._found(surveys)

    def remove(self) -> Removed:
        """Remove what is here. A running service notices within seconds that the adapter is gone and frees it.

        What can't be removed is named and the rest goes on. Raises what ``look`` raises, before anything has changed.
        """
        found = now = self.look()
        self._mark(found)
        failed: Failures = {}
        pieces: dict[Path, Piece] = {}
        for _ in range(2):  # what was written meanwhile is found by looking again
            pieces |= {piece.path: piece for piece in now.pieces if piece.kind != "marker"}
            self._remove(now, failed)
            now = self._found(self._surveys())
        for home in self._homes:
            if not any(path.is_relative_to(home) for path in failed):
                attempt(partial(unlink, home / MARKER), home / MARKER, failed)
        self._prune(pieces)
        gone = Found(
            patient_id=self.patient_id,
            pieces=tuple(piece for piece in pieces.values() if not exists(piece.path)),
            keys=tuple(keys for keys in found.keys if keys not in now.keys),
            lessons=tuple(path for path in found.lessons if path not in now.lessons),
            left=tuple(path for path in (*now.left, *now.lessons) if exists(path)),
            absent=found.absent,
            elsewhere=found.elsewhere,
            unseen=found.unseen,
        )
        complete = not (failed or found.elsewhere or found.unseen)
        return Removed(gone, tuple(sorted(failed.items())), complete)

    # ── Where to look ────────────────────────────────────────────────────────
    @cached_property
    def _served(self) -> tuple[Path, ...]:
        return tuple(folder.expanduser().resolve() for folder in self.adapters)

    @cached_property
    def _homes(self) -> dict[Path, set[Role]]:
        """The person's folders and what each is."""
        homes: dict[Path, set[Role]] = {}
        named: tuple[tuple[Path | None, Role], ...] = ((self.data, "data"), (self.output, "output"))
        given = ((folder.expanduser().resolve(), role) for folder, role in named if folder)
        served = (found for folder in self._served for found in self._in_served(folder))
        for home, role in (*given, *served):
            homes.setdefault(home, set()).add(role)
        return homes

    def _in_served(self, folder: Path) -> Iterator[tuple[Path, Role]]:
        """The folders of the person below a served one, in each layout that ``service.registry`` reads."""
        if (folder / MANIFEST).is_file():
            yield folder, "adapter"
        elif (folder / "adapter" / MANIFEST).is_file():
            yield folder, "output"
        else:
            for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
                is_theirs = entry.name == self.patient_id or patient_of(entry / "adapter") == self.patient_id
                if is_theirs and entry.is_dir() and not is_link(entry):
                    yield entry, "output"

    @cached_property
    def _of_many(self) -> tuple[Path, ...]:
        """Folders that may hold something of several people: the served ones, and the one around OUTPUT_DIR."""
        around = [self.output.expanduser().resolve().parent] if self.output else []
        return tuple(folder for folder in dict.fromkeys((*self._served, *around)) if folder not in self._homes)

    @cached_property
    def _data_of(self) -> dict[Path, str]:
        runs = [run for home, roles in self._homes.items() if "output" in roles and (run := last_run(home))]
        return {Path(run["DATA_DIR"]).resolve(): run["PATIENT_ID"] for run in runs if run["DATA_DIR"]}

    @cached_property
    def _mentioned(self) -> course.Mentioned:
        return course.mentions(self.patient_id, tuple(self._homes))

    # ── What is there ────────────────────────────────────────────────────────
    def _surveys(self) -> list[Survey]:
        return [Survey(home, roles, self.patient_id, self._homes) for home, roles in self._homes.items()]

    def _found(self, surveys: Iterable[Survey]) -> Found:
        loose = (piece for folder in self._of_many for piece in loose_pieces(folder, self.patient_id))
        pieces = {piece.path: piece for piece in (*(piece for survey in surveys for piece in survey.pieces), *loose)}
        folders = dict.fromkeys((*self._homes, *self._served))
        known = dict.fromkeys((*self._data_of, *course.data_folders(self.lessons, self.patient_id)))
        elsewhere = tuple(path for path in known if path not in self._homes and path.is_dir())
        return Found(
            patient_id=self.patient_id,
            pieces=tuple(sorted(pieces.values(), key=_order)),
            keys=tuple(self._keys()),
            lessons=() if self.patient_id == SAMPLE_PATIENT else tuple(course.saved(self.lessons, self._mentioned)),
            left=tuple(sorted({path for survey in surveys for path in survey.left})),
            absent=tuple(folder for folder in folders if not folder.is_dir()),
            elsewhere=elsewhere,
            unseen=bool(self.output and pieces) and not (self.data or elsewhere),
        )

    def _keys(self) -> Iterator[tuple[Path, tuple[StoredKey, ...]]]:
        """The person's keys in files that are not theirs alone."""
        for folder in self._of_many:
            keys = read_keys(folder / KEYS_FILE)
            if mine := tuple(key for key in keys if self.patient_id in (key.patients or ())):
                yield folder / KEYS_FILE, mine

    # ── Removing ─────────────────────────────────────────────────────────────
    def _mark(self, found: Found) -> None:
        """Write into each folder whose it is, and which recordings lie where only labels.json knew."""
        for home in self._homes:
            inside = [piece for piece in found.pieces if piece.path.is_relative_to(home)]
            names = [each.path.relative_to(home).as_posix() for each in inside if each.kind == "recordings"]
            if inside:
                with suppress(OSError, ResonanceError):  # nothing can be written: what can go, goes
                    write_json(home / MARKER, {"patient_id": self.patient_id, "recordings": names})

    def _remove(self, found: Found, failed: Failures) -> None:
        for piece in found.pieces:
            if piece.kind != "marker":
                attempt(partial(unlink, piece.path), piece.path, failed)
        for file, _ in found.keys:
            attempt(partial(withdraw, file, self.patient_id), file, failed)
        for notebook in found.lessons:
            attempt(partial(course.clear, notebook, self._mentioned), notebook, failed)

    def _prune(self, removed: Iterable[Path]) -> None:
        """Remove the folders that are empty now, and no others."""
        emptied = {folder for path in removed for folder in path.parents if self._is_inside(folder)}
        ours = {home / name for home in self._homes for name in (*RECORDINGS, *OUTPUT)}
        staged = (staging for folder in self._of_many for staging in stagings(folder))
        ours |= {folder for staging in staged for folder in staging.glob(f"**/{self.patient_id}-adapter")}
        below = {folder for top in ours for folder in folders_in(top)}
        for folder in sorted(emptied | ours | below, key=lambda path: -len(path.parts)):
            with suppress(OSError):
                folder.rmdir()

    def _is_inside(self, folder: Path) -> bool:
        return any(folder.is_relative_to(home) for home in self._homes) or any(
            part.startswith(STAGING) for part in folder.parts
        )


def _order(piece: Piece) -> tuple[int, str, bool, str]:
    # within an adapter the manifest goes first, and nothing takes the rest for an adapter any more; what a service left
    # half done is known by its manifest alone
    is_manifest, is_staged = piece.path.name == MANIFEST, piece.shown.name.startswith(STAGING)
    return _PLACE[piece.kind], str(piece.shown), is_manifest == is_staged, str(piece.path)


# ── In words ─────────────────────────────────────────────────────────────────
def _listing(found: Found) -> Iterator[str]:
    """A line for each kind and place: what, how many files, how large, where."""
    counted = [piece for piece in found.pieces if piece.kind != "marker" and piece.target is None]
    for (kind, shown), group in groupby(sorted(counted, key=_order), key=lambda each: (each.kind, each.shown)):
        sizes = [piece.bytes for piece in group]
        what = message(f"forget.kind.{kind}")
        yield message("forget.row", what=what, n=len(sizes), size=megabytes(sum(sizes)), path=shown)
    for piece in found.pieces:
        if piece.target is not None:
            yield message("forget.link", path=piece.path, target=piece.target)
    for file, keys in found.keys:
        for key in keys:
            lost = "revoked" if len(key.patients or ()) == 1 else "narrowed"
            yield message(f"forget.key.{lost}", id=key.id, path=file)
    for path in found.lessons:
        yield message("forget.lesson", path=path)


def _staying(found: Found) -> Iterator[str]:
    for path in found.left:
        what = "base_model" if path.as_posix().endswith(str(BASE_MODELS)) else "left"
        yield message(f"forget.{what}", path=path)
    for path in found.absent:
        yield message("forget.absent", path=path)
    for path in found.elsewhere:
        yield message("forget.elsewhere", path=path)
    if found.unseen:
        yield message("forget.unseen")
