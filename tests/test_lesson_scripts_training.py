"""The plain scripts that lessons 06–10 show under 看看里面 run, in order, on recordings of the sample."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
import threading
import time
import zipfile
from pathlib import Path

import pytest

from resonance_helpers.core.workspace import PRACTICE_MODEL_DIR, REPOSITORY, SAMPLE_DIR

SCRIPTS = REPOSITORY / "benchmarks" / "lessons"
PHRASES = ("我想喝水", "我想吃饭", "帮我开灯", "我很疼")


def run(name: str, **environment: str | Path) -> dict:
    """Run a script as ``python name`` would, with these settings, and return its variables."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, str(value))
        return runpy.run_path(str(SCRIPTS / name), run_name=environment.get("RUN_NAME", "__main__"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the scripts find their data: twelve recordings of the sample, as lesson 05 leaves them."""
    folder = tmp_path_factory.mktemp("scripts")
    labels = json.loads((SAMPLE_DIR / "labels.json").read_text(encoding="utf-8"))
    chosen = [label for label in labels if label["text"] in PHRASES]
    (folder / "data" / "audio_raw").mkdir(parents=True)
    for label in chosen:
        shutil.copy2(SAMPLE_DIR / label["audio"], folder / "data" / "audio_raw")
    (folder / "data" / "labels.json").write_text(json.dumps(chosen, ensure_ascii=False), encoding="utf-8")
    heard = next(label for label in chosen if label["split"] == "test")
    settings = {
        "DATA_DIR": str(folder / "data"),
        "OUTPUT_DIR": str(folder / "lora_output"),
        "BASE_MODEL": str(PRACTICE_MODEL_DIR),
        "TEST_AUDIO": str(folder / "data" / "audio" / (Path(heard["audio"]).stem.replace(" ", "_") + ".wav")),
        "STEPS": "2",
        "BATCH": "4",
        "TOKEN": "a-key-for-this-test",
    }
    run("step05_convert.py", **settings)
    return settings


@pytest.fixture(scope="module")
def trained(settings: dict[str, str]) -> dict:
    return run("step06_train.py", **settings)


def test_training_writes_an_adapter_and_moves_few_weights(trained: dict, settings: dict[str, str]) -> None:
    written = {path.name for path in Path(settings["OUTPUT_DIR"]).iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= written
    trainable, total = trained["model"].get_nb_trainable_parameters()
    assert 0 < trainable < total / 10


def test_training_keeps_test_recordings_away(trained: dict, settings: dict[str, str]) -> None:
    labels = json.loads(Path(settings["DATA_DIR"], "labels.json").read_text(encoding="utf-8"))
    assert len(trained["rows"]) == sum(label["split"] == "train" for label in labels) < len(labels)
    heard = {id(row) for row in trained["trainer"].train_dataset}
    assert not heard & {id(row) for row in trained["held_out"]}


def test_the_start_token_stands_once_in_what_the_decoder_sees(trained: dict) -> None:
    processor, whisper = trained["processor"], trained["model"].get_base_model()
    batch = trained["collate"](trained["rows"][:2])
    seen = whisper(**batch).logits.shape  # the shapes fit
    assert seen[:2] == batch["labels"].shape
    start = whisper.config.decoder_start_token_id
    assert not (batch["labels"] == start).any()  # the model puts it in front by itself
    text = processor.decode(batch["labels"][0][batch["labels"][0] >= 0], skip_special_tokens=False)
    assert text.startswith("<|zh|><|transcribe|><|notimestamps|>")


def test_padding_of_labels_is_not_learned(trained: dict) -> None:
    import torch

    short, long = (torch.arange(n) for n in (3, 5))
    features = torch.zeros(2, 4)
    batch = trained["collate"]([{"input_features": features, "labels": ids} for ids in (short, long)])
    assert batch["labels"].tolist() == [[0, 1, 2, -100, -100], [0, 1, 2, 3, 4]]


def test_one_recording_is_heard_before_and_after(
    trained: dict, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("step07_test.py", **settings)
    assert re.search(r"训练前：.*\n训练后：", capsys.readouterr().out)


def test_a_recording_at_another_rate_is_refused_not_misheard(
    trained: dict, settings: dict[str, str], tmp_path: Path
) -> None:
    import soundfile as sf

    samples, _ = sf.read(settings["TEST_AUDIO"])
    sf.write(tmp_path / "other_rate.wav", samples, 44_100)
    with pytest.raises(ValueError, match="sampling rate"):
        run("step07_test.py", **{**settings, "TEST_AUDIO": str(tmp_path / "other_rate.wav")})


def test_the_zip_holds_the_adapter_and_no_checkpoint(
    trained: dict, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("step08_files.py", **settings)
    bundle = Path(settings["OUTPUT_DIR"]).with_suffix(".zip")
    with zipfile.ZipFile(bundle) as zipped:
        names = zipped.namelist()
        weights = zipped.read("adapter_model.safetensors")
    assert weights == Path(settings["OUTPUT_DIR"], "adapter_model.safetensors").read_bytes()
    assert not any("checkpoint" in name for name in names)
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in capsys.readouterr().out


def test_an_incomplete_folder_is_not_packed(settings: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"adapter_model\.safetensors"):
        run("step08_files.py", OUTPUT_DIR=folder)
    assert not (tmp_path / "half.zip").exists()


@pytest.fixture(scope="module")
def address(trained: dict, settings: dict[str, str]) -> str:
    """The address of step 09's server, running."""
    import uvicorn

    app = run("step09_server.py", **settings, RUN_NAME="server")["app"]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/transcribe"
    server.should_exit = True
    thread.join()


def test_the_server_answers_a_client_that_has_the_key(
    address: str, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("step10_call.py", **settings, ADDRESS=address)
    assert "识别结果：" in capsys.readouterr().out


def test_the_server_hears_a_phone_recording_as_step07_hears_its_wav(
    address: str, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    import httpx

    key = {"Authorization": f"Bearer {settings['TOKEN']}"}
    for raw in sorted(Path(settings["DATA_DIR"], "audio_raw").glob("*.m4a"))[:2]:
        wav = Path(settings["DATA_DIR"], "audio", raw.stem.replace(" ", "_") + ".wav")
        run("step07_test.py", **{**settings, "TEST_AUDIO": str(wav)})
        heard = capsys.readouterr().out.partition("训练后：")[2].strip()
        for path in (raw, wav):
            answer = httpx.post(address, files={"file": path.read_bytes()}, headers=key, timeout=60)
            assert answer.json() == {"text": heard}, path.name


def test_the_server_refuses_a_wrong_key(address: str, settings: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="密钥不对"):
        run("step10_call.py", **{**settings, "TOKEN": "another"}, ADDRESS=address)


def test_the_guides_names_are_kept() -> None:
    source = (SCRIPTS / "step06_train.py").read_text(encoding="utf-8")
    for name in ("DATA_DIR", "OUTPUT_DIR", "LANGUAGE", "STEPS"):
        assert re.search(rf"^{name} = ", source, re.MULTILINE)
