"""Decoding against the library's own ``generate``; labels with one start token; clips that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from resonance_helpers import Workspace
from resonance_helpers.asr import whisper
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.whisper import SpeechModel, load_speech_model
from resonance_helpers.audio.decode import load, read_wav
from resonance_helpers.core.messages import ResonanceError
from resonance_helpers.core.settings import MAX_NEW_TOKENS, PRACTICE_MODEL, SAMPLE_RATE
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.lessons.train_model.data import IGNORED, collate


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_speech_model(resolve(PRACTICE_MODEL, tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module", params=[PRACTICE_MODEL, pytest.param("whisper-base", marks=pytest.mark.real)])
def any_model(request: pytest.FixtureRequest, practice: SpeechModel, whisper_base: Path) -> SpeechModel:
    """The practice model and a real one: each has its own vocabulary."""
    return practice if request.param == PRACTICE_MODEL else load_speech_model(resolve(whisper_base, Path()))


def by_generate(speech: SpeechModel, features: torch.Tensor, tokens: int, beams: int = 1) -> list[str]:
    """The library's own search at the native window, bounded in tokens, language given."""
    ids = speech.whisper.generate(
        features,
        language=speech.language,
        task="transcribe",
        num_beams=beams,
        early_stopping=True,
        do_sample=False,
        max_new_tokens=tokens,
    )
    return speech.decode(ids)


def test_greedy_writes_what_generate_writes(practice: SpeechModel, converted_sample: Workspace) -> None:
    clips = [read_wav(u.wav) for u in load_utterances(converted_sample)[:24]]
    features = practice.features(clips, practice.native_window_s)
    found = practice.decode(practice.greedy(features, max_new_tokens=20))
    assert found == by_generate(practice, features, 20)
    assert len(set(found)) > 8, "the comparison says nothing when every answer is the same"


def test_beams_find_what_generate_finds_with_as_many(practice: SpeechModel, converted_sample: Workspace) -> None:
    clips = [read_wav(u.wav) for u in load_utterances(converted_sample)[:12]]
    features = practice.features(clips, practice.native_window_s)
    found = [max(some, key=lambda each: some[each]) for some in practice.beam_search(practice.encode(features), 5)]
    assert practice.decode(found) == by_generate(practice, features, MAX_NEW_TOKENS, beams=5)
    assert practice.decode(found) != practice.recognise(clips), "the comparison says nothing when beams change nothing"


def test_a_search_finds_the_same_for_a_clip_alone_and_only_what_has_an_end(
    practice: SpeechModel, converted_sample: Workspace
) -> None:
    clips = [read_wav(u.wav) for u in load_utterances(converted_sample)[:5]]
    encoded = practice.encode(practice.features([*clips, noise()], 4.0))
    together = practice.beam_search(encoded, 5)
    for row, some in enumerate(together):
        assert len(some) <= 5 and all(answer.index(practice.end) == len(answer) - 1 for answer in some)
        (alone,) = practice.beam_search(encoded[row : row + 1], 5)
        assert some == pytest.approx(alone, abs=1e-4)


def test_answers_are_told_apart_by_the_models_own_probabilities(
    practice: SpeechModel, converted_sample: Workspace
) -> None:
    """At a short window, each answer up to its end token; neither a longer one nor another clip beside it matters."""
    features = practice.features([noise(), read_wav(load_utterances(converted_sample)[0].wav), noise()], 4.0)
    encoded = practice.encode(features)
    searched = practice.beam_search(encoded, 5)
    answers = [list(searched[0]), list(searched[1])[:2], []]
    assert len({len(answer) for answer in answers[0]}) > 1
    found = practice.mean_logprobs(encoded, answers)
    assert [len(some) for some in found] == [5, 2, 0]
    assert practice.mean_logprobs(encoded, [[], [], []]) == [[], [], []]
    for clip, some in enumerate(answers):
        assert found[clip] == pytest.approx([searched[clip][answer] for answer in some], abs=1e-3)
        for answer, mean in zip(some, found[clip], strict=True):
            said = torch.tensor([[*practice.prompt, *answer]])
            with torch.inference_mode():
                whole = practice.whisper(features[clip : clip + 1], decoder_input_ids=said[:, :-1])
            logits = whole.logits[0, len(practice.prompt) - 1 :] + practice._suppressed
            logits[0] += practice._suppressed_at_start
            each = logits.log_softmax(-1)[range(len(answer)), list(answer)]
            assert mean == pytest.approx(float(each.mean()), abs=1e-3)


@pytest.mark.parametrize(
    ("tokens", "loops"),
    [
        ([7] * 16, True),
        ([7] * 15, False),
        ([1, 2, 3, 4] * 4, True),
        ([9, 8, *[1, 2, 3, 4, 5] * 4], True),
        ([9, *[1, 2, 3, 4, 5] * 3, 1, 2, 3, 4], False),
        ([*[1, 2] * 8, 3], False),
        (list(range(40)), False),
        ([5], False),
    ],
)
def test_a_loop_is_one_stretch_four_times_over_sixteen_tokens(tokens: list[int], loops: bool) -> None:
    other = list(range(100, 100 + len(tokens)))
    assert whisper._is_repeating(torch.tensor([other, tokens])).tolist() == [False, loops]


def test_a_loop_is_stopped_as_cut_and_leaves_the_other_answers_alone(
    practice: SpeechModel, converted_sample: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [read_wav(each.wav) for each in load_utterances(converted_sample)[:4]]
    encoded = practice.encode(practice.features(clips, 4.0))
    whole = practice.answers(encoded)
    asked: list[int] = []

    def looks(tokens: torch.Tensor) -> torch.Tensor:
        asked.append(tokens.shape[1])
        return torch.tensor([row == 1 and tokens.shape[1] >= 2 for row in range(len(tokens))])

    monkeypatch.setattr(whisper, "_is_repeating", looks)
    assert practice.answers(encoded) == whole and not asked, "a stranger's answer goes on to the bound"
    first, second, *others = practice.answers(encoded, stop_repetition=True)
    assert [first, *others] == [whole[0], *whole[2:]] and not whole[1].truncated
    assert second.truncated and whole[1].text.startswith(second.text) and second.text != whole[1].text


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)


def test_order_and_text_do_not_depend_on_the_batch(practice: SpeechModel, converted_sample: Workspace) -> None:
    clips = [read_wav(u.wav) for u in load_utterances(converted_sample)[:7]]
    done: list[tuple[int, int]] = []
    texts = practice.recognise(clips, batch_size=3, on_progress=lambda n, total: done.append((n, total)))
    assert texts == [practice.recognise([clip])[0] for clip in clips]
    assert done == [(3, 7), (6, 7), (7, 7)]


def test_an_answer_is_bounded(practice: SpeechModel) -> None:
    assert practice.greedy(practice.features([noise()], 4.0), max_new_tokens=5).shape[1] <= 5


def test_an_answer_that_the_bound_cut_says_so(
    practice: SpeechModel, converted_sample: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [read_wav(each.wav) for each in load_utterances(converted_sample)[:3]]
    whole = practice.transcribe(clips)
    assert [heard.text for heard in whole] == practice.recognise(clips) and not any(heard.truncated for heard in whole)
    monkeypatch.setattr(whisper, "MAX_NEW_TOKENS", 2)
    assert all(heard.truncated for heard in practice.transcribe(clips))


def test_how_sure_an_answer_is_comes_from_the_probabilities_of_its_tokens(
    practice: SpeechModel, converted_sample: Workspace
) -> None:
    clips = [read_wav(each.wav) for each in load_utterances(converted_sample)[:4]]
    features = practice.features(clips, practice.native_window_s)
    whole_model, tokens = practice.whisper, practice.greedy(features)
    for row, heard in enumerate(practice.transcribe(clips)):
        said = tokens[row].tolist()
        said = said[: said.index(practice.end) + 1]
        with torch.no_grad():  # all tokens at once instead of one after the other
            output = whole_model(
                input_features=features[row : row + 1], decoder_input_ids=torch.tensor([practice.prompt + said[:-1]])
            )
        config = whole_model.generation_config
        logits = output.logits[0, len(practice.prompt) - 1 :]
        logits[:, config.suppress_tokens or []] = -torch.inf
        logits[0, config.begin_suppress_tokens or []] = -torch.inf
        chosen = logits.log_softmax(-1)[torch.arange(len(said)), said]
        assert heard.confidence == pytest.approx(chosen.mean().exp().item(), abs=1e-4)


def test_labels_have_one_start_token_and_padding_that_is_ignored(practice: SpeechModel) -> None:
    labels = [practice.label_ids(text) for text in ("疼", "我想喝水")]
    features = torch.zeros(80, 400)
    batch = collate([{"input_features": features, "labels": ids} for ids in labels])
    start, config = practice.whisper.config.decoder_start_token_id, practice.whisper.config
    seen = shift_tokens_right(batch["labels"], config.pad_token_id, start)
    assert (seen[:, 0] == start).all() and (seen == start).sum() == 2, "one start token in each row"
    assert batch["labels"].shape[1] == max(map(len, labels))
    assert (batch["labels"][0, len(labels[0]) :] == IGNORED).all() and batch["labels"][0, len(labels[0]) - 1] >= 0
    assert practice.decode(torch.tensor([labels[1]])) == ["我想喝水"]
    assert seen[0, : len(practice.prompt)].tolist() == practice.prompt, "training and decoding start alike"


@pytest.mark.parametrize("text", ["水<|endoftext|>", "<|zh|>水", "<|0.00|>水", "水<|endoftext|>喝", "<|notimestamps|>"])
def test_no_command_of_the_model_is_learned_from_a_text(any_model: SpeechModel, text: str) -> None:
    for bare in (False, True):
        with pytest.raises(ResonanceError, match="RZ-0481"):
            any_model.label_ids(text, bare)


@pytest.mark.parametrize("text", ["水", "<| endoftext |> 水", "<|水|>", "< |zh| > 水", "😀 水"])
def test_whatever_else_stands_in_a_text_is_text(any_model: SpeechModel, text: str) -> None:
    ids = any_model.label_ids(text)
    assert ids[:3] == any_model.prompt[1:] and ids[-1] == any_model.end
    assert any_model.end not in ids[3:-1] and any_model.tokens_of(text) == len(ids) - 3
    assert any_model.decode([ids]) == [text]


def test_the_bare_prompt_is_what_generate_starts_from_when_it_is_told_nothing(practice: SpeechModel) -> None:
    """The guide's step seven: without a language, today's ``generate`` finds one and leaves the task out."""
    prompts = []
    hook = practice.whisper.model.decoder.register_forward_pre_hook(
        lambda _, args, kwargs: prompts.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    try:
        practice.whisper.generate(practice.features([np.zeros(SAMPLE_RATE, np.float32)], 4.0), max_new_tokens=2)
    finally:
        hook.remove()
    start, (language, silent, *_), (_, *prompt) = practice.prompt[0], practice.label_ids("疼", bare=True), prompts[1]
    assert prompts[0] == [start], "the language is looked for first"
    assert prompt[1:] == [silent] == practice.prompt[3:] and language == practice.prompt[1]
    assert practice.label_ids("疼")[3:] == practice.label_ids("疼", bare=True)[2:]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_clip_longer_than_the_window_is_refused(
    practice: SpeechModel, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    with pytest.raises(ResonanceError, match=r"RZ-0602.*4\.5.* 4 ") as error:
        practice.recognise([np.zeros(int(4.5 * SAMPLE_RATE), np.float32)])
    assert error.value.facts == {"seconds": "4.5", "window": "4"}


def test_an_unknown_language_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ResonanceError, match=r"RZ-0603.*tlh.*zh"):
        load_speech_model(resolve(PRACTICE_MODEL, tmp_path), language="tlh")


@pytest.mark.real
def test_greedy_writes_what_generate_writes_on_real_weights(
    whisper_base: Path, shared_speech: Path, tmp_path: Path
) -> None:
    speech = load_speech_model(resolve(str(whisper_base), tmp_path))
    recordings = sorted((shared_speech / "healthy_speaker" / "audio_raw").iterdir())[:8]
    clips = [load(path, max_seconds=30.0) for path in recordings]
    features = speech.features(clips, 30.0)
    assert speech.decode(speech.greedy(features, max_new_tokens=20)) == by_generate(speech, features, 20)
