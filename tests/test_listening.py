"""A second hearing: only where the first was unsure, with less of the adapter, and the adapter is whole again after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from resonance_helpers import Workspace, adapter, base_models, listening, whisper
from resonance_helpers.audio import read_wav
from resonance_helpers.settings import PRACTICE_MODEL, SAMPLE_RATE, SECOND_STRENGTH, UNSURE_BELOW
from resonance_helpers.utterances import load_utterances
from resonance_helpers.whisper import Heard, SpeechModel

SURE, UNSURE = UNSURE_BELOW + 0.01, UNSURE_BELOW - 0.01
ENDLESS = "喝水" * 12


@pytest.fixture(scope="module")
def speech(practice_adapter: Workspace) -> Iterator[SpeechModel]:
    """The practice model with an adapter that changes what it hears."""
    speech = whisper.load_speech_model(base_models.resolve(PRACTICE_MODEL, practice_adapter.cache))
    adapter.attach(speech, practice_adapter.adapter)
    generator = torch.Generator().manual_seed(17)
    for name, weights in speech.model.named_parameters():
        if "lora_B" in name:
            weights.data = 0.06 * torch.randn(weights.shape, generator=generator)
    with adapter.using(speech, "default"):
        yield speech


def strengths(speech: SpeechModel) -> set[float]:
    """What the weights of the adapter are multiplied with, in all layers."""
    layers = [module for module in speech.model.modules() if isinstance(module, LoraLayer)]
    assert layers
    return {layer.scaling["default"] for layer in layers}


class Ears:
    """``SpeechModel.hear`` with answers laid out in advance, which notes the clips and the adapter's strength."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[Heard] | Exception) -> None:
        self.asked: list[tuple[list[int], set[float]]] = []
        self._answers = iter(answers)
        monkeypatch.setattr(SpeechModel, "hear", lambda speech, clips, window_s, **_: self.hear(speech, clips))

    def hear(self, speech: SpeechModel, clips: Sequence[np.ndarray]) -> list[Heard]:
        self.asked.append(([len(clip) for clip in clips], strengths(speech)))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def clips(count: int) -> list[np.ndarray]:
    """Clips that are told apart by their lengths 1, 2, 3 …"""
    return [np.zeros(length + 1, np.float32) for length in range(count)]


def test_who_is_sure_is_asked_once(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    ears = Ears(monkeypatch, [Heard("我想喝水", False, SURE)] * 2)
    assert listening.hear(speech, clips(2), 4.0) == [Heard("我想喝水", False, SURE)] * 2
    assert len(ears.asked) == 1


def test_only_what_was_unsure_is_heard_again_more_gently_and_keeps_its_mark(
    speech: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [
        Heard("我想喝水", False, SURE),
        Heard("开灯", False, UNSURE),
        Heard("好", True, SURE),
        Heard(ENDLESS, False, SURE),
    ]
    second = [Heard("关灯", False, 0.99), Heard("好的", False, 0.3), Heard("喝水", False, 0.99)]
    ears = Ears(monkeypatch, first, second)
    heard = listening.hear(speech, clips(4), 4.0)
    assert [each.text for each in heard] == ["我想喝水", "关灯", "好的", "喝水"]
    assert [each.unsure for each in heard] == [False, True, True, True]
    (full,) = ears.asked[0][1]
    assert ears.asked[0][0] == [1, 2, 3, 4]
    assert ears.asked[1][0] == [2, 3, 4]
    assert [*ears.asked[1][1]] == pytest.approx([full * SECOND_STRENGTH])
    assert strengths(speech) == {full}


@pytest.mark.parametrize("second", [Heard("灯灯", True, 0.99), Heard(ENDLESS, False, 0.99)], ids=["cut", "endless"])
def test_a_second_answer_without_an_end_is_no_better(
    speech: SpeechModel, second: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ears(monkeypatch, [Heard("开灯", False, UNSURE)], [second])
    assert listening.hear(speech, clips(1), 4.0) == [Heard("开灯", False, UNSURE, unsure=True)]


def test_the_adapter_is_whole_again_whatever_happens(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = strengths(speech)
    Ears(monkeypatch, [Heard("开灯", False, UNSURE)], RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        listening.hear(speech, clips(1), 4.0)
    assert strengths(speech) == before


def test_the_second_hearing_is_that_of_a_weaker_adapter(
    speech: SpeechModel, converted_sample: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers of an adapter whose weights were made smaller, clip by clip."""
    sounds = [read_wav(u.wav) for u in load_utterances(converted_sample)[:6]]
    monkeypatch.setattr(listening, "UNSURE_BELOW", 1.1)  # all of them
    told: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        told.append((done, total))

    heard = listening.hear(speech, sounds, 4.0, on_progress)
    assert told[-1] == (6, 6)
    assert all(each.unsure for each in heard)
    full = speech.hear(sounds, 4.0)
    weights = [each for name, each in speech.model.named_parameters() if "lora_B" in name]
    for each in weights:
        each.data *= SECOND_STRENGTH
    try:
        weaker = speech.hear(sounds, 4.0)
    finally:
        for each in weights:
            each.data /= SECOND_STRENGTH
    assert [each.text for each in heard] == [each.text for each in weaker]
    assert [each.sure for each in heard] == pytest.approx([each.sure for each in weaker], abs=1e-4)
    assert [each.sure for each in heard] != pytest.approx([each.sure for each in full], abs=1e-2)


def test_a_clip_that_is_too_long_is_refused_as_ever(speech: SpeechModel) -> None:
    with pytest.raises(whisper.ResonanceError, match="RZ-0602"):
        listening.hear(speech, [np.zeros(int(4.5 * SAMPLE_RATE), np.float32)], 4.0)
