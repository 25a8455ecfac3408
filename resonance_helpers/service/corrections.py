"""What was meant: a person puts an answer right, and the recording becomes a labelled take for the next training.

Only where the service was started with the folder of the recordings, and only for the patient whose id the consent.json
in it bears; read anew each time, it has to allow corrections. Until then, or for anybody else, nothing of a request is
kept, and nothing of the folder is told. What is kept waits in memory, for a while, and is written only when somebody
says what was meant.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_urlsafe

import numpy as np

from ..audio.decode import load, read_wav
from ..core.messages import ResonanceError
from ..core.settings import MAX_CLIP_S, SAMPLE_RATE
from ..core.workspace import Workspace
from ..dataset.consent import read_consent, require_consent
from ..dataset.duplicates import fingerprint, same_sound
from ..dataset.index import Conversion, Recordings, is_known, known_hash, read_index
from ..dataset.labels import CORRECTIONS, Label, read_labels
from ..dataset.takes import add_take
from .keys import Access

KEPT_S = 15 * 60  # as long as a conversation remembers what was said
KEPT = 64  # answers; a minute of sound each at most
LONGEST = 200  # characters of what was meant
log = logging.getLogger("resonance.service")


@dataclass(frozen=True)
class _Kept:
    patient_id: str
    samples: np.ndarray
    until: float


class Corrections:
    """The last answers of those who agreed to it. ``data`` is the ``DATA_DIR`` of one patient or a folder with
    ``<patient id>/`` for each; None switches corrections off. The operator hears of a consent.json that is of
    none of ``patients``, who are served."""

    def __init__(self, data: Path | None, patients: Iterable[str] = ()) -> None:
        self._data = data
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        for consent in _unclaimed(self._workspace(patient) for patient in patients) if data else ():
            log.warning("%s", ResonanceError("RZ-0982", path=consent))

    def keep(self, patient_id: str, samples: np.ndarray) -> str | None:
        """Remember a recording (16 kHz mono) for a while; the id of its answer. None: nothing was kept."""
        if self._open(patient_id) is None:
            return None
        now = time.monotonic()
        answer = token_urlsafe(12)
        self._kept[answer] = _Kept(patient_id, samples, now + KEPT_S)
        while len(self._kept) > KEPT or next(iter(self._kept.values())).until < now:
            self._kept.popitem(last=False)
        return answer

    def take(self, answer: str, access: Access) -> tuple[str, np.ndarray]:
        """The patient and the recording of an answer, which is then forgotten here.

        Raises RZ-0917 (switched off) and RZ-0916 (unknown, too old, put right already, or of a patient that the key
        does not speak for).
        """
        if self._data is None:
            raise ResonanceError("RZ-0917")
        kept = self._kept.get(answer)
        if kept is None or kept.until < time.monotonic() or not access.covers(kept.patient_id):
            raise ResonanceError("RZ-0916", minutes=KEPT_S // 60)
        del self._kept[answer]
        return kept.patient_id, kept.samples

    def phrases(self, patient_id: str) -> list[str]:
        """What the patient has recorded, each phrase once. Raises RZ-0917 without their consent to corrections."""
        workspace = self._open(patient_id)
        if workspace is None:
            raise ResonanceError("RZ-0917")
        return list(dict.fromkeys(label.text for label in read_labels(workspace.labels)))

    def drop_absent(self, present: Collection[str]) -> None:
        """Forget the recordings of patients who are not ``present``."""
        self._kept = OrderedDict((answer, kept) for answer, kept in self._kept.items() if kept.patient_id in present)

    def write(self, patient_id: str, samples: np.ndarray, text: str) -> None:
        """Add the recording to the patient's folder as one more take of ``text``, to train on.

        Raises RZ-0916 when the consent was withdrawn meanwhile, and RZ-0918 for a recording that is in the folder
        already: played to the service it would be trained on twice, or, out of the test, make the next score flatter.
        """
        workspace = self._open(patient_id)
        if workspace is None:
            raise ResonanceError("RZ-0916", minutes=KEPT_S // 60)
        add_take(workspace, samples, text, CORRECTIONS, partial(_refuse_copy, workspace, samples))

    def _open(self, patient_id: str) -> Workspace | None:
        """The patient's recordings; None where there are none, or none that their consent opens."""
        if self._data is None or not self._workspace(patient_id).labels.is_file():
            return None
        workspace = self._workspace(patient_id)
        try:
            consent = require_consent(workspace, "corrections")
        except ResonanceError:
            return None
        return workspace if consent and consent.names(patient_id) else None

    def _workspace(self, patient_id: str) -> Workspace:
        """Where the patient's recordings would lie; whose they are, ``_open`` sees."""
        assert self._data
        one = self._data if (self._data / "labels.json").is_file() else self._data / patient_id
        return Workspace(one, one, patient_id)


def _unclaimed(workspaces: Iterable[Workspace]) -> list[Path]:
    """Each consent.json of theirs that is of none of them."""
    claims: dict[Path, list[bool]] = {}
    for workspace in workspaces:
        with suppress(ResonanceError):  # none yet, or none that is understood: it opens nothing to anybody
            is_theirs = read_consent(workspace.consent).names(workspace.patient_id) is True
            claims.setdefault(workspace.consent, []).append(is_theirs)
    return [consent for consent, are_theirs in claims.items() if not any(are_theirs)]


def _refuse_copy(workspace: Workspace, samples: np.ndarray, labels: Sequence[Label]) -> None:
    """RZ-0918 where a recording in the patient's folder is the very sound of ``samples``, 16 kHz mono."""
    mine, index = fingerprint(samples, SAMPLE_RATE), _index(workspace)
    for match in Recordings(workspace, {}).match(labels):  # our own WAVs will do, too
        source = match.source or match.label.audio
        entry = index.get(source)
        try:
            if entry and _is_converted(workspace, entry):
                other = read_wav(workspace.data_dir / entry.wav)  # nothing is decoded
            else:
                other = load(workspace.data_dir / source, MAX_CLIP_S)
        except (ResonanceError, OSError):  # missing, broken or too long for one phrase: lesson 05 says so
            continue
        if same_sound([fingerprint(other, SAMPLE_RATE), mine]):
            raise ResonanceError("RZ-0918", audio=match.label.audio)


def _index(workspace: Workspace) -> dict[str, Conversion]:
    with suppress(ResonanceError):  # a damaged index: lesson 05 says so, and the recordings are decoded
        return read_index(workspace)
    return {}


def _is_converted(workspace: Workspace, entry: Conversion) -> bool:
    """Whether the WAV of ``entry`` is there, is ours, and is that of the source as it is now."""
    wav = workspace.data_dir / entry.wav
    if not entry.wav or not wav.is_file() or not is_known(workspace.data_dir / entry.source, entry.source_stamp):
        return False
    return known_hash(wav, entry.wav_sha256, entry.wav_stamp) == entry.wav_sha256
