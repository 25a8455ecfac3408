"""Adapters as an administrator uploads them, whole and small, for the tests of the service."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from peft import LoraConfig
from safetensors.numpy import save

from resonance_helpers.asr.adapter import CONFIG, WEIGHTS
from resonance_helpers.asr.bundle import CHECKSUMS
from resonance_helpers.asr.manifest import MANIFEST, Manifest
from resonance_helpers.core.settings import PRACTICE_MODEL, LoraSettings, plain

LORA = LoraSettings(r=1, target_modules=("q_proj",), parts=("encoder",))
LAYERS, WIDTH = 4, 192  # of the practice model's encoder
GOOD = Manifest(
    patient_id="alice",
    base_model={"name": PRACTICE_MODEL, "revision": "1", "tensors_sha256": "0" * 64},
    language="zh",
    window_s=4.0,
    lora=plain(LORA),
    recordings=80,
    phrases=40,
    audio_seconds=200.5,
    data_sha256="1" * 64,
    run="2026-11-22",
    steps=60,
    seed=17,
    wall_seconds=15,
    scores={"cer": 0.5, "exact": None},
    versions={"torch": "2.13.0"},
    time="2026-11-22T12:00:00+00:00",
)


def files(patient: str, version: int = 0, **said: Any) -> dict[str, bytes]:
    """The files of an adapter by name; ``version`` is in each of them, ``said`` stands in the manifest."""
    modules = [f"base_model.model.model.encoder.layers.{layer}.self_attn.q_proj" for layer in range(LAYERS)]
    shapes = {"lora_A": (LORA.r, WIDTH), "lora_B": (WIDTH, LORA.r)}
    weights = {f"{m}.{ab}.weight": np.full(shape, version, np.float32) for m in modules for ab, shape in shapes.items()}
    config = LoraConfig(r=LORA.r, lora_alpha=LORA.alpha, target_modules=r".*\.(encoder)\.layers\..*\.(q_proj)")
    return {
        WEIGHTS: save(weights),
        CONFIG: json.dumps(config.to_dict() | {"peft_version": str(version)}).encode(),
        MANIFEST: json.dumps(asdict(GOOD) | {"patient_id": patient, "seed": version} | said).encode(),
        "tokenizer.json": json.dumps({"version": version}).encode(),
    }


def with_sums(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """And ``SHA256SUMS``, as lesson 08 writes it."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items())
    return {**contents, CHECKSUMS: sums.encode()}


def packed(contents: Mapping[str, bytes], top: str = "somebody-adapter/") -> io.BytesIO:
    """The zip of ``contents``, below the folder ``top``."""
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(f"{top}{name}", data)
    bundle.seek(0)
    return bundle


def bundle(patient: str, version: int = 0, **said: Any) -> io.BytesIO:
    """The zip of lesson 08."""
    return packed(with_sums(files(patient, version, **said)))


def lay(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """``contents`` as files in ``folder``, which is made."""
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def lying(folder: Path) -> dict[str, bytes] | None:
    """What lies in ``folder``, by name; None where there is no folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else None
