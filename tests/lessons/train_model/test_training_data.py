"""What the trainer eats: each batch as long as its longest clip, no sound lost, the dev part at the full window."""

from __future__ import annotations

import importlib
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from resonance_helpers import Workspace
from resonance_helpers.asr.augmentation import Augmentation
from resonance_helpers.asr.whisper import SpeechModel, load_speech_model
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE, TrainingSettings
from resonance_helpers.dataset.index import Utterance, load_utterances
from resonance_helpers.dataset.splits import DevSplit
from resonance_helpers.lessons.train_model.data import Draws, SimilarLengths, augmented_table, collate, feature_table

WINDOW_S = 4.0
DRAWS = Draws(Augmentation(TrainingSettings().augment), seed=1)


@pytest.fixture(scope="module")
def clips(converted_sample: Workspace) -> tuple[Utterance, ...]:
    """The shortest and the longest recordings of the sample."""
    ordered = sorted(load_utterances(converted_sample), key=lambda u: u.seconds)
    return (*ordered[:4], *ordered[-2:])


@pytest.fixture(scope="module")
def speech(converted_sample: Workspace) -> SpeechModel:
    from resonance_helpers.asr.base_models import resolve

    return load_speech_model(resolve(PRACTICE_MODEL, converted_sample.cache))


def test_a_batch_is_as_long_as_its_longest_clip(
    clips: tuple[Utterance, ...], speech: SpeechModel, tmp_path: Path
) -> None:
    table = feature_table(clips, speech, WINDOW_S, True, tmp_path)
    short = collate([table[i] for i in range(4)])["input_features"]
    mixed = collate([table[i] for i in range(len(clips))])["input_features"]
    assert short.shape[2] == max(table[i]["frames"] for i in range(4)) < mixed.shape[2] <= 100 * WINDOW_S
    assert torch.equal(mixed[:4, :, : short.shape[2]], short)


def test_features_are_computed_once_and_again_only_for_something_else(
    clips: tuple[Utterance, ...], speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, computed = feature_table(clips, speech, WINDOW_S, True, tmp_path / "new"), []
    usual = SpeechModel.label_ids  # asked for each row that is computed
    monkeypatch.setattr(SpeechModel, "label_ids", lambda *given: computed.append(given[1]) or usual(*given))
    again = feature_table(clips, speech, WINDOW_S, True, tmp_path / "new")
    assert not computed and again[:].keys() == first[:].keys()
    assert all(torch.equal(again[i]["input_features"], first[i]["input_features"]) for i in range(len(clips)))
    assert {Path(file["filename"]).parent for file in again.cache_files} == {tmp_path / "new"}
    other = replace(speech, base=replace(speech.base, folder=other_weights(speech, tmp_path / "other")))
    changes: tuple[tuple[object, ...], ...] = (
        ((replace(clips[0], text="别的话"), *clips[1:]), speech, WINDOW_S, True),
        ((replace(clips[0], wav=clips[1].wav), *clips[1:]), speech, WINDOW_S, True),
        (clips, speech, WINDOW_S, False),
        (clips, replace(speech, language="en"), WINDOW_S, True),
        (clips, other, WINDOW_S, True),  # a folder that has the same name elsewhere
    )
    for change in changes:
        computed.clear()
        feature_table(*change, tmp_path / "new")  # type: ignore[arg-type]
        assert len(computed) == len(clips)


def other_weights(speech: SpeechModel, folder: Path) -> Path:
    """A copy of the base model of ``speech`` in which a number differs."""
    shutil.copytree(speech.base.folder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.layer_norm.bias"] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_what_is_cut_off_is_silence(clips: tuple[Utterance, ...], speech: SpeechModel, tmp_path: Path) -> None:
    for row, clip in zip(feature_table(clips, speech, WINDOW_S, True, tmp_path), clips, strict=True):
        assert row["frames"] % 2 == 0 and row["frames"] >= 100 * len(read_wav(clip.wav)) / SAMPLE_RATE
        rest = row["input_features"][:, row["frames"] :]
        assert (rest == row["input_features"].min()).all()


def test_the_loss_of_a_cut_batch_is_the_loss_of_the_whole(
    clips: tuple[Utterance, ...], speech: SpeechModel, tmp_path: Path
) -> None:
    losses = []
    for cut in (True, False):
        table = feature_table(clips, speech, WINDOW_S, cut, tmp_path)
        with torch.inference_mode():
            losses.append(speech.whisper(**collate([table[i] for i in range(4)])).loss.item())
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.2)


def test_the_dev_part_and_a_window_that_was_asked_for_stay_whole(
    clips: tuple[Utterance, ...], speech: SpeechModel, tmp_path: Path
) -> None:
    tables = (
        feature_table(clips, speech, WINDOW_S, False, tmp_path),
        augmented_table(clips, speech, WINDOW_S, False, DRAWS),
    )
    for table in tables:
        assert collate([table[0]])["input_features"].shape == (1, 80, 100 * WINDOW_S)


def test_augmented_clips_keep_all_their_sound(clips: tuple[Utterance, ...], speech: SpeechModel) -> None:
    rows = augmented_table(clips, speech, WINDOW_S, True, DRAWS)[:]
    frames = [int(n) for n in rows["frames"]]
    assert len(set(frames)) > 1
    for features, needed in zip(rows["input_features"], frames, strict=True):
        assert (features[:, needed:] == features.min()).all()


def test_a_draw_depends_on_the_seed_and_on_how_many_came_before(
    clips: tuple[Utterance, ...], speech: SpeechModel
) -> None:
    table = augmented_table(clips, speech, WINDOW_S, True, DRAWS)
    first, second = table[:2]["input_features"], table[:2]["input_features"]
    torch.manual_seed(99)  # whatever else draws numbers changes nothing
    later = augmented_table(clips, speech, WINDOW_S, True, replace(DRAWS, before=1))[:2]["input_features"]
    assert torch.equal(later, second) and not torch.equal(later, first)
    assert not torch.equal(
        augmented_table(clips, speech, WINDOW_S, True, replace(DRAWS, seed=2))[:2]["input_features"], first
    )


def test_the_model_is_no_part_of_what_datasets_hashes(clips: tuple[Utterance, ...], speech: SpeechModel) -> None:
    table = augmented_table(clips, speech, WINDOW_S, True, DRAWS)
    assert len(pickle.dumps(table.format["format_kwargs"]["transform"])) < 10_000  # hashing it would take seconds


def test_now_and_then_two_clips_are_heard_at_the_native_window(
    clips: tuple[Utterance, ...], speech: SpeechModel
) -> None:
    table = augmented_table(clips[:4], speech, 3.0, True, replace(DRAWS, native_every=2))
    batches = [collate(table.__getitems__([0, 1, 2, 3])) for _ in range(4)]  # as a loader asks: a batch at a time
    assert [len(batch["labels"]) for batch in batches] == [4, 2, 4, 2]
    frames = [batch["input_features"].shape[2] for batch in batches]
    assert frames[1] == frames[3] == 100 * speech.native_window_s and max(frames[0], frames[2]) <= 300


@pytest.mark.parametrize("changes", [{}, {"augment": ()}, {"window_s": 4.0}], ids=["default", "as recorded", "asked"])
def test_the_native_window_is_heard_whatever_else_was_chosen(
    changes: dict[str, Any], clips: tuple[Utterance, ...], speech: SpeechModel, converted_sample: Workspace
) -> None:
    """An adapter that never heard it repeats itself without end there."""
    settings = TrainingSettings(native_every=2, **changes)
    run = importlib.import_module("resonance_helpers.lessons.train_model.logic")._Run(
        converted_sample, settings, speech, 3.0, DevSplit((), (), "takes"), None, None, None
    )
    table = run._table(clips[:4], 0)
    assert [len(table.__getitems__([0, 1, 2, 3])) for _ in range(4)] == [4, 2, 4, 2]


def test_some_clips_are_learned_behind_the_bare_prompt(clips: tuple[Utterance, ...], speech: SpeechModel) -> None:
    table = augmented_table(clips, speech, WINDOW_S, True, DRAWS)
    texts = [clip.text for clip in clips]
    labels = [ids for _ in range(20) for ids in zip(texts, table[:]["labels"], strict=True)]
    bare = sum(ids == speech.label_ids(text, bare=True) for text, ids in labels)
    assert bare + sum(ids == speech.label_ids(text) for text, ids in labels) == len(labels)
    assert 0.15 < bare / len(labels) < 0.35


# ── Which clips share a batch ────────────────────────────────────────────────
@given(seconds=st.lists(st.floats(0.5, 30), min_size=1, max_size=60), batch=st.integers(1, 9), epoch=st.integers(0, 9))
def test_each_pass_has_every_clip_once_and_can_be_repeated(seconds: list[float], batch: int, epoch: int) -> None:
    orders = []
    for _ in range(2):
        sampler = SimilarLengths(seconds, batch, seed=1)
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert sorted(orders[0]) == list(range(len(seconds))) == list(range(len(sampler)))
    assert orders[0] == orders[1]


def test_batches_hold_little_silence_and_change_from_pass_to_pass() -> None:
    seconds = np.random.default_rng(1).uniform(1, 6, 100)
    sampler = SimilarLengths(list(seconds), 8, seed=1)
    passes = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        passes.append([list(sampler)[i : i + 8] for i in range(0, 100, 8)])
    longest = [sum(len(b) * max(seconds[b]) for b in batches) for batches in (*passes, np.split(np.arange(96), 12))]
    assert max(longest[:2]) < 1.2 * seconds.sum() < longest[2]  # in any order a third of the time would be silence
    assert {frozenset(b) for b in passes[0]}.isdisjoint(frozenset(b) for b in passes[1])
    assert [max(seconds[b]) for b in passes[0]] != sorted(max(seconds[b]) for b in passes[0])
