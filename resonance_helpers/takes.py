"""New takes: a recording and its text are put into the patient's folder, under the guide's names.

``001_我想喝水.wav`` is the first take of the first phrase, ``001_我想喝水_2.wav`` its second. The sound is written
before its label, so that whoever is killed in between leaves a file without a label, which lesson 04 names, and never a
label without a file. Nothing that exists is overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .audio import write_wav
from .labels import Label, changing
from .messages import ResonanceError
from .text import normalise
from .utterances import repaired
from .workspace import Workspace

_NUMBER = re.compile(r"(\d+)_")
_NOT_IN_NAMES = re.compile(r"[^\w-]+")  # what some system forbids, and what is no letter
_LONGEST_NAME = 40  # characters of the text; a Chinese one is three bytes of the 255 that a name may have


def add_take(workspace: Workspace, samples: np.ndarray, text: str, session: str | None = None) -> Label:
    """Write ``samples`` (n,), 16 kHz mono, as one more take of ``text``; its entry in labels.json.

    Where the labels say which recordings are the test, it is to be trained on. Raises RZ-0416 for a text without a
    word, RZ-0004 (disk full), and what ``labels.changing`` raises.
    """
    if not normalise(text):
        raise ResonanceError("RZ-0416", text=text)
    with changing(workspace.labels) as labels:
        take = max((label.take for label in labels if _same(label, text)), default=0) + 1
        label = Label(
            audio=_free_name(workspace, labels, text, take),
            text=text.strip(),
            take=take,
            session=session,
            split="train" if any(label.split for label in labels) else None,
        )
        write_wav(workspace.data_dir / label.audio, samples)
        labels.append(label)
    return label


def _free_name(workspace: Workspace, labels: Sequence[Label], text: str, take: int) -> str:
    """Where the take goes, relative to DATA_DIR: a name that no file has, whatever its suffix."""
    words = _NOT_IN_NAMES.sub("_", repaired(text.strip())).strip("_")[:_LONGEST_NAME]
    stem = f"{_number(labels, text):03d}_{words}"
    used = {path.stem.casefold() for path in workspace.audio_raw.glob("*")}
    used |= {label.audio.rpartition("/")[2].rpartition(".")[0].casefold() for label in labels}
    while (name := stem if take == 1 else f"{stem}_{take}").casefold() in used:
        take += 1
    return f"{workspace.audio_raw.name}/{name}.wav"


def _number(labels: Sequence[Label], text: str) -> int:
    """The number that the phrase's recordings begin with, or the next one."""
    numbers = [(int(found[1]), label) for label in labels if (found := _NUMBER.match(label.audio.rpartition("/")[2]))]
    own = (number for number, label in numbers if _same(label, text))
    return next(own, max((number for number, _ in numbers), default=0) + 1)


def _same(label: Label, text: str) -> bool:
    return normalise(label.text) == normalise(text)
