"""The bundle: the same bytes each time, whole or absent, never another patient's; what is in it works; the way back."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from bundles import bundle, files, lay, lying, packed, with_sums
from filelock import FileLock
from typer.testing import CliRunner

from resonance_helpers import Workspace, open_workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.bundle import CARD, CHECKSUMS, README
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.cli import app
from resonance_helpers.core.messages import LANGUAGES, ResonanceError, message
from resonance_helpers.core.settings import PRACTICE_MODEL, TrainingSettings
from resonance_helpers.core.workspace import PRACTICE_MODEL_DIR, replacing, write_json
from resonance_helpers.dataset.consent import Consent, write_consent
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.lessons import export_weights as export
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.export_weights.place import LOCK

MADE = {README, CARD, "vocab.json", "added_tokens.json", "preprocessor_config.json"}


@pytest.fixture(scope="module")
def trained(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = replace(converted_sample, output_dir=tmp_path_factory.mktemp("export"))
    training.train(workspace, TrainingSettings(steps=1, eval_every=1, augment=()))
    return workspace


def test_the_bundle_holds_the_adapter_and_its_checksums(trained: Workspace) -> None:
    made = export.export_adapter(trained)
    with zipfile.ZipFile(made.zip) as bundle:
        assert bundle.testzip() is None
        contents = {Path(name).name: bundle.read(name) for name in bundle.namelist()}
        assert {Path(name).parent.name for name in bundle.namelist()} == {"sample-adapter"}
    sums = dict(reversed(line.split("  ")) for line in contents[CHECKSUMS].decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in contents.items() if name != CHECKSUMS}
    assert {name: data for name, data in contents.items() if name not in {*MADE, CHECKSUMS}} == lying(trained.adapter)
    assert set(contents) >= MADE
    assert [(name, size) for name, size, _ in made.files] == [(name, len(data)) for name, data in contents.items()]
    assert made.total_bytes == sum(len(data) for data in contents.values())


def test_the_same_adapter_gives_the_same_bytes(trained: Workspace) -> None:
    first = export.export_adapter(trained).zip.read_bytes()
    (trained.adapter / adapter.MANIFEST).touch()
    assert export.export_adapter(trained).zip.read_bytes() == first


def test_on_windows_too(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip says which system made it, and Python asks the one that it runs on."""
    first = export.export_adapter(trained).zip.read_bytes()
    monkeypatch.setattr(sys, "platform", "win32")
    assert export.export_adapter(trained).zip.read_bytes() == first


def test_every_file_says_what_it_is_for(trained: Workspace) -> None:
    purposes = {name: purpose for name, _, purpose in export.export_adapter(trained).files}
    assert len(set(purposes.values())) == len(purposes), "each has a purpose of its own"


def test_lesson_six_comes_first(converted_sample: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ResonanceError, match=r"RZ-0006.*第六课"):
        export.export_adapter(replace(converted_sample, output_dir=tmp_path))


def test_another_patients_adapter_is_not_packed_under_this_name(trained: Workspace) -> None:
    with pytest.raises(ResonanceError, match="RZ-0005"):
        export.export_adapter(replace(trained, patient_id="patient-b"))
    assert not (trained.export / "patient-b-adapter.zip").exists()


def test_a_full_disk_leaves_the_previous_bundle(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = export.export_adapter(trained).zip.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(ResonanceError, match="RZ-0004"):
        export.export_adapter(trained)
    assert (trained.export / "sample-adapter.zip").read_bytes() == before
    assert sorted(path.name for path in trained.export.iterdir()) == [LOCK, "sample-adapter.zip"]


def test_what_a_killed_export_left_goes_with_the_next(trained: Workspace) -> None:
    killed, other = replacing(trained.export / "sample-adapter.zip"), trained.export / ".mine.12345678.zip"
    left = killed.__enter__()  # and never ended, as if the process were gone
    model = trained.export / ".sample-merged.12345678"
    for half in (left, other, lay(model, {"model.safetensors": b"half"})):
        half.is_dir() or half.write_bytes(b"half")
    made = export.export_adapter(trained).zip
    assert {path for path in trained.export.iterdir() if path.name != LOCK} == {made, other}
    other.unlink()


def test_two_at_once_are_one_too_many(trained: Workspace) -> None:
    before = export.export_adapter(trained).zip.read_bytes()
    with FileLock(trained.export / LOCK), pytest.raises(ResonanceError, match="RZ-0807"):
        export.export_adapter(trained)
    assert (trained.export / "sample-adapter.zip").read_bytes() == before


def test_too_little_disk_is_said_before_anything_is_written(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = replace(trained, output_dir=tmp_path)
    shutil.copytree(trained.adapter, workspace.adapter)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ResonanceError) as caught:
        export.export_adapter(workspace)
    assert caught.value.code == "RZ-0801" and {path.name for path in workspace.export.iterdir()} <= {LOCK}
    for lang in LANGUAGES:
        said = message("RZ-0801", lang, **caught.value.facts)
        assert "sample-adapter.zip" in said and "0.0 MB" in said


# ── Files for other programs ─────────────────────────────────────────────────
@pytest.fixture(scope="module")
def unpacked(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as somebody unpacks it who has nothing of this project."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(export.export_adapter(trained).zip) as archive:
        archive.extractall(folder)
    return folder / "sample-adapter"


def test_vocab_json_holds_the_models_words_and_added_tokens_the_rest(unpacked: Path) -> None:
    from transformers import WhisperTokenizer

    words, added = (json.loads((unpacked / name).read_bytes()) for name in ("vocab.json", "added_tokens.json"))
    tokenizer = WhisperTokenizer.from_pretrained(PRACTICE_MODEL_DIR)
    assert words | added == tokenizer.get_vocab() and not words.keys() & added.keys()
    assert list(words.values()) == list(range(len(words))), "in order of their ids, as whisper.cpp numbers them"
    assert added.keys() == tokenizer.get_added_vocab().keys()
    assert (unpacked / "vocab.json").read_bytes().isascii(), "read in GBK it is the same"


def test_preprocessor_config_says_what_faster_whisper_asks_for(unpacked: Path, tmp_path: Path) -> None:
    from transformers import WhisperFeatureExtractor

    shutil.copy(unpacked / "preprocessor_config.json", tmp_path)
    alone = WhisperFeatureExtractor.from_pretrained(tmp_path).to_dict()
    assert alone == WhisperFeatureExtractor.from_pretrained(PRACTICE_MODEL_DIR).to_dict()
    flat = json.loads((tmp_path / "preprocessor_config.json").read_text())
    asked = {"feature_size": 80, "sampling_rate": 16_000, "hop_length": 160, "chunk_length": 4, "n_fft": 400}
    assert asked.items() <= flat.items()


def script_of(folder: Path) -> str:
    (script,) = re.findall(r"```python\n(.*?)```", (folder / README).read_text(encoding="utf-8"), re.DOTALL)
    return script


def test_the_script_in_the_readme_runs_and_hears_what_we_hear(
    trained: Workspace, unpacked: Path, tmp_path: Path
) -> None:
    """Run in a folder of its own, with nothing of ours on the path."""
    script = script_of(unpacked)
    assert len(script.splitlines()) == 15 and "resonance" not in script.replace(PRACTICE_MODEL, "")
    folder = tmp_path / "somewhere"
    shutil.copytree(unpacked, folder)
    (folder / "recognise.py").write_text(script, encoding="utf-8")
    clip = load_utterances(trained)[0]
    argv = [sys.executable, folder / "recognise.py", clip.wav, PRACTICE_MODEL_DIR]
    alone = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", cwd=tmp_path, env=alone, check=False)
    assert done.returncode == 0, done.stderr
    speech = load_speech_model(resolve(PRACTICE_MODEL, tmp_path))
    adapter.attach(speech, trained.adapter)
    with adapter.using(speech, "default"):
        assert done.stdout.strip() == speech.recognise([read_wav(clip.wav)])[0] != ""


def test_a_model_from_a_hub_is_named_with_its_commit(trained: Workspace) -> None:
    from resonance_helpers.lessons.export_weights.pages import readme

    manifest = adapter.read_manifest(trained.adapter)
    commit = "0123456789" * 4
    real = replace(manifest, base_model=manifest.base_model | {"name": "openai/whisper-small", "revision": commit})
    assert 'language="yue"' in readme(replace(real, language="yue")) and 'language="zh"' in readme(real)
    assert f'revision="{commit}"' in readme(real) and '"openai/whisper-small"' in readme(real)
    assert "data_sample" not in readme(real) and "data_sample" in readme(manifest)
    for lang in LANGUAGES:
        assert message("export.readme.practice", lang) not in readme(real)


# ── The model card ───────────────────────────────────────────────────────────
SPLIT = {"exact": 0.9, "exact_ci": [0.7, 0.97], "cer": 0.05, "cer_ci": [0.0, 0.12]}
BEFORE = {"exact": 0.2, "exact_ci": [0.1, 0.4], "cer": 0.6, "cer_ci": [0.5, 0.7]}


def card(workspace: Workspace) -> str:
    with zipfile.ZipFile(export.export_adapter(workspace).zip) as archive:
        return archive.read(f"{workspace.patient_id}-adapter/{CARD}").decode()


@pytest.fixture
def own(trained: Workspace, tmp_path: Path) -> Workspace:
    """The same adapter in folders of this test alone, of somebody who is not the sample."""
    data = tmp_path / "data"
    data.mkdir()
    workspace = open_workspace(data, tmp_path / "output", "sample")
    shutil.copytree(trained.adapter, workspace.adapter)
    return workspace


def test_the_card_counts_and_quotes_nobody(own: Workspace, trained: Workspace) -> None:
    manifest = adapter.read_manifest(own.adapter)
    consent = Consent("1", "张三", "李四", "母亲", True, ("training", "serving", "?"), "一台电脑", "2026-11-20")
    write_consent(own.consent, consent)
    said = card(own)
    for fact in (f"{manifest.recordings} 条录音", f"{manifest.recordings} recordings", PRACTICE_MODEL, "2026-11-20"):
        assert fact in said
    for lang in LANGUAGES:
        assert message("consent.purpose.serving", lang) in said
        assert message("consent.purpose.research", lang) not in said
        assert message("export.card.score.none", lang) in said
        assert message("export.card.data.synthetic", lang) not in said
        assert message("export.card.data.synthetic", lang) in card(trained)
    assert not any(name in said for name in ("张三", "李四", str(own.data_dir), str(own.output_dir)))
    own.consent.unlink()
    assert message("export.card.consent.none") in card(own)


def test_the_card_gives_scores_with_intervals_of_this_training_only(own: Workspace) -> None:
    manifest = asdict(adapter.read_manifest(own.adapter))
    trained_on = {key: manifest[key] for key in ("recordings", "phrases", "audio_seconds", "steps", "wall_seconds")}
    splits = {"known_phrases": {"n": 20, "before": BEFORE, "after": SPLIT}, "new_phrases": None}
    write_json(own.report_json, {"base_model": PRACTICE_MODEL, "train": trained_on, "splits": splits})
    said = card(own)
    assert "90%（70%–97%）" in said and "90% (70%–97%)" in said and "20% (10%–40%)" in said and "5% (0%–12%)" in said
    assert "New phrases (" not in said and message("export.card.score.none") not in said
    write_json(own.report_json, {"train": trained_on | {"steps": -1}, "splits": splits})
    assert "90%" not in card(own)


# ── Taking it in ─────────────────────────────────────────────────────────────
def laid(folder: Path, content: io.BytesIO) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "somebody-adapter.zip"
    path.write_bytes(content.getvalue())
    return path


def test_what_was_exported_is_imported_whole_and_exported_again_the_same(trained: Workspace, tmp_path: Path) -> None:
    made = export.export_adapter(trained)
    taken = export.import_bundle(made.zip, tmp_path / "there", "sample")
    assert taken.folder == tmp_path / "there" / "adapter" and taken.manifest == adapter.read_manifest(trained.adapter)
    assert (lying(trained.adapter) or {}).items() <= (lying(taken.folder) or {}).items()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["adapter"]
    speech = load_speech_model(resolve(PRACTICE_MODEL, tmp_path))
    adapter.attach(speech, taken.folder)
    again = export.export_adapter(Workspace(tmp_path, tmp_path / "there", "sample"))
    assert again.zip.read_bytes() == made.zip.read_bytes()


def spoilt(patient: str) -> io.BytesIO:
    contents = with_sums(files(patient))
    return packed(contents | {adapter.CONFIG: contents[adapter.CONFIG] + b" "})


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("RZ-0050", lambda: io.BytesIO(b"no zip")),
        ("RZ-0051", lambda: packed(with_sums(files("alice")), top="../")),
        ("RZ-0941", lambda: packed(with_sums(files("alice") | {"adapter_model.bin": b""}))),
        ("RZ-0942", lambda: packed(files("alice"))),  # without its checksums
        ("RZ-0943", lambda: spoilt("alice")),
        ("RZ-0944", lambda: bundle("alice", base_model={})),  # which base model?
        ("RZ-0803", lambda: bundle("bob")),
    ],
)
def test_a_bundle_that_is_not_whole_or_not_theirs_touches_nothing(
    tmp_path: Path, code: str, content: Callable[[], io.BytesIO]
) -> None:
    path = laid(tmp_path / "in", content())
    there = tmp_path / "there"
    for prepare in (lambda: None, lambda: lay(there / "adapter", files("alice", 1))):
        prepare()
        with pytest.raises(ResonanceError) as caught:
            export.import_bundle(path, there, "alice", replace=True)
        assert caught.value.code == code
        for lang in LANGUAGES:
            assert message(code, lang, **caught.value.facts)
    assert lying(there / "adapter") == files("alice", 1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "there"]
    assert [each.name for each in there.iterdir()] == ["adapter"]


def test_nothing_is_overwritten_unasked_and_nobody_elses_ever(tmp_path: Path) -> None:
    there = tmp_path / "there"
    lay(there / "adapter", files("alice", 1))
    for replace_it in (False, True):
        with pytest.raises(ResonanceError, match="RZ-0005"):
            export.import_bundle(laid(tmp_path / "in", bundle("bob", 2)), there, replace=replace_it)
    path = laid(tmp_path / "in", bundle("alice", 2))
    with pytest.raises(ResonanceError, match=r"RZ-0804.*alice.*--replace"):
        export.import_bundle(path, there)
    assert lying(there / "adapter") == files("alice", 1)
    assert export.import_bundle(path, there, replace=True).manifest.seed == 2
    assert lying(there / "adapter") == with_sums(files("alice", 2))
    assert [each.name for each in there.iterdir()] == ["adapter"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_import_on_the_command_line(tmp_path: Path, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    there = str(tmp_path / "there")
    missing = CliRunner().invoke(app, ["import", str(tmp_path / "none.zip"), "--output", there])
    assert missing.exit_code == 1 and "none.zip" in missing.stderr and missing.stderr.startswith("[RZ-0802]")
    argv = ["import", str(laid(tmp_path / "in", bundle("alice"))), "--output", there, "--patient", "alice"]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0 and done.stdout.startswith("✅")
    assert "alice" in done.stdout and PRACTICE_MODEL in done.stdout and f"resonance serve {there}" in done.stdout
    again = CliRunner().invoke(app, argv)
    assert again.exit_code == 1 and again.stderr.startswith("[RZ-0804]")
    assert CliRunner().invoke(app, [*argv, "--replace"]).exit_code == 0
