"""New takes: a recording and its text are put into the patient's folder, under the guide's names.

``001_我想喝水.wav`` is the first take of the first phrase, ``001_我想喝水_2.wav`` its second. The sound is written
before its label, so that whoever is killed in between leaves a file without a label, which lesson 04 names, and never a
label without a file. Nothing that exists is overwritten, but a take of ours by ``put_take``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..audio.decode import write_wav
from ..core.messages import ResonanceError
from ..core.workspace import Workspace, replacing
from ..scoring.text import normalise
from .index import is_named_as_recording, name_suffix, repaired, stem
from .labels import CORRECTIONS, Label, changing
from .transcript import check

_NUMBER = re.compile(r"(\d+)_")
_NOT_IN_NAMES = re.compile(r"[^\w-]+")  # what some system forbids, and what is no letter
_LONGEST_NAME = 40  # characters of the text; a Chinese one is three bytes of the 255 that a name may have


def add_take(
    workspace: Workspace,
    samples: np.ndarray,
    text: str,
    session: str | None = None,
    accept: Callable[[Sequence[Label]], None] = lambda _: None,
) -> Label:
    """Write ``samples`` (n,), 16 kHz mono, as one more take of ``text``; its entry in labels.json.

    Where the labels say which recordings are the test, it is to be trained on; a correction always is. ``accept`` sees
    the labels first, which nobody changes before the take is among them, and may raise an error of its own. Raises
    RZ-0417 for the bundled sample, RZ-0004 (disk full), and what ``transcript.check`` and ``labels.changing`` raise.
    """
    return _add(workspace, text, session, ".wav", lambda path: write_wav(path, samples), accept)


def add_file(workspace: Workspace, source: Path, text: str, session: str | None = None) -> Label:
    """As ``add_take``, but a copy of the recording ``source`` as it is, whatever its format."""

    def copy(path: Path) -> None:
        with replacing(path) as temporary:
            shutil.copyfile(source, temporary)

    return _add(workspace, text, session, suffix_of_copy(source), copy)


def suffix_of_copy(source: Path) -> str:
    """That of ``source``, if it is one of a recording; else none, which says nothing wrong."""
    return name_suffix(source.name).lower() if is_named_as_recording(source.name) else ""


def put_take(workspace: Workspace, samples: np.ndarray, label: Label) -> Label:
    """Write ``samples`` in the place of a take that this project recorded and that the user chose to record again."""
    with changing(workspace.labels) as labels:
        if label not in labels:  # its text was corrected, or it was taken out meanwhile
            raise ResonanceError("RZ-0433", audio=label.audio)
        write_wav(workspace.data_dir / label.audio, samples)
    return label


def next_label(
    workspace: Workspace, labels: Sequence[Label], text: str, session: str | None = None, suffix: str = ".wav"
) -> Label:
    """The entry that the next take of ``text`` gets beside ``labels``. Nothing is written."""
    take = max((label.take for label in labels if _same(label, text)), default=0) + 1
    return Label(
        audio=_free_name(workspace, labels, text, take, suffix),
        text=text,
        take=take,
        session=session,
        split="train" if session == CORRECTIONS or are_marked(labels) else None,
    )


def are_marked(labels: Sequence[Label]) -> bool:
    """Whether the labels say what trains and what judges; the mark of a correction is our own and says nothing."""
    return any(label.split for label in labels if label.session != CORRECTIONS)


def _add(
    workspace: Workspace,
    text: str,
    session: str | None,
    suffix: str,
    write: Callable[[Path], None],
    accept: Callable[[Sequence[Label]], None] = lambda _: None,
) -> Label:
    if workspace.is_sample:  # no person has agreed to what is trained on the sample
        raise ResonanceError("RZ-0417")
    text = check(text)
    with changing(workspace.labels) as labels:
        accept(labels)
        label = next_label(workspace, labels, text, session, suffix)
        write(workspace.data_dir / label.audio)
        labels.append(label)
    return label


def _free_name(workspace: Workspace, labels: Sequence[Label], text: str, take: int, suffix: str) -> str:
    """Where the take goes, relative to DATA_DIR: a name that no file has, whatever its suffix."""
    words = _NOT_IN_NAMES.sub("_", repaired(text)).strip("_")[:_LONGEST_NAME]
    first = f"{_number(labels, text):03d}_{words}"
    used = {stem(path.name) for path in workspace.audio_raw.glob("*")}
    used |= {stem(label.audio.rpartition("/")[2]) for label in labels}
    while (name := first if take == 1 else f"{first}_{take}").casefold() in used:
        take += 1
    return f"{workspace.audio_raw.name}/{name}{suffix}"


def _number(labels: Sequence[Label], text: str) -> int:
    """The number that the phrase's recordings begin with, or the next one."""
    numbers = [(int(found[1]), label) for label in labels if (found := _NUMBER.match(label.audio.rpartition("/")[2]))]
    own = (number for number, label in numbers if _same(label, text))
    return next(own, max((number for number, _ in numbers), default=0) + 1)


def _same(label: Label, text: str) -> bool:
    return normalise(label.text) == normalise(text)
