"""One patient's adapter on disk and in a model: write it, verify it, attach it.

An adapter is useless, and dangerous, on anything but the base model, window and language it was trained with. Its
manifest ``resonance.json`` says what those are, and attaching it refuses everything else. PEFT alone would load
misnamed weights as nothing, accept another base model and look a missing folder up on a hub, all without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .base_models import tensors_sha256
from .messages import ResonanceError, message
from .settings import LoraSettings
from .whisper import SpeechModel
from .workspace import Workspace, read_json, replacing_folder, write_json

# PEFT asks transformers for this on every new adapter: nothing that somebody who reads a lesson could mend.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

SCHEMA = 1
WEIGHTS, CONFIG, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "resonance.json"
_FREE_IN_CONFIG = {"base_model_name_or_path", "inference_mode", "peft_version", "revision"}  # what a file may say anew
_KINDS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "dict": dict}
PACKAGES = ("torch", "transformers", "peft")  # whose versions a manifest keeps


@dataclass(frozen=True)
class Manifest:
    """What an adapter was made from and what it fits. ``scores`` are those of the dev part, never of the test."""

    patient_id: str
    base_model: dict[str, str]  # name, revision, tensors_sha256
    language: str
    window_s: float
    lora: dict[str, Any]
    recordings: int
    phrases: int
    audio_seconds: float
    data_sha256: str
    run: str  # the folder in runs/ that knows which recordings were trained on
    steps: int
    seed: int
    wall_seconds: float
    scores: dict[str, float | None]
    versions: dict[str, str]
    time: str  # ISO 8601, UTC
    speech_bar: float = 0.0  # ``speech_gate.personal_bar`` of the recordings; 0 in adapters from before it
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """TypeError or ValueError for a field that a hand or another program wrote wrongly."""
        for field in fields(self):
            kind = _KINDS[str(field.type).partition("[")[0]]
            if not isinstance(getattr(self, field.name), kind):
                raise TypeError(field.name)
        datetime.fromisoformat(self.time)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A verified adapter in memory, in no model yet: what it is, its LoRA settings, its weights, where it came from."""

    manifest: Manifest
    lora: LoraSettings
    weights: dict[str, torch.Tensor]
    folder: Path

    @property
    def bytes(self) -> int:
        """Memory of the weights."""
        return sum(weight.nbytes for weight in self.weights.values())


def versions() -> dict[str, str]:
    """Versions of the packages that decide what an adapter does."""
    return {package: version(package) for package in PACKAGES}


def identity(speech: SpeechModel) -> dict[str, str]:
    """What tells one base model from another: its name, its revision and a hash of its weights."""
    return {
        "name": speech.base.name,
        "revision": speech.base.revision,
        "tensors_sha256": tensors_sha256(speech.base.folder),
    }


def add_fresh(speech: SpeechModel, lora: LoraSettings, name: str = "default") -> PeftModel:
    """Put an untrained adapter onto ``speech``; only its weights are trainable."""
    speech.model = get_peft_model(speech.whisper, _config_of(lora), adapter_name=name)
    return speech.model


def save(speech: SpeechModel, folder: Path, manifest: Manifest, name: str = "default") -> None:
    """Write the adapter ``name`` of ``speech`` to ``folder``, whole or not at all; what was there is replaced."""
    assert isinstance(speech.model, PeftModel)
    with replacing_folder(folder) as temporary:
        # PEFT's own save_pretrained would ask a hub about the base model's embedding table
        weights = get_peft_model_state_dict(speech.model, adapter_name=name, save_embedding_layers=False)
        save_file({key: value.cpu().contiguous() for key, value in weights.items()}, temporary / WEIGHTS)
        config = speech.model.peft_config[name]
        config.base_model_name_or_path = speech.base.name
        config.inference_mode = True
        config.save_pretrained(str(temporary))
        config.inference_mode = False
        speech.processor.save_pretrained(temporary)
        write_json(temporary / MANIFEST, asdict(manifest))


def weights_of(speech: SpeechModel, name: str = "default") -> dict[str, torch.Tensor]:
    """A copy of the weights of the adapter ``name`` as they are now."""
    assert isinstance(speech.model, PeftModel)
    weights = get_peft_model_state_dict(speech.model, adapter_name=name, save_embedding_layers=False)
    return {key: value.detach().cpu().clone() for key, value in weights.items()}


def put_weights(speech: SpeechModel, weights: dict[str, torch.Tensor], name: str = "default") -> None:
    """Give the adapter ``name`` the ``weights`` that ``weights_of`` returned or a checkpoint holds."""
    assert isinstance(speech.model, PeftModel)
    set_peft_model_state_dict(speech.model, weights, adapter_name=name)


def restore(speech: SpeechModel, checkpoint: Path, name: str = "default") -> None:
    """Put the weights of a checkpoint that the trainer wrote into the adapter ``name`` of ``speech``."""
    assert isinstance(speech.model, PeftModel)
    weights = load_file(checkpoint / WEIGHTS)
    _check_keys(speech.model, weights, checkpoint, name)
    put_weights(speech, weights, name)


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``. Raises RZ-0610 (missing or not ours) and RZ-0611 (another schema)."""
    try:
        content = read_json(folder / MANIFEST)
        if content["schema"] != SCHEMA:
            raise ResonanceError("RZ-0611", path=folder / MANIFEST, found=content["schema"], allowed=SCHEMA)
        return Manifest(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResonanceError("RZ-0610", path=folder / MANIFEST) from error


def refuse_other_patient(workspace: Workspace) -> None:
    """RZ-0005 when the output folder already holds an adapter of another patient."""
    if not (workspace.adapter / MANIFEST).exists():
        return
    found = read_manifest(workspace.adapter).patient_id
    if found != workspace.patient_id:
        raise ResonanceError("RZ-0005", path=workspace.output_dir, found=found, given=workspace.patient_id)


def load(speech: SpeechModel, folder: Path) -> Loaded:
    """Read the adapter in ``folder`` and verify that it was made for ``speech``, which stays as it is. Any thread may.

    Raises RZ-0610 (no manifest), RZ-0612 (another base model), RZ-0613 (another language), RZ-0614 (weights that can't
    be read or are no numbers, or settings that are not those of the manifest).
    """
    before = _identity_of(folder)
    try:
        loaded = _read(speech, folder)
    except ResonanceError:
        if _identity_of(folder) == before:
            raise
    else:
        if _identity_of(folder) == before:
            return loaded
    return load(speech, folder)  # a training has just replaced the folder: what was read is half of each


def _read(speech: SpeechModel, folder: Path) -> Loaded:
    manifest = read_manifest(folder)
    _check_base(speech, folder, manifest)
    if manifest.language != speech.language:
        raise ResonanceError("RZ-0613", path=folder, found=manifest.language, given=speech.language)
    try:
        mapped = load_file(folder / WEIGHTS)  # safetensors only: a pickle can run code
        lora = _read_lora(folder, manifest)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError, ResonanceError) as error:
        raise ResonanceError("RZ-0614", path=folder, detail=str(error)) from error
    # copied: the file stays mapped otherwise, and whoever writes into it would change a voice that is in use
    weights = {key: weight.to(speech.whisper.device, copy=True) for key, weight in mapped.items()}
    if not all(torch.isfinite(weight).all() for weight in weights.values()):
        raise ResonanceError("RZ-0614", path=folder, detail="NaN")
    return Loaded(manifest, lora, weights, folder)


def attach(speech: SpeechModel, folder: Path, name: str = "default") -> Manifest:
    """Verify the adapter in ``folder`` and add it to ``speech`` under ``name``; it is not active until ``using``.

    Raises what ``load`` raises, and RZ-0614 for weights of another shape. Nothing is attached when anything fails.
    """
    loaded = load(speech, folder)
    model = _add(speech, _config_of(loaded.lora), name)
    try:
        _check_keys(model, loaded.weights, folder, name)
        set_peft_model_state_dict(model, loaded.weights, adapter_name=name)
    except BaseException:
        detach(speech, name)
        raise
    return loaded.manifest


class Slots:
    """Room in one model for adapters that take turns: one slot for each shape, whose parameters are pointed at the
    weights of whoever speaks.

    A model then holds one adapter however many patients there are, and to change it takes a fraction of a millisecond.
    PEFT's own ``set_adapter`` walks through every adapter that is attached. For one thread at a time.
    """

    def __init__(self, speech: SpeechModel) -> None:
        self._speech = speech
        self._slots: dict[LoraSettings, tuple[str, dict[str, torch.nn.Parameter]]] = {}
        self._active: Loaded | None = None

    def activate(self, loaded: Loaded) -> None:
        """From here on the model answers with ``loaded``. Raises RZ-0614 for weights that don't fit the model."""
        if self._active is loaded:
            return
        self._active = None  # until every weight is in its place, the slot is nobody's
        name, parameters = self._slot(loaded.lora)
        _check_shapes(parameters, loaded.weights, loaded.folder)
        self._speech.model.set_adapter(name)
        for key, parameter in parameters.items():
            parameter.data = loaded.weights[key]
        self._active = loaded

    def clear(self) -> None:
        """Hold nobody's weights any more."""
        self._active = None
        for _, parameters in self._slots.values():
            for parameter in parameters.values():
                parameter.data = torch.zeros_like(parameter)

    def _slot(self, lora: LoraSettings) -> tuple[str, dict[str, torch.nn.Parameter]]:
        if lora not in self._slots:
            name = f"resonance_slot_{len(self._slots)}"
            model = _add(self._speech, _config_of(lora), name)
            inside = f".{name}."
            parameters = {key.replace(inside, "."): p for key, p in model.named_parameters() if inside in key}
            self._slots[lora] = name, parameters
        return self._slots[lora]


def detach(speech: SpeechModel, name: str) -> None:
    """Take the adapter ``name`` out of memory."""
    assert isinstance(speech.model, PeftModel)
    speech.model.delete_adapter(name)


@contextmanager
def using(speech: SpeechModel, name: str | None) -> Iterator[None]:
    """Within the block ``speech`` answers with the adapter ``name``, or as the base model for ``None``.

    Not for two threads at once: the switch is a property of the model, not of a call.
    """
    if not isinstance(speech.model, PeftModel):
        if name is not None:
            raise ResonanceError("RZ-0615", name=name)
        yield
    elif name is None:
        with speech.model.disable_adapter():
            yield
    else:
        if name not in speech.model.peft_config:
            raise ResonanceError("RZ-0615", name=name)
        speech.model.set_adapter(name)
        yield


def version_warnings(manifest: Manifest) -> list[str]:
    """One sentence for each package whose version differs from the one that the adapter was trained with."""
    now = versions()
    return [
        message("adapter.other_version", package=package, trained=trained, now=now[package])
        for package, trained in manifest.versions.items()
        if package in now and now[package] != trained
    ]


def _check_base(speech: SpeechModel, folder: Path, manifest: Manifest) -> None:
    # The weights decide: the same model has other names in other places, and a name can hide other weights.
    if manifest.base_model["tensors_sha256"] != tensors_sha256(speech.base.folder):
        raise ResonanceError("RZ-0612", path=folder, found=manifest.base_model["name"], given=speech.base.name)


def _config_of(lora: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        # a list would name modules of both parts
        target_modules=rf".*\.({'|'.join(lora.parts)})\.layers\..*\.({'|'.join(lora.target_modules)})",
        bias="none",
    )  # no task_type: SEQ_2_SEQ_LM would make PEFT pass input_ids to Whisper


def _read_lora(folder: Path, manifest: Manifest) -> LoraSettings:
    """The settings of the manifest, which PEFT's file beside it has to repeat: that file could ask for anything."""
    if not (folder / CONFIG).is_file():  # PEFT would take the folder's name for a repository and ask the hub
        raise FileNotFoundError(CONFIG)
    config = LoraConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig):
        raise TypeError(f"{CONFIG}: {config.peft_type}")
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in manifest.lora.items()
    }
    lora = LoraSettings(**given)
    found, expected = config.to_dict(), _config_of(lora).to_dict()
    other = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    if unlike := set(other) - _FREE_IN_CONFIG:
        raise ValueError(f"{CONFIG}: {', '.join(sorted(unlike))}")
    return lora


def _identity_of(folder: Path) -> int | None:
    """What changes when the folder is replaced as a whole, which is how adapters are written."""
    return folder.stat().st_ino if folder.exists() else None


def _add(speech: SpeechModel, config: LoraConfig, name: str) -> PeftModel:
    if isinstance(speech.model, PeftModel):
        speech.model.add_adapter(name, config)
    else:
        speech.model = PeftModel(speech.model, config, adapter_name=name)
    speech.model.eval()
    return speech.model


def _check_keys(model: PeftModel, weights: dict[str, torch.Tensor], folder: Path, name: str) -> None:
    _check_shapes(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False), weights, folder)


def _check_shapes(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    shapes = {key: tuple(value.shape) for key, value in expected.items()}
    given: dict[str, Any] = {key: tuple(value.shape) for key, value in weights.items()}
    wrong = sorted(key for key in shapes.keys() | given.keys() if shapes.get(key) != given.get(key))
    if wrong:
        raise ResonanceError("RZ-0614", path=folder, detail=", ".join(wrong[:3]))
