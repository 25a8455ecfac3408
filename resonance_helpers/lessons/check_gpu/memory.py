"""How much graphics memory training takes, from the dimensions of the models: estimates, and said to be."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import MAX_NEW_TOKENS, LoraSettings
from .machine import GB

BATCHES = (32, 16, 8, 4, 2, 1)
TABLE_BATCHES = (8, 16, 32)


@dataclass(frozen=True)
class Need:
    """Graphics memory that training ``model`` with ``batch_size`` recordings at a time takes, estimated."""

    model: str
    batch_size: int
    gb: float


@dataclass(frozen=True)
class _Size:
    """Dimensions of one Whisper size: width and the number of layers on either side."""

    width: int
    layers: int
    mels: int = 80


SIZES = {
    "openai/whisper-tiny": _Size(384, 4),
    "openai/whisper-base": _Size(512, 6),
    "openai/whisper-small": _Size(768, 12),
    "openai/whisper-medium": _Size(1024, 24),
    "openai/whisper-large-v3": _Size(1280, 32, 128),
}
VOCABULARY = 51_865
POSITIONS = 1500  # of the encoder in 30 s
TEXT_POSITIONS = 448
# Bytes kept for the backward pass, for each position and unit of width of a transformer layer in 16 bit with fused
# attention: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", equation 1.
ACTIVATION_BYTES = 34
CROSS_ATTENTION_BYTES = 4  # keys and values of the encoder's output in each decoder layer, 16 bit
LOGIT_BYTES = 10  # logits in 16 and 32 bit and their gradient
WEIGHT_BYTES = 6  # float32, and the 16-bit copy that autocast keeps
ADAPTER_BYTES = 16  # float32 weight, gradient and the optimiser's two moments
CONTEXT_BYTES = 1.0 * GB  # CUDA itself and the workspaces of its libraries
SLACK = 1.1  # memory that the allocator cannot give away again


def parameters(model: str) -> int:
    """Parameters of a Whisper size, computed from its dimensions."""
    size = SIZES[model]
    layer = size.width**2
    encoder = size.layers * 12 * layer + 3 * size.width * (size.mels + size.width)
    decoder = size.layers * 16 * layer + size.width * VOCABULARY
    return encoder + decoder + size.width * (POSITIONS + TEXT_POSITIONS)


def need(model: str, batch_size: int, window_s: float = 30.0) -> Need:
    """What LoRA training of ``model`` takes at ``window_s`` seconds: an estimate from the model's dimensions.

    The default is Whisper's whole window, so the estimate is on the safe side: phrase-length windows take less.
    """
    size = SIZES[model]
    positions = POSITIONS * window_s / 30
    each = size.width * size.layers * batch_size
    encoder = ACTIVATION_BYTES * positions * each
    decoder = (1.5 * ACTIVATION_BYTES * MAX_NEW_TOKENS + CROSS_ATTENTION_BYTES * positions) * each  # half as much again
    logits = LOGIT_BYTES * batch_size * MAX_NEW_TOKENS * VOCABULARY
    # two thin matrices beside each linear layer: 3 attentions of 4, and 2 feed-forwards of 2 that are 4 times as wide
    adapted = size.layers * (3 * 4 * 2 + 2 * 2 * 5) * size.width * LoraSettings().r
    weights = WEIGHT_BYTES * parameters(model) + ADAPTER_BYTES * adapted
    return Need(model, batch_size, (CONTEXT_BYTES + SLACK * (weights + encoder + decoder + logits)) / GB)


def needs(batch_sizes: tuple[int, ...] = TABLE_BATCHES, window_s: float = 30.0) -> tuple[Need, ...]:
    """The table of the lesson: every Whisper size with every batch size, small to large."""
    return tuple(need(model, batch_size, window_s) for model in SIZES for batch_size in batch_sizes)


def largest_batch(model: str, memory_gb: float) -> int:
    """The largest of :data:`BATCHES` that fits into ``memory_gb`` by the estimate; 0 if none does."""
    return next((batch for batch in BATCHES if need(model, batch).gb <= memory_gb), 0)
