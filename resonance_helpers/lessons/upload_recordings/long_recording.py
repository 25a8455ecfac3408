"""One long recording, read from a list into a phone: found pause by pause, paired with the phrases, put in one by one.

Somebody reads the printed list aloud and a phone records all of it. ``cut`` finds what was spoken between the longer
pauses, ``pair`` lays the phrases of the list beside the pieces in order, and a helper listens and puts right where a
phrase was skipped, said twice or coughed through. Only what the helper has confirmed is saved; the long recording
itself stays as it came, in ``DATA_DIR/long_recordings``, which lesson 04 does not count among the recordings.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from ...audio import decode as audio
from ...audio.quality import FRAME_S, frame_levels, has_speech, stands_out
from ...core.messages import ResonanceError
from ...core.settings import AUDIO_SUFFIXES, SAMPLE_RATE
from ...core.workspace import LONG_RECORDINGS, Workspace, files_in, replacing
from ...dataset.index import file_hash, is_recording, repaired
from ...dataset.labels import Label, read_labels
from ...dataset.takes import add_take

_FRAME = round(FRAME_S * SAMPLE_RATE)  # samples
_SYLLABLES_S = 0.3  # sounds nearer than this belong together whatever the pause: the closure of a consonant
_LOUD_SHARE = 99  # per cent of the frames are not louder; above it is a slammed door, which must not hide soft phrases
_MARK = 8  # hex digits of a recording's hash that its takes carry in their session


@dataclass(frozen=True)
class CutOptions:
    """How a long recording is taken apart. Times in seconds."""

    # Of phrases 1.5–3 s apart, some with a hesitation of 1 s inside, 98 % came out whole at this pause, 80 % at 1.0.
    pause_s: float = 1.4  # between two phrases
    shortest_s: float = 0.125  # of sound, alone: a switch or a page turned is over sooner, the shortest syllable later
    margin_s: float = 0.3  # of quiet kept at both ends: a soft first or last sound is below the level of a frame
    max_seconds: float = 1800.0  # 120 phrases at ten seconds, and rests; 115 MB of samples

    def __post_init__(self) -> None:
        for name, least, most in (("pause_s", 0.3, 10.0), ("shortest_s", 0.0, 1.0), ("margin_s", 0.0, 1.0)):
            if not least <= getattr(self, name) <= most:
                raise ResonanceError("RZ-0001", name=name, value=getattr(self, name), allowed=f"{least:g}–{most:g}")


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


@dataclass(frozen=True)
class Stretch:
    """Samples ``start`` to ``stop`` of a recording: something said, quiet, or a sound too short to be speech."""

    start: int
    stop: int
    kind: Literal["speech", "quiet", "click"]

    @property
    def seconds(self) -> float:
        return (self.stop - self.start) / SAMPLE_RATE


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


def read(path: Path, options: CutOptions = CutOptions()) -> LongRecording:
    """Decode ``path``. Raises what ``audio.decode`` raises: RZ-0504 above ``options.max_seconds``."""
    return LongRecording(path.name, file_hash(path), audio.load(path, options.max_seconds))


# ── Pieces ───────────────────────────────────────────────────────────────────
def cut(samples: np.ndarray, options: CutOptions = CutOptions()) -> tuple[Stretch, ...]:
    """``samples`` (n,), 16 kHz mono, as stretches in order that leave out nothing: what was said between pauses of
    ``options.pause_s``, each with a margin of quiet, and what lies between. Empty for no samples."""
    if not len(samples):
        return ()
    bursts, clicks = _sounds(samples, options)
    spoken = _joined(bursts, round(options.pause_s / FRAME_S))
    edges = _with_margins(spoken, len(samples), round(options.margin_s / FRAME_S))
    stretches, end = [], 0
    for start, stop in [*edges, (len(samples), len(samples))]:
        if start > end:
            heard = any(end <= click * _FRAME < start for click, _ in clicks)
            stretches.append(Stretch(end, start, "click" if heard else "quiet"))
        if stop > start:
            stretches.append(Stretch(start, stop, "speech"))
        end = stop
    return tuple(stretches)


def pause_for(samples: np.ndarray, count: int, options: CutOptions = CutOptions()) -> float | None:
    """The pause in seconds at which ``cut`` finds ``count`` pieces, halfway between the shortest pause that is cut at
    and the longest that is not; None where no pause does."""
    bursts, _ = _sounds(samples, options)
    if count < 2 or len(bursts) < count:
        return None
    gaps = sorted((after[0] - before[1] for before, after in pairwise(bursts)), reverse=True)
    shortest_cut, longest_left = gaps[count - 2], (*gaps, round(_SYLLABLES_S / FRAME_S))[count - 1]
    if shortest_cut == longest_left:
        return None
    return (shortest_cut + longest_left + 1) // 2 * FRAME_S


_Frames = tuple[int, int]  # from, to


def _sounds(samples: np.ndarray, options: CutOptions) -> tuple[list[_Frames], list[_Frames]]:
    """Bursts of syllables, and sounds too short to be one, which must not hide the pause that they fall into."""
    if not has_speech(samples):
        return [], []
    levels = frame_levels(samples)
    sound = stands_out(np.minimum(levels, np.percentile(levels, _LOUD_SHARE)))
    changes = np.flatnonzero(np.diff(sound, prepend=False, append=False)).tolist()
    bursts = _joined(list(zip(changes[::2], changes[1::2], strict=True)), round(_SYLLABLES_S / FRAME_S))
    long_enough = {burst: sound[slice(*burst)].sum() * FRAME_S >= options.shortest_s for burst in bursts}
    return [each for each in bursts if long_enough[each]], [each for each in bursts if not long_enough[each]]


def _joined(runs: Sequence[_Frames], gap: int) -> list[_Frames]:
    """``runs`` with those less than ``gap`` frames apart made one."""
    joined: list[_Frames] = []
    for start, stop in runs:
        if joined and start - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _with_margins(runs: Sequence[_Frames], length: int, margin: int) -> list[tuple[int, int]]:
    """``runs`` of frames as samples, wider by ``margin`` frames but never past the middle of a pause."""
    if not runs:
        return []
    last = length // _FRAME
    stops = [0, *((before[1] + after[0] + 1) // 2 for before, after in pairwise(runs)), last]
    wider = [
        (max(a - margin, low), min(b + margin, high)) for (a, b), (low, high) in zip(runs, pairwise(stops), strict=True)
    ]
    return [(start * _FRAME, stop * _FRAME) for start, stop in wider]


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
