"""No clip in two parts, no homophone on both sides, no phrase lost, and the same parts for the same seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers import ResonanceError
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import TEST_FRACTION
from resonance_helpers.dataset.labels import CORRECTIONS
from resonance_helpers.dataset.splits import hold_out_dev, nested_phrases, phrase_folds, split_utterances
from resonance_helpers.scoring.text import normalise, toneless


@dataclass(frozen=True)
class Clip:
    """The part of an Utterance that splitting looks at."""

    audio: str
    text: str
    take: int = 1
    session: str | None = None
    split: str | None = None


# 20 and 二十 are even the same phrase.
TEXTS = ["买", "卖", "喝水", "和谁", "二十", "20", "是", "事", "十"]  # sound alike in pairs or more
TEXTS += ["我想吃饭", "帮我开灯", "疼", "不疼", "OK", "去", "妈"]


@st.composite
def recordings(draw: st.DrawFn, min_size: int = 1, splits: tuple[str | None, ...] = (None,)) -> list[Clip]:
    one = st.tuples(st.sampled_from(TEXTS), st.integers(1, 3), st.sampled_from(splits))
    said = draw(st.lists(one, min_size=min_size, max_size=40))
    return [Clip(f"{i}.wav", text, take, split=split) for i, (text, take, split) in enumerate(said)]


def sounds(said: tuple[Clip, ...]) -> set[tuple[str, ...]]:
    return {toneless(each.text) for each in said}


def spoken(said: tuple[Clip, ...]) -> set[str]:
    return {normalise(each.text) for each in said}


any_recordings = recordings() | recordings(splits=(None, "train")) | recordings(splits=(None, "train", "test"))


@given(any_recordings, st.integers(0, 5))
def test_the_parts_of_any_recordings(said: list[Clip], seed: int) -> None:
    if all(each.split == "test" for each in said):
        return
    split = split_utterances(said, seed)
    assert sorted(split.train + split.seen + split.unseen, key=said.index) == said  # each in exactly one part
    assert not sounds(split.unseen) & sounds(split.train)
    assert sounds(split.seen) <= sounds(split.train)
    assert all(each.split != "test" for each in split.train)
    assert all(each.split != "train" for each in split.seen + split.unseen)
    assert all(list(part) == sorted(part, key=said.index) for part in (split.train, split.seen, split.unseen))
    assert split == split_utterances(said, seed)
    marked = any(each.split == "test" for each in said)
    assert split.made_here == (not marked and any(each.split is None for each in said))
    if marked:
        assert {each for each in said if each.split == "test"} == set(split.seen + split.unseen)


# How each character sounds, by hand: the package's own pinyin must not be what its leaks are measured with.
SOUND = {"mai": "买卖買賣", "shi": "是事试試", "ta": "他她它", "zai": "在再", "zuo": "做坐座", "yao": "要药藥"}
SOUND_OF = {character: syllable for syllable, characters in SOUND.items() for character in characters}
plain_texts = st.text("".join(SOUND.values()), min_size=1, max_size=2)
dressed = st.tuples(plain_texts, st.sampled_from(["{}", "{}。", " {}\n", "“{}！”"])).map(
    lambda both: (both[0], both[1].format(both[0]))  # what is said, and how the label writes it
)


@given(
    st.lists(st.tuples(dressed, st.sampled_from([None, "train", "test"])), min_size=2, max_size=40),
    st.booleans(),
    st.integers(0, 9),
)
def test_no_homophone_of_a_new_phrase_is_ever_trained_on(
    spoken_as: list[tuple[tuple[str, str], str | None]], keep_labels: bool, seed: int
) -> None:
    """Not for fitting, not for choosing the checkpoint, whatever the labels say, in either script."""
    said = [
        Clip(f"{i}.wav", written, 1 + i % 3, split=mark if keep_labels else None)
        for i, ((_, written), mark) in enumerate(spoken_as)
    ]
    if all(each.split == "test" for each in said):
        return
    heard = {f"{i}.wav": tuple(SOUND_OF[c] for c in text) for i, ((text, _), _) in enumerate(spoken_as)}
    split = split_utterances(said, seed)
    held = hold_out_dev(split.train, 0.12, 24, seed)
    trained = {heard[each.audio] for each in held.fit + held.dev}
    assert not trained & {heard[each.audio] for each in split.unseen}
    assert {heard[each.audio] for each in split.seen} <= trained


@given(recordings(min_size=10))
def test_a_made_split_loses_few_phrases(said: list[Clip]) -> None:
    split = split_utterances(said, seed=1)
    several = {text for text, count in Counter(normalise(each.text) for each in said).items() if count > 1}
    assert several <= spoken(split.seen)
    assert several <= spoken(split.train)
    assert len(split.unseen) <= max(1, round(TEST_FRACTION * len(said)))


@given(recordings(min_size=3), st.lists(plain_texts, max_size=6), st.integers(0, 3))
def test_corrections_only_train_and_change_no_test(said: list[Clip], corrected: list[str], seed: int) -> None:
    before = split_utterances(said, seed)
    extra = [Clip(f"c{i}.wav", text, 9 + i, session=CORRECTIONS) for i, text in enumerate(corrected)]
    after = split_utterances(said + extra, seed)
    assert set(after.seen + after.unseen) == set(before.seen + before.unseen)
    assert set(after.train) == set(before.train) | set(extra)


@given(st.sets(st.integers(1, 300), min_size=8, max_size=60), st.integers(301, 400), st.integers(0, 5))
def test_one_more_phrase_moves_at_most_one_other(numbers: set[int], added: int, seed: int) -> None:
    """Else the scores of before and after would be of other clips."""
    said = [Clip(f"{n}.wav", f"第{n}句话") for n in sorted(numbers)]
    one = Clip(f"{added}.wav", f"第{added}句话")
    before = set(split_utterances(said, seed).unseen)
    after = set(split_utterances([one, *said], seed).unseen) - {one}
    assert len(before ^ after) <= 1


def test_three_takes_each_the_last_one_judges() -> None:
    said = [Clip(f"{text}{take}", text, take) for text in TEXTS[9:] for take in (3, 1, 2)]
    split = split_utterances(said, seed=17)
    assert {each.take for each in split.seen} == {3}
    assert {each.take for each in split.train} == {1, 2}
    assert len(split.seen) == 7 and not split.unseen and split.made_here


def test_takes_that_nobody_numbered_go_by_session_and_order() -> None:
    said = [
        Clip("a", "疼", session="2025-03"),
        Clip("b", "疼", session="2025-02"),
        Clip("c", "妈"),
        Clip("d", "妈"),
    ]
    assert [each.audio for each in split_utterances(said, seed=1).seen] == ["a", "d"]


def test_the_guides_one_take_each_holds_out_phrases() -> None:
    said = [Clip(f"{n}.wav", f"第{n}句话") for n in range(1, 101)]
    split = split_utterances(said, seed=17)
    assert not split.seen
    assert len(split.unseen) == 15
    assert split.unseen != split_utterances(said, seed=18).unseen


def test_where_few_phrases_have_takes_both_questions_are_asked_and_no_take_is_orphaned() -> None:
    said = [Clip(f"{n}", f"第{n}句话") for n in range(18)] + [Clip("a", "疼", 1), Clip("b", "疼", 2)]
    for seed in range(100):  # with 19 groups to draw from, some of these would draw the wrong one
        split = split_utterances(said, seed)
        assert spoken(split.seen) == {"疼"} and "疼" in spoken(split.train)
        assert len(split.unseen) == 2


def test_the_shared_speakers_own_split_is_kept() -> None:
    said = [Clip(f"{n}", f"第{n}句话", 1, split="train") for n in range(20)]
    said += [Clip(f"{n}b", f"第{n}句话", 2, split="test") for n in range(25)]
    split = split_utterances(said, seed=1)
    assert (len(split.train), len(split.seen), len(split.unseen), split.made_here) == (20, 20, 5, False)


def test_a_given_split_that_leaks_a_homophone_counts_as_known() -> None:
    split = split_utterances([Clip("a", "买", split="train"), Clip("b", "卖", split="test")], seed=1)
    assert spoken(split.seen) == {"卖"} and not split.unseen


def test_unmarked_ones_are_trained_on_where_some_are_marked_test() -> None:
    split = split_utterances([Clip("a", "疼", split="test"), Clip("b", "妈"), Clip("c", "去")], seed=1)
    assert spoken(split.train) == {"妈", "去"} and spoken(split.unseen) == {"疼"} and not split.made_here


def test_all_marked_train_has_no_test() -> None:
    split = split_utterances([Clip(f"{i}", text, split="train") for i, text in enumerate(TEXTS)], seed=1)
    assert len(split.train) == len(TEXTS) and not split.seen and not split.unseen and not split.made_here


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_nothing_to_train_on(lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    with pytest.raises(ResonanceError) as caught:
        split_utterances([Clip("a", "疼", split="test"), Clip("b", "妈", split="test")], seed=1)
    assert caught.value.code == "RZ-0407"
    assert str(caught.value).endswith(message("RZ-0407", count=2))
    assert '"split": "test"' in str(caught.value) and "2" in str(caught.value)


# ── dev ──────────────────────────────────────────────────────────────────────
@given(recordings(), st.floats(0.01, 0.5), st.integers(1, 12), st.integers(0, 5))
def test_dev_of_any_recordings(train: list[Clip], fraction: float, max_clips: int, seed: int) -> None:
    held = hold_out_dev(train, fraction, max_clips, seed)
    assert sorted(held.fit + held.dev, key=train.index) == train
    assert held.fit
    assert len(held.dev) <= max_clips
    assert held == hold_out_dev(train, fraction, max_clips, seed)
    if len(train) > 1:
        assert held.dev
    if held.by == "takes":
        assert spoken(held.fit) == spoken(tuple(train))


@given(any_recordings)
def test_dev_never_takes_a_test_clip(said: list[Clip]) -> None:
    if all(each.split == "test" for each in said):
        return
    split = split_utterances(said, seed=2)
    held = hold_out_dev(split.train, 0.12, 24, seed=2)
    assert not {*held.fit, *held.dev} & {*split.seen, *split.unseen}


def test_dev_by_takes_is_spread_over_phrases() -> None:
    train = [Clip(f"{text}{take}", text, take) for text in TEXTS[9:] for take in (1, 2, 3)]
    held = hold_out_dev(train, 0.25, 24, seed=3)
    assert held.by == "takes"
    assert Counter(each.take for each in held.dev) == {3: 5}
    assert len(spoken(held.dev)) == 5
    assert held.dev != hold_out_dev(train, 0.25, 24, seed=4).dev


def test_dev_by_phrases_keeps_homophones_together() -> None:
    train = [Clip(text, text) for text in TEXTS]
    for seed in range(20):
        held = hold_out_dev(train, 0.2, 24, seed)
        assert held.by == "phrases"
        assert not sounds(held.fit) & sounds(held.dev)


def test_dev_of_nothing_but_homophones_is_still_there() -> None:
    train = [Clip(text, text) for text in ("是", "事", "十", "师", "试", "市", "时", "石", "使", "世")]
    held = hold_out_dev(train, 0.12, 24, seed=1)
    assert (len(held.dev), held.by) == (1, "phrases")


def test_dev_is_capped() -> None:
    train = [Clip(f"{n}", f"第{n}句话") for n in range(400)]
    assert len(hold_out_dev(train, 0.12, 24, seed=1).dev) == 24


def test_a_single_clip_is_not_split() -> None:
    assert hold_out_dev([Clip("a", "疼")], 0.12, 24, seed=1).dev == ()


# ── Parts of the phrases, for the learning curve and for cross-validation ────
@given(any_recordings, st.lists(st.integers(1, 12), min_size=2, max_size=4), st.integers(0, 5), st.randoms())
def test_smaller_subsets_are_inside_larger_ones(said: list[Clip], sizes: list[int], seed: int, chance: Random) -> None:
    subsets = nested_phrases(said, sizes, seed)
    phrases = spoken(tuple(said))
    for size, subset in subsets.items():
        assert len(spoken(subset)) == min(size, len(phrases))
        assert {each for each in said if normalise(each.text) in spoken(subset)} == set(subset), "all takes of a phrase"
        assert list(subset) == sorted(subset, key=said.index)
        assert all(set(subset) <= set(larger) for more, larger in subsets.items() if more >= size)
    shuffled = chance.sample(said, len(said))
    assert {size: set(subset) for size, subset in nested_phrases(shuffled, sizes, seed).items()} == {
        size: set(subset) for size, subset in subsets.items()
    }


def test_another_seed_draws_other_phrases() -> None:
    said = [Clip(f"{n}.wav", f"第{n}句话") for n in range(1, 101)]
    assert len({nested_phrases(said, [10], seed)[10] for seed in range(5)}) == 5


@given(any_recordings, st.integers(2, 6), st.integers(0, 5))
def test_every_clip_is_in_one_fold_and_no_homophone_in_two(said: list[Clip], folds: int, seed: int) -> None:
    groups = Counter(toneless(each.text) for each in said)
    if folds > len(groups):
        with pytest.raises(ResonanceError, match="RZ-1603"):
            phrase_folds(said, folds, seed)
        return
    parts = phrase_folds(said, folds, seed)
    assert len(parts) == folds and all(parts)
    assert sorted((each for part in parts for each in part), key=said.index) == said
    for part in parts:
        assert not sounds(part) & sounds(tuple(each for other in parts if other is not part for each in other))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= max(groups.values()), "as even as whole groups allow"


@pytest.mark.parametrize("folds", [0, 1, 3])
def test_folds_that_cannot_be_made_are_refused_with_how_many_can(folds: int) -> None:
    with pytest.raises(ResonanceError) as caught:
        phrase_folds([Clip("a.wav", "买"), Clip("b.wav", "卖"), Clip("c.wav", "疼")], folds, 1)
    for lang in ("zh", "en"):
        sentence = message("RZ-1603", lang, **caught.value.facts)
        assert f" {folds} " in sentence and "--folds" in sentence and "2" in sentence
