"""A second hearing: only where the first was unsure, with less of the adapter, and the adapter is whole again after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from resonance_helpers import Workspace
from resonance_helpers.asr import adapter, base_models, rescoring, whisper
from resonance_helpers.asr.whisper import Hypothesis, SpeechModel
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE, SECOND_BEAMS, SECOND_STRENGTH, UNSURE_BELOW
from resonance_helpers.dataset.index import load_utterances

SURE, UNSURE = UNSURE_BELOW + 0.01, UNSURE_BELOW - 0.01
ENDLESS = "喝水" * 12
Opinions = dict[str, float]  # an answer → its mean log probability


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
    """The parts of ``SpeechModel`` that hear, with answers laid out in advance.

    ``full`` and ``weak`` are what the two strengths propose, and how likely each holds every answer; what the one
    proposes and the other does not is weighed.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        first: list[Hypothesis],
        full: Opinions | None = None,
        weak: Opinions | None = None,
    ) -> None:
        self.opinions = (full or {}, weak or {})
        self.at: list[float] = []  # the strength of each search
        patch.setattr(SpeechModel, "answers", lambda *_, stop_repetition: first if stop_repetition else None)
        patch.setattr(SpeechModel, "beam_search", lambda speech, encoded, beams: self.search(speech, encoded, beams))
        patch.setattr(SpeechModel, "mean_logprobs", lambda speech, _, answers: self.weigh(speech, answers))

    def search(self, speech: SpeechModel, encoded: torch.Tensor, beams: int) -> list[dict[tuple[int, ...], float]]:
        assert beams == SECOND_BEAMS
        self.at += strengths(speech)
        found = {self.tokens(speech, text): likely for text, likely in self.mine(speech).items() if text[-1] != "…"}
        return [dict(found) for _ in encoded]

    def weigh(self, speech: SpeechModel, answers: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        opinion = {text.rstrip("…"): likely for text, likely in self.mine(speech).items()}
        return [[opinion[text] for text in speech.decode(some)] for some in answers]

    @staticmethod
    def tokens(speech: SpeechModel, text: str) -> tuple[int, ...]:
        return (*speech.processor.tokenizer(text, add_special_tokens=False).input_ids, speech.end)

    def mine(self, speech: SpeechModel) -> Opinions:
        return self.opinions[strengths(speech) != {self.at[0]}]


def clips(count: int) -> list[np.ndarray]:
    return [np.zeros(1600, np.float32)] * count


def test_only_the_unsure_clips_are_encoded_again_and_all_of_them_at_once(
    speech: SpeechModel, converted_sample: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = [read_wav(u.wav) for u in load_utterances(converted_sample)[:6]]
    encode, encoded = SpeechModel.encode, []

    def counted(speech: SpeechModel, features: torch.Tensor) -> torch.Tensor:
        encoded.append((len(features), strengths(speech)))
        return encode(speech, features)

    monkeypatch.setattr(SpeechModel, "encode", counted)
    sure = sorted(heard.confidence for heard in rescoring.transcribe(speech, sounds, 4.0, rescore=False))
    assert encoded == [(6, strengths(speech))]
    monkeypatch.setattr(rescoring, "UNSURE_BELOW", sure[3])  # three are less sure
    rescoring.transcribe(speech, sounds, 4.0)
    (full,) = strengths(speech)
    assert encoded[1:] == [(6, {full}), (3, {full * SECOND_STRENGTH})]


def test_who_is_sure_is_asked_once(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    ears = Ears(monkeypatch, [Hypothesis("我想喝水", False, SURE)] * 2)
    assert rescoring.transcribe(speech, clips(2), 4.0) == [Hypothesis("我想喝水", False, SURE)] * 2
    assert not ears.at


def test_what_both_strengths_hold_likely_together_is_said(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the favourite of the one nor that of the other; what was sure is left alone, the doubt stays marked."""
    full = {"我要喝水": -0.1, "我要睡觉": -0.3, "开灯…": -3.0}
    weak = {"开灯": -0.2, "我要睡觉…": -0.3, "我要喝水": -3.0}
    first = [Hypothesis("关灯", False, SURE), Hypothesis("我要喝水", False, UNSURE)]
    ears = Ears(monkeypatch, first, full, weak)
    before = strengths(speech)
    sure, unsure = rescoring.transcribe(speech, clips(2), 4.0)
    assert sure == first[0]
    assert (unsure.text, unsure.unsure, unsure.truncated) == ("我要睡觉", True, False)
    assert unsure.confidence == pytest.approx(math.exp(-0.3))
    assert ears.at == pytest.approx([*before, *(SECOND_STRENGTH * one for one in before)])
    assert strengths(speech) == before


def test_the_weaker_hearing_has_a_third_of_the_say(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With none or with half of it another answer would be said."""
    full = {"开灯": -0.2, "关灯": -0.7, "开门": -0.02}
    weak = {"开灯": -0.8, "关灯": -0.2, "开门": -1.3}
    Ears(monkeypatch, [Hypothesis("开门", False, UNSURE)], full, weak)
    (heard,) = rescoring.transcribe(speech, clips(1), 4.0)
    assert heard.text == "开灯" and heard.confidence == pytest.approx(math.exp(-0.4))


@pytest.mark.parametrize(
    "first", [Hypothesis("好", True, SURE), Hypothesis(ENDLESS, False, SURE)], ids=["cut", "endless"]
)
def test_an_answer_that_found_no_end_is_unsure(
    speech: SpeechModel, first: Hypothesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    likely = {ENDLESS: -0.01, "我想喝水": -0.5}
    Ears(monkeypatch, [first], likely, likely)
    (heard,) = rescoring.transcribe(speech, clips(1), 4.0)
    assert (heard.text, heard.truncated, heard.unsure) == ("我想喝水", False, True)


def test_where_no_answer_has_an_end_the_first_stays(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    Ears(monkeypatch, [Hypothesis("开灯", False, UNSURE)], {ENDLESS: -0.1}, {ENDLESS: -0.1})
    assert rescoring.transcribe(speech, clips(1), 4.0) == [Hypothesis("开灯", False, UNSURE, unsure=True)]


def test_the_adapter_is_whole_again_whatever_happens(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before, asked = strengths(speech), []

    def fails(speech: SpeechModel, encoded: torch.Tensor, beams: int) -> list[dict[tuple[int, ...], float]]:
        asked.append(strengths(speech))
        if asked[-1] != before:
            raise RuntimeError("out of memory")
        return [{(speech.end,): 0.0}]

    Ears(monkeypatch, [Hypothesis("开灯", False, UNSURE)])
    monkeypatch.setattr(SpeechModel, "beam_search", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        rescoring.transcribe(speech, clips(1), 4.0)
    assert strengths(speech) == before and len(asked) == 2


def test_each_clip_has_an_answer_of_its_own_in_order(
    speech: SpeechModel, converted_sample: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More clips than one batch, all of them heard twice by the real model: as each alone."""
    sounds = [read_wav(u.wav) for u in load_utterances(converted_sample)[:10]]
    monkeypatch.setattr(rescoring, "UNSURE_BELOW", 1.1)
    told: list[tuple[int, int]] = []
    heard = rescoring.transcribe(speech, sounds, 4.0, lambda done, total: told.append((done, total)))
    assert told == [(8, 10), (10, 10)]
    assert all(each.unsure and not each.truncated for each in heard)
    alone = [rescoring.transcribe(speech, [sound], 4.0)[0] for sound in sounds]
    assert [each.text for each in heard] == [each.text for each in alone]
    assert len({each.text for each in heard}) > 1, "the comparison says nothing when every answer is the same"


def test_the_second_opinion_is_that_of_a_weaker_adapter(
    speech: SpeechModel, converted_sample: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the whole say it says what an adapter whose weights were made smaller holds most likely."""
    sounds = [read_wav(u.wav) for u in load_utterances(converted_sample)[:6]]
    monkeypatch.setattr(rescoring, "UNSURE_BELOW", 1.1)
    monkeypatch.setattr(rescoring, "_STRENGTHS", (SECOND_STRENGTH, SECOND_STRENGTH))
    heard = rescoring.transcribe(speech, sounds, 4.0)
    full, weaker = best_of(speech, sounds), []
    weights = [each for name, each in speech.model.named_parameters() if "lora_B" in name]
    for each in weights:
        each.data *= SECOND_STRENGTH
    try:
        weaker = best_of(speech, sounds)
    finally:
        for each in weights:
            each.data /= SECOND_STRENGTH
    assert [each.text for each in heard] == [text for text, _ in weaker]
    assert [each.confidence for each in heard] == pytest.approx([sure for _, sure in weaker], abs=1e-4)
    assert [each.confidence for each in heard] != pytest.approx([sure for _, sure in full], abs=1e-2)


def best_of(speech: SpeechModel, sounds: Sequence[np.ndarray]) -> list[tuple[str, float]]:
    """The likeliest answer of a search to each clip, and the mean probability of its tokens."""
    found = []
    for sound in sounds:
        (some,) = speech.beam_search(speech.encode(speech.features([sound], 4.0)), SECOND_BEAMS)
        best = max(some, key=lambda each: some[each])
        found.append((speech.decode([best])[0], math.exp(some[best])))
    return found


def test_a_clip_that_is_too_long_is_refused_as_ever(speech: SpeechModel) -> None:
    with pytest.raises(whisper.ResonanceError, match="RZ-0602"):
        rescoring.transcribe(speech, [np.zeros(int(4.5 * SAMPLE_RATE), np.float32)], 4.0)
