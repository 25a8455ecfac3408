"""The whole way once: said → service → text → put right → in what the next training learns.

Every part is the real one: the service is a process of its own, the recording goes over HTTP as an app sends it, and
the next training is asked which recordings it would take. Only the data are a copy, made in OUTPUT_DIR and deleted at
the end, so that trying it adds nothing to anybody's recordings.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from .. import service
from ..client import ResonanceClient
from ..core.settings import SAMPLE_PATIENT, TrainingSettings
from ..core.workspace import Workspace, make_folder
from ..dataset.consent import read_consent, write_consent
from ..dataset.index import Recordings, Utterance, load_utterances
from ..dataset.labels import read_labels, write_labels
from ..dataset.splits import Split, split_utterances
from ..lessons.connect_app.charts import WholeWay
from ..lessons.convert_audio import logic as conversion
from ..lessons.test_model import logic as evaluation


def whole_way(workspace: Workspace, base_model: str = "") -> WholeWay:
    """Send one test take through a service with the adapter of ``workspace`` and put the answer right.

    The take is left out of the copy, as though it were said today. Raises what ``evaluation.test_clips``,
    ``service.start`` and ``ResonanceClient`` raise.
    """
    clip = evaluation.test_clips(workspace)[0]
    with tempfile.TemporaryDirectory(dir=make_folder(workspace.cache), prefix="whole-way-") as folder:
        copy = _copy_without(workspace, clip, Path(folder))
        before, labels = _next_split(copy), read_labels(copy.labels)
        server = service.start(workspace, base_model, corrections=copy.data_dir)
        try:
            with ResonanceClient(server.url, server.token) as app:
                answer = app.transcribe(clip.wav, patient_id=workspace.patient_id)
                if answer.answer:  # only where corrections may be kept
                    app.correct(answer.answer, clip.text)
        finally:
            server.stop()
        after = _next_split(copy)
        added = next((label.audio for label in read_labels(copy.labels) if label not in labels), None)
    return WholeWay(
        said=clip.text,
        duration=answer.duration,
        text=answer.text,
        uncertain=answer.uncertain,
        seconds=answer.seconds,
        take=added and Path(added).name,
        trained=(len(before.train), len(after.train)),
        tested=(len(_test(before)), len(_test(after))),
        learns_it=any(one.audio == added for one in after.train),
        same_test=_test(before) == _test(after),
    )


def _copy_without(workspace: Workspace, clip: Utterance, folder: Path) -> Workspace:
    """The recordings of ``workspace`` but ``clip``, in ``folder``, with the same consent."""
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
        if given.person == SAMPLE_PATIENT:  # nobody's voice, rehearsed with under any id
            write_consent(copy.consent, replace(given, person=workspace.patient_id))
    return copy


def _next_split(copy: Workspace) -> Split:
    """What a training that starts now would learn from and be judged by."""
    conversion.convert(copy)
    return split_utterances(load_utterances(copy), TrainingSettings().seed)


def _test(split: Split) -> set[str]:
    return {one.audio for one in split.seen + split.unseen}
