"""Lesson 07: two questions about one adapter, each answered before and after training, with its doubt.

*Known*: a phrase that was trained on, in a take that was not. *New*: a phrase that never was, nor any that sounds like
it. The two are never pooled. "Before" is the base model as a stranger would use it: its native 30 s, the language
given, the answer bounded in tokens.

Two more ask what training may have spoilt. *Forgetting*: healthy people's speech, before and after. *Silence*: does one
of the patient's phrases come out of sounds without speech, and does the VAD keep them back?
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...asr import adapter, rescoring
from ...asr.base_models import default_name, resolve
from ...asr.nonspeech import sounds
from ...asr.vad import is_speech
from ...asr.whisper import Hypothesis, SpeechModel, load_speech_model
from ...audio.decode import load, read_wav
from ...core.messages import ResonanceError, message
from ...core.settings import MAX_CLIP_S, OTHER_SOUNDS, REFUSED_SOUNDS, SAMPLE_RATE, plain
from ...core.workspace import Workspace, read_json, require, write_json
from ...dataset.index import Utterance, load_utterances
from ...dataset.labels import read_labels
from ...dataset.splits import read_split
from ...scoring.error_analysis.polarity import polarity_errors
from ...scoring.error_rates import Difference, Part, Score, difference, score, with_first_names
from ...scoring.intervals import Interval, pooled, wilson
from ...scoring.learning_curve import ClipHypothesis
from ...scoring.text import normalise, simplify, toneless

USABLE_FROM, CAREFUL_FROM = 0.8, 0.5  # lower end of the interval of whole phrases right, known phrases

Usability = Literal["usable", "careful", "not_yet"]


@dataclass(frozen=True)
class TestRow:
    """One test clip: what was meant, and what was heard before and after training, in simplified characters."""

    __test__ = False  # no test class, though pytest would take it for one

    audio: str
    wav: Path
    reference: str
    before: str
    after: str
    split: Part


@dataclass(frozen=True)
class BeforeAfter:
    """The scores of the same clips without and with the adapter, and the difference, clip by clip."""

    n: int
    before: Score
    after: Score
    difference: Difference | None = None  # None where only the two scores are known


@dataclass(frozen=True)
class Forgetting(BeforeAfter):
    """Healthy speech. ``left_out``: recordings longer than the adapter's window."""

    left_out: int = 0


@dataclass(frozen=True)
class Silence:
    """What comes out of sounds without speech. Shares of ``n`` clips, intervals 95 %."""

    n: int
    decoded: int  # of these: all that the gate lets through, and a sample of the rest
    phrases: float  # a phrase of the patient comes out, word for word, without the gate; from the sample
    phrases_ci: Interval
    gated: float  # the same, where only what the speech gate lets through is heard
    gated_ci: Interval
    let_through: float  # taken for speech by the gate, whatever comes out
    kinds: Mapping[str, int]  # kind of sound → decoded clips in which a phrase comes out
    own_clips: int  # test clips of the patient
    own_refused: int  # of these, those that the gate would refuse


@dataclass(frozen=True)
class RealTimeFactor:
    """Seconds of computing for each second of the test clips, on this machine."""

    before: float
    after: float


@dataclass(frozen=True)
class Verdict:
    """Whether the adapter may be used, and the sentence that says by which rule."""

    level: Usability
    rule: str


@dataclass(frozen=True)
class Report:
    """What report.json keeps, and the rows behind it (which it does not: they are what the person said)."""

    base_model: str
    window_s: float
    train: dict[str, Any]  # recordings, phrases, audio_seconds, steps, wall_seconds
    seen: BeforeAfter | None
    unseen: BeforeAfter | None
    verdict: Verdict
    rows: tuple[TestRow, ...]
    warnings: tuple[str, ...] = ()  # versions that differ from the training's
    forgetting: Forgetting | None = None  # None where no healthy speech was given
    silence: Silence | None = None
    real_time_factor: RealTimeFactor | None = None

    @property
    def tested(self) -> dict[Part, BeforeAfter]:
        """The scores of each part that has test clips, seen phrases first."""
        both: dict[Part, BeforeAfter | None] = {"known": self.seen, "new": self.unseen}
        return {part: scores for part, scores in both.items() if scores is not None}

    def as_json(self) -> dict[str, Any]:
        """As report.json keeps it; null is what was not measured."""
        return {
            "base_model": self.base_model,
            "window_s": self.window_s,
            "train": self.train,
            "splits": {"known_phrases": _as_json(self.seen), "new_phrases": _as_json(self.unseen)},
            "forgetting": _as_json(self.forgetting),
            "silence": _as_json(self.silence),
            "real_time_factor": _as_json(self.real_time_factor),
            "verdict": asdict(self.verdict),
        }


def test_clips(workspace: Workspace) -> tuple[Utterance, ...]:
    """All clips that the adapter has never heard, known phrases first. RZ-0006 before lesson 06, RZ-0701 for none."""
    parts = _parts(workspace, _manifest(workspace))
    return parts.seen + parts.unseen


test_clips.__test__ = False  # type: ignore[attr-defined]


def transcribe_one(workspace: Workspace, wav: Path, base_model: str = "", language: str = "zh") -> tuple[str, str]:
    """What is heard in one 16 kHz mono WAV before and after training."""
    ear = _Ear(*_load(workspace, base_model, language))
    clip = [read_wav(wav)]
    return simplify(ear.transcribe(clip, adapted=False)[0].text), simplify(ear.transcribe(clip, adapted=True)[0].text)


def hear_test(
    workspace: Workspace,
    base_model: str = "",
    language: str = "zh",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ClipHypothesis, ...]:
    """What the adapter makes of every clip that it has never heard: no base model beside it, no report written.

    For runs that train many adapters on the same test clips, where "before" is the same each time and slow.
    Raises what ``evaluate`` raises.
    """
    parts = _parts(workspace, _manifest(workspace))
    clips = parts.seen + parts.unseen
    ear = _Ear(*_load(workspace, base_model, language), on_progress, len(clips))
    heard = ear.transcribe([read_wav(clip.wav) for clip in clips], adapted=True)
    return tuple(
        ClipHypothesis(clip.audio, clip.text, simplify(answer.text), parts.split_of(clip))
        for clip, answer in zip(clips, heard, strict=True)
    )


def evaluate(
    workspace: Workspace,
    base_model: str = "",
    language: str = "zh",
    on_progress: Callable[[int, int], None] | None = None,
    healthy: str | Path = "",
    other_sounds: int = OTHER_SOUNDS,
) -> Report:
    """Score the adapter on every clip that it has never heard, before and after, and write report.json.

    ``healthy`` is a folder with labels.json and recordings of people who speak without impairment, or empty;
    ``other_sounds`` is how many clips without speech are tried (0 leaves them out). Raises RZ-0006 (lesson 06 missing),
    RZ-0005 (another patient's adapter), RZ-061x (an adapter that does not fit), RZ-0701 (nothing to test on), RZ-0702
    (it is unknown what it was trained on), RZ-0703 (no healthy recording that fits).
    """
    manifest = _manifest(workspace)
    parts = _parts(workspace, manifest)
    others = _healthy_speech(Path(healthy), manifest.window_s) if healthy else None
    ear = _Ear(*_load(workspace, base_model, language), on_progress)
    clips = parts.seen + parts.unseen
    samples = [read_wav(clip.wav) for clip in clips]
    ear.total = 2 * len(samples) + 2 * len(others.samples if others else ()) + other_sounds

    before, time_before = ear.timed(samples, adapted=False)
    after, time_after = ear.timed(samples, adapted=True)
    compared = [(clip.text, was, now) for clip, was, now in zip(clips, before, after, strict=True)]
    known = _compare(compared[: len(parts.seen)])
    rows = tuple(
        TestRow(clip.audio, clip.wav, text, simplify(was.text), simplify(now.text), parts.split_of(clip))
        for clip, (text, was, now) in zip(clips, compared, strict=True)
    )
    report = Report(
        base_model=manifest.base_model["name"],
        window_s=manifest.window_s,
        train={
            key: getattr(manifest, key) for key in ("recordings", "phrases", "audio_seconds", "steps", "wall_seconds")
        },
        seen=known,
        unseen=_compare(compared[len(parts.seen) :]),
        verdict=judge(known, len(polarity_errors(rows))),
        rows=rows,
        warnings=tuple(adapter.version_warnings(manifest)),
        forgetting=_forgetting(ear, others) if others else None,
        silence=_silence(ear, other_sounds, parts.phrases, samples) if other_sounds else None,
        real_time_factor=RealTimeFactor(time_before, time_after),
    )
    write_json(workspace.report_json, report.as_json())
    return report


def judge(known: BeforeAfter | None, flips: int = 0) -> Verdict:
    """The verdict by the cautious end of the interval: of so few clips the middle flatters half of the time.

    With ``flips``, answers that read well and turn the meaning round, it must not be used unchecked.
    """
    if known is None:
        return Verdict("not_yet", message("verdict.rule.none"))
    low = known.after.sentence_accuracy_ci[0]
    level: Usability = "usable" if low >= USABLE_FROM else "careful" if low >= CAREFUL_FROM else "not_yet"
    facts: dict[str, Any] = {"low": f"{low:.0%}", "usable": f"{USABLE_FROM:.0%}", "careful": f"{CAREFUL_FROM:.0%}"}
    if level == "usable" and flips:
        return Verdict("careful", message("verdict.rule.flips", n=flips, **facts))
    return Verdict(level, message(f"verdict.rule.{level}", **facts))


def read_report(workspace: Workspace) -> dict[str, Any]:
    """report.json as it was written. RZ-0006 before lesson 07."""
    return read_json(require(workspace.report_json, lesson=7), "splits", "train")


# ── Which clips ──────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class _Parts:
    """Test clips of known and of new phrases, and the phrases that were trained on, normalised."""

    seen: tuple[Utterance, ...]
    unseen: tuple[Utterance, ...]
    phrases: frozenset[str]

    def split_of(self, clip: Utterance) -> Part:
        return "known" if clip in self.seen else "new"


def _parts(workspace: Workspace, manifest: adapter.Manifest) -> _Parts:
    """By what the run says it trained on, whatever labels.json says by now."""
    used = read_split(workspace.runs / manifest.run)
    trained, kept_out = set(used["train"]), {*used["known"], *used["new"]}
    left_out = used["left_out"]  # longer than the model hears
    utterances = [u for u in load_utterances(workspace) if u.audio not in left_out]
    learned = [u.text for u in utterances if u.audio in trained]
    sounding = {toneless(text) for text in learned}
    test = [u for u in utterances if u.audio not in trained and (u.split == "test" or u.audio in kept_out)]
    if not test:
        raise ResonanceError("RZ-0701", path=workspace.labels)
    return _Parts(
        seen=tuple(u for u in test if toneless(u.text) in sounding),
        unseen=tuple(u for u in test if toneless(u.text) not in sounding),
        phrases=frozenset(normalise(text) for text in learned),
    )


@dataclass(frozen=True)
class _HealthySpeech:
    texts: tuple[str, ...]
    samples: tuple[np.ndarray, ...]
    left_out: int


def _healthy_speech(folder: Path, window_s: float) -> _HealthySpeech:
    """The recordings of ``folder`` that fit into the window; what it holds is read and never written."""
    labels = read_labels(folder / "labels.json")
    heard = [(label.text, load(folder / label.audio, max_seconds=MAX_CLIP_S)) for label in labels]
    fitting = [(text, samples) for text, samples in heard if len(samples) <= window_s * SAMPLE_RATE]
    if not fitting:
        raise ResonanceError("RZ-0703", path=folder, count=len(labels), window=f"{window_s:g}")
    texts, samples = zip(*fitting, strict=True)
    return _HealthySpeech(texts, samples, len(labels) - len(fitting))


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


@dataclass
class _Ear:
    """One model with and without its adapter; progress runs over all that it is asked to hear, ``total`` clips."""

    speech: SpeechModel
    manifest: adapter.Manifest
    on_progress: Callable[[int, int], None] | None = None
    total: int = 0
    done: int = 0

    def transcribe(self, samples: Sequence[np.ndarray], adapted: bool, rescore: bool = True) -> list[Hypothesis]:
        """With the adapter at its window, or the base model at its native one; without ``rescore`` nothing is heard a
        second time."""
        begun = self.done

        def on_progress(done: int, _total: int) -> None:
            self._tell(begun + done)

        with adapter.using(self.speech, "default" if adapted else None):
            if adapted:
                return rescoring.transcribe(self.speech, samples, self.manifest.window_s, on_progress, rescore)
            return self.speech.transcribe(samples, on_progress=on_progress)

    def skip(self, clips: int) -> None:
        """Count ``clips`` that need not be heard."""
        self._tell(self.done + clips)

    def timed(self, samples: Sequence[np.ndarray], adapted: bool) -> tuple[list[Hypothesis], float]:
        """What is heard, and the seconds of computing for each second of sound."""
        started = time.perf_counter()
        heard = self.transcribe(samples, adapted)
        return heard, (time.perf_counter() - started) * SAMPLE_RATE / sum(map(len, samples))

    def _tell(self, done: int) -> None:
        self.done = done
        if self.on_progress:
            self.on_progress(done, self.total)


# ── How well ─────────────────────────────────────────────────────────────────
def _compare(rows: Sequence[tuple[str, Hypothesis, Hypothesis]]) -> BeforeAfter | None:
    """Rows of what was meant, heard before and heard after; scored as the model wrote it, before any conversion."""
    if not rows:
        return None
    texts = [text for text, _, _ in rows]
    before, after = [was for _, was, _ in rows], [now for _, _, now in rows]
    return BeforeAfter(
        n=len(rows),
        before=_score(texts, before),
        after=_score(texts, after),
        difference=difference(texts, [was.text for was in before], [now.text for now in after]),
    )


def _score(texts: Sequence[str], heard: Sequence[Hypothesis]) -> Score:
    return score(texts, [each.text for each in heard], truncated=[each.truncated for each in heard])


def _forgetting(ear: _Ear, healthy: _HealthySpeech) -> Forgetting:
    before, after = (ear.transcribe(healthy.samples, adapted) for adapted in (False, True))
    both = _compare(list(zip(healthy.texts, before, after, strict=True)))
    assert both is not None  # _healthy_speech refuses an empty folder
    return Forgetting(**vars(both), left_out=healthy.left_out)


def _silence(ear: _Ear, count: int, phrases: frozenset[str], own: Sequence[np.ndarray]) -> Silence:
    """What the gate holds back is never decoded in use, so that only ``REFUSED_SOUNDS`` of it are here, drawn at random
    and counted for all of it."""
    clips, bar = sounds(count, longest_s=ear.manifest.window_s), ear.manifest.speech_bar
    samples = [clip.samples for clip in clips]
    passes = np.array(is_speech(samples, bar), bool)
    passed, refused = np.flatnonzero(passes), np.flatnonzero(~passes)
    rng = np.random.default_rng(count)
    sample = np.sort(rng.choice(refused, min(REFUSED_SOUNDS, len(refused)), replace=False))
    heard = ear.transcribe([samples[i] for i in passed], adapted=True)  # as the service hears it
    heard += ear.transcribe([samples[i] for i in sample], adapted=True, rescore=False)
    ear.skip(len(refused) - len(sample))
    alarms = np.array([bool(words := normalise(each.text)) and words in phrases for each in heard], bool)
    gated = float(alarms[: len(passed)].sum() / count)
    rate, trials = pooled([alarms[: len(passed)], alarms[len(passed) :]], [len(passed), len(refused)])
    decoded = [*passed, *sample]
    return Silence(
        n=count,
        decoded=len(decoded),
        phrases=rate,
        phrases_ci=wilson(rate, trials),
        gated=gated,
        gated_ci=wilson(gated, count),
        let_through=float(passes.mean()),
        kinds=dict(Counter(clips[i].kind for i, alarm in zip(decoded, alarms, strict=True) if alarm)),
        own_clips=len(own),
        own_refused=is_speech(own, bar).count(False),
    )


def _as_json(figures: BeforeAfter | Silence | RealTimeFactor | None) -> dict[str, Any] | None:
    return None if figures is None else with_first_names(plain(figures))
