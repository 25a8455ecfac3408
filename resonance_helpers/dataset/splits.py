"""Which recordings train, which choose the checkpoint, which judge: three parts that never share a clip.

Two questions are asked of a trained voice. *Known*: is a phrase understood that was trained on, in a take that was not?
*New*: is a phrase understood that was never trained on? A new phrase that sounds like a trained one (the same pinyin
but for tones) would answer the first question under the name of the second, so phrases move in groups that sound alike.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ..core.messages import ResonanceError
from ..core.settings import TEST_FRACTION
from ..core.workspace import read_json, write_json
from ..scoring.text import normalise, toneless
from .labels import CORRECTIONS

if TYPE_CHECKING:
    from .index import Utterance

    Parts = Sequence[Utterance]

FACTS, SPLIT = "run.json", "split.json"  # in the folder of a run
T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """What is trained on and what judges. ``made_here``: labels.json marks nothing ``test``, so it was chosen here."""

    train: tuple[Utterance, ...]
    seen: tuple[Utterance, ...]  # test takes of phrases that are trained on, or that sound like one
    unseen: tuple[Utterance, ...]  # test takes of phrases that are never trained on, nor any that sounds like them
    made_here: bool


@dataclass(frozen=True)
class DevSplit:
    """``fit`` learns, ``dev`` chooses the checkpoint.

    ``by``: ``"takes"`` means that every phrase of ``dev`` has another take in ``fit``; ``"phrases"`` means that ``fit``
    lacks phrases, so that the final adapter has to be trained on both parts.
    """

    fit: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    by: Literal["takes", "phrases"]


def write_split(run: Path, train: Parts, dev: Parts, split: Split, left_out: Parts) -> None:
    """Which recording a run uses for what, by the names that labels.json gives them."""
    parts = {"train": train, "dev": dev, "known": split.seen, "new": split.unseen, "left_out": left_out}
    write_json(run / SPLIT, {name: [u.audio for u in part] for name, part in parts.items()})


def read_split(run: Path) -> dict[str, list[str]]:
    """part (train, dev, known, new, left_out) → the recordings in it; a part that an old run did not write is empty.

    Raises RZ-0702 where there is no such file, RZ-0010 where it is damaged.
    """
    path = run / SPLIT
    if not path.exists():
        raise ResonanceError("RZ-0702", path=path)
    return {"dev": [], "left_out": []} | read_json(path, "train", "known", "new")


def split_utterances(utterances: Sequence[Utterance], seed: int) -> Split:
    """Train and test parts of ``utterances``, in their order; every one lands in exactly one part.

    A label's ``split`` is honoured. Where some label says ``test``, whatever is unmarked is trained on. Where none
    does, the test part is made from the unmarked ones: the last take of every phrase with several, and, where that
    gives less than ``TEST_FRACTION`` of all, whole groups of phrases that sound alike. Raises RZ-0407 when nothing is
    left to train on.

    Scores of before and after something was added should be of the same clips. Corrections only train, and the choice
    does not look at them: with or without them the same clips judge. A recording of one more phrase that sounds like no
    other brings at most one group into the test, or puts at most one out of it.
    """
    test = {i for i, u in enumerate(utterances) if u.split == "test"}
    recorded = [i for i, u in enumerate(utterances) if u.session != CORRECTIONS]
    made_here = not test and any(utterances[i].split is None for i in recorded)
    if made_here:
        test = {recorded[i] for i in _choose_test([utterances[i] for i in recorded], seed)}
    trained = {toneless(u.text) for i, u in enumerate(utterances) if i not in test}
    if not trained:
        raise ResonanceError("RZ-0407", count=len(utterances))
    tested = [utterances[i] for i in sorted(test)]
    return Split(
        train=tuple(u for i, u in enumerate(utterances) if i not in test),
        seen=tuple(u for u in tested if toneless(u.text) in trained),
        unseen=tuple(u for u in tested if toneless(u.text) not in trained),
        made_here=made_here,
    )


def hold_out_dev(train: Sequence[Utterance], fraction: float, max_clips: int, seed: int) -> DevSplit:
    """A part of ``train`` to choose the checkpoint by: ``fraction`` of its clips, at most ``max_clips``.

    By takes where enough phrases have several (the first take always stays in ``fit``), else by whole groups of phrases
    that sound alike. Only when every group is too large for that are phrases taken singly. A single clip is not split.
    """
    want = min(max_clips, max(1, round(fraction * len(train))), len(train) - 1)
    if want < 1:
        return DevSplit(tuple(train), (), "takes")
    rng = random.Random(seed)
    everything = range(len(train))
    spare = _spare_takes(train, rng)
    by: Literal["takes", "phrases"] = "takes" if len(spare) >= want else "phrases"
    if by == "takes":
        dev = set(spare[:want])
    else:
        dev = _whole_groups(train, everything, want, rng) or set(rng.sample(everything, want))
    return DevSplit(
        fit=tuple(u for i, u in enumerate(train) if i not in dev),
        dev=tuple(u for i, u in enumerate(train) if i in dev),
        by=by,
    )


def nested_phrases(
    utterances: Sequence[Utterance], sizes: Iterable[int], seed: int
) -> dict[int, tuple[Utterance, ...]]:
    """For each of ``sizes``: all takes of that many phrases, in the order of ``utterances``.

    Phrases are drawn by ``seed`` alone, so that the phrases of a smaller size are among those of every larger one, and
    the order of the labels changes nothing. A size beyond the number of phrases gives them all.
    """
    phrases = sorted({normalise(u.text) for u in utterances})
    random.Random(seed).shuffle(phrases)
    rank = {phrase: i for i, phrase in enumerate(phrases)}
    return {size: tuple(u for u in utterances if rank[normalise(u.text)] < size) for size in sizes}


def phrase_folds(utterances: Sequence[Utterance], folds: int, seed: int) -> tuple[tuple[Utterance, ...], ...]:
    """``utterances`` in ``folds`` parts of nearly the same size; phrases that sound alike never lie in two of them.

    Raises RZ-1603 for fewer than two folds, or for more folds than there are groups of phrases that sound alike.
    """
    groups = _grouped(range(len(utterances)), lambda i: toneless(utterances[i].text))
    if not 2 <= folds <= len(groups):
        raise ResonanceError("RZ-1603", folds=folds, groups=len(groups))
    random.Random(seed).shuffle(groups)
    parts: list[list[int]] = [[] for _ in range(folds)]
    for group in sorted(groups, key=len, reverse=True):  # the large ones first, the small ones even it out
        min(parts, key=len).extend(group)
    return tuple(tuple(utterances[i] for i in sorted(part)) for part in parts)


def _choose_test(utterances: Sequence[Utterance], seed: int) -> set[int]:
    """Indices of those that judge, none of them marked."""
    free = {i for i, u in enumerate(utterances) if u.split is None}
    want = max(1, round(TEST_FRACTION * len(utterances)))
    several = [takes for takes in _by_phrase(utterances) if len(takes) > 1]
    last_takes = {free_takes[-1] for takes in several if (free_takes := [i for i in takes if i in free])}
    if len(last_takes) >= want:
        return last_takes
    trained = {toneless(u.text) for i, u in enumerate(utterances) if i not in free or i in last_takes}
    groupable = [i for i in sorted(free) if toneless(utterances[i].text) not in trained]
    room = min(want - len(last_takes), len(utterances) - 1)
    return last_takes | _first_groups(utterances, groupable, room, seed)


def _first_groups(utterances: Sequence[Utterance], among: Iterable[int], room: int, seed: int) -> set[int]:
    """Indices of the first whole groups that sound alike, at most ``room`` clips.

    Their order hangs on ``seed`` and on how each sounds, not on the others: what is recorded later reorders nothing.
    """

    def place(group: list[int]) -> bytes:
        return hashlib.sha256(f"{seed} {toneless(utterances[group[0]].text)}".encode()).digest()

    groups = _grouped(among, lambda i: toneless(utterances[i].text))
    chosen: set[int] = set()
    for group in sorted((group for group in groups if len(group) <= room), key=place):
        if len(chosen) + len(group) > room:
            break  # a smaller one behind it would go in and out with every recording
        chosen.update(group)
    return chosen


def _by_phrase(utterances: Sequence[Utterance]) -> list[list[int]]:
    """Indices grouped by what is said, each group from the first take to the last."""
    groups = _grouped(range(len(utterances)), lambda i: normalise(utterances[i].text))
    return [sorted(group, key=lambda i: (utterances[i].take, utterances[i].session or "", i)) for group in groups]


def _spare_takes(utterances: Sequence[Utterance], rng: random.Random) -> list[int]:
    """All takes but each phrase's first, in the order to hold out: one of each phrase before a second of any."""
    spare = [
        (round_, rng.random(), i) for takes in _by_phrase(utterances) for round_, i in enumerate(reversed(takes[1:]))
    ]
    return [i for _, _, i in sorted(spare)]


def _whole_groups(utterances: Sequence[Utterance], among: Iterable[int], want: int, rng: random.Random) -> set[int]:
    """Indices of whole groups that sound alike: at most ``want`` clips, and never everything in ``utterances``."""
    groups = _grouped(among, lambda i: toneless(utterances[i].text))
    rng.shuffle(groups)
    chosen: set[int] = set()
    room = min(want, len(utterances) - 1)
    for group in groups:
        if len(chosen) + len(group) <= room:
            chosen.update(group)
    return chosen


def _grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())
