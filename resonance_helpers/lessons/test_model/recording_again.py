"""Which phrases to record again, the most urgent first, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...scoring.error_analysis.polarity import ClipResult, polarity_error_kind
from ...scoring.text import normalise
from .takes import Take

Kind = Literal["flip", "wrong", "unlearned", "worse", "mixed_up", "sound"]


@dataclass(frozen=True)
class Reason:
    """Why: a kind, which names a sentence, and its facts.

    ``flip``: the meaning was turned; ``wrong``: learned and still heard wrong; ``unlearned``: heard wrong and never
    learned; ``worse``: right before training; ``mixed_up``: heard as another of their phrases; ``sound``: the
    recording itself is poor.
    """

    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Advice:
    """One phrase to record again."""

    text: str
    reasons: tuple[Reason, ...]


def record_again(rows: Sequence[ClipResult], takes: Iterable[Take]) -> tuple[Advice, ...]:
    """The phrases that more or better recordings may help: a turned meaning first, then the most often wrong."""
    phrases: dict[str, _Phrase] = {}
    for row in rows:
        phrases.setdefault(normalise(row.reference), _Phrase(row.reference)).rows.append(row)
    for take in takes:
        phrases.setdefault(normalise(take.text), _Phrase(take.text)).takes.append(take)
    found = [(phrase, tuple(phrase.reasons(phrases))) for phrase in phrases.values()]
    found.sort(key=lambda each: each[0].urgency, reverse=True)  # equals stay in the order of the labels
    return tuple(Advice(phrase.text, reasons) for phrase, reasons in found if reasons)


@dataclass
class _Phrase:
    """A phrase with its test clips and all its recordings."""

    text: str
    rows: list[ClipResult] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)

    @property
    def wrong(self) -> list[ClipResult]:
        return [row for row in self.rows if normalise(row.after) != normalise(row.reference)]

    @property
    def flips(self) -> list[tuple[str, str]]:
        """What was heard instead, once each, and how it turns the meaning."""
        heard = dict.fromkeys(row.after for row in self.wrong)
        kinds = ((text, polarity_error_kind(self.text, text)) for text in heard)
        return [(text, kind) for text, kind in kinds if kind]

    @property
    def urgency(self) -> tuple[bool, float]:
        return bool(self.flips), len(self.wrong) / max(1, len(self.rows))

    def reasons(self, phrases: dict[str, _Phrase]) -> Iterable[Reason]:
        flips, wrong = self.flips, self.wrong
        for heard, kind in flips:
            yield Reason("flip", {"heard": heard, "kind": kind})
        if wrong:
            facts = {"wrong": len(wrong), "tested": len(self.rows)}
            learned = any(row.split == "known" for row in self.rows)
            if learned:
                facts["trained"] = sum(take.part == "train" for take in self.takes)
            yield Reason("wrong" if learned else "unlearned", facts)
        spoilt = [row for row in wrong if normalise(row.before) == normalise(row.reference)]
        if spoilt:
            yield Reason("worse", {"count": len(spoilt)})
        turned = {normalise(heard) for heard, _ in flips}
        for said in dict.fromkeys(normalise(row.after) for row in wrong):
            if said in phrases and said not in turned:
                yield Reason("mixed_up", {"other": phrases[said].text})
        for take in self.takes:
            if take.level in ("again", "listen", "unusable"):
                yield from (Reason("sound", {"sentence": sentence}) for sentence in take.reasons)
