"""Which files a base model needs, and the hash that tells one model's weights from another's."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hubs import SMALL, UNWANTED, make_model
from safetensors.numpy import save_file

from resonance_helpers.asr.base_models.weights import choose_files, tensors_sha256


def test_hash_does_not_know_how_numbers_are_stored(tmp_path: Path) -> None:
    single, half = make_model(tmp_path / "a"), make_model(tmp_path / "b", np.float16)
    assert tensors_sha256(single) == tensors_sha256(half)
    assert (single / "model.safetensors").read_bytes() != (half / "model.safetensors").read_bytes()


def test_hash_ignores_the_output_layer_that_repeats_the_embedding(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    plain, tied = make_model(tmp_path / "a"), make_model(tmp_path / "b")
    tensors = load_file(tied / "model.safetensors")
    save_file({**tensors, "proj_out.weight": tensors["model.decoder.embed_tokens.weight"]}, tied / "model.safetensors")
    assert tensors_sha256(plain) == tensors_sha256(tied)


@pytest.mark.parametrize("change", ["value", "name", "shape"])
def test_hash_sees_every_change(change: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    before, after = make_model(tmp_path / "a"), make_model(tmp_path / "b")
    tensors = load_file(after / "model.safetensors")
    key = "model.encoder.conv1.bias"
    if change == "value":
        tensors[key] = np.nextafter(tensors[key], np.float32(2))
    elif change == "name":
        tensors["model.encoder.conv2.bias"] = tensors.pop(key)
    else:
        tensors[key] = tensors[key].reshape(1, 3)
    save_file(tensors, after / "model.safetensors")
    assert tensors_sha256(before) != tensors_sha256(after)


def test_weights_are_chosen_before_the_rest() -> None:
    offered = [*SMALL, "model.safetensors", "model-00001-of-00002.safetensors", *UNWANTED, "README.md"]
    chosen = choose_files(offered)
    assert chosen[0] == "model.safetensors"
    assert set(chosen) == {"model.safetensors", *SMALL}


@pytest.mark.real
def test_real_weights_hash_in_seconds() -> None:
    folder = Path(__file__).parents[3] / "shared" / "models" / "whisper-base"
    if not folder.is_dir():
        pytest.skip("../shared/models/whisper-base is not here")
    import torch  # noqa: F401  (its import is not what is measured)

    start = time.perf_counter()
    assert len(tensors_sha256(folder)) == 64
    assert time.perf_counter() - start < 10  # a busy test machine; alone it takes a third of a second
