"""Adapters that can't work: refused wherever one is taken in, exported, loaded or served; the good one stays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import GOOD, files, lay, lying, packed, with_sums
from fastapi.testclient import TestClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from serving import HTTP, TOKEN, Voices, running

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.asr import adapter, rescoring, whisper
from resonance_helpers.asr.adapter import CONFIG, WEIGHTS
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.bundle import CHECKSUMS
from resonance_helpers.asr.manifest import MANIFEST
from resonance_helpers.asr.whisper import Hypothesis, SpeechModel
from resonance_helpers.core.settings import PRACTICE_MODEL, LoraSettings, plain
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.lessons import export_weights as export
from resonance_helpers.lessons.export_weights.pages import model_card, readme
from resonance_helpers.lessons.test_model.report.background import _settings
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring
from resonance_helpers.service.registry import AdapterRegistry
from resonance_helpers.service.voices import WhisperRecogniser

LORA = LoraSettings(r=2, alpha=4, target_modules=("q_proj", "fc1", "fc2"))
CODES = {"RZ-0002", "RZ-0610", "RZ-0611", "RZ-0614", "RZ-0941", "RZ-0942", "RZ-0943", "RZ-0944", "RZ-0947"}
Forge = Callable[[Path], object]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return whisper.load_speech_model(resolve(PRACTICE_MODEL, tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def good(speech: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small adapter that works, for the practice model."""
    home = tmp_path_factory.mktemp("good") / "alice" / "adapter"
    fresh = whisper.load_speech_model(speech.base)
    adapter.add_fresh(fresh, LORA)
    adapter.save(fresh, home, replace(GOOD, base_model=adapter.identity(speech), lora=plain(LORA)))
    return home


@pytest.fixture
def forged(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "forged" / "alice" / "adapter"))


# ── How it is forged ─────────────────────────────────────────────────────────
def weights(change: Callable[[dict[str, torch.Tensor]], object], metadata: dict[str, str] | None = None) -> Forge:
    def forge(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / WEIGHTS, metadata)

    return forge


def filled(value: float) -> Forge:
    return weights(lambda tensors: tensors[min(tensors)][0].fill_(value))


def as_type(kind: torch.dtype, only_one: bool = False) -> Forge:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for key in sorted(tensors)[: 1 if only_one else None]:
            tensors[key] = tensors[key].to(kind)

    return weights(change)


def renamed(old: str, new: str) -> Forge:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for key in [*tensors]:
            tensors[key.replace(old, new)] = tensors.pop(key)

    return weights(change)


def without(inside: str) -> Forge:
    return weights(lambda tensors: [tensors.pop(key) for key in [*tensors] if inside in key])


def widened(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*(3 if size == LORA.r else size for size in tensor.shape))


def added(key: str, *shape: int) -> Forge:
    return weights(lambda tensors: tensors.update({key: torch.zeros(*shape)}))


def rewritten(name: str, text: str | None = None, **changed: Any) -> Forge:
    """The JSON file ``name`` with other values, or another text in the place of ``"HERE"`` as a value."""

    def forge(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | changed
        written = json.dumps({key: value for key, value in content.items() if value is not ...})
        (folder / name).write_text(written if text is None else written.replace('"HERE"', text))

    return forge


def manifest(text: str | None = None, **changed: Any) -> Forge:
    return rewritten(MANIFEST, text, **changed)


def config(**changed: Any) -> Forge:
    return rewritten(CONFIG, None, **changed)


def lora(**changed: Any) -> Forge:
    """In the manifest and in PEFT's file alike."""
    theirs = {"r": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}

    def forge(folder: Path) -> None:
        manifest(lora=plain(LORA) | changed)(folder)
        config(**{theirs[key]: value for key, value in changed.items() if key in theirs})(folder)

    return forge


def bytes_of(change: Callable[[bytes], bytes]) -> Forge:
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


def as_pipe(name: str) -> Forge:
    def forge(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return forge


def linked(name: str) -> Forge:
    def forge(folder: Path) -> None:
        target = folder.parent.parent / f"elsewhere-{name}"
        (folder / name).rename(target) if (folder / name).exists() else target.write_text("{}")
        (folder / name).symlink_to(target)

    return forge


KEY = "base_model.model.model.encoder.layers.0.self_attn.q_proj"
BASE = GOOD.base_model
FORGED: dict[str, Forge] = {
    # the weights
    "NaN": filled(float("nan")),
    "infinite": filled(float("inf")),
    "minus infinite": filled(float("-inf")),
    "overflows in float16": filled(70_000.0),
    "overflows in float32": filled(1e30),
    "float16": as_type(torch.float16),
    "bfloat16": as_type(torch.bfloat16),
    "float64": as_type(torch.float64),
    "int8": as_type(torch.int8),
    "one is int32": as_type(torch.int32, only_one=True),
    "another shape": weights(lambda tensors: tensors.update({f"{KEY}.lora_A.weight": torch.zeros(2, 190)})),
    "turned": weights(lambda tensors: tensors.update({f"{KEY}.lora_A.weight": torch.zeros(192, 2)})),
    "empty": weights(lambda tensors: tensors.update({f"{KEY}.lora_A.weight": torch.zeros(2, 0)})),
    "all empty": weights(lambda tensors: tensors.update({key: torch.zeros(0, 0) for key in tensors})),
    "flat": weights(lambda tensors: tensors.update({f"{KEY}.lora_A.weight": torch.zeros(384)})),
    "another rank": weights(lambda tensors: tensors.update({k: widened(tensor) for k, tensor in tensors.items()})),
    "none at all": weights(lambda tensors: tensors.clear()),
    "one missing": without(f"{KEY}.lora_A"),
    "a layer missing": without("encoder.layers.3."),
    "a part missing": without(".decoder."),
    "one more": added("base_model.model.proj_out.weight", 2, 2),
    "a layer more": added(f"{KEY.replace('.0.', '.4.')}.lora_A.weight", 2, 192),
    "another adapter's": added(f"{KEY}.lora_A.default.weight", 2, 192),
    "named for an adapter": renamed(".weight", ".default.weight"),
    "a bias": added(f"{KEY}.lora_B.bias", 192),
    "a magnitude": added(f"{KEY}.lora_magnitude_vector", 192),
    "other names": renamed("q_proj", "query"),
    "no prefix": renamed("base_model.model.", ""),
    "cut": bytes_of(lambda data: data[:-1]),
    "longer": bytes_of(lambda data: data + b"\0"),
    "only its head": bytes_of(lambda data: data[:8]),
    "no byte": bytes_of(lambda data: b""),
    "a head that says more": bytes_of(lambda data: (2**40).to_bytes(8, "little") + data[8:]),
    "a pickle": bytes_of(lambda data: b"\x80\x04\x95" + bytes(100)),
    "much metadata": weights(lambda tensors: None, {"a": "b" * 2_000_000}),
    "a pickle beside": lambda folder: torch.save({}, folder / "adapter_model.bin"),
    # PEFT's file
    "no config": lambda folder: (folder / CONFIG).unlink(),
    "config is no object": lambda folder: (folder / CONFIG).write_text("[]"),
    "config is deep": lambda folder: (folder / CONFIG).write_text("[" * 100_000),
    "config is huge": config(peft_version="x" * 1_000_000),
    "config says twice": lambda folder: (folder / CONFIG).write_text('{"r": 2, "r": 2}'),
    **{
        f"config {key}": config(**{key: value})
        for key, value in {
            "r": 100_000,
            "lora_alpha": 1e30,
            "lora_dropout": 0.5,
            "target_modules": ["q_proj"],
            "exclude_modules": ".*",
            "peft_type": "IA3",
            "task_type": "SEQ_2_SEQ_LM",
            "auto_mapping": {"base_model_class": "os", "parent_library": "os"},
            "base_model_name_or_path": "evil/model",
            "revision": "evil",
            "bias": "all",
            "fan_in_fan_out": True,
            "use_rslora": True,
            "use_dora": True,
            "use_qalora": True,
            "lora_bias": True,
            "modules_to_save": ["proj_out"],
            "rank_pattern": {"q_proj": 4},
            "alpha_pattern": {"q_proj": 4},
            "layers_to_transform": [0],
            "layers_pattern": "layers",
            "layer_replication": [[0, 2]],
            "target_parameters": ["weight"],
            "trainable_token_indices": [1],
            "init_lora_weights": "pissa",
            "eva_config": {"rho": 2.0},
            "corda_config": {"cache_file": "/etc/passwd"},
            "loftq_config": {"loftq_bits": 4},
            "runtime_config": {"ephemeral_gpu_offload": True},
            "megatron_config": {"a": 1},
            "megatron_core": "os",
            "something_new": True,
            "inference_mode": "yes",
            "peft_version": 7,
        }.items()
    },
    # the manifest
    "rank 100000": lora(r=100_000),
    "rank 0": lora(r=0),
    "rank is true": lora(r=True),
    "alpha 1e30": lora(alpha=10**30),
    "alpha is a fraction": lora(alpha=0.5),
    "dropout 1": lora(dropout=1.0),
    "no modules": lora(target_modules=[]),
    "a module twice": lora(target_modules=["q_proj", "q_proj", "fc1", "fc2"]),
    "modules are a pattern": lora(target_modules=["(a+)+$"]),
    "modules are a text": lora(target_modules="q_proj"),
    "other parts": lora(parts=["encoder", "proj_out"]),
    "a setting more": lora(use_dora=True),
    "another window than the model's": manifest(window_s=6.0),
    "a window between": manifest(window_s=3.9),
    "a name for a person": manifest(patient_id="李华"),
    "a path for a person": manifest(patient_id="../bob"),
    "a field missing": manifest(steps=...),
    "a field more": manifest(evil=1),
    "manifest says twice": manifest('{"a": 1, "a": 1}', scores="HERE"),
    "manifest is huge": manifest(versions={"torch": "x" * 1_000_000}),
    "manifest is deep": manifest("[" * 20_000, scores="HERE"),
    **{
        f"{key} {text[:20]}": manifest(text, **{key: "HERE"})
        for key, texts in {
            "speech_bar": ("NaN", "Infinity", "-0.1", "1.1", "1e999", "true", "null", '"0.2"'),
            "window_s": ("NaN", "0", "-4", "1e999", "true", '"4"', "[4]", "null"),
            "time": (
                '"0001-01-01T00:00:00"',
                '"0001-01-01T00:00:00+23:59"',
                '"9999-12-31T23:59:59-23:59"',
                '"1969-12-31T00:00:00+00:00"',
                '"yesterday"',
                '""',
                "0",
                "null",
            ),
            "recordings": ("-1", "1.5", "1e3", "true", "1" * 5000, "99999999999999999999", "null", '"80"'),
            "steps": ("-1", "NaN", "true"),
            "seed": ("-1", "4294967296", "17.0"),
            "audio_seconds": ("NaN", "-1", "1e999", "1e300", "false"),
            "wall_seconds": ("Infinity", "-Infinity", "null"),
            "language": ('"xx"', '"Chinese"', "7", '["zh"]', '""'),
            "data_sha256": ('"no hash"', "1", '"' + "0" * 65 + '"'),
            "run": ('"../../etc"', '"/etc"', '".."', "7", '"a\\u0000b"', '"' + "x" * 500 + '"'),
            "scores": ('{"cer": NaN}', '{"cer": 1e999}', '{"cer": "0"}', '{"cer": true}', "[]", '{"cer": [[0]]}'),
            "versions": ('{"torch": 2}', '{"torch": "a\\nb"}', "null", '{"torch": "\\ud800"}'),
            "schema": ("true", "1.0", "2", '"1"', "null"),
            "lora": ("[]", "null", '{"r": NaN}', '{"r": [2]}', '{"target_modules": [["q_proj"]]}'),
            "base_model": ("[]", "{}", '"x"', json.dumps(BASE | {"name": "/etc"}), json.dumps(BASE | {"name": "a\nb"}),
                           json.dumps(BASE | {"tensors_sha256": ""}), json.dumps(BASE | {"revision": 1})),
            "patient_id": ("7", "null", "[]", '""'),
        }.items()
        for text in texts
    },
}  # fmt: skip
ON_DISK: dict[str, Forge] = {  # a zip holds neither
    f"{name} is a link": linked(name) for name in (WEIGHTS, CONFIG, MANIFEST, "tokenizer.json", "more.json")
}

if hasattr(os, "mkfifo"):
    ON_DISK |= {f"{name} is a pipe": as_pipe(name) for name in (WEIGHTS, CONFIG, MANIFEST)}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ResonanceError) as caught:
        act()
    return caught.value.code


# ── Refused everywhere ───────────────────────────────────────────────────────
@pytest.mark.parametrize("case", FORGED | ON_DISK)
def test_a_forged_adapter_is_refused_wherever_it_is_read(
    speech: SpeechModel, good: Path, forged: Path, tmp_path: Path, case: str
) -> None:
    (FORGED | ON_DISK)[case](forged)
    before = lying(good)
    acts: dict[str, Callable[[], object]] = {
        "load": lambda: adapter.load(speech, forged),
        "export": lambda: export.export_adapter(Workspace(tmp_path, forged.parent, "alice")),
    }
    if case in FORGED:
        contents = {name: data for name, data in (lying(forged) or {}).items() if name != CHECKSUMS}
        zipped, there = tmp_path / "alice-adapter.zip", tmp_path / "there"
        zipped.write_bytes(packed(with_sums(contents)).getvalue())
        shutil.copytree(good, there / "adapter")
        acts["import"] = lambda: export.import_bundle(zipped, there, replace=True)
    codes = {name: refusal(act) for name, act in acts.items()}
    assert set(codes.values()) <= CODES | ({"RZ-0006"} if case == "no config" else {"RZ-0005"}), codes
    assert case in ON_DISK or lying(there / "adapter") == before
    assert not list(forged.parent.glob("export/*.zip"))


def test_the_good_one_is_taken_in_loaded_and_exported(speech: SpeechModel, forged: Path, tmp_path: Path) -> None:
    made = export.export_adapter(Workspace(tmp_path, forged.parent, "alice")).zip
    taken = export.import_bundle(made, tmp_path / "there", "alice")
    assert adapter.load(speech, taken.folder).manifest == AdapterRegistry(forged).find("alice").manifest


def test_words_that_are_none_are_said_at_export(forged: Path, tmp_path: Path) -> None:
    (forged / "tokenizer.json").write_text("[")
    assert refusal(lambda: export.export_adapter(Workspace(tmp_path, forged.parent, "alice"))) == "RZ-0614"


def test_without_its_base_model_an_adapter_is_measured_by_itself(good: Path, forged: Path) -> None:
    somewhere = {"name": "somebody/whisper", "revision": "1", "tensors_sha256": "5" * 64}
    rewritten(CONFIG, base_model_name_or_path="somebody/whisper")(forged)
    manifest(base_model=somewhere, window_s=6.0)(forged)
    assert adapter.verify(forged).weights.keys() == adapter.verify(good).weights.keys()
    for case in ("NaN", "one missing", "another shape", "a part missing", "all empty", "none at all", "other names"):
        shutil.copy(good / WEIGHTS, forged / WEIGHTS)
        FORGED[case](forged)
        assert refusal(lambda: adapter.verify(forged)) == "RZ-0614", case


# ── What a training writes ───────────────────────────────────────────────────
def test_a_training_that_went_wrong_does_not_replace_the_adapter_before(speech: SpeechModel, forged: Path) -> None:
    before = lying(forged)
    diverged = whisper.load_speech_model(speech.base)
    for name, weight in adapter.add_fresh(diverged, LORA).named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, float("nan"))
    made = replace(GOOD, base_model=adapter.identity(speech), lora=plain(LORA))
    assert refusal(lambda: adapter.save(diverged, forged, made)) == "RZ-0630"
    assert lying(forged) == before and [each.name for each in forged.parent.iterdir()] == ["adapter"]


OLD_CONFIG = """{
  "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
  "base_model_name_or_path": "resonance/practice-model", "bias": "none", "corda_config": null,
  "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
  "inference_mode": true, "init_lora_weights": true, "kasa_config": null, "layer_replication": null,
  "layers_pattern": null, "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 2, "lora_bias": false,
  "lora_dropout": 0.0, "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core",
  "modules_to_save": null, "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2",
  "qalora_group_size": 16, "r": 1, "rank_pattern": {}, "revision": null,
  "target_modules": ".*\\\\.(encoder)\\\\.layers\\\\..*\\\\.(q_proj)", "target_parameters": null, "task_type": null,
  "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false, "use_rslora": false,
  "velora_config": null
}"""
OLD_MANIFEST = """{
  "patient_id": "alice",
  "base_model": {"name": "resonance/practice-model", "revision": "local", "tensors_sha256": "HASH"},
  "language": "zh", "window_s": 4.0,
  "lora": {"r": 1, "alpha": 2, "dropout": 0.0, "target_modules": ["q_proj"], "parts": ["encoder"]},
  "recordings": 80, "phrases": 40, "audio_seconds": 200.5,
  "data_sha256": "1111111111111111111111111111111111111111111111111111111111111111",
  "run": "20261122-120000", "steps": 90, "seed": 17, "wall_seconds": 15.2, "scores": {"dev_cer": 0.05},
  "versions": {"torch": "2.13.0+cpu", "transformers": "5.23.0", "peft": "0.21.2"},
  "time": "2026-11-22T12:00:00+00:00", "speech_bar": 0.21, "schema": 1
}"""


@pytest.mark.parametrize("lacks", ["nothing", "speech_bar", "use_rslora"])
def test_an_adapter_that_an_earlier_version_wrote_still_verifies(
    speech: SpeechModel, tmp_path: Path, lacks: str
) -> None:
    """As commit f4e34bb wrote it; manifests from before it have no ``speech_bar``, and an older PEFT fewer settings."""
    said = {MANIFEST: OLD_MANIFEST.replace("HASH", adapter.identity(speech)["tensors_sha256"]), CONFIG: OLD_CONFIG}
    contents = {name: {k: v for k, v in json.loads(text).items() if k != lacks} for name, text in said.items()}
    written = {name: json.dumps(content).encode() for name, content in contents.items()}
    folder = lay(tmp_path / "old", {WEIGHTS: files("alice", 1)[WEIGHTS], **written})
    assert adapter.load(speech, folder).manifest == adapter.verify(folder).manifest
    assert adapter.verify(folder).manifest.speech_bar == (0.0 if lacks == "speech_bar" else 0.21)


# ── Any value in any field ───────────────────────────────────────────────────
NEARLY = ("zh", "2026-11-22", "0001-01-01", "9999-12-31", "1970-01-01T00:00+14:00", "é", "0" * 64, "practice/model", 4)
KEYS = st.sampled_from(("name", "revision", "tensors_sha256", "r", "alpha", "parts", "cer")) | st.text(max_size=4)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(NEARLY),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(KEYS, inside, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def place(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(good, tmp_path_factory.mktemp("any") / "alice" / "adapter"))


@settings(max_examples=150)
@given(field=st.sampled_from(sorted(vars(GOOD))), value=ANYTHING)
@example(field="time", value="0001-01-01T00:00:00")
@example(field="lora", value={})
@example(field="time", value="2026-11-22")
def test_any_value_in_a_manifest_is_refused_or_works_to_the_end(
    place: Path, good: Path, field: str, value: Any
) -> None:
    said = json.loads((good / MANIFEST).read_text()) | {field: value}
    (place / MANIFEST).write_text(json.dumps(said))
    try:
        registry = AdapterRegistry(place.parent.parent)
    except ResonanceError as error:
        assert error.code in CODES | {"RZ-0922"}
        return
    known = registry.find("alice").manifest
    workspace = Workspace(place.parent, place.parent, "alice")
    assert readme(known) and model_card(workspace, known) and _settings(known, {})
    app = create_app(Voices, registry, Keyring(TOKEN, place.parent / KEYS_FILE))
    listed = TestClient(app).get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"})
    assert listed.status_code == 200 and listed.json()["data"][0]["created"] >= 0


# ── A running service ────────────────────────────────────────────────────────
def test_a_running_service_goes_on_with_the_good_one(
    speech: SpeechModel, good: Path, forged: Path, converted_sample: Workspace
) -> None:
    root, sound = forged.parent.parent, load_utterances(converted_sample)[0].wav.read_bytes()
    registry = AdapterRegistry(root)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    fresh = whisper.load_speech_model(speech.base)
    app = create_app(lambda: WhisperRecogniser(fresh, registry), registry, Keyring(TOKEN, root / KEYS_FILE))

    def asked() -> str:
        sent = {"files": {"file": ("a.wav", sound)}, "headers": headers}
        answer = HTTP.post(f"{url}/transcribe", timeout=60, **sent)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["text"])

    with running(app) as url:
        before = asked()
        assert before
        for case in ("NaN", "config use_dora", "a layer missing", "rank 100000", "a field missing"):
            FORGED[case](forged)
            assert asked() == before
            listed = HTTP.get(f"{url}/v1/models", headers=headers)
            assert [each["id"] for each in listed.json()["data"]] == ["alice"]
            shutil.copytree(good, forged, dirs_exist_ok=True)


def test_an_answer_that_is_no_number_is_not_given(speech: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Hypothesis("我想喝水", truncated=False, confidence=float("nan"))
    monkeypatch.setattr(SpeechModel, "answers", lambda self, encoded, stop_repetition: [nothing] * len(encoded))
    assert refusal(lambda: rescoring.transcribe(speech, [np.zeros(16_000, np.float32)], 4.0)) == "RZ-0631"
