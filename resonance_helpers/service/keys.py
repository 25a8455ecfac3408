"""Who may ask, and for whom: keys of which only a hash is kept, each limited to its patients.

Three kinds of key. The one that a service is started with speaks for every patient. The others stand in
``service-keys.json`` in the served folder: a *header* key is sent as ``Authorization: Bearer …``; an *address* key
belongs to one patient and stands in the path (``/k/<key>/transcribe``), for an app that has a field for the address and
nothing else. Neither is accepted in the place of the other. The file is read again
when it changes, so that a revoked key is refused from the next request on.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..core.messages import ResonanceError
from ..core.workspace import check_patient_id, locked, read_json, remove_leftovers, write_json

KEYS_FILE = "service-keys.json"
KEY_LENGTH = 16  # characters; the ones that are made here have 43
SCHEMA = 1
_KEY = re.compile(rf"[!-~]{{{KEY_LENGTH},}}")

Place = Literal["header", "address"]
log = logging.getLogger("resonance.service")


@dataclass(frozen=True)
class Access:
    """What a key allows. ``patients`` None: everybody that the service answers for."""

    patients: frozenset[str] | None = None

    def covers(self, patient_id: str) -> bool:
        return self.patients is None or patient_id in self.patients


EVERYBODY = Access()
NOBODY = Access(frozenset())  # of a request without a key


@dataclass(frozen=True)
class StoredKey:
    """One key of the file. ``id`` names it where it is listed and revoked; the key itself is nowhere."""

    id: str
    sha256: str
    patients: tuple[str, ...] | None
    place: Place
    made: str  # ISO 8601, UTC
    note: str = ""

    def __post_init__(self) -> None:
        """ValueError for a value that ``make_key`` can't have written."""
        ids = self.patients or ()
        good = len(bytes.fromhex(self.sha256)) == hashlib.sha256().digest_size and self.place in ("header", "address")
        if not (good and all(isinstance(patient, str) for patient in ids)):
            raise ValueError(self.id)

    @property
    def access(self) -> Access:
        return Access(None if self.patients is None else frozenset(self.patients))


class Keyring:
    """The keys of one service: ``first`` (that of its start, or none) and those of ``file``.

    Raises RZ-0924 for a ``first`` that is short or can't stand in a header, RZ-0928 for a file that can't be read.
    """

    def __init__(self, first: str = "", file: Path | None = None) -> None:
        if first and not _KEY.fullmatch(first):
            raise ResonanceError("RZ-0924", length=KEY_LENGTH)
        self._first = ((_digest(first), "header", EVERYBODY),) if first else ()
        self._file = file
        self._stamp = _stamp(file)
        self._stored = _entries(file)

    def access(self, key: str, place: Place) -> Access | None:
        """What ``key``, found at ``place``, allows; None for a stranger. Every stored hash is compared, in constant
        time each."""
        self._look_again()
        digest, found = _digest(key), None
        for known, where, access in (*self._first, *self._stored):
            if hmac.compare_digest(known, digest) and where == place:
                found = access
        return found

    def _look_again(self) -> None:
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._stored = _entries(self._file)
        except ResonanceError as error:
            log.error("%s", error)
            self._stored = ()  # it is unknown which keys are good


# ── The file ─────────────────────────────────────────────────────────────────
def new_key() -> str:
    """A key of 256 random bits."""
    return secrets.token_urlsafe(32)


def make_key(
    file: Path, patients: Sequence[str] | None, place: Place = "header", note: str = ""
) -> tuple[StoredKey, str]:
    """Make a key and keep its hash in ``file``; the key itself is returned and can't be had again.

    ``patients`` None stands for everybody. Raises RZ-0002 (a patient id), RZ-0929 (an address key for any number of
    patients but one) and RZ-0928.
    """
    if place == "address" and (patients is None or len(patients) != 1):
        raise ResonanceError("RZ-0929")
    key = new_key()
    stored = StoredKey(
        id=secrets.token_hex(4),
        sha256=_digest(key).hex(),
        patients=None if patients is None else tuple(check_patient_id(patient) for patient in patients),
        place=place,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        note=note,
    )
    with _changing(file) as keys:
        keys.append(stored)
    return stored, key


def revoke_key(file: Path, key_id: str) -> StoredKey:
    """Take a key out of ``file``. Raises RZ-0930 when none is called ``key_id``, and RZ-0928."""
    with _changing(file) as keys:
        found = next((key for key in keys if key.id == key_id), None)
        if found is None:
            raise ResonanceError("RZ-0930", id=key_id, known=", ".join(key.id for key in keys) or "–")
        keys.remove(found)
    return found


def withdraw(file: Path, patient_id: str) -> None:
    """Let no key of ``file`` name the patient any more: theirs alone are revoked, others lose them. Raises RZ-0928."""
    with _changing(file) as keys:
        kept = [key for key in keys if key.patients != (patient_id,)]
        others = [key.patients and tuple(each for each in key.patients if each != patient_id) for key in kept]
        keys[:] = [replace(key, patients=patients) for key, patients in zip(kept, others, strict=True)]


def read_keys(file: Path) -> tuple[StoredKey, ...]:
    """The keys of ``file``, the oldest first; none where there is no file. Raises RZ-0928 when it can't be read."""
    if not file.exists():
        return ()
    try:
        content = read_json(file)
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        return tuple(map(_stored, content["keys"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResonanceError("RZ-0928", path=file, detail=f"{type(error).__name__}: {error}") from error


def _stored(entry: dict[str, Any]) -> StoredKey:
    patients = entry["patients"]
    known = {name: value for name, value in entry.items() if name != "admin"}  # as earlier versions wrote it
    return StoredKey(**known | {"patients": None if patients is None else tuple(patients)})


@contextmanager
def _changing(file: Path) -> Iterator[list[StoredKey]]:
    """The keys of ``file``, to be changed in place while everybody else who changes them waits. They are written when
    the block ends well; a file without a key goes. Raises RZ-0928 and what ``workspace.locked`` raises."""
    with locked(file):
        remove_leftovers(file)
        keys = list(read_keys(file))
        yield keys
        if keys:
            write_json(file, {"schema": SCHEMA, "keys": [asdict(key) for key in keys]})
        else:
            file.unlink(missing_ok=True)


def _entries(file: Path | None) -> tuple[tuple[bytes, Place, Access], ...]:
    keys = read_keys(file) if file else ()
    return tuple((bytes.fromhex(key.sha256), key.place, key.access) for key in keys)


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """Changes when the file does: it is always replaced, never written in place."""
    try:
        status = file.stat() if file else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
