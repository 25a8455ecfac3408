"""consent.json: who agreed to what, before a recording is used for anything.

Training on anything but the bundled sample needs it. No command waits for an answer: what is missing is said, with the
way to the form in lesson 04. A file that is not understood grants nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date as Date
from pathlib import Path
from typing import Any

from ..core.messages import ResonanceError, message
from ..core.settings import SAMPLE_PATIENT
from ..core.workspace import NotJson, Workspace, is_patient_id, read_json, write_json

VERSION = "1"  # of the form
PURPOSES = ("training", "evaluation", "serving", "corrections", "research")  # each: consent.purpose.<name>


@dataclass(frozen=True)
class Consent:
    """One consent as it was given. Raises RZ-0413 on a field that says nothing."""

    version: str
    person: str  # whose voice it is: the pseudonym, PATIENT_ID; another name says neither yes nor no, see ``names``
    given_by: str  # who signed: the person or the guardian
    relationship: str  # of given_by to the person, such as 本人 or 母亲
    assent: bool  # the person's own yes, in whatever way they can say it
    purposes: tuple[str, ...]  # of PURPOSES; others are kept and grant nothing that we ask for
    processor: str  # who handles the data, on whose computer
    date: str  # of consent, ISO 8601

    def __post_init__(self) -> None:
        _check(asdict(self), Path("consent.json"))

    def names(self, patient_id: str) -> bool | None:
        """Whether this is the patient's; None where it bears no pseudonym: a form of an earlier version may have a
        person's name, and of nobody in particular is what stands for the bundled sample."""
        person = self.person.strip()
        if person == patient_id:
            return True
        return False if is_patient_id(person) and person != SAMPLE_PATIENT else None


def read_consent(path: Path) -> Consent:
    """The consent in ``path``. Raises RZ-0411 (missing), RZ-0412 (not JSON in UTF-8), RZ-0413 (a field is wrong)."""
    if not path.is_file():
        raise ResonanceError("RZ-0411", path=path)
    try:
        fields = read_json(path)
    except NotJson as error:
        raise ResonanceError("RZ-0412", path=path, line=error.facts["line"], column=error.facts["column"]) from error
    if not isinstance(fields, dict):
        raise ResonanceError("RZ-0412", path=path, line=1, column=1)
    _check(fields, path)
    known = {key: fields[key] for key in _RULES}
    return Consent(**{**known, "version": VERSION, "purposes": tuple(known["purposes"])})


def write_consent(path: Path, consent: Consent) -> None:
    """Write consent.json whole or not at all."""
    write_json(path, asdict(consent))


def require_consent(workspace: Workspace, purpose: str = "training") -> Consent | None:
    """The consent that allows ``purpose``; None for the bundled sample, which is nobody's voice.

    Raises what ``read_consent`` raises, RZ-0414 (the purpose was not granted), RZ-0415 (the person did not agree).
    """
    if workspace.is_sample:
        return None
    consent = read_consent(workspace.consent)
    if not consent.assent:
        raise ResonanceError("RZ-0415", path=workspace.consent)
    if purpose not in consent.purposes:
        granted = [_in_words(each) for each in consent.purposes] or [message("consent.none")]
        raise ResonanceError(
            "RZ-0414",
            path=workspace.consent,
            purpose=_in_words(purpose),
            granted=" · ".join(granted),
        )
    return consent


def other_person(workspace: Workspace) -> ResonanceError | None:
    """RZ-0981 where consent.json bears another pseudonym than the patient's: perhaps another person's recordings.

    A warning and no refusal: people have several pseudonyms, and whose recordings they train on they know best. What is
    asked over the network by a key opens no such folder at all (``service.corrections``).
    """
    try:
        consent = read_consent(workspace.consent)
    except ResonanceError:  # what is missing or can't be read says nothing here
        return None
    if workspace.is_sample or consent.names(workspace.patient_id) is not False:
        return None
    return ResonanceError("RZ-0981", path=workspace.consent, found=consent.person.strip(), given=workspace.patient_id)


def _in_words(purpose: str) -> str:
    return message(f"consent.purpose.{purpose}") if purpose in PURPOSES else purpose


# ── What each field must be ──────────────────────────────────────────────────
def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_date(value: Any) -> bool:
    # Not compared with today: the clock of a rented server may be wrong, and a consent is none the worse for it.
    try:
        return bool(Date.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _are_purposes(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_is_text(each) for each in value)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (lambda value: str(value) == VERSION, "version"),  # a form written by hand may say 1
    "person": (_is_text, "text"),
    "given_by": (_is_text, "text"),
    "relationship": (_is_text, "text"),
    "assent": (lambda value: isinstance(value, bool), "boolean"),
    "purposes": (_are_purposes, "purposes"),
    "processor": (_is_text, "text"),
    "date": (_is_date, "date"),
}


def _check(fields: dict[str, Any], path: Path) -> None:
    for key, (is_right, allowed) in _RULES.items():
        if not is_right(fields.get(key)):
            raise ResonanceError(
                "RZ-0413",
                path=path,
                key=key,
                found=json.dumps(fields.get(key), ensure_ascii=False),
                allowed=message(f"consent.allowed.{allowed}", version=VERSION, purposes=", ".join(PURPOSES)),
            )
