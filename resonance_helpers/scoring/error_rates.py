"""How well texts were recognised: error rates with the doubt that so few clips leave.

Edits are counted by jiwer; error rates are *micro* (all edits over all reference characters or syllables), so that a
hallucination may push one over 1. Everything is judged twice: after ``text.normalise``, which is what counts, and
*raw*, as it was written, with only the white space around it taken off. Syllables are pinyin: what sounds alike is no
error there, and without tones neither is a tone.

Clips of one phrase are not independent, so the phrase is the unit of every interval:

- of error rates, and of the difference that training made: percentile bootstrap over phrases, both sides together.
- ``sentence_accuracy_ci``: Wilson's interval with the number of phrases as its n. The bootstrap of 10 right out of 10
  is "100–100 %"; Wilson says 72–100 %. With several clips of a phrase it is too wide, as if they added nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jiwer
import numpy as np

from ..core.settings import plain
from .intervals import Interval, change_interval, draw, rate_interval, wilson
from .text import normalise, syllables

TEN = 10  # what families are told: "10 句对 8 句"
Part = Literal["known", "new"]  # test clips of seen and of unseen phrases, by the names that files have for them
PARTS: tuple[Part, ...] = ("known", "new")
REPEATS = 4  # times that one stretch stands at the end of an answer before it counts as endless


@dataclass(frozen=True)
class Rates:
    """Error rates of one way of comparing. Shares, not per cent; the intervals are 95 %."""

    cer: float  # characters
    cer_ci: Interval
    sentence_accuracy: float  # share of clips without an edit
    sentence_accuracy_ci: Interval
    syllable_error_rate: float  # pinyin syllables with their tones
    syllable_error_rate_ci: Interval
    toneless_syllable_error_rate: float  # without
    toneless_syllable_error_rate_ci: Interval


@dataclass(frozen=True)
class Score(Rates):
    """The rates after ``normalise``, and beside them what was counted and the rates of the ``raw`` texts."""

    n: int  # clips
    phrases: int  # of which they are takes: what the intervals rest on
    repetitions: int  # answers that repeat themselves until the bound on tokens, or would
    raw: Rates

    def as_json(self) -> dict[str, Any]:
        """As report.json keeps it."""
        return with_first_names(plain(self))


@dataclass(frozen=True)
class Difference:
    """After less before on the same clips, normalised: better is < 0 for ``cer``, > 0 for ``sentence_accuracy``."""

    cer: float
    cer_ci: Interval
    sentence_accuracy: float
    sentence_accuracy_ci: Interval

    def as_json(self) -> dict[str, Any]:
        """As report.json keeps it."""
        return with_first_names(plain(self))


def of_ten(sentence_accuracy: float) -> int:
    """A share of right answers as sentences out of ten. All or none is only said when it is all or none."""
    if sentence_accuracy in (0, 1):
        return int(sentence_accuracy) * TEN
    return min(max(round(sentence_accuracy * TEN), 1), TEN - 1)


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    seed: int = 17,
    resamples: int = 2000,
    truncated: Sequence[bool] | None = None,
) -> Score:
    """The score of ``hypotheses``, one for each of ``references``. A hypothesis may be empty.

    ``truncated`` marks the hypotheses that the bound on tokens ended. Raises ValueError on no clips, on lists of
    different length, and on references without a character.
    """
    said, heard = _normalised(references, hypotheses)
    phrases = _phrases(said)
    drawn = draw(phrases.max() + 1, seed, resamples)
    wrong = [one != other for one, other in zip(said, heard, strict=True)]  # who said 哈哈哈哈 is no machine
    repeated = [is_wrong and is_repetition(text) for is_wrong, text in zip(wrong, heard, strict=True)]
    return Score(
        **asdict(_rates(said, heard, phrases, drawn)),
        n=len(said),
        phrases=int(phrases.max()) + 1,
        repetitions=int(np.sum(np.logical_or(repeated, truncated) if truncated is not None else repeated)),
        raw=_rates([text.strip() for text in references], [text.strip() for text in hypotheses], phrases, drawn),
    )


def difference(
    references: Sequence[str], before: Sequence[str], after: Sequence[str], seed: int = 17, resamples: int = 2000
) -> Difference:
    """What changed between two hypotheses of the same clips, paired. Raises ValueError as ``score`` does."""
    said, was = _normalised(references, before)
    _, now = _normalised(references, after)
    phrases = _phrases(said)
    drawn = draw(phrases.max() + 1, seed, resamples)
    (edits_was, characters), (edits_now, _) = _character_edits(said, was), _character_edits(said, now)
    edits, characters = np.bincount(phrases, edits_now - edits_was), np.bincount(phrases, characters)
    right, clips = np.bincount(phrases, _exact(said, now) - _exact(said, was)), np.bincount(phrases)
    low, high = change_interval(right, clips, drawn, trials=len(clips))
    return Difference(
        cer=float(edits.sum() / characters.sum()),
        cer_ci=change_interval(edits, characters, drawn, trials=int(characters.sum()) if len(clips) > 1 else 1),
        sentence_accuracy=float(right.sum() / clips.sum()),
        sentence_accuracy_ci=(max(-1.0, low), min(1.0, high)),
    )


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Micro character error rate after normalisation. Raises ValueError as ``score`` does."""
    edits, characters = _character_edits(*_normalised(references, hypotheses))
    return float(edits.sum() / characters.sum())


def is_repetition(text: str) -> bool:
    """Whether the normalised ``text`` ends in ``REPEATS`` of one stretch: a model that does not find the end."""
    words = normalise(text)
    return any(
        words[-(REPEATS - 1) * length :] == words[-REPEATS * length : -length]
        for length in range(1, len(words) // REPEATS + 1)
    )


def diff(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    """How the two normalised texts align: (operation, piece of reference, piece of hypothesis).

    The operation is ``equal``, ``substitute``, ``delete`` (missing in the hypothesis) or ``insert``. The pieces joined
    give the normalised texts back, and every character of a piece that is not ``equal`` is one edit of ``score``.
    """
    said, heard = normalise(reference), normalise(hypothesis)
    if not said and not heard:
        return []
    chunks = jiwer.process_characters(said, heard).alignments[0]
    return [(c.type, said[c.ref_start_idx : c.ref_end_idx], heard[c.hyp_start_idx : c.hyp_end_idx]) for c in chunks]


# ── Counting ─────────────────────────────────────────────────────────────────
def _normalised(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[list[str], list[str]]:
    if not references:
        raise ValueError("There are no clips to score.")
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses: one is needed for each.")
    said = [normalise(text) for text in references]
    if not any(said):
        raise ValueError("The references hold no character after normalisation.")
    return said, [normalise(text) for text in hypotheses]


def _phrases(said: Sequence[str]) -> np.ndarray:
    """The number of each clip's phrase [clips], from 0; clips of the same normalised text are one phrase."""
    return np.unique(said, return_inverse=True)[1]


def _rates(said: Sequence[str], heard: Sequence[str], phrases: np.ndarray, drawn: np.ndarray) -> Rates:
    counts = {
        "cer": _character_edits(said, heard),
        "syllable_error_rate": _syllable_edits(said, heard, tones=True),
        "toneless_syllable_error_rate": _syllable_edits(said, heard, tones=False),
    }
    rates: dict[str, Any] = {name: float(edits.sum() / units.sum()) for name, (edits, units) in counts.items()}
    for name, (edits, units) in counts.items():
        rates[f"{name}_ci"] = rate_interval(np.bincount(phrases, edits), np.bincount(phrases, units), drawn)
    sentence_accuracy = float(_exact(said, heard).mean())
    return Rates(
        sentence_accuracy=sentence_accuracy,
        sentence_accuracy_ci=wilson(sentence_accuracy, int(phrases.max()) + 1),
        **rates,
    )


def _exact(said: Sequence[str], heard: Sequence[str]) -> np.ndarray:
    """1 where both are the same, else 0, int [clips]."""
    return np.array([int(one == other) for one, other in zip(said, heard, strict=True)])


def _character_edits(said: Sequence[str], heard: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Edits and reference characters of each pair, two integer arrays of shape [clips]."""
    output = jiwer.process_characters(list(said), list(heard))
    return _edits(output), np.array([len(text) for text in said])


def _syllable_edits(said: Sequence[str], heard: Sequence[str], tones: bool) -> tuple[np.ndarray, np.ndarray]:
    """Edits and reference syllables of each pair, two integer arrays of shape [clips]."""
    spoken = [syllables(text, tones) for text in said]
    output = jiwer.process_words([" ".join(each) for each in spoken], [" ".join(syllables(t, tones)) for t in heard])
    return _edits(output), np.array([len(each) for each in spoken])


def _edits(output: jiwer.CharacterOutput | jiwer.WordOutput) -> np.ndarray:
    return np.array([sum(_length(chunk) for chunk in each if chunk.type != "equal") for each in output.alignments])


def _length(chunk: jiwer.AlignmentChunk) -> int:
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)


# The keys of report.json before its fields were renamed; they stay beside the new ones.
_FIRST_NAMES = {
    "sentence_accuracy": "exact",
    "syllable_error_rate": "ser_toned",
    "toneless_syllable_error_rate": "ser_toneless",
    "repetitions": "endless",
}


def with_first_names(kept: dict[str, Any]) -> dict[str, Any]:
    """``kept`` with each renamed key under its first name too, at every depth."""
    named: dict[str, Any] = {}
    for key, value in kept.items():
        named[key] = with_first_names(value) if isinstance(value, dict) else value
        name = key.removesuffix("_ci")
        if name in _FIRST_NAMES:
            named[_FIRST_NAMES[name] + key.removeprefix(name)] = named[key]
    return named
