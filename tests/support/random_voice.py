"""An adapter that says something else than its base model and was never trained: random, the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from serving import make_adapter

from resonance_helpers import Workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.whisper import SpeechModel
from resonance_helpers.core.settings import LoraSettings, plain


def random_adapter(speech: SpeechModel, folder: Path, window_s: float, spread: float) -> Workspace:
    """Put one onto ``speech`` as "default" and into a new workspace in ``folder``. ``spread`` is the standard deviation
    of its numbers: too little changes no answer, too much leaves none."""
    workspace = Workspace(folder / "data", folder / "out", "p-01")
    adapter.add_fresh(speech, LoraSettings())
    numbers = torch.Generator().manual_seed(17)
    for name, parameter in speech.model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, spread, generator=numbers)
    manifest = adapter.read_manifest(make_adapter(folder / "scratch", workspace.patient_id))
    facts = {"base_model": adapter.identity(speech), "lora": plain(LoraSettings()), "window_s": window_s}
    adapter.save(speech, workspace.adapter, replace(manifest, **facts))
    return workspace
