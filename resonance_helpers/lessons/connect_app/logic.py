"""Lesson 10 tries a correction on a copy of the recordings, so that nothing is added to the person's own."""

from __future__ import annotations

import shutil
from dataclasses import replace

from ...client import ResonanceClient, Transcript
from ...core.settings import SAMPLE_PATIENT
from ...core.workspace import Workspace, make_folder
from ...dataset.consent import read_consent, write_consent
from ...dataset.index import Recordings, Utterance
from ...dataset.labels import read_labels, write_labels


def copy_without(workspace: Workspace, clip: Utterance) -> Workspace:
    """A copy of the recordings in ``workspace.cache`` but for ``clip``, with the same consent; replaces the last copy.

    Remove it with ``shutil.rmtree(copy.data_dir.parent)``.
    """
    folder = workspace.cache / "practice_copy"
    shutil.rmtree(folder, ignore_errors=True)
    copy = Workspace(folder / "data", folder / "output", workspace.patient_id)
    labels = [label for label in read_labels(workspace.labels) if label.audio != clip.audio]
    for match in Recordings(workspace).match(labels):
        names = (name for name in (match.label.audio, match.source) if name)
        if name := next((name for name in names if (workspace.data_dir / name).is_file()), None):
            make_folder((copy.data_dir / name).parent)
            shutil.copy(workspace.data_dir / name, copy.data_dir / name)
    write_labels(copy.labels, labels)
    if workspace.consent.exists():
        shutil.copy(workspace.consent, copy.consent)
        given = read_consent(copy.consent)
        if given.person == SAMPLE_PATIENT:  # the sample is synthetic and may be rehearsed with under any id
            write_consent(copy.consent, replace(given, person=workspace.patient_id))
    return copy


def correct(app: ResonanceClient, answer: Transcript, text: str) -> None:
    """Send what was meant; nothing where the service kept no recording, because the consent does not allow it."""
    if answer.answer:
        app.correct(answer.answer, text)
