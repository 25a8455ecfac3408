"""Phrase-length windows: run Whisper on 4–12 s instead of padding every clip to 30 s.

Whisper's encoder insists on exactly 30 s because its table of positions has one row for each of 1,500 frames. A phrase
lasts 2–5 s, so most of that work is spent on silence. Here the encoder takes the first rows of the table, as many as
the input has frames. Nothing is stored and no config is changed: patients with different windows share one model.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ..core.messages import ResonanceError
from ..core.settings import SAMPLE_RATE, WINDOW_LADDER_S, WINDOW_SLACK_S

HOP_SAMPLES = 160  # samples between two mel frames
FRAMES_PER_POSITION = 2  # the second convolution halves the frames
POSITIONS_PER_SECOND = SAMPLE_RATE // HOP_SAMPLES // FRAMES_PER_POSITION  # 50


def native_window_s(model: WhisperForConditionalGeneration) -> float:
    """The longest window in seconds that ``model`` has positions for: 30 for Whisper, 4 for the practice model."""
    return model.config.max_source_positions / POSITIONS_PER_SECOND


def choose_window(longest_s: float, native_s: float) -> float:
    """The shortest rung of the ladder that holds ``longest_s`` plus slack and that a model of ``native_s`` can run.

    Raises RZ-0601 when the longest recording does not fit the model at all.
    """
    if longest_s > native_s:
        raise ResonanceError("RZ-0601", longest=f"{longest_s:.1f}", window=f"{native_s:g}")
    return window_for(longest_s + WINDOW_SLACK_S, native_s)


def window_for(seconds: float, native_s: float) -> float:
    """The shortest rung of the ladder that holds ``seconds`` and is shorter than the model's own; else that."""
    return next((rung for rung in WINDOW_LADDER_S if seconds <= rung < native_s), native_s)


def frames_for(samples: int) -> int:
    """Mel frames that a clip of ``samples`` needs, with the slack: an even number, as the encoder halves them."""
    return math.ceil((samples / SAMPLE_RATE + WINDOW_SLACK_S) * POSITIONS_PER_SECOND) * FRAMES_PER_POSITION


def allow_short_windows(model: WhisperForConditionalGeneration) -> None:
    """Let the encoder of ``model`` take any even number of mel frames up to its native window."""
    model.model.encoder.__class__ = WindowedEncoder


class WindowedEncoder(WhisperEncoder):
    """Whisper's encoder with the position table cut to the input for this one call.

    Its weights, names and state are the parent's. For the native window the result is the parent's bit for bit.
    """

    def forward(self, input_features: torch.Tensor, attention_mask: None = None, **kwargs: Any) -> BaseModelOutput:
        """``input_features`` [batch, mels, frames] → hidden states [batch, frames / 2, width]."""
        hidden = nn.functional.gelu(self.conv1(input_features))
        hidden = nn.functional.gelu(self.conv2(hidden)).permute(0, 2, 1)
        positions = hidden.shape[1]
        if positions > self.embed_positions.num_embeddings:
            longest = self.embed_positions.num_embeddings / POSITIONS_PER_SECOND
            raise ResonanceError("RZ-0601", longest=f"{positions / POSITIONS_PER_SECOND:.1f}", window=f"{longest:g}")
        hidden = hidden + self.embed_positions.weight[:positions]
        hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            hidden = layer(hidden, None, **kwargs)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))
