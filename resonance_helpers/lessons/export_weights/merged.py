"""Whole models: the adapter's numbers added into a copy of the base model, for programs that know nothing of adapters.

Three kinds: a folder of transformers, and CTranslate2's for faster-whisper with float32 or int8 numbers. Each listens
at the model's own window, which for Whisper is 30 s, whatever window the adapter was trained at.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import WhisperForConditionalGeneration

from ...asr import adapter
from ...asr.base_models import BaseModel, resolve
from ...asr.base_models.sources import Source
from ...asr.base_models.weights import parameter_count
from ...asr.bundle import CARD, README
from ...asr.manifest import ADAPTER_FILES, Manifest
from ...asr.whisper import SpeechModel, load_speech_model
from ...asr.windows import POSITIONS_PER_SECOND
from ...core.messages import ResonanceError
from ...core.settings import MAX_NEW_TOKENS, WINDOW_LADDER_S
from ...core.workspace import Workspace, read_json, replacing_folder, require
from .bundle import purpose
from .compatibility import for_other_programs
from .pages import model_card, readme_of_merged
from .place import KINDS, alone, check_room, home

WHISPER_WINDOW_S = max(WINDOW_LADDER_S)  # faster-whisper fills every clip up to this, whatever the model was made for
_BYTES_EACH = {"merged": 4.0, "ct2-float32": 4.0, "ct2-int8": 1.15}  # of a parameter; in int8 a few stay float32
_PAGES_BYTES = 1_000_000  # README, model card, settings, and what else is writing


@dataclass(frozen=True)
class Offer:
    """A kind of whole model as it would be made from the adapter: about how many bytes (0: the base model is not on
    this machine), at which window in seconds, and the code that says why it can't be made ("" where it can)."""

    kind: str
    bytes: int
    window_s: float
    refused: str = ""


@dataclass(frozen=True)
class ExportedModel:
    """A whole model on disk: (file name, size in bytes, what it is for), and the window in seconds it listens at."""

    folder: Path
    kind: str
    bytes: int
    window_s: float
    files: tuple[tuple[str, int, str], ...]


def offers(workspace: Workspace, base_model: str = "") -> tuple[Offer, ...]:
    """Each kind, as far as it can be known without loading or fetching anything. Raises RZ-0006, RZ-0005."""
    manifest = _manifest(workspace)
    try:
        base = _resolved(workspace, manifest, base_model, sources=())
    except ResonanceError:  # not here: then it is a published Whisper
        return tuple(Offer(kind, 0, WHISPER_WINDOW_S) for kind in KINDS)
    window_s = _window_s(base)
    refused = "RZ-0806" if window_s < WHISPER_WINDOW_S else ""
    return tuple(Offer(kind, _bytes(kind, base), window_s, refused if kind.startswith("ct2") else "") for kind in KINDS)


def export_models(workspace: Workspace, kinds: str, base_model: str = "") -> tuple[ExportedModel, ...]:
    """:func:`export_model` for each kind that ``kinds`` names, apart by commas; none for an empty one."""
    named = [kind.strip() for kind in kinds.replace("，", ",").split(",") if kind.strip()]
    for kind in named:
        _check_kind(kind)
    return tuple(export_model(workspace, kind, base_model) for kind in named)


def export_model(workspace: Workspace, kind: str, base_model: str = "") -> ExportedModel:
    """Make ``export/<patient>-<kind>/`` from ``adapter/``, whole or not at all; what was there before is replaced.

    ``base_model`` is where the base model lies, if not under the name that the adapter gives. Raises RZ-0001 (no such
    kind), RZ-0006 (lesson 06 missing), RZ-0005 (another patient's adapter), RZ-0805 (CTranslate2 is not installed),
    RZ-0806 (a model that faster-whisper could not run), RZ-0612 (another base model), RZ-0807 (somebody else is making
    one here), RZ-0801 (not enough disk: nothing was begun), RZ-0004 (the disk filled up meanwhile), and what
    ``base_models.resolve`` and ``adapter.attach`` raise.
    """
    _check_kind(kind)
    manifest = _manifest(workspace)
    if kind.startswith("ct2") and importlib.util.find_spec("ctranslate2") is None:
        raise ResonanceError("RZ-0805", kind=kind)
    base = _resolved(workspace, manifest, base_model)
    window_s = _window_s(base)
    if kind.startswith("ct2") and window_s < WHISPER_WINDOW_S:
        raise ResonanceError("RZ-0806", kind=kind, base_model=base.name, window=f"{window_s:g}")
    speech = load_speech_model(base, manifest.language)
    manifest = adapter.attach(speech, workspace.adapter)
    _merge(speech)
    folder = home(workspace, kind)
    with alone(workspace):
        check_room(folder, _bytes(kind, base))
        with replacing_folder(folder) as temporary:
            _write(speech, kind, temporary)
            _write_pages(workspace, manifest, kind, window_s, temporary)
    files = tuple((path.name, path.stat().st_size, purpose(path.name)) for path in sorted(folder.iterdir()))
    return ExportedModel(folder, kind, sum(size for _, size, _ in files), window_s, files)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ResonanceError("RZ-0001", name="kind", value=kind, allowed=", ".join(KINDS))


def _manifest(workspace: Workspace) -> Manifest:
    for name in ADAPTER_FILES:
        require(workspace.adapter / name, lesson=6)
    adapter.refuse_other_patient(workspace)
    return adapter.read_manifest(workspace.adapter)


def _resolved(
    workspace: Workspace, manifest: Manifest, base_model: str, sources: Sequence[Source] | None = None
) -> BaseModel:
    return resolve(base_model or manifest.base_model["name"], workspace.cache / "base_models", sources)


def _window_s(base: BaseModel) -> float:
    config = read_json(base.folder / "config.json", "max_source_positions")
    return float(config["max_source_positions"] / POSITIONS_PER_SECOND)


def _bytes(kind: str, base: BaseModel) -> int:
    """The most that ``kind`` takes: its numbers, and the vocabulary in two forms at most."""
    words = sum(file.stat().st_size for file in base.folder.iterdir() if file.suffix in (".json", ".txt"))
    return round(_BYTES_EACH[kind] * parameter_count(base.folder)) + 2 * words + _PAGES_BYTES


def _merge(speech: SpeechModel) -> None:
    """From here on ``speech`` is one plain Whisper that answers a bare ``generate`` in its language, with an end."""
    assert isinstance(speech.model, PeftModel)
    merged: Any = cast(Any, speech.model).merge_and_unload()
    speech.model = merged.to("cpu").eval()
    generation: Any = merged.generation_config
    generation.language, generation.task = speech.language, "transcribe"
    # max_new_tokens would do as well, but transformers warns at every answer that max_length is there too
    generation.max_length = min(len(speech.prompt) + MAX_NEW_TOKENS, merged.config.max_target_positions)


def _write(speech: SpeechModel, kind: str, folder: Path) -> None:
    if kind == "merged":
        speech.whisper.save_pretrained(folder)
    else:
        _convert(speech, kind.removeprefix("ct2-"), folder)
    processor = folder / "processor"
    speech.processor.save_pretrained(processor)
    files = {path.name: path.read_bytes() for path in sorted(processor.iterdir())}
    shutil.rmtree(processor)
    files |= for_other_programs(files)
    # faster-whisper takes its words from tokenizer.json and the sound's settings from preprocessor_config.json
    wanted = files if kind == "merged" else ("tokenizer.json", "preprocessor_config.json")
    for name in wanted:
        (folder / name).write_bytes(files[name])


def _convert(speech: SpeechModel, numbers: str, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    class FromMemory(TransformersConverter):
        """Takes the model that is here instead of reading one from a disk, which would need twice the room."""

        def load_model(self, *args: Any, **kwargs: Any) -> WhisperForConditionalGeneration:
            return speech.whisper

        def load_tokenizer(self, *args: Any, **kwargs: Any) -> Any:
            return speech.processor.tokenizer

    with torch.no_grad():
        FromMemory(str(speech.base.folder)).convert(str(folder), quantization=numbers, force=True)


def _write_pages(workspace: Workspace, manifest: Manifest, kind: str, window_s: float, folder: Path) -> None:
    brought = workspace.adapter / CARD
    card = model_card(workspace, manifest, brought.read_bytes() if brought.is_file() else None, kind, window_s)
    for name, text in {README: readme_of_merged(manifest, kind, window_s), CARD: card}.items():
        (folder / name).write_text(text, encoding="utf-8")
