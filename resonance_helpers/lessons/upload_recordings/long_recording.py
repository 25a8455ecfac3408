"""One long recording, read from a list into a phone: found pause by pause, paired with the phrases, put in one by one.

The printed list is read aloud and a phone records all of it. ``segment.split_at_pauses`` finds what was spoken between
the longer pauses, ``pair`` puts the phrases of the list beside the pieces in order, and a helper listens and corrects
where a phrase was skipped, said twice or interrupted. Only what the helper has confirmed is saved; the long recording
itself stays as it came, in ``DATA_DIR/long_recordings``, which lesson 04 does not count among the recordings.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ...audio import decode as audio
from ...audio.segment import CutOptions, Stretch
from ...core.messages import ResonanceError
from ...core.settings import AUDIO_SUFFIXES, SAMPLE_RATE
from ...core.workspace import LONG_RECORDINGS, Workspace, files_in, replacing
from ...dataset.index import file_hash, is_recording, repaired
from ...dataset.labels import Label, read_labels
from ...dataset.takes import add_take

_MARK = 8  # hex digits of a recording's hash that its takes carry in their session


@dataclass(frozen=True)
class LongRecording:
    """A decoded recording: ``samples`` float32 (n,), 16 kHz mono in [-1, 1]; ``sha256`` of the file, in hex."""

    name: str
    sha256: str
    samples: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def session(self) -> str:
        """What its takes say in labels.json: the file's name, and the mark by which the same content is known again."""
        return f"{Path(self.name).stem} #{self.sha256[:_MARK]}"


# ── The recording ────────────────────────────────────────────────────────────
def folder(workspace: Workspace) -> Path:
    """Where long recordings lie: in DATA_DIR, beside the folders that lesson 04 counts."""
    return workspace.data_dir / LONG_RECORDINGS


def listed(workspace: Workspace) -> tuple[Path, ...]:
    """The long recordings that are there, sorted by name."""
    return tuple(sorted(path for path in folder(workspace).glob("[!.]*") if is_recording(path)))


def unlisted(workspace: Workspace) -> tuple[str, ...]:
    """What else lies there, but what systems put there: no recordings, or deeper in."""
    there, recordings = folder(workspace), set(listed(workspace))
    found = (path for path in files_in(there) if path not in recordings) if there.is_dir() else ()
    return tuple(sorted(path.relative_to(there).as_posix() for path in found))


def keep(workspace: Workspace, name: str, content: bytes | memoryview) -> Path:
    """Put an uploaded recording into ``folder``; the path it has there. What lies there is never overwritten, and the
    same content is kept once. RZ-0450 where it is no recording."""
    wanted = Path(repaired(Path(name.replace("\\", "/")).name))
    if not is_recording(content, wanted.name):
        raise ResonanceError("RZ-0450", name=wanted.name, suffixes=" ".join(AUDIO_SUFFIXES))
    path, number = folder(workspace) / wanted.name, 1
    while path.exists():
        if path.read_bytes() == content:
            return path
        number += 1
        path = path.with_name(f"{wanted.stem}_{number}{wanted.suffix}")
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def read(path: Path, options: CutOptions | None = None) -> LongRecording:
    """Decode ``path``. Raises what ``audio.decode`` raises: RZ-0504 above ``options.max_seconds``."""
    return LongRecording(path.name, file_hash(path), audio.load(path, (options or CutOptions()).max_seconds))


# ── Pieces and phrases ───────────────────────────────────────────────────────
State = Literal["open", "confirmed", "dropped"]


@dataclass(frozen=True)
class Line:
    """A piece and the phrase that it is taken for.

    ``number`` counts the list's phrases from 0 and may lie behind its end; ``said`` is what was said instead of the
    list's words, None for these.
    """

    piece: Stretch
    number: int
    said: str | None = None
    state: State = "open"


@dataclass(frozen=True)
class Pairing:
    """The pieces of a recording beside the phrases of the list, in order. Every operation returns a new pairing.

    ``index`` counts lines from 0. What moves to another phrase has to be confirmed again.
    """

    phrases: tuple[str, ...]
    lines: tuple[Line, ...]

    def text(self, index: int) -> str:
        """What the piece says, as far as is known; empty behind the end of the list."""
        line = self.lines[index]
        in_list = self.phrases[line.number] if line.number < len(self.phrases) else ""
        return in_list if line.said is None else line.said

    def confirm(self, index: int, said: str | None = None) -> Pairing:
        """The piece says its phrase, or ``said``. RZ-0451 where there is neither."""
        words = said.strip() if said is not None else self.text(index)
        if not any(character.isalnum() for character in words):
            raise ResonanceError("RZ-0451", number=index + 1)
        changed = self._with(index, state="confirmed")
        return changed if words == self.text(index) else changed._with(index, said=words)

    def reopen(self, index: int) -> Pairing:
        """Take back ``confirm``."""
        return self._with(index, state="open")

    def later(self, index: int) -> Pairing:
        """A phrase was skipped: this piece and those behind it belong one phrase further on."""
        return self._moved(index, 1)

    def earlier(self, index: int) -> Pairing:
        """A phrase was said twice: this piece and those behind it belong one phrase further back."""
        return self._moved(index, -1) if self.lines[index].number else self

    def drop(self, index: int) -> Pairing:
        """This piece is no phrase (a cough, a question); its phrase passes to the next piece."""
        if self.lines[index].state == "dropped":
            return self
        return self._with(index, state="dropped", said=None)._moved(index + 1, -1)

    def restore(self, index: int) -> Pairing:
        """Take back ``drop``."""
        if self.lines[index].state != "dropped":
            return self
        return self._with(index, state="open")._moved(index + 1, 1)

    def join(self, index: int) -> Pairing:
        """This piece and the next are one phrase with a rest in it, and what lies between belongs to it."""
        if index + 1 == len(self.lines):
            return self
        first, second = self.lines[index : index + 2]
        whole = Stretch(first.piece.start, second.piece.stop, "speech")
        number = second.number if first.state == "dropped" else first.number
        lines = (*self.lines[:index], Line(whole, number), *self.lines[index + 2 :])
        joined = replace(self, lines=lines)
        return joined if "dropped" in (first.state, second.state) else joined._moved(index + 1, -1)

    def count(self, state: State) -> int:
        return sum(line.state == state for line in self.lines)

    def _with(self, index: int, **changes: object) -> Pairing:
        line = replace(self.lines[index], **changes)  # type: ignore[arg-type]
        return replace(self, lines=(*self.lines[:index], line, *self.lines[index + 1 :]))

    def _moved(self, index: int, by: int) -> Pairing:
        """The lines from ``index`` on, ``by`` phrases further; what was dropped stays dropped."""
        states: dict[State, State] = {"confirmed": "open"}
        moved = (
            replace(line, number=max(0, line.number + by), said=None, state=states.get(line.state, line.state))
            for line in self.lines[index:]
        )
        return replace(self, lines=(*self.lines[:index], *moved))


def pair(pieces: Sequence[Stretch], phrases: Sequence[str]) -> Pairing:
    """The spoken ``pieces`` beside ``phrases``, the first with the first; other stretches are passed over."""
    spoken = (piece for piece in pieces if piece.kind == "speech")
    return Pairing(tuple(phrases), tuple(Line(piece, number) for number, piece in enumerate(spoken)))


# ── Into the patient's folder ────────────────────────────────────────────────
@dataclass(frozen=True)
class Saved:
    """What ``save`` did: the entries it added, and those that were there from an earlier time."""

    added: tuple[Label, ...]
    there: tuple[Label, ...]


def taken_before(workspace: Workspace, recording: LongRecording) -> tuple[Label, ...]:
    """The entries of labels.json that were cut from this very recording, whatever its file was called then."""
    labels = read_labels(workspace.labels) if workspace.labels.exists() else []
    mark = f"#{recording.sha256[:_MARK]}"
    return tuple(label for label in labels if (label.session or "").endswith(mark))


def piece_file(workspace: Workspace, recording: LongRecording, piece: Stretch) -> Path:
    """``piece`` as a WAV below ``workspace.cache``, to be listened to; written when it is first asked for."""
    place = _cache(workspace) / recording.sha256[:_MARK] / f"{piece.start}-{piece.stop}.wav"
    if not place.exists():
        audio.write_wav(place, recording.samples[piece.start : piece.stop])
    return place


def clear_pieces(workspace: Workspace) -> None:
    """Remove what ``piece_file`` wrote."""
    shutil.rmtree(_cache(workspace), ignore_errors=True)


def save(workspace: Workspace, recording: LongRecording, pairing: Pairing) -> Saved:
    """Put every confirmed piece into the patient's folder as a take of its phrase; nothing else, and none twice.

    A piece that is there already, sample for sample, is left as it is. Raises what ``takes.add_take`` raises; what was
    added before stays, so that saving again goes on behind it.
    """
    before = {_sound_hash(workspace.data_dir / label.audio): label for label in taken_before(workspace, recording)}
    added, there = [], []
    for index, line in enumerate(pairing.lines):
        if line.state != "confirmed":
            continue
        samples = recording.samples[line.piece.start : line.piece.stop]
        if label := before.get(_hash(audio.to_pcm16(samples))):
            there.append(label)
        else:
            added.append(add_take(workspace, samples, pairing.text(index), recording.session))
    return Saved(tuple(added), tuple(there))


def _sound_hash(path: Path) -> str:
    return _hash(audio.to_pcm16(audio.read_wav(path))) if path.is_file() and audio.is_our_format(path) else ""


def _hash(sound: np.ndarray) -> str:
    return hashlib.sha256(sound.tobytes()).hexdigest()


def _cache(workspace: Workspace) -> Path:
    return workspace.cache / "long_recording"
