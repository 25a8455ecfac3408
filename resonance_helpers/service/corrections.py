"""What was meant: a person puts an answer right, and the recording becomes a labelled take for the next training.

Only where the service was started with the folder of the recordings, and only for a person whose consent.json, read
anew each time, allows corrections. Until then, or for anybody else, nothing of a request is kept. What is kept waits in
memory, for a while, and is written only when somebody says what was meant.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe

import numpy as np

from ..alike import fingerprint, same_sound
from ..audio import load
from ..consent import require_consent
from ..labels import CORRECTIONS, read_labels
from ..messages import ResonanceError
from ..settings import SAMPLE_RATE, WINDOW_LADDER_S
from ..takes import add_take
from ..utterances import Recordings
from ..workspace import Workspace
from .keys import Access

KEPT_S = 15 * 60  # as long as a conversation remembers what was said
KEPT = 64  # answers; a minute of sound each at most
LONGEST = 200  # characters of what was meant


@dataclass(frozen=True)
class _Kept:
    patient_id: str
    samples: np.ndarray
    until: float


class Corrections:
    """The last answers of those who agreed to it. ``data`` is the ``DATA_DIR`` of one patient or a folder with
    ``<patient id>/`` for each; None switches corrections off."""

    def __init__(self, data: Path | None) -> None:
        self._data = data
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, patient_id: str, samples: np.ndarray) -> str | None:
        """Remember a recording (16 kHz mono) for a while; the id of its answer. None: nothing was kept."""
        if not self._allowed(patient_id):
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
        if not self._allowed(patient_id):
            raise ResonanceError("RZ-0917")
        return list(dict.fromkeys(label.text for label in read_labels(self._workspace(patient_id).labels)))

    def drop(self, patient_id: str) -> None:
        """Forget the patient's recordings."""
        self._kept = OrderedDict((answer, kept) for answer, kept in self._kept.items() if kept.patient_id != patient_id)

    def write(self, patient_id: str, samples: np.ndarray, text: str) -> None:
        """Add the recording to the patient's folder as one more take of ``text``, to train on.

        Raises RZ-0916 when the consent was withdrawn meanwhile, and RZ-0918 for a recording that is in the folder
        already: played to the service it would be trained on twice, or, out of the test, make the next score flatter.
        """
        if not self._allowed(patient_id):
            raise ResonanceError("RZ-0916", minutes=KEPT_S // 60)
        workspace = self._workspace(patient_id)
        if (copy := _recorded_before(workspace, samples)) is not None:
            raise ResonanceError("RZ-0918", audio=copy)
        add_take(workspace, samples, text, CORRECTIONS)

    def _allowed(self, patient_id: str) -> bool:
        if self._data is None or not self._workspace(patient_id).labels.is_file():
            return False
        try:
            require_consent(self._workspace(patient_id), "corrections")
        except ResonanceError:
            return False
        return True

    def _workspace(self, patient_id: str) -> Workspace:
        assert self._data
        one = self._data if (self._data / "labels.json").is_file() else self._data / patient_id
        return Workspace(one, one, patient_id)


def _recorded_before(workspace: Workspace, samples: np.ndarray) -> str | None:
    """The recording in the patient's folder that is the very sound of ``samples``, 16 kHz mono; None where none is."""
    mine = fingerprint(samples, SAMPLE_RATE)
    for match in Recordings(workspace, {}).match(read_labels(workspace.labels)):  # our own WAVs will do, too
        try:
            other = load(workspace.data_dir / (match.source or match.label.audio), WINDOW_LADDER_S[-1])
        except (ResonanceError, OSError):  # missing, broken or too long for one phrase: lesson 05 says so
            continue
        if same_sound([fingerprint(other, SAMPLE_RATE), mine]):
            return match.label.audio
    return None
