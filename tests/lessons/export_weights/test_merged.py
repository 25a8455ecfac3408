"""Whole models: they answer as the adapter does, are whole or absent, and are refused where they could not work."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from random_voice import random_adapter
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor
from transformers.models.whisper.modeling_whisper import sinusoids
from typer.testing import CliRunner

from resonance_helpers import Workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.base_models import BaseModel, resolve
from resonance_helpers.asr.base_models.weights import parameter_count
from resonance_helpers.asr.bundle import CARD, README
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.cli import app
from resonance_helpers.core.messages import LANGUAGES, ResonanceError, message
from resonance_helpers.core.settings import MAX_NEW_TOKENS, PRACTICE_MODEL
from resonance_helpers.core.workspace import PRACTICE_MODEL_DIR, REPOSITORY
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.lessons import export_weights as export
from resonance_helpers.lessons.export_weights import merged as whole
from resonance_helpers.lessons.export_weights import pages
from resonance_helpers.lessons.export_weights.place import LOCK
from resonance_helpers.studies.erase.folders import Survey


@dataclass(frozen=True)
class Voice:
    """An adapter that changes answers, its base model, and what it says to each clip at the model's own window."""

    workspace: Workspace
    base: BaseModel
    clips: list[Path]
    answers: list[str]


def voice(folder: Path, base_folder: Path | str, clips: list[Path]) -> Voice:
    base = resolve(str(base_folder), folder)
    speech = load_speech_model(base)
    sounds = [read_wav(clip) for clip in clips]
    before = speech.recognise(sounds)
    workspace = random_adapter(speech, folder, 4.0, 0.1)
    with adapter.using(speech, "default"):
        answers = speech.recognise(sounds)
    assert sum(one != other for one, other in zip(answers, before, strict=True)) >= 2 and len(set(answers)) >= 3
    return Voice(workspace, base, clips, answers)


@pytest.fixture(scope="module")
def clips(converted_sample: Workspace) -> list[Path]:
    """The twenty that every kind of model is asked."""
    return [utterance.wav for utterance in load_utterances(converted_sample)[::6]][:20]


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory, clips: list[Path]) -> Voice:
    return voice(tmp_path_factory.mktemp("practice"), PRACTICE_MODEL, clips)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, clips: list[Path]) -> Voice:
    """The practice model made to listen at 30 s. CTranslate2 knows a Whisper of several languages by a word that is
    empty, so a word that nobody uses becomes it."""
    folder = tmp_path_factory.mktemp("long")
    model: Any = WhisperForConditionalGeneration.from_pretrained(PRACTICE_MODEL_DIR)
    encoder = model.model.encoder
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(sinusoids(1500, model.config.d_model))
    encoder.max_source_positions = model.config.max_source_positions = 1500
    processor = WhisperProcessor.from_pretrained(PRACTICE_MODEL_DIR)
    processor.feature_extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    model.save_pretrained(folder / "tiny")
    processor.save_pretrained(folder / "tiny")
    tokenizer = json.loads((folder / "tiny" / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"][""] = tokenizer["model"]["vocab"].pop("Ā")  # the byte 0
    (folder / "tiny" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return voice(folder, folder / "tiny", clips)


@pytest.fixture
def own(practice: Voice, tmp_path: Path) -> Workspace:
    """The adapter for the practice model in folders of this test alone."""
    workspace = replace(practice.workspace, output_dir=tmp_path / "out")
    shutil.copytree(practice.workspace.adapter, workspace.adapter)
    return workspace


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {LOCK} if folder.exists() else set()


def script_of(folder: Path) -> str:
    (script,) = re.findall(r"```python\n(.*?)```", (folder / README).read_text(encoding="utf-8"), re.DOTALL)
    return script


def run_script(folder: Path, clip: Path, home: Path) -> str:
    """What the script of README.md says to ``clip``, run with nothing of ours on the path and no network."""
    moved = home / "somewhere"
    shutil.copytree(folder, moved)
    (moved / "recognise.py").write_text(script_of(folder), encoding="utf-8")
    alone = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HOME": str(home), "PYTHONIOENCODING": "utf-8"}
    argv = [sys.executable, moved / "recognise.py", clip]
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", cwd=home, env=alone, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(moved)
    return done.stdout.strip()


def same(heard: list[str], voice: Voice) -> int:
    """How many of the answers are the adapter's letter for letter; the others are shown."""
    pairs = [(one, other.strip()) for one, other in zip(voice.answers, heard, strict=True)]
    differ = [pair for pair in pairs if len(set(pair)) > 1]
    print(f"{len(differ)} of {len(pairs)} otherwise: {differ}")
    return len(pairs) - len(differ)


# ── Merged ───────────────────────────────────────────────────────────────────
def test_merged_answers_as_the_adapter_does_to_a_bare_generate(practice: Voice) -> None:
    made = export.export_model(practice.workspace, "merged")
    assert made.folder == practice.workspace.export / "p-01-merged" and made.window_s == 4.0
    model = WhisperForConditionalGeneration.from_pretrained(made.folder, local_files_only=True).eval()
    processor = WhisperProcessor.from_pretrained(made.folder, local_files_only=True)
    sounds = [read_wav(clip) for clip in practice.clips]
    features = processor(sounds, sampling_rate=16_000, return_tensors="pt").input_features
    answers = processor.batch_decode(model.generate(features), skip_special_tokens=True)
    assert same(answers, practice) == len(practice.clips) == 20
    speech = load_speech_model(practice.base)
    adapter.attach(speech, practice.workspace.adapter)
    start = torch.tensor([speech.prompt] * len(features))
    with torch.no_grad(), adapter.using(speech, "default"):
        theirs = model(features, decoder_input_ids=start).logits
        torch.testing.assert_close(
            theirs, speech.whisper(features, decoder_input_ids=start).logits, atol=1e-3, rtol=1e-4
        )


def test_a_bare_generate_ends_even_where_the_model_does_not(practice: Voice) -> None:
    folder = export.export_model(practice.workspace, "merged").folder
    model: Any = WhisperForConditionalGeneration.from_pretrained(folder)
    processor = WhisperProcessor.from_pretrained(folder)
    features = processor(read_wav(practice.clips[0]), sampling_rate=16_000, return_tensors="pt").input_features
    config = model.generation_config
    assert (config.language, config.task) == ("zh", "transcribe")
    config.suppress_tokens = [*config.suppress_tokens, config.eos_token_id]
    config.begin_suppress_tokens = [*config.begin_suppress_tokens, config.eos_token_id]
    assert MAX_NEW_TOKENS <= model.generate(features).shape[1] <= MAX_NEW_TOKENS + 4


def test_the_folder_holds_all_that_others_look_for_and_says_what_it_is(practice: Voice) -> None:
    made = export.export_model(practice.workspace, "merged")
    needed = {"model.safetensors", "config.json", "generation_config.json", "processor_config.json", "tokenizer.json"}
    needed |= {"preprocessor_config.json", "vocab.json", "added_tokens.json", "tokenizer_config.json", README, CARD}
    assert names(made.folder) == needed
    assert {name: size for name, size, _ in made.files} == {
        path.name: path.stat().st_size for path in made.folder.iterdir()
    }
    assert made.bytes == sum(size for _, size, _ in made.files)
    purposes = [purpose for _, _, purpose in made.files]
    assert len(set(purposes)) == len(purposes)
    page, card = ((made.folder / name).read_text(encoding="utf-8") for name in (README, CARD))
    for lang in LANGUAGES:
        assert message("export.whole.practice", lang, window="4") in page
        assert message("export.whole.window.same", lang, window="4", trained="4") in page and page.count("p-01") == 3
    for lacking in ("再听一遍", "不是说话的声音", "once more", "sounds that are no speech"):
        assert lacking in page and lacking in card
    assert 'library_name: "transformers"' in card and "# p-01-merged\n" in card and "p-01-adapter" not in card
    assert not any(str(path) in page + card for path in (practice.workspace.output_dir, REPOSITORY))


def test_the_script_of_merged_runs_and_hears_what_the_adapter_hears(practice: Voice, tmp_path: Path) -> None:
    folder = export.export_model(practice.workspace, "merged").folder
    assert 10 <= len(script_of(folder).splitlines()) <= 20 and "resonance" not in script_of(folder)
    assert run_script(folder, practice.clips[0], tmp_path) == practice.answers[0]


def test_a_card_that_an_imported_adapter_brought_is_kept_and_renamed(own: Workspace) -> None:
    brought = pages.model_card(own, adapter.read_manifest(own.adapter)).replace(
        "## English", "## English\n\nKnown there."
    )
    (own.adapter / CARD).write_text(brought, encoding="utf-8")
    card = (export.export_model(own, "merged").folder / CARD).read_text(encoding="utf-8")
    assert "Known there." in card and 'library_name: "transformers"' in card and "# p-01-merged\n" in card


# ── CTranslate2 ──────────────────────────────────────────────────────────────
def test_faster_whisper_answers_as_the_adapter_does_at_30_seconds(long: Voice, tmp_path: Path) -> None:
    made = export.export_model(long.workspace, "ct2-float32", str(long.base.folder))
    assert made.window_s == 30.0
    needed = {"model.bin", "config.json", "vocabulary.json", "tokenizer.json", "preprocessor_config.json", README, CARD}
    assert names(made.folder) == needed
    page = (made.folder / README).read_text(encoding="utf-8")
    for lang in LANGUAGES:
        assert message("export.whole.window.other", lang, trained="4", window="30") in page
    assert 10 <= len(script_of(made.folder).splitlines()) <= 20 and "resonance" not in script_of(made.folder)
    assert run_script(made.folder, long.clips[0], tmp_path) == long.answers[0]
    assert same(heard_by_faster_whisper(made.folder, "float32", long.clips), long) == len(long.clips) == 20


def test_int8_is_a_third_of_the_size_and_answers_mostly_the_same(long: Voice, tmp_path: Path) -> None:
    full = export.export_model(long.workspace, "ct2-float32", str(long.base.folder))
    made = export.export_model(long.workspace, "ct2-int8", str(long.base.folder))
    assert (made.folder / "model.bin").stat().st_size < (full.folder / "model.bin").stat().st_size / 3
    heard = heard_by_faster_whisper(made.folder, "int8", long.clips)
    assert same(heard, long) >= len(heard) / 2
    assert run_script(made.folder, long.clips[0], tmp_path) == heard[0]


def heard_by_faster_whisper(folder: Path, numbers: str, clips: list[Path]) -> list[str]:
    """As the script of README.md asks it, the model loaded once."""
    from faster_whisper import WhisperModel

    model, heard = WhisperModel(str(folder), device="cpu", compute_type=numbers), []
    for clip in clips:
        sound = read_wav(clip)
        found, _ = model.transcribe(
            np.pad(sound, (0, 480_000 - len(sound))),
            language="zh",
            beam_size=1,
            temperature=0,
            max_new_tokens=MAX_NEW_TOKENS,
            without_timestamps=True,
            no_speech_threshold=None,
            condition_on_previous_text=False,
        )
        heard.append("".join(segment.text for segment in found).strip())
    return heard


@pytest.mark.parametrize("kind", ["ct2-float32", "ct2-int8"])
def test_a_model_that_faster_whisper_could_not_run_is_refused_with_the_reason(own: Workspace, kind: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        export.export_model(own, kind)
    assert caught.value.code == "RZ-0806" and not own.export.exists()
    for lang in LANGUAGES:
        said = message("RZ-0806", lang, **caught.value.facts)
        assert "4" in said and "30" in said and kind in said and "merged" in said


def test_without_ctranslate2_the_command_that_installs_it_is_said(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ctranslate2" else find(name))
    with pytest.raises(ResonanceError) as caught:
        export.export_model(own, "ct2-int8")
    assert caught.value.code == "RZ-0805" and not own.export.exists()
    for lang in LANGUAGES:
        assert 'pip install -c constraints.txt -e ".[export]"' in message("RZ-0805", lang, **caught.value.facts)
    assert export.export_model(own, "merged").bytes


# ── Whole or not at all ──────────────────────────────────────────────────────
def test_too_little_disk_is_said_before_anything_is_written(long: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    each = dict(zip(export.KINDS, (4.0, 4.0, 1.15), strict=True))
    numbers = parameter_count(long.base.folder)
    workspace = replace(long.workspace, output_dir=long.workspace.output_dir.parent / "small disk")
    shutil.copytree(long.workspace.adapter, workspace.adapter)
    for kind in export.KINDS:
        free = round(each[kind] * numbers)  # the weights alone would fit, the rest would not
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage(10**9, 0, free))
        with pytest.raises(ResonanceError) as caught:
            export.export_model(workspace, kind, str(long.base.folder))
        assert caught.value.code == "RZ-0801" and not names(workspace.export)
        for lang in LANGUAGES:
            assert f"p-01-{kind}" in message("RZ-0801", lang, **caught.value.facts)


def test_what_is_asked_of_the_disk_is_enough(long: Voice) -> None:
    for kind in export.KINDS:
        made = export.export_model(long.workspace, kind, str(long.base.folder))
        asked = whole._bytes(kind, long.base)
        assert made.bytes < asked < made.bytes + 3_000_000


@pytest.mark.parametrize("step", ["_write", "_write_pages"])
def test_a_failure_in_the_middle_leaves_the_model_before(
    own: Workspace, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*args: Any) -> None:
        good(*args)
        raise RuntimeError("in the middle")

    good = getattr(whole, step)
    monkeypatch.setattr(whole, step, fails)
    with pytest.raises(RuntimeError, match="in the middle"):
        export.export_model(own, "merged")
    assert not names(own.export)
    monkeypatch.setattr(whole, step, good)
    made = export.export_model(own, "merged")
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    monkeypatch.setattr(whole, step, fails)
    with pytest.raises(RuntimeError, match="in the middle"):
        export.export_model(own, "merged")
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before
    assert names(own.export) == {"p-01-merged"}


def test_a_disk_that_fills_up_is_said(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole, "_write_pages", full)
    with pytest.raises(ResonanceError, match="RZ-0004"):
        export.export_model(own, "merged")
    assert not names(own.export)


KILLED = """
import sys, time
from resonance_helpers import Workspace
from resonance_helpers.lessons import export_weights
from resonance_helpers.lessons.export_weights import merged
from pathlib import Path

def stands_still(*args):
    print("half", flush=True)
    time.sleep(600)

merged._write_pages = stands_still
export_weights.export_model(Workspace(Path(sys.argv[1]), Path(sys.argv[1]), "p-01"), "merged")
"""


def test_killed_in_the_middle_it_leaves_the_model_before_and_the_next_one_tidies_up(own: Workspace) -> None:
    before = export.export_model(own, "merged").folder
    content = {path.name: path.read_bytes() for path in before.iterdir()}
    other = own.export / ".p-01-other.12345678"  # of nobody here
    other.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-c", KILLED, str(own.output_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout.readline() == "half\n"
            with pytest.raises(ResonanceError, match="RZ-0807"):
                export.export_model(own, "merged")
        finally:
            process.send_signal(signal.SIGKILL)
    assert {path.name: path.read_bytes() for path in before.iterdir()} == content
    (left,) = names(own.export) - {other.name, before.name}
    assert left.startswith(".p-01-merged.") and "model.safetensors" in names(own.export / left)
    made = export.export_model(own, "merged")
    assert names(own.export) == {"p-01-merged", other.name} and README in names(made.folder)


def test_two_at_once_are_one_too_many(own: Workspace) -> None:
    own.export.mkdir()
    with FileLock(own.export / LOCK), pytest.raises(ResonanceError, match="RZ-0807"):
        export.export_model(own, "merged")
    assert not names(own.export)


# ── Whose, and on what ───────────────────────────────────────────────────────
def test_another_patients_adapter_is_not_made_a_model_under_this_name(own: Workspace) -> None:
    with pytest.raises(ResonanceError, match="RZ-0005"):
        export.export_model(replace(own, patient_id="p-02"), "merged")
    assert not own.export.exists()


def test_another_base_model_is_refused(own: Workspace, long: Voice) -> None:
    with pytest.raises(ResonanceError, match="RZ-0612"):
        export.export_model(own, "merged", str(long.base.folder))
    assert not own.export.exists()


def test_lesson_six_comes_first_and_kinds_are_named(own: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ResonanceError, match=r"RZ-0006.*第六课"):
        export.export_model(replace(own, output_dir=tmp_path / "empty"), "merged")
    with pytest.raises(ResonanceError, match=r"RZ-0001.*gguf.*ct2-int8"):
        export.export_models(own, "merged, gguf")
    assert not own.export.exists()


def test_several_at_once_or_none(own: Workspace) -> None:
    assert export.export_models(own, " ") == ()
    assert [made.kind for made in export.export_models(own, "merged，")] == ["merged"]


def test_what_is_offered_is_what_can_be_made(own: Workspace, long: Voice) -> None:
    for_practice = export.offers(own)
    assert [(each.kind, each.window_s, each.refused) for each in for_practice] == [
        ("merged", 4.0, ""),
        ("ct2-float32", 4.0, "RZ-0806"),
        ("ct2-int8", 4.0, "RZ-0806"),
    ]
    assert export.export_model(own, "merged").bytes < for_practice[0].bytes
    for_long = export.offers(long.workspace, str(long.base.folder))
    assert {(each.window_s, each.refused) for each in for_long} == {(30.0, "")}
    assert for_long[0].bytes == for_long[1].bytes > for_long[2].bytes > 0
    absent = export.offers(own, "openai/whisper-of-nowhere")
    assert {(each.bytes, each.window_s, each.refused) for each in absent} == {(0, 30.0, "")}
    assert not (own.cache / "base_models").exists(), "nothing is fetched to offer something"


def test_parameters_are_counted_without_loading(long: Voice) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(long.base.folder)
    assert parameter_count(long.base.folder) == model.num_parameters()
    repeated = {**model.state_dict(), "proj_out.weight": model.proj_out.weight.clone()}
    from safetensors.torch import save_file

    other = long.workspace.output_dir.parent / "repeated"
    other.mkdir()
    save_file({name: value.contiguous().clone() for name, value in repeated.items()}, other / "model.safetensors")
    assert parameter_count(other) == model.num_parameters()


def test_who_is_forgotten_is_forgotten_with_their_models(own: Workspace) -> None:
    made = export.export_model(own, "merged")
    (own.export / ".p-01-ct2-int8.abcd1234").mkdir()
    (own.export / ".p-01-ct2-int8.abcd1234" / "model.bin").write_bytes(b"half")
    survey = Survey(own.output_dir, ["output"], "p-01", [own.output_dir])
    removed = {piece.path for piece in survey.pieces if piece.kind == "export"}
    assert removed >= {made.folder / name for name in names(made.folder)}
    assert own.export / ".p-01-ct2-int8.abcd1234" / "model.bin" in removed


# ── The command line ─────────────────────────────────────────────────────────
@pytest.mark.parametrize("lang", LANGUAGES)
def test_export_on_the_command_line(own: Workspace, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    own.data_dir.mkdir(exist_ok=True)
    argv = ["export", "--data", str(own.data_dir), "--output", str(own.output_dir), "--patient", "p-01"]
    bundle = CliRunner().invoke(app, argv)
    assert bundle.exit_code == 0 and "p-01-adapter.zip" in bundle.stdout and names(own.export) == {"p-01-adapter.zip"}
    made = CliRunner().invoke(app, [*argv, "--kind", "merged"])
    assert made.exit_code == 0 and "p-01-merged" in made.stdout and "4" in made.stdout
    refused = CliRunner().invoke(app, [*argv, "--kind", "ct2-int8"])
    assert refused.exit_code == 1 and refused.stderr.startswith("[RZ-0806]")
    unknown = CliRunner().invoke(app, [*argv, "--kind", "gguf"])
    assert unknown.exit_code == 1 and unknown.stderr.startswith("[RZ-0001]")
    assert json.loads((own.export / "p-01-merged" / "config.json").read_text())["model_type"] == "whisper"
