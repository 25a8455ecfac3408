"""An adapter goes onto its own base model, language and weights, or nowhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from resonance_helpers import open_workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.base_models import BaseModel, resolve
from resonance_helpers.asr.whisper import SpeechModel, load_speech_model
from resonance_helpers.core.messages import ResonanceError
from resonance_helpers.core.settings import MODEL_PARTS, PRACTICE_MODEL, LoraSettings, plain


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return resolve(PRACTICE_MODEL, tmp_path_factory.mktemp("cache"))


def manifest(speech: SpeechModel, **changed: object) -> adapter.Manifest:
    usual = adapter.Manifest(
        patient_id="patient-a", base_model=adapter.identity(speech), language="zh", window_s=4.0,
        lora=plain(LoraSettings()), recordings=20, phrases=10, audio_seconds=40.0, data_sha256="0" * 64,
        run="20260101-000000", steps=5, seed=1, wall_seconds=1.0, scores={"dev_cer": 0.5},
        versions=adapter.versions(), time="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return replace(usual, **changed)  # type: ignore[arg-type]


def make(
    base: BaseModel, folder: Path, fill: float = 0.02, lora: LoraSettings | None = None, **changed: object
) -> Path:
    """An adapter whose second LoRA matrices are all ``fill`` (PEFT starts them at 0, which changes nothing)."""
    lora = lora or LoraSettings()
    speech = load_speech_model(base)
    model = adapter.add_fresh(speech, lora)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, fill)
    adapter.save(speech, folder, manifest(speech, lora=plain(lora), **changed))
    return folder


@pytest.fixture(scope="module")
def saved(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(base, tmp_path_factory.mktemp("saved") / "adapter")


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copied"))


def encode(speech: SpeechModel) -> torch.Tensor:
    with torch.inference_mode():
        return speech.whisper.model.encoder(torch.ones(1, 80, 400)).last_hidden_state


def test_what_is_saved_is_what_is_attached(base: BaseModel, saved: Path) -> None:
    speech = load_speech_model(base)
    plain = encode(speech)
    found = adapter.attach(speech, saved, "a")
    assert found == adapter.read_manifest(saved) == manifest(speech)
    weights = get_peft_model_state_dict(speech.model, adapter_name="a", save_embedding_layers=False)
    expected = load_file(saved / adapter.WEIGHTS)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[k], expected[k]) for k in weights)
    with adapter.using(speech, "a"):
        adapted = encode(speech)
    with adapter.using(speech, None):
        assert torch.equal(encode(speech), plain), "without an adapter the base model answers as before"
    assert not torch.allclose(adapted, plain)


@pytest.mark.parametrize("part", MODEL_PARTS)
def test_an_adapter_moves_only_the_parts_that_it_should(part: str, base: BaseModel) -> None:
    model = adapter.add_fresh(load_speech_model(base), LoraSettings(parts=(part,), target_modules=("v_proj", "fc1")))
    moved = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert moved and all(f".{part}.layers." in name for name in moved)
    assert {name.split(".")[-4] for name in moved} == {"v_proj", "fc1"}


def test_two_patients_on_one_model_stay_apart(base: BaseModel, saved: Path, tmp_path: Path) -> None:
    other = make(base, tmp_path / "other", fill=-0.03, patient_id="patient-b")
    alone = {}
    for name, folder in (("a", saved), ("b", other)):
        speech = load_speech_model(base)
        adapter.attach(speech, folder, name)
        with adapter.using(speech, name):
            alone[name] = encode(speech)
    together = load_speech_model(base)
    adapter.attach(together, saved, "a")
    adapter.attach(together, other, "b")
    for name in ("a", "b", "a", "b"):
        with adapter.using(together, name):
            assert torch.equal(encode(together), alone[name])
    adapter.detach(together, "a")
    with adapter.using(together, "b"):
        assert torch.equal(encode(together), alone["b"])


# ── AdapterSwitch ────────────────────────────────────────────────────────────────────
def alone(base: BaseModel, folder: Path) -> torch.Tensor:
    speech = load_speech_model(base)
    adapter.attach(speech, folder)
    with adapter.using(speech, "default"):
        return encode(speech)


def test_voices_that_take_turns_in_a_slot_answer_as_each_does_alone(
    base: BaseModel, saved: Path, tmp_path: Path
) -> None:
    small = LoraSettings(r=4, alpha=4, target_modules=("q_proj", "v_proj"))
    folders = [
        saved,
        make(base, tmp_path / "b", fill=-0.03, patient_id="patient-b"),
        make(base, tmp_path / "c", fill=0.05, lora=small, patient_id="patient-c"),
    ]
    expected = [alone(base, folder) for folder in folders]
    speech = load_speech_model(base)
    voices, slots = [adapter.load(speech, folder) for folder in folders], adapter.AdapterSwitch(speech)
    for turn in (0, 1, 0, 2, 1, 2, 0, 0):
        slots.activate(voices[turn])
        assert torch.equal(encode(speech), expected[turn])
    assert len(speech.model.peft_config) == 2  # one for each shape, not for each patient


def test_cleared_slots_hold_nobodys_weights(base: BaseModel, saved: Path, tmp_path: Path) -> None:
    small = LoraSettings(r=4, alpha=4, target_modules=("q_proj", "v_proj"))
    other = make(base, tmp_path / "c", fill=0.05, lora=small, patient_id="patient-c")
    speech = load_speech_model(base)
    voices, slots = [adapter.load(speech, folder) for folder in (saved, other)], adapter.AdapterSwitch(speech)
    for voice in voices:
        slots.activate(voice)
    expected = encode(speech)
    slots.clear()
    theirs = {weight.data_ptr() for voice in voices for weight in voice.weights.values()}
    assert not theirs & {parameter.data_ptr() for parameter in speech.model.parameters()}
    slots.activate(voices[1])
    assert torch.equal(encode(speech), expected)


def test_a_voice_that_does_not_fit_leaves_the_slot_to_nobody(base: BaseModel, saved: Path) -> None:
    speech = load_speech_model(base)
    good, slots = adapter.load(speech, saved), adapter.AdapterSwitch(speech)
    bad = replace(good, weights=dict([*good.weights.items()][1:]))
    slots.activate(good)
    expected = encode(speech)
    with pytest.raises(ResonanceError, match="RZ-0614"):
        slots.activate(bad)
    assert slots._active is None
    slots.activate(good)
    assert torch.equal(encode(speech), expected)


def test_a_file_that_is_written_into_does_not_change_a_voice_in_memory(base: BaseModel, copied: Path) -> None:
    speech = load_speech_model(base)
    loaded = adapter.load(speech, copied)
    before = {key: weight.clone() for key, weight in loaded.weights.items()}
    with (copied / adapter.WEIGHTS).open("r+b") as file:  # in place, as cp does it
        file.seek(-4000, 2)
        file.write(b"\x01" * 4000)
    assert all(torch.equal(loaded.weights[key], weight) for key, weight in before.items())


def test_a_folder_that_is_replaced_while_it_is_read_is_read_again(
    base: BaseModel, saved: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = make(base, tmp_path / "newer", fill=0.07, recordings=99)
    read = adapter.read_manifest

    def replaced_behind_the_manifest(folder: Path) -> adapter.Manifest:
        found = read(folder)
        if newer.exists():
            shutil.rmtree(copied)
            newer.rename(copied)
        return found

    monkeypatch.setattr(adapter, "read_manifest", replaced_behind_the_manifest)
    loaded = adapter.load(load_speech_model(base), copied)
    assert loaded.manifest.recordings == 99
    assert any(weight.max() == pytest.approx(0.07) for weight in loaded.weights.values())


def test_a_folder_that_was_in_pieces_while_it_was_replaced_is_read_again(
    base: BaseModel, saved: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = make(base, tmp_path / "newer", fill=0.07, recordings=99)
    read = adapter.read_manifest

    def gone_behind_the_manifest(folder: Path) -> adapter.Manifest:
        found = read(folder)
        if newer.exists():
            shutil.rmtree(copied)
            newer.rename(copied)
            raise ResonanceError("RZ-0614", path=folder, detail="the old weights are gone")
        return found

    monkeypatch.setattr(adapter, "read_manifest", gone_behind_the_manifest)
    assert adapter.load(load_speech_model(base), copied).manifest.recordings == 99


def test_peft_may_not_be_asked_for_more_than_the_manifest_says(base: BaseModel, copied: Path) -> None:
    config = json.loads((copied / adapter.CONFIG).read_text())
    for changed in ({"r": 100_000}, {"use_dora": True}, {"target_modules": "(a+)+$"}, {"lora_alpha": 1}):
        (copied / adapter.CONFIG).write_text(json.dumps(config | changed))
        with pytest.raises(ResonanceError, match="RZ-0614") as error:
            adapter.load(load_speech_model(base), copied)
        assert next(iter(changed)) in error.value.facts["detail"]


def test_numbers_that_are_none_are_refused(base: BaseModel, copied: Path) -> None:
    weights = load_file(copied / adapter.WEIGHTS)
    weights[min(weights)][0, 0] = float("nan")
    save_file(weights, copied / adapter.WEIGHTS)
    with pytest.raises(ResonanceError, match="RZ-0614"):
        adapter.load(load_speech_model(base), copied)


def test_no_file_of_an_adapter_names_a_path_of_this_machine(base: BaseModel, saved: Path) -> None:
    assert json.loads((saved / adapter.CONFIG).read_text())["base_model_name_or_path"] == PRACTICE_MODEL
    for path in saved.iterdir():
        assert str(base.folder.parent).encode() not in path.read_bytes(), path.name


def edit_manifest(folder: Path, **changed: object) -> None:
    content = json.loads((folder / adapter.MANIFEST).read_text(encoding="utf-8"))
    (folder / adapter.MANIFEST).write_text(json.dumps({**content, **changed}), encoding="utf-8")


def rename_keys(folder: Path) -> None:
    weights = load_file(folder / adapter.WEIGHTS)
    save_file({key.replace("q_proj", "query"): value for key, value in weights.items()}, folder / adapter.WEIGHTS)


def drop_a_key(folder: Path) -> None:
    weights = load_file(folder / adapter.WEIGHTS)
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / adapter.WEIGHTS)


def reshape(folder: Path) -> None:
    weights = load_file(folder / adapter.WEIGHTS)
    key = sorted(weights)[0]
    weights[key] = torch.zeros(3, 3)
    save_file(weights, folder / adapter.WEIGHTS)


def truncate(folder: Path) -> None:
    (folder / adapter.WEIGHTS).write_bytes((folder / adapter.WEIGHTS).read_bytes()[:5000])


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / adapter.WEIGHTS), folder / "adapter_model.bin")
    (folder / adapter.WEIGHTS).unlink()


ANOTHER = {"name": "openai/whisper-tiny", "tensors_sha256": "1"}
BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no manifest": ("RZ-0610", lambda folder: (folder / adapter.MANIFEST).unlink()),
    "manifest is not JSON": ("RZ-0610", lambda folder: (folder / adapter.MANIFEST).write_text("{")),
    "manifest lacks a field": ("RZ-0610", lambda folder: (folder / adapter.MANIFEST).write_text('{"schema": 1}')),
    "another schema": ("RZ-0611", lambda folder: edit_manifest(folder, schema=99)),
    "another base model": ("RZ-0612", lambda folder: edit_manifest(folder, base_model=ANOTHER)),
    "another language": ("RZ-0613", lambda folder: edit_manifest(folder, language="en")),
    "misnamed weights": ("RZ-0614", rename_keys),
    "missing weights": ("RZ-0614", drop_a_key),
    "weights of another shape": ("RZ-0614", reshape),
    "truncated weights": ("RZ-0614", truncate),
    "a pickle instead of safetensors": ("RZ-0614", as_pickle),
    "no config": ("RZ-0614", lambda folder: (folder / adapter.CONFIG).unlink()),
    "a folder that is not there": ("RZ-0610", lambda folder: shutil.rmtree(folder)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_what_does_not_fit_is_refused_and_nothing_stays_attached(
    base: BaseModel, saved: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, name: str, lang: str
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    code, damage = BROKEN[name]
    damage(copied)
    speech = load_speech_model(base)
    adapter.attach(speech, saved, "good")
    with adapter.using(speech, "good"):
        expected = encode(speech)
    with pytest.raises(ResonanceError) as error:
        adapter.attach(speech, copied, "bad")
    assert error.value.code == code and str(copied) in str(error.value)
    assert set(speech.model.peft_config) == {"good"}
    with adapter.using(speech, "good"):
        assert torch.equal(encode(speech), expected), "the patient who was there is answered as before"


def test_an_adapter_that_is_not_there_is_not_answered_by_another(base: BaseModel, saved: Path) -> None:
    speech = load_speech_model(base)
    with pytest.raises(ResonanceError, match="RZ-0615"), adapter.using(speech, "a"):
        pass
    adapter.attach(speech, saved, "a")
    with pytest.raises(ResonanceError, match="RZ-0615"), adapter.using(speech, "b"):
        pass


def test_other_versions_are_told_and_not_refused(base: BaseModel) -> None:
    speech = load_speech_model(base)
    assert adapter.version_warnings(manifest(speech)) == []
    old = manifest(speech, versions={**adapter.versions(), "peft": "0.1.0"})
    (warning,) = adapter.version_warnings(old)
    assert "peft" in warning and "0.1.0" in warning


def test_another_patients_folder_is_not_written_to(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copytree(saved, tmp_path / "out" / "adapter")
    adapter.refuse_other_patient(open_workspace(tmp_path / "data", tmp_path / "out", "patient-a"))
    with pytest.raises(ResonanceError, match=r"RZ-0005.*patient-a.*patient-b"):
        adapter.refuse_other_patient(open_workspace(tmp_path / "data", tmp_path / "out", "patient-b"))


def test_saving_that_fails_leaves_the_previous_adapter(
    base: BaseModel, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    speech = load_speech_model(base)
    adapter.add_fresh(speech, LoraSettings())

    def disk_is_full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapter, "save_file", disk_is_full)
    with pytest.raises(ResonanceError, match="RZ-0004"):
        adapter.save(speech, copied, manifest(speech))
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert [path.name for path in copied.parent.iterdir()] == [copied.name], "nothing half-written is left"
