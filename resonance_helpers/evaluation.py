"""Lesson 07: two questions about one adapter, each answered before and after training, with its doubt.

*Known*: a phrase that was trained on, in a take that was not. *New*: a phrase that never was, nor any that sounds like
it. The two are never pooled. "Before" is the base model as a stranger would use it: its native 30 s, the language
given, the answer bounded in tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import adapter
from .audio import read_wav
from .base_models import default_name, resolve
from .messages import ResonanceError, message
from .scoring import Score, score
from .scoring.curve import Answer
from .text import simplify, toneless
from .utterances import Utterance, load_utterances
from .whisper import SpeechModel, load_speech_model
from .workspace import Workspace, require, write_json

USABLE_FROM, CAREFUL_FROM = 0.8, 0.5  # lower end of the interval of whole phrases right, known phrases

Level = Literal["usable", "careful", "not_yet"]


@dataclass(frozen=True)
class TestRow:
    """One test clip: what was meant, and what was heard before and after training, in simplified characters."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    audio: str
    wav: Path
    reference: str
    before: str
    after: str
    split: Literal["known", "new"]


@dataclass(frozen=True)
class BeforeAfter:
    """The scores of the same clips without and with the adapter."""

    n: int
    before: Score
    after: Score


@dataclass(frozen=True)
class Verdict:
    """Whether the adapter may be used, and the sentence that says by which rule."""

    level: Level
    rule: str


@dataclass(frozen=True)
class Report:
    """What report.json keeps, and the rows behind it (which it does not: they are what the person said)."""

    base_model: str
    window_s: float
    train: dict[str, Any]  # recordings, phrases, audio_seconds, steps, wall_seconds
    known: BeforeAfter | None
    new: BeforeAfter | None
    verdict: Verdict
    rows: tuple[TestRow, ...]
    warnings: tuple[str, ...] = ()  # versions that differ from the training's

    def as_json(self) -> dict[str, Any]:
        """As report.json keeps it. ``forgetting`` stays null until healthy speech is measured too."""
        return {
            "base_model": self.base_model,
            "window_s": self.window_s,
            "train": self.train,
            "splits": {"known_phrases": _as_json(self.known), "new_phrases": _as_json(self.new)},
            "forgetting": None,
            "verdict": asdict(self.verdict),
        }


def test_clips(workspace: Workspace) -> tuple[Utterance, ...]:
    """All clips that the adapter has never heard, known phrases first. RZ-0006 before lesson 06, RZ-0701 for none."""
    known, new = _unheard(workspace, _manifest(workspace))
    return known + new


test_clips.__test__ = False  # type: ignore[attr-defined]


def transcribe_one(workspace: Workspace, wav: Path, base_model: str = "", language: str = "zh") -> tuple[str, str]:
    """What is heard in one 16 kHz mono WAV before and after training."""
    speech, manifest = _load(workspace, base_model, language)
    clip = [read_wav(wav)]
    return _hear(speech, clip, None)[0], _hear(speech, clip, manifest)[0]


def hear_test(
    workspace: Workspace,
    base_model: str = "",
    language: str = "zh",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Answer, ...]:
    """What the adapter makes of every clip that it has never heard: no base model beside it, no report written.

    For runs that train many adapters on the same test clips, where "before" is the same each time and slow.
    Raises what ``evaluate`` raises.
    """
    known, new = _unheard(workspace, _manifest(workspace))
    speech, manifest = _load(workspace, base_model, language)
    clips = known + new
    texts = _hear(speech, [read_wav(clip.wav) for clip in clips], manifest, on_progress)
    return tuple(
        Answer(clip.audio, clip.text, text, "known" if i < len(known) else "new")
        for i, (clip, text) in enumerate(zip(clips, texts, strict=True))
    )


def evaluate(
    workspace: Workspace,
    base_model: str = "",
    language: str = "zh",
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Score the adapter on every clip that it has never heard, before and after, and write report.json.

    Raises RZ-0006 (lesson 06 missing), RZ-0005 (another patient's adapter), RZ-061x (an adapter that does not fit),
    RZ-0701 (nothing to test on), RZ-0702 (nobody knows what it was trained on).
    """
    known, new = _unheard(workspace, _manifest(workspace))
    speech, manifest = _load(workspace, base_model, language)
    clips = known + new
    samples = [read_wav(clip.wav) for clip in clips]
    halves = (_half(on_progress, 0), _half(on_progress, len(clips)))
    before = _hear(speech, samples, None, halves[0])
    after = _hear(speech, samples, manifest, halves[1])
    rows = tuple(
        TestRow(clip.audio, clip.wav, clip.text, was, now, "known" if i < len(known) else "new")
        for i, (clip, was, now) in enumerate(zip(clips, before, after, strict=True))
    )
    scores = {part: _before_after([row for row in rows if row.split == part]) for part in ("known", "new")}
    report = Report(
        base_model=manifest.base_model["name"],
        window_s=manifest.window_s,
        train={
            key: getattr(manifest, key) for key in ("recordings", "phrases", "audio_seconds", "steps", "wall_seconds")
        },
        known=scores["known"],
        new=scores["new"],
        verdict=judge(scores["known"]),
        rows=rows,
        warnings=tuple(adapter.version_warnings(manifest)),
    )
    write_json(workspace.report_json, report.as_json())
    return report


def judge(known: BeforeAfter | None) -> Verdict:
    """The verdict by the cautious end of the interval: of so few clips the middle flatters half of the time."""
    if known is None:
        return Verdict("not_yet", message("verdict.rule.none"))
    low = known.after.exact_ci[0]
    level: Level = "usable" if low >= USABLE_FROM else "careful" if low >= CAREFUL_FROM else "not_yet"
    facts: dict[str, Any] = {"low": f"{low:.0%}", "usable": f"{USABLE_FROM:.0%}", "careful": f"{CAREFUL_FROM:.0%}"}
    return Verdict(level, message(f"verdict.rule.{level}", **facts))


def read_report(workspace: Workspace) -> dict[str, Any]:
    """report.json as it was written. RZ-0006 before lesson 07."""
    return json.loads(require(workspace.report_json, lesson=7).read_text(encoding="utf-8"))


# ── Which clips ──────────────────────────────────────────────────────────────
def _unheard(workspace: Workspace, manifest: adapter.Manifest) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...]]:
    """Test clips of known and of new phrases, by what the run says it trained on, whatever labels.json says by now."""
    path = workspace.runs / manifest.run / "split.json"
    if not path.exists():
        raise ResonanceError("RZ-0702", path=path)
    used = json.loads(path.read_text(encoding="utf-8"))
    trained, kept_out = set(used["train"]), {*used["known"], *used["new"]}
    utterances = load_utterances(workspace)
    sounds = {toneless(u.text) for u in utterances if u.audio in trained}
    test = [u for u in utterances if u.audio not in trained and (u.split == "test" or u.audio in kept_out)]
    if not test:
        raise ResonanceError("RZ-0701", path=workspace.labels)
    known = tuple(u for u in test if toneless(u.text) in sounds)
    return known, tuple(u for u in test if toneless(u.text) not in sounds)


def _manifest(workspace: Workspace) -> adapter.Manifest:
    require(workspace.adapter / adapter.MANIFEST, lesson=6)
    adapter.refuse_other_patient(workspace)
    return adapter.read_manifest(workspace.adapter)


# ── What is heard ────────────────────────────────────────────────────────────
def _load(workspace: Workspace, base_model: str, language: str) -> tuple[SpeechModel, adapter.Manifest]:
    _manifest(workspace)
    base = resolve(default_name(workspace, base_model), workspace.cache / "base_models")
    speech = load_speech_model(base, language)
    return speech, adapter.attach(speech, workspace.adapter)


def _hear(
    speech: SpeechModel,
    samples: Sequence[np.ndarray],
    manifest: adapter.Manifest | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """With the adapter at its window, or (``manifest`` None) the base model at its native one."""
    with adapter.using(speech, "default" if manifest else None):
        texts = speech.recognise(samples, manifest.window_s if manifest else 0.0, on_progress=on_progress)
    return [simplify(text) for text in texts]


def _half(on_progress: Callable[[int, int], None] | None, offset: int) -> Callable[[int, int], None] | None:
    """Progress over one of two passes, as progress over both."""
    return on_progress and (lambda done, total: on_progress(offset + done, 2 * total))


def _before_after(rows: Sequence[TestRow]) -> BeforeAfter | None:
    if not rows:
        return None
    references = [row.reference for row in rows]
    before, after = (score(references, [getattr(row, side) for row in rows]) for side in ("before", "after"))
    return BeforeAfter(len(rows), before, after)


def _as_json(scores: BeforeAfter | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    return {"n": scores.n, "before": scores.before.as_json(), "after": scores.after.as_json()}
