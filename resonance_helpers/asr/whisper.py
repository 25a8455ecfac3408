"""One Whisper model in memory: sound to features, features to text.

Decoding is a plain greedy loop over the cached decoder, and a beam search beside it. They give the tokens of
``model.generate`` (a test compares them), take any window, are bounded in tokens and cost less than ``generate`` on
short clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from peft import PeftModel
from transformers import EncoderDecoderCache, WhisperForConditionalGeneration, WhisperProcessor
from transformers.utils.logging import disable_progress_bar

from ..audio.quality import without_offset
from ..core.messages import ResonanceError
from ..core.settings import LOOP_TOKENS, MAX_NEW_TOKENS, SAMPLE_RATE
from ..scoring.error_rates import REPEATS
from .base_models import BaseModel
from .device import Device, choose_device
from .windows import allow_short_windows, native_window_s

_fetching_is_shown = not are_progress_bars_disabled()  # which takes minutes
disable_progress_bar()  # of weights being loaded, a moment: a widget that stays in the notebook at 0 %
if _fetching_is_shown:
    enable_progress_bars()


@dataclass(frozen=True)
class Hypothesis:
    """The text of one clip. ``truncated``: it reached the bound on tokens before its end token. ``confidence``: the
    geometric mean of the model's token probabilities, 0–1. ``unsure``: it was rescored (see ``rescoring``)."""

    text: str
    truncated: bool
    confidence: float = 1.0
    unsure: bool = False


@dataclass
class SpeechModel:
    """A loaded base model with the processor, language and device it is used with.

    ``model`` becomes a ``PeftModel`` when the first adapter is attached; the weights stay the same in memory. One
    thread at a time: PEFT switches adapters in place.
    """

    model: WhisperForConditionalGeneration | PeftModel
    processor: WhisperProcessor
    base: BaseModel
    language: str
    device: Device

    @property
    def whisper(self) -> WhisperForConditionalGeneration:
        """The Whisper model itself, adapters included when any are attached."""
        model = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        return cast(WhisperForConditionalGeneration, model)

    @property
    def native_window_s(self) -> float:
        return native_window_s(self.whisper)

    def features(self, samples: Sequence[np.ndarray], window_s: float) -> torch.Tensor:
        """Log-mel features [clips, mels, frames] of 16 kHz mono clips, padded with silence to ``window_s`` seconds.

        Raises RZ-0602 for a clip that is longer than the window: cutting it off silently would drop words.
        """
        longest_s = max(len(clip) for clip in samples) / SAMPLE_RATE
        if longest_s > window_s:
            raise ResonanceError("RZ-0602", seconds=f"{longest_s:.1f}", window=f"{window_s:g}")
        return self.processor.feature_extractor(
            [without_offset(clip) for clip in samples],
            sampling_rate=SAMPLE_RATE,
            max_length=round(window_s * SAMPLE_RATE),
            return_tensors="pt",
        ).input_features

    def label_ids(self, text: str, bare: bool = False) -> list[int]:
        """What the decoder learns to say after its start token: language, task, no timestamps, ``text``, end.

        ``bare`` leaves the task out, as ``generate`` of transformers does when it is told no language. The tokenizer
        writes the start token too; the model puts its own in front of the labels, and there must be one. Commands of
        the model are never taken from ``text`` (RZ-0481): it would learn to end, or to change the language, where a
        person says a word.
        """
        start, language, task, *rest = self.processor.tokenizer(text).input_ids
        assert start == self.whisper.config.decoder_start_token_id
        if commands := self._commands.intersection(rest[1:-1]):  # between no timestamps and the end
            raise ResonanceError("RZ-0481", text=text, token=self.processor.tokenizer.decode([min(commands)]))
        return [language, *rest] if bare else [language, task, *rest]

    def tokens_of(self, text: str) -> int:
        """How many tokens an answer that says ``text`` takes, its end included; ``MAX_NEW_TOKENS`` is all there is."""
        return len(self.label_ids(text)) - (len(self.prompt) - 1)

    @cached_property
    def _commands(self) -> frozenset[int]:
        return frozenset(self.processor.tokenizer.added_tokens_decoder)

    def recognise(
        self,
        samples: Sequence[np.ndarray],
        window_s: float = 0.0,
        batch_size: int = 8,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[str]:
        """The text of each 16 kHz mono clip, in order. ``window_s`` 0 is the model's native window (30 s)."""
        return [heard.text for heard in self.transcribe(samples, window_s, batch_size, on_progress)]

    def transcribe(
        self,
        samples: Sequence[np.ndarray],
        window_s: float = 0.0,
        batch_size: int = 8,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Hypothesis]:
        """As ``recognise``, and whether each answer came to its end."""
        answers: list[Hypothesis] = []
        for start in range(0, len(samples), batch_size):
            features = self.features(samples[start : start + batch_size], window_s or self.native_window_s)
            answers += self.answers(self.encode(features))
            if on_progress:
                on_progress(len(answers), len(samples))
        return answers

    def answers(self, encoded: torch.Tensor, stop_repetition: bool = False) -> list[Hypothesis]:
        """The greedy answer to each clip of ``encoded`` [clips, frames / 2, width].

        ``stop_repetition`` truncates an answer that repeats itself over ``LOOP_TOKENS`` tokens; else it goes on to
        ``MAX_NEW_TOKENS``.
        """
        tokens, logprobs, truncated = self._greedy(encoded, MAX_NEW_TOKENS, stop_repetition)
        return [*map(Hypothesis, self.decode(tokens), truncated.tolist(), self._confidence(tokens, logprobs))]

    def decode(self, tokens: torch.Tensor | Sequence[Sequence[int]]) -> list[str]:
        """Token ids [clips, tokens] to text without special tokens."""
        if not len(tokens):  # the library takes no rows for a single empty one
            return []
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    def greedy(self, features: torch.Tensor, max_new_tokens: int = MAX_NEW_TOKENS) -> torch.Tensor:
        """The most likely token at each step: ``features`` [clips, mels, frames] → token ids [clips, ≤ max_new_tokens].

        Rows that ended early are filled with the end token.
        """
        return self._greedy(self.encode(features), max_new_tokens)[0]

    @torch.inference_mode()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """What the decoder listens to: features [clips, mels, frames] → hidden states [clips, frames / 2, width]."""
        with self._not_training():
            return self.whisper.model.encoder(features.to(self.whisper.device, self.whisper.dtype)).last_hidden_state

    @torch.inference_mode()
    def beam_search(self, encoded: torch.Tensor, beams: int) -> list[dict[tuple[int, ...], float]]:
        """For each clip of ``encoded`` the answers that a search with ``beams`` beams finds, and the mean log
        probability of a token in each: token ids with the end token.

        A clip's search is over with ``beams`` answers, or where all that goes on repeats itself; what found no end is
        left out. As the library's own with ``early_stopping`` (a test compares them), which copies what the
        cross-attention keeps of each clip at each step: that took most of its time.
        """
        found: list[dict[tuple[int, ...], float]] = [{} for _ in encoded]
        cache, logits = self._read_prompt(encoded)
        totals = torch.zeros(len(encoded), 1, device=logits.device)  # log probability of each beam [clips, beams]
        tokens = torch.zeros(len(encoded), 1, 0, dtype=torch.long, device=logits.device)  # [clips, beams, tokens]
        clip = torch.arange(len(encoded), device=logits.device)[:, None]
        for step in range(1, MAX_NEW_TOKENS + 1):
            likely = totals[..., None] + logits.log_softmax(-1).view(*totals.shape, -1)
            best, index = likely.flatten(1).topk(2 * beams)
            parent, token = index // logits.shape[-1], index % logits.shape[-1]
            longer = torch.cat([tokens[clip, parent], token[..., None]], dim=2)
            is_end = token == self.end
            for row, rank in is_end[:, :beams].nonzero().tolist():
                if len(found[row]) < beams:
                    found[row][tuple(longer[row, rank].tolist())] = float(best[row, rank]) / step
            on = is_end.int().argsort(dim=1, stable=True)[:, :beams]  # the likeliest that have not ended
            totals, tokens, parent = best.gather(1, on), longer[clip, on], parent.gather(1, on)
            looping = _is_repeating(tokens.flatten(0, 1)).view(totals.shape).all(dim=1).tolist()
            if all(len(some) == beams or loops for some, loops in zip(found, looping, strict=True)):
                break
            if step == 1:
                cache.batch_repeat_interleave(beams)
            else:  # the cross-attention's part is the same for all beams of a clip
                cache.self_attention_cache.reorder_cache((clip * beams + parent).flatten())  # type: ignore[arg-type]
            logits = self._next_logits(tokens[..., -1].reshape(-1, 1), encoded, cache)[:, -1]
        return found

    @torch.inference_mode()
    def mean_logprobs(self, encoded: torch.Tensor, answers: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """The mean log probability of a token in each of the ``answers`` (token ids) to each clip of ``encoded``.

        Each clip passes the decoder's cross-attention once, however many answers are weighed.
        """
        each = [*chain.from_iterable(answers)]
        if not each:
            return [[] for _ in answers]
        cache, first = self._read_prompt(encoded)
        clip_of = torch.tensor([clip for clip, some in enumerate(answers) for _ in some], device=first.device)
        cache.reorder_cache(clip_of)  # type: ignore[arg-type]
        rows = torch.nn.utils.rnn.pad_sequence([*map(torch.tensor, each)], True, self.end).to(first.device)
        logits = torch.cat([first[clip_of, None], self._next_logits(rows[:, :-1], encoded, cache)], dim=1)
        said = logits.log_softmax(-1).gather(-1, rows[..., None])[..., 0]
        means = iter([float(row[: len(answer)].mean()) for row, answer in zip(said, each, strict=True)])
        return [[next(means) for _ in some] for some in answers]

    @torch.inference_mode()
    def _greedy(
        self, encoded: torch.Tensor, max_new_tokens: int, stop_repetition: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Token ids as ``greedy``, the log probability of each, both [clips, tokens], and which have no end [clips]."""
        done = torch.zeros(len(encoded), dtype=torch.bool, device=encoded.device)
        truncated, steps, logprobs = ~done, [], []
        with self._not_training():
            cache, logits = self._read_prompt(encoded)
            for _ in range(max_new_tokens):
                best, tokens = logits.max(-1, keepdim=True)
                logprobs.append(best - logits.logsumexp(-1, keepdim=True))
                tokens = tokens.masked_fill(done[:, None], self.end)
                steps.append(tokens)
                truncated &= done | (tokens[:, 0] != self.end)
                done |= tokens[:, 0] == self.end
                if stop_repetition:
                    done |= _is_repeating(torch.cat(steps, dim=1))
                if done.all() or len(steps) == max_new_tokens:
                    break
                logits = self._next_logits(tokens, encoded, cache)[:, -1]
        return torch.cat(steps, dim=1), torch.cat(logprobs, dim=1), truncated

    def _read_prompt(self, encoded: torch.Tensor) -> tuple[EncoderDecoderCache, torch.Tensor]:
        """The decoder's cache behind the prompt, and the log-odds of what comes first [clips, vocabulary]."""
        prompt = torch.tensor([self.prompt] * len(encoded), device=self.whisper.device)
        read = self.whisper.model.decoder(input_ids=prompt, encoder_hidden_states=encoded, use_cache=True)
        logits = self.whisper.proj_out(read.last_hidden_state[:, -1]).float()
        return read.past_key_values, logits + self._suppressed + self._suppressed_at_start

    def _next_logits(self, tokens: torch.Tensor, encoded: torch.Tensor, cache: EncoderDecoderCache) -> torch.Tensor:
        """Log-odds of what comes behind each of ``tokens`` [rows, tokens], as [rows, tokens, vocabulary].

        ``cache`` then holds the tokens too. ``encoded`` only says that there is something to listen to: its keys and
        values are in the cache.
        """
        read = self.whisper.model.decoder(input_ids=tokens, encoder_hidden_states=encoded, past_key_values=cache)
        return self.whisper.proj_out(read.last_hidden_state).float() + self._suppressed

    @contextmanager
    def _not_training(self) -> Iterator[None]:
        was_training = self.whisper.training
        self.whisper.eval()
        try:
            yield
        finally:
            self.whisper.train(was_training)

    def _confidence(self, tokens: torch.Tensor, logprobs: torch.Tensor) -> list[float]:
        """The geometric mean of each row's probabilities, up to and with its first end token."""
        counts = (tokens == self.end).long().cumsum(dim=1) <= 1
        mean = logprobs.masked_fill(~counts, 0.0).sum(dim=1) / counts.sum(dim=1)
        return mean.exp().tolist()

    @property
    def prompt(self) -> list[int]:
        """What decoding starts from: start of transcript, language, transcribe, no timestamps."""
        config: Any = self.whisper.generation_config
        language = config.lang_to_id[f"<|{self.language}|>"]
        return [
            config.decoder_start_token_id,
            language,
            config.task_to_id["transcribe"],
            config.no_timestamps_token_id,
        ]

    @property
    def end(self) -> int:
        return cast(int, self.whisper.config.eos_token_id)

    @property
    def _suppressed(self) -> torch.Tensor:
        return self._penalty(self.whisper.generation_config.suppress_tokens)

    @property
    def _suppressed_at_start(self) -> torch.Tensor:
        return self._penalty(self.whisper.generation_config.begin_suppress_tokens)

    def _penalty(self, tokens: list[int] | None) -> torch.Tensor:
        """0 for a token that may come, −inf for one that the checkpoint rules out [vocabulary]."""
        penalty = torch.zeros(self.whisper.config.vocab_size, device=self.whisper.device)
        penalty[list(tokens or ())] = -torch.inf
        return penalty


def _is_repeating(tokens: torch.Tensor) -> torch.Tensor:
    """Which rows of ``tokens`` [clips, tokens] end in ``REPEATS`` or more of one stretch, over ``LOOP_TOKENS`` at
    least: bool [clips]."""
    found = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for length in range(1, tokens.shape[1] // REPEATS + 1):
        tail = tokens[:, -max(LOOP_TOKENS, REPEATS * length) :]
        if tail.shape[1] >= LOOP_TOKENS:
            found |= (tail[:, length:] == tail[:, :-length]).all(dim=1)
    return found


def load_speech_model(base: BaseModel, language: str = "zh", device: Device | None = None) -> SpeechModel:
    """Load ``base`` from its folder, in float32, ready for short windows. Raises RZ-0603 for an unknown language."""
    device = device or choose_device()
    model = WhisperForConditionalGeneration.from_pretrained(base.folder, dtype=torch.float32, local_files_only=True)
    generation: Any = model.generation_config
    languages = sorted(token.strip("<|>") for token in generation.lang_to_id)
    if language not in languages:
        raise ResonanceError("RZ-0603", language=language, allowed=", ".join(languages))
    processor = WhisperProcessor.from_pretrained(
        base.folder, language=language, task="transcribe", local_files_only=True
    )
    allow_short_windows(model)
    return SpeechModel(model.eval().to(device.kind), processor, base, language, device)
