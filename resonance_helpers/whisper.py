"""One Whisper model in memory: sound to features, features to text.

Decoding is a plain greedy loop over the cached decoder. It gives the tokens of ``model.generate`` (a test compares
them), takes any window, is bounded in tokens and costs less than ``generate`` on a short clip. The beam search is the
library's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from peft import PeftModel
from transformers import GenerationMixin, WhisperForConditionalGeneration, WhisperProcessor
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.logging import disable_progress_bar

from .base_models import BaseModel
from .device import Device, choose_device
from .messages import ResonanceError
from .settings import MAX_NEW_TOKENS, SAMPLE_RATE
from .windows import allow_short_windows, native_window_s

_fetching_is_shown = not are_progress_bars_disabled()  # which takes minutes
disable_progress_bar()  # of weights being loaded, a moment: a widget that stays in the notebook at 0 %
if _fetching_is_shown:
    enable_progress_bars()


@dataclass(frozen=True)
class Heard:
    """One answer. ``cut``: the bound on tokens ended it, the model itself had not. ``sure``: the model's own
    probability for its tokens, 0–1, their geometric mean. ``unsure``: it was heard twice (see ``listening``)."""

    text: str
    cut: bool
    sure: float = 1.0
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
            list(samples), sampling_rate=SAMPLE_RATE, max_length=round(window_s * SAMPLE_RATE), return_tensors="pt"
        ).input_features

    def label_ids(self, text: str, bare: bool = False) -> list[int]:
        """What the decoder learns to say after its start token: language, task, no timestamps, ``text``, end.

        ``bare`` leaves the task out, as ``generate`` of transformers does when it is told no language. The tokenizer
        writes the start token too; the model puts its own in front of the labels, and there must be one.
        """
        start, language, task, *rest = self.processor.tokenizer(text).input_ids
        assert start == self.whisper.config.decoder_start_token_id
        return [language, *rest] if bare else [language, task, *rest]

    def recognise(
        self,
        samples: Sequence[np.ndarray],
        window_s: float = 0.0,
        batch_size: int = 8,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[str]:
        """The text of each 16 kHz mono clip, in order. ``window_s`` 0 is the model's native window (30 s)."""
        return [heard.text for heard in self.hear(samples, window_s, batch_size, on_progress)]

    def hear(
        self,
        samples: Sequence[np.ndarray],
        window_s: float = 0.0,
        batch_size: int = 8,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Heard]:
        """As ``recognise``, and whether each answer came to its end."""
        answers: list[Heard] = []
        for start in range(0, len(samples), batch_size):
            features = self.features(samples[start : start + batch_size], window_s or self.native_window_s)
            tokens, logprobs = self._greedy(features, MAX_NEW_TOKENS)
            cut = (tokens != self.end).all(dim=1).tolist()
            answers += map(Heard, self.decode(tokens), cut, self._sure(tokens, logprobs))
            if on_progress:
                on_progress(len(answers), len(samples))
        return answers

    def decode(self, tokens: torch.Tensor | Sequence[Sequence[int]]) -> list[str]:
        """Token ids [clips, tokens] to text without special tokens."""
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    def greedy(self, features: torch.Tensor, max_new_tokens: int = MAX_NEW_TOKENS) -> torch.Tensor:
        """The most likely token at each step: ``features`` [clips, mels, frames] → token ids [clips, ≤ max_new_tokens].

        Rows that ended early are filled with the end token.
        """
        return self._greedy(features, max_new_tokens)[0]

    @torch.inference_mode()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """What the decoder listens to: features [clips, mels, frames] → hidden states [clips, frames / 2, width]."""
        return self.whisper.model.encoder(features.to(self.whisper.device, self.whisper.dtype)).last_hidden_state

    @torch.inference_mode()
    def likely_answers(self, encoded: torch.Tensor, beams: int) -> list[tuple[int, ...]]:
        """The answers that a search with ``beams`` beams finds, as many, best first: token ids up to the end token.

        ``encoded`` is of one clip; an answer that the bound on tokens cut has no end token. Whisper's own ``generate``
        would fill the clip up to 30 s, so the one of all models is called on what was encoded.
        """
        whisper: Any = self.whisper
        found = GenerationMixin.generate(
            whisper,
            encoder_outputs=BaseModelOutput(encoded),
            attention_mask=torch.ones(encoded.shape[:2], device=whisper.device),
            decoder_input_ids=torch.tensor([self.prompt], device=whisper.device),
            max_length=len(self.prompt) + MAX_NEW_TOKENS,
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
        )
        rows = found[:, len(self.prompt) :].tolist()
        return [tuple(row[: row.index(self.end) + 1] if self.end in row else row) for row in rows]

    @torch.inference_mode()
    def mean_logprobs(self, encoded: torch.Tensor, answers: Sequence[Sequence[int]]) -> list[float]:
        """The mean log probability of a token in each of ``answers`` (token ids) to one clip, ``encoded``."""
        whisper, prompt = self.whisper, self.prompt
        longest = max(map(len, answers))
        rows = torch.tensor([[*prompt, *each, *[self.end] * (longest - len(each))] for each in answers])
        heard = encoded.expand(len(answers), -1, -1)
        said = whisper.model.decoder(input_ids=rows[:, :-1].to(whisper.device), encoder_hidden_states=heard)
        logits = whisper.proj_out(said.last_hidden_state[:, len(prompt) - 1 :]).float() + self._forbidden_always
        logits[:, 0] += self._forbidden_at_start
        tokens = rows[:, len(prompt) :, None].to(whisper.device)
        each = logits.log_softmax(-1).gather(-1, tokens)[..., 0]
        return [float(row[: len(answer)].mean()) for row, answer in zip(each, answers, strict=True)]

    @torch.inference_mode()
    def _greedy(self, features: torch.Tensor, max_new_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids as ``greedy``, and the log probability of each, both [clips, tokens]."""
        whisper = self.whisper
        was_training = whisper.training
        whisper.eval()
        encoded = self.encode(features)
        forbidden = self._forbidden_always
        at_start = self._forbidden_at_start + forbidden
        tokens = torch.tensor([self.prompt] * len(features), device=whisper.device)
        ended = torch.zeros(len(features), dtype=torch.bool, device=whisper.device)
        cache, steps, logprobs = None, [], []
        for step in range(max_new_tokens):
            output = whisper.model.decoder(
                input_ids=tokens, encoder_hidden_states=encoded, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            logits = whisper.proj_out(output.last_hidden_state[:, -1]).float() + (forbidden if step else at_start)
            best, tokens = logits.max(-1, keepdim=True)
            logprobs.append(best - logits.logsumexp(-1, keepdim=True))
            tokens = tokens.masked_fill(ended[:, None], self.end)
            ended |= tokens[:, 0] == self.end
            steps.append(tokens)
            if ended.all():
                break
        whisper.train(was_training)
        return torch.cat(steps, dim=1), torch.cat(logprobs, dim=1)

    def _sure(self, tokens: torch.Tensor, logprobs: torch.Tensor) -> list[float]:
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
    def _forbidden_always(self) -> torch.Tensor:
        return self._forbidden(self.whisper.generation_config.suppress_tokens)

    @property
    def _forbidden_at_start(self) -> torch.Tensor:
        return self._forbidden(self.whisper.generation_config.begin_suppress_tokens)

    def _forbidden(self, tokens: list[int] | None) -> torch.Tensor:
        """0 for a token that may come, −inf for one that the checkpoint rules out [vocabulary]."""
        penalty = torch.zeros(self.whisper.config.vocab_size, device=self.whisper.device)
        penalty[list(tokens or ())] = -torch.inf
        return penalty


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
