"""What the trainer eats: each batch as long as its longest clip, no sound lost, the dev part at the full window."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from resonance_helpers import Workspace
from resonance_helpers.audio import read_wav
from resonance_helpers.augmentation import Augmentation
from resonance_helpers.settings import PRACTICE_MODEL, SAMPLE_RATE, TrainingSettings
from resonance_helpers.training.data import augmented_table, collate, feature_table
from resonance_helpers.utterances import Utterance, load_utterances
from resonance_helpers.whisper import SpeechModel, load_speech_model

WINDOW_S = 4.0
AUGMENTATION = Augmentation(TrainingSettings().augment)


@pytest.fixture(scope="module")
def clips(converted_sample: Workspace) -> tuple[Utterance, ...]:
    """The shortest and the longest recordings of the sample."""
    ordered = sorted(load_utterances(converted_sample), key=lambda u: u.seconds)
    return (*ordered[:4], *ordered[-2:])


@pytest.fixture(scope="module")
def speech(converted_sample: Workspace) -> SpeechModel:
    from resonance_helpers.base_models import resolve

    return load_speech_model(resolve(PRACTICE_MODEL, converted_sample.cache))


def test_a_batch_is_as_long_as_its_longest_clip(
    clips: tuple[Utterance, ...], speech: SpeechModel, tmp_path: Path
) -> None:
    table = feature_table(clips, speech, WINDOW_S, True, tmp_path)
    short = collate([table[i] for i in range(4)])["input_features"]
    mixed = collate([table[i] for i in range(len(clips))])["input_features"]
    assert short.shape[2] == max(table[i]["frames"] for i in range(4)) < mixed.shape[2] <= 100 * WINDOW_S
    assert torch.equal(mixed[:4, :, : short.shape[2]], short)


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
        augmented_table(clips, speech, WINDOW_S, False, AUGMENTATION, 1),
    )
    for table in tables:
        assert collate([table[0]])["input_features"].shape == (1, 80, 100 * WINDOW_S)


def test_augmented_clips_keep_all_their_sound(clips: tuple[Utterance, ...], speech: SpeechModel) -> None:
    rows = augmented_table(clips, speech, WINDOW_S, True, AUGMENTATION, 1)[:]
    frames = [int(n) for n in rows["frames"]]
    assert len(set(frames)) > 1
    for features, needed in zip(rows["input_features"], frames, strict=True):
        assert (features[:, needed:] == features.min()).all()


def test_a_draw_depends_on_the_seed_and_on_how_many_came_before(
    clips: tuple[Utterance, ...], speech: SpeechModel
) -> None:
    table = augmented_table(clips, speech, WINDOW_S, True, AUGMENTATION, 1)
    first, second = table[:2]["input_features"], table[:2]["input_features"]
    torch.manual_seed(99)  # whatever else draws numbers changes nothing
    later = augmented_table(clips, speech, WINDOW_S, True, AUGMENTATION, 1, drawn=1)[:2]["input_features"]
    assert torch.equal(later, second) and not torch.equal(later, first)
    assert not torch.equal(augmented_table(clips, speech, WINDOW_S, True, AUGMENTATION, 2)[:2]["input_features"], first)
