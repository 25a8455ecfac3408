"""One patient's adapter on disk and in a model: write it, verify it, attach it.

An adapter is useless, and dangerous, on anything but the base model, window and language it was trained with. Its
manifest ``resonance.json`` says what those are, and attaching it refuses everything else. PEFT alone would load
misnamed weights as nothing, accept another base model and look a missing folder up on a hub, all without a word; so it
is never given a file. ``verify`` looks at everything, and what is written, exported, taken in, served or attached has
passed it.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperForConditionalGeneration

from ..core.messages import ResonanceError, message
from ..core.settings import WINDOW_LADDER_S, LoraSettings
from ..core.workspace import Workspace, check_patient_id, replacing_folder, write_json
from .base_models import resolve
from .base_models.weights import tensors_sha256
from .manifest import CONFIG, MANIFEST, SCHEMA, WEIGHTS, Manifest, read_json_object, read_manifest
from .whisper import SpeechModel
from .windows import POSITIONS_PER_SECOND

__all__ = ["CONFIG", "MANIFEST", "SCHEMA", "WEIGHTS", "Manifest", "read_manifest", "verify"]

# PEFT asks transformers for this on every new adapter: nothing that somebody who reads a lesson could mend.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

_FREE_IN_CONFIG = {"inference_mode": bool, "peft_version": str}  # what a file may say anew
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")  # opening one can run code
_HEADER_BYTES = 1 << 20  # of the weights' file; the library would read 100 MB of it. whisper-large's has 160 kB
_LARGEST_WEIGHT = 100.0  # of trained ones the largest is about 1; far larger ones overflow on their way through a model
_PREFIX = "base_model.model.model."  # PEFT's and Whisper's, before every name of the weights
_KEY = re.compile(
    rf"{re.escape(_PREFIX)}(encoder|decoder)\.layers\.(\d{{1,3}})\.(?:\w+\.)?(\w+)\.lora_([AB])\.weight", re.ASCII
)
PACKAGES = ("torch", "transformers", "peft")  # whose versions a manifest keeps


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
    """Write the adapter ``name`` of ``speech`` to ``folder``, whole or not at all; what was there is replaced.

    Raises RZ-0630 for one that ``load`` would refuse; what was there stays.
    """
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
        try:
            _verified(temporary, manifest, speech.whisper.config)
        except ResonanceError as error:
            raise ResonanceError("RZ-0630", path=folder, detail=error.facts.get("detail", error.code)) from error


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


def refuse_other_patient(workspace: Workspace) -> None:
    """RZ-0005 when the output folder already holds an adapter of another patient."""
    if not (workspace.adapter / MANIFEST).exists():
        return
    found = read_manifest(workspace.adapter).patient_id
    if found != workspace.patient_id:
        raise ResonanceError("RZ-0005", path=workspace.output_dir, found=found, given=workspace.patient_id)


def load(speech: SpeechModel, folder: Path) -> Loaded:
    """Read the adapter in ``folder`` and verify that it was made for ``speech``, which stays as it is. Any thread may.

    Raises what ``verify`` raises, RZ-0612 (another base model) and RZ-0613 (another language).
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
    loaded = _verified(folder, manifest, speech.whisper.config)
    return replace(loaded, weights={key: weight.to(speech.whisper.device) for key, weight in loaded.weights.items()})


def attach(speech: SpeechModel, folder: Path, name: str = "default") -> Manifest:
    """Verify the adapter in ``folder`` and add it to ``speech`` under ``name``; it is not active until ``using``.

    Raises what ``load`` raises. Nothing is attached when anything fails.
    """
    loaded = load(speech, folder)
    model = _add(speech, _config_of(loaded.lora), name)
    try:
        set_peft_model_state_dict(model, loaded.weights, adapter_name=name)
    except BaseException:
        detach(speech, name)
        raise
    return loaded.manifest


class AdapterSwitch:
    """Room in one model for adapters that take turns: one slot for each shape, whose parameters are pointed at the
    weights of the patient who is asked for.

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
        self._active = None  # until every weight is in place, no adapter is active
        name, parameters = self._slot(loaded.lora)
        _check_shapes(parameters, loaded.weights, loaded.folder)
        self._speech.model.set_adapter(name)
        for key, parameter in parameters.items():
            parameter.data = loaded.weights[key]
        self._active = loaded

    def clear(self) -> None:
        """Hold no patient's weights any more."""
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


# ── Verifying ────────────────────────────────────────────────────────────────
def verify(folder: Path, cache: Path | None = None) -> Loaded:
    """The adapter in ``folder``, looked at as closely as what a stranger sends; its weights stay out of any model.

    Measured by the shapes of its base model where that lies on this machine (in ``cache`` or where libraries keep
    theirs), else by those of a Whisper of the size that the weights are for. Raises RZ-0610 and RZ-0611 (the manifest),
    RZ-0002 (no pseudonym) and RZ-0614 (anything else, which ``detail`` names).
    """
    manifest = read_manifest(folder)
    return _verified(folder, manifest, _config_here(manifest, cache or folder))


def _verified(folder: Path, manifest: Manifest, config: WhisperConfig | None) -> Loaded:
    check_patient_id(manifest.patient_id)
    try:
        _check_files(folder)
        _check_window(manifest.window_s, config)
        _check_config(folder / CONFIG, manifest)
        weights = _read_weights(folder / WEIGHTS, manifest.lora_settings, config)
    except (OSError, ValueError, SafetensorError) as error:
        raise ResonanceError("RZ-0614", path=folder, detail=str(error)[:300]) from error
    return Loaded(manifest, manifest.lora_settings, weights, folder)


def _config_here(manifest: Manifest, cache: Path) -> WhisperConfig | None:
    """The config of the base model, if these very weights are on this machine; nothing is fetched."""
    try:
        base = resolve(manifest.base_model["name"], cache, sources=())
        if tensors_sha256(base.folder) == manifest.base_model["tensors_sha256"]:
            return WhisperConfig.from_pretrained(base.folder, local_files_only=True)
    except (ResonanceError, OSError, ValueError, SafetensorError):  # what has this name here is no model
        pass
    return None


def _check_files(folder: Path) -> None:
    """Nothing but files and folders: a link may lead anywhere."""
    for path in folder.iterdir():
        if path.is_symlink() or not (path.is_file() or path.is_dir()) or path.suffix.lower() in _PICKLES:
            raise ValueError(repr(path.name)[:80])
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise ValueError(name)


def _check_window(window_s: float, config: WhisperConfig | None) -> None:
    native_s = config.max_source_positions / POSITIONS_PER_SECOND if config else max(WINDOW_LADDER_S)
    if window_s not in (*WINDOW_LADDER_S, native_s) or window_s > native_s:
        raise ValueError(f"{MANIFEST}: window_s {window_s:g}, {native_s:g}")


def _check_config(path: Path, manifest: Manifest) -> None:
    """PEFT's file has to repeat the settings of the manifest: it could ask for anything, and other programs obey it.

    What an older PEFT did not write yet has its default; what a newer one wrote may ask for nothing.
    """
    given = read_json_object(path)
    expected = _as_json(_config_of(manifest.lora_settings))
    if given.get("base_model_name_or_path") is not None:
        expected["base_model_name_or_path"] = manifest.base_model["name"]
    found = _as_json(LoraConfig()) | {key: value for key, value in given.items() if key in expected or value}
    unlike = {key for key in found if json.dumps(found[key]) != json.dumps(expected.get(key))} - _FREE_IN_CONFIG.keys()
    unlike |= {key for key, kind in _FREE_IN_CONFIG.items() if not isinstance(found[key], kind)}
    if unlike:
        raise ValueError(f"{CONFIG}: {', '.join(sorted(unlike))[:200]}")


def _as_json(config: LoraConfig) -> dict[str, Any]:
    return dict(json.loads(json.dumps(config.to_dict())))


def _read_weights(path: Path, lora: LoraSettings, config: WhisperConfig | None) -> dict[str, torch.Tensor]:
    """The weights, copied: else the file stays mapped, and writing into it would change an adapter in use."""
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > _HEADER_BYTES:
            raise ValueError(f"{WEIGHTS}: header > {_HEADER_BYTES} bytes")
    with safe_open(path, "pt") as file:  # safetensors only: a pickle can run code
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        found = {key: (each.get_dtype(), tuple(each.get_shape())) for key, each in slices.items()}
        shapes = _lora_shapes(_Sizes.of(config) if config else _Sizes.seen_in(found), lora)
        wrong = sorted(key for key in shapes.keys() | found.keys() if found.get(key) != ("F32", shapes.get(key)))
        if wrong:
            raise ValueError(f"{WEIGHTS}: {', '.join(wrong[:3])}")
        weights = {key: file.get_tensor(key).clone() for key in shapes}
    for key, weight in weights.items():
        if not weight.abs().max() <= _LARGEST_WEIGHT:  # nor is NaN
            raise ValueError(f"{WEIGHTS}: {key} ({weight.abs().max():g})")
    return weights


@dataclass(frozen=True)
class _Sizes:
    """The sizes of a Whisper that LoRA's shapes depend on."""

    width: int
    inner: tuple[int, int]  # of the feed-forward networks, in encoder and decoder
    layers: tuple[int, int]

    @staticmethod
    def of(config: WhisperConfig) -> _Sizes:
        """Those of a base model."""
        inner = config.encoder_ffn_dim, config.decoder_ffn_dim
        return _Sizes(config.d_model, inner, (config.encoder_layers, config.decoder_layers))

    @staticmethod
    def seen_in(found: Mapping[str, tuple[str, tuple[int, ...]]]) -> _Sizes:
        """Those of the Whisper that such weights are for, if they are for any. ValueError for other names."""
        width, inner, layers = 0, {"encoder": 2, "decoder": 2}, {"encoder": 1, "decoder": 1}
        for key, (_, shape) in found.items():
            name = _KEY.fullmatch(key)
            if not name or len(shape) != 2 or not 0 < min(shape) <= max(shape) < 1 << 16:
                raise ValueError(f"{WEIGHTS}: {key}")
            part, layer, module, side = name.groups()
            size = shape[1] if side == "A" else shape[0]
            if (module, side) in (("fc1", "B"), ("fc2", "A")):
                inner[part] = size
            else:
                width = size
            layers[part] = max(layers[part], int(layer) + 1)
        if width < 4 or width % 2:  # Whisper's positions are made for neither
            raise ValueError(f"{WEIGHTS}: {width}")
        return _Sizes(width, (inner["encoder"], inner["decoder"]), (layers["encoder"], layers["decoder"]))


@lru_cache(maxsize=32)
def _lora_shapes(sizes: _Sizes, lora: LoraSettings) -> dict[str, tuple[int, ...]]:
    """Name and shape of each weight that PEFT puts onto a Whisper of these sizes, which takes no memory here. All
    layers are alike, so one of each part is enough."""
    config = WhisperConfig(
        d_model=sizes.width,
        encoder_ffn_dim=sizes.inner[0],
        decoder_ffn_dim=sizes.inner[1],
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
    )
    with torch.device("meta"):
        model = PeftModel(WhisperForConditionalGeneration(config), _config_of(lora), low_cpu_mem_usage=True)
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    layers = dict(zip((f"{_PREFIX}encoder.layers.", f"{_PREFIX}decoder.layers."), sizes.layers, strict=True))
    return {
        f"{start}{layer}.{key.removeprefix(f'{start}0.')}": tuple(weight.shape)
        for key, weight in weights.items()
        for start, count in layers.items()
        if key.startswith(start)
        for layer in range(count)
    }
