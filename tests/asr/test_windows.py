"""The encoder takes short inputs, changes nothing for long ones, and no config is touched."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperForConditionalGeneration

from resonance_helpers.asr.windows import allow_short_windows, choose_window, native_window_s
from resonance_helpers.core.messages import ResonanceError
from resonance_helpers.core.settings import WINDOW_LADDER_S, WINDOW_SLACK_S


@pytest.fixture(scope="module")
def tiny() -> WhisperForConditionalGeneration:
    """A random Whisper with a native window of 12 s."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=600,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=1,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config).eval()


def test_native_window_is_bit_for_bit_the_parents(tiny: WhisperForConditionalGeneration) -> None:
    windowed = copy.deepcopy(tiny)
    allow_short_windows(windowed)
    features = torch.randn(2, 80, 1200)
    with torch.inference_mode():
        expected = tiny.model.encoder(features).last_hidden_state
        found = windowed.model.encoder(features).last_hidden_state
    assert torch.equal(found, expected)


def test_short_input_uses_the_first_positions_and_no_config_changes(tiny: WhisperForConditionalGeneration) -> None:
    windowed = copy.deepcopy(tiny)
    allow_short_windows(windowed)
    before = windowed.config.to_dict()
    features = torch.randn(1, 80, 400)
    small = copy.deepcopy(tiny)  # the independent way of TRAPS.md: a model whose config and table are cut
    small.config.max_source_positions = small.model.encoder.max_source_positions = 200
    table = torch.nn.Embedding(200, 16)
    table.weight.data = tiny.model.encoder.embed_positions.weight[:200].clone()
    small.model.encoder.embed_positions = table
    with torch.inference_mode():
        expected = small.model.encoder(features).last_hidden_state
        found = windowed.model.encoder(features).last_hidden_state
    assert found.shape == (1, 200, 16)
    assert torch.equal(found, expected)
    assert windowed.config.to_dict() == before


def test_an_input_longer_than_the_table_is_refused(tiny: WhisperForConditionalGeneration) -> None:
    windowed = copy.deepcopy(tiny)
    allow_short_windows(windowed)
    with pytest.raises(ResonanceError, match="RZ-0601"):
        windowed.model.encoder(torch.randn(1, 80, 1300))


def test_native_window(tiny: WhisperForConditionalGeneration) -> None:
    assert native_window_s(tiny) == 12.0


@given(longest=st.floats(0.1, 30.0), native=st.sampled_from([4.0, 12.0, 30.0]))
def test_the_chosen_window_holds_the_recording_and_fits_the_model(longest: float, native: float) -> None:
    if longest > native:
        with pytest.raises(ResonanceError, match="RZ-0601"):
            choose_window(longest, native)
        return
    window = choose_window(longest, native)
    assert longest <= window <= native
    shorter = [rung for rung in WINDOW_LADDER_S if rung < window]
    assert all(longest + WINDOW_SLACK_S > rung for rung in shorter), "a shorter rung would have held it"


@pytest.mark.parametrize(("longest", "window"), [(2.0, 4.0), (3.8, 6.0), (5.6, 6.0), (5.8, 8.0), (13.0, 30.0)])
def test_rungs_for_whisper(longest: float, window: float) -> None:
    assert choose_window(longest, 30.0) == window
