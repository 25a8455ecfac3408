"""What is heard for what: characters, syllables and whole phrases, counted over the test.

An answer that is another sentence altogether has no meaningful alignment: pairing its characters would invent
confusions. Such answers are counted apart, and as phrases where the person has that phrase too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import jiwer
from pypinyin.contrib.tone_convert import to_tone

from ..error_rates import diff
from ..text import normalise, toned
from .polarity import ClipResult, is_same_sentence

Pair = tuple[str, str]


@dataclass(frozen=True)
class Confused:
    """``meant`` was heard as ``heard`` ``count`` times; an empty text is one that was left out, or added."""

    meant: str
    heard: str
    count: int
    example: str  # a phrase in which it happened


@dataclass(frozen=True)
class Confusions:
    """The pairs, most frequent first, and how many answers were another sentence, or nothing at all."""

    characters: tuple[Confused, ...]
    syllables: tuple[Confused, ...]  # pinyin with tone marks
    phrases: tuple[Confused, ...]  # one of the tested phrases heard as another of them
    other_sentences: int
    silent: int


def confusions(rows: Iterable[ClipResult]) -> Confusions:
    """Every confusion in the answers after training."""
    texts = [(normalise(row.reference), normalise(row.after), row.reference) for row in rows]
    phrases = {meant: shown for meant, _, shown in texts if meant}
    wrong = [(meant, said) for meant, said, _ in texts if meant and meant != said]
    heard = [(meant, said) for meant, said in wrong if said]
    close = [(meant, said) for meant, said in heard if is_same_sentence(meant, said)]
    return Confusions(
        characters=_count((pair, phrases[meant]) for meant, said in close for pair in _characters(meant, said)),
        syllables=_count((pair, phrases[meant]) for meant, said in close for pair in _syllables(meant, said)),
        phrases=_count(((phrases[meant], phrases[said]), phrases[meant]) for meant, said in heard if said in phrases),
        other_sentences=len(heard) - len(close),
        silent=len(wrong) - len(heard),
    )


def _characters(meant: str, said: str) -> Iterator[Pair]:
    for kind, before, after in diff(meant, said):
        if kind != "equal":  # where both are there, they are as long as each other
            yield from zip_longest(before, after, fillvalue="")


def _syllables(meant: str, said: str) -> Iterator[Pair]:
    """Characters that sound the same are no confusion here."""
    before, after = toned(meant), toned(said)
    for chunk in jiwer.process_words(" ".join(before), " ".join(after)).alignments[0]:
        if chunk.type != "equal":
            pieces = before[chunk.ref_start_idx : chunk.ref_end_idx], after[chunk.hyp_start_idx : chunk.hyp_end_idx]
            yield from zip_longest(*([to_tone(syllable) for syllable in piece] for piece in pieces), fillvalue="")


def _count(found: Iterable[tuple[Pair, str]]) -> tuple[Confused, ...]:
    """Most frequent first; of equals the one that was met first."""
    found = list(found)
    examples = dict(reversed(found))
    counted = Counter(pair for pair, _ in found).most_common()
    return tuple(Confused(*pair, count, examples[pair]) for pair, count in counted)
