"""Finding and fetching weights. The real clients talk to a server on this machine that imitates the hubs, and fails."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hubs import COMMIT, NAME, SMALL, UNWANTED, Hub, make_model
from huggingface_hub import constants
from modelscope_hub import _download as modelscope_download
from safetensors.numpy import save_file

from resonance_helpers import ResonanceError
from resonance_helpers.asr.base_models import default_name, resolve, sources
from resonance_helpers.asr.base_models.sources import Source, default_sources
from resonance_helpers.asr.base_models.weights import SOURCE_FILE, missing_files, tensors_sha256
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import DEFAULT_BASE_MODEL, PRACTICE_MODEL
from resonance_helpers.core.workspace import Workspace


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test leaves this machine or sees the user's caches and tokens."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise ConnectionRefusedError(f"the test reached for {address}")
        real(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty_hub_cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "empty_modelscope_cache"))
    for variable in ("HF_TOKEN", "HF_ENDPOINT", "MODELSCOPE_ENDPOINT", "RESONANCE_MODELSCOPE_OWNER", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "published")


@pytest.fixture
def serve() -> Iterator:
    running: list[Hub] = []

    def start(folder: Path, fault: str = "", elsewhere: str = "") -> Hub:
        hub = Hub(folder, fault, elsewhere)
        threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(hub)
        return hub

    yield start
    for hub in running:
        hub.shutdown()
        hub.server_close()


def source(hub: Hub | str, title: str = "Hub", **options: object) -> Source:
    url = hub if isinstance(hub, str) else hub.url
    return Source(title, url, **{"timeout_s": 1.0, **options})  # type: ignore[arg-type]


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


# ── A good fetch ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize("client", ["huggingface", "modelscope"])
def test_fetches_exactly_the_needed_files(client: str, model: Path, serve, tmp_path: Path) -> None:
    for name in UNWANTED:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(b"not wanted")
    hub, cache, heard = serve(model), tmp_path / "cache", []
    base = resolve(NAME, cache, [source(hub, client=client)], heard.append)
    assert base.name == NAME
    assert not base.is_practice
    assert base.folder == cache / "openai--whisper-small"
    assert left_in(cache) == ["openai--whisper-small"]
    assert left_in(base.folder) == sorted([*SMALL, "model.safetensors", SOURCE_FILE])
    for name in (*SMALL, "model.safetensors"):
        assert (base.folder / name).read_bytes() == (model / name).read_bytes()
    assert tensors_sha256(base.folder) == tensors_sha256(model)
    assert len(base.revision) == 40
    assert client == "modelscope" or base.revision == COMMIT
    record = json.loads((base.folder / SOURCE_FILE).read_text(encoding="utf-8"))
    assert (record["name"], record["revision"]) == (NAME, base.revision)
    assert hub.url in heard[0] and base.revision[:12] in heard[-1]


def test_second_time_asks_nobody(model: Path, serve, tmp_path: Path) -> None:
    hub = serve(model)
    first = resolve(NAME, tmp_path / "cache", [source(hub)])
    asked = len(hub.requests)
    assert resolve(NAME, tmp_path / "cache", [source(hub)]) == first
    assert resolve("small", tmp_path / "cache", []) == first  # a size is a name
    assert len(hub.requests) == asked


def test_sharded_weights(tmp_path: Path, model: Path, serve) -> None:
    whole = tensors_sha256(model)
    split_weights(model)
    base = resolve(NAME, tmp_path / "cache", [source(serve(model))])
    assert not missing_files(base.folder)
    assert tensors_sha256(base.folder) == whole


def split_weights(folder: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-{i:05d}-of-00002.safetensors" for i, name in enumerate(tensors, 1)}
    for name, file in names.items():
        save_file({name: tensors[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


# ── Every way of failing, then the next source ───────────────────────────────
FAULTS = {
    "404": "not_found",
    "401": "not_found|refused",
    "gated": "refused",
    "500": "server_error",
    "timeout": "timeout",
    "308": "unreachable",
    "308 for files": "not_a_hub",
    "truncated": "damaged|wrong_size",
    "wrong hash": "wrong_hash",
    "wrong small file": "wrong_hash",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_failing_source_is_explained_and_the_next_one_used(fault: str, model: Path, serve, tmp_path: Path) -> None:
    bad = serve(model, fault, elsewhere=closed_port())
    good, cache, heard = serve(model), tmp_path / "cache", []
    base = resolve(NAME, cache, [source(bad, "First"), source(good, "Second")], heard.append)
    said = [sentence for sentence in heard if "First" in sentence and bad.url in sentence][-1]
    assert any(starts_like(said, key) for key in FAULTS[fault].split("|")), said
    assert "Second" in heard[-1]
    assert left_in(cache) == ["openai--whisper-small"]
    assert tensors_sha256(base.folder) == tensors_sha256(model)


def starts_like(sentence: str, reason: str) -> bool:
    """Whether ``sentence`` holds the fixed beginning of the message of ``reason`` (before its first fact)."""
    from resonance_helpers.core.messages import catalogue

    pattern = catalogue()[f"base_model.reason.{reason}"]["zh"]
    return max(pattern.replace("}", "{").split("{")[::2], key=len) in sentence


@pytest.mark.parametrize("fault", ["404", "500", "truncated", "wrong hash"])
def test_modelscope_failing(fault: str, model: Path, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelscope_download, "DOWNLOAD_RETRY_TIMES", 0)
    cache, expected = tmp_path / "cache", {"truncated": "damaged", "wrong hash": "damaged"}
    with pytest.raises(ResonanceError) as caught:
        resolve(NAME, cache, [source(serve(model, fault), client="modelscope")])
    assert caught.value.code == "RZ-0650"
    assert starts_like(str(caught.value), {**FAULTS, **expected}[fault])
    assert left_in(cache) == []


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_when_all_fail_everything_tried_is_listed_with_the_fix(
    lang: str, model: Path, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    refused, cache = closed_port(), tmp_path / "cache"
    tried = [source(refused, "One"), source(serve(model, "404"), "Two"), source(serve(model, "wrong hash"), "Three")]
    with pytest.raises(ResonanceError) as caught:
        resolve(NAME, cache, tried)
    sentence = str(caught.value)
    assert caught.value.code == "RZ-0650"
    for each in tried:
        assert each.title in sentence and each.endpoint in sentence
    for fix in (NAME, "HF_ENDPOINT", "model.safetensors", "BASE_MODEL", "/etc/network_turbo", "404"):
        assert fix in sentence
    assert str(cache) not in sentence
    assert left_in(cache) == []


def test_refused_connection_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResonanceError) as caught:
        resolve(NAME, tmp_path / "cache", [source(closed_port())])
    assert starts_like(str(caught.value), "unreachable")


def test_redirecting_mirror_names_where_it_sends_us(model: Path, serve, tmp_path: Path) -> None:
    mirror = serve(model, "308", elsewhere=closed_port())
    with pytest.raises(ResonanceError) as caught:
        resolve(NAME, tmp_path / "cache", [source(mirror)])
    assert mirror.elsewhere.removeprefix("http://") in str(caught.value)


def test_offline_switch_is_named(model: Path, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ResonanceError) as caught:
        resolve(NAME, tmp_path / "cache", [source(serve(model))])
    assert "HF_HUB_OFFLINE" in str(caught.value)


def test_repository_without_safetensors(model: Path, serve, tmp_path: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    hub = serve(model)
    with pytest.raises(ResonanceError) as caught:
        resolve(NAME, tmp_path / "cache", [source(hub)])
    assert "model.safetensors" in str(caught.value)
    assert not any("resolve" in path for _, path, _ in hub.requests)  # nothing was fetched in vain


def test_a_full_disk_is_said_before_anything_is_fetched(
    model: Path, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = sources.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda path: usage)
    hub, cache = serve(model), tmp_path / "cache"
    with pytest.raises(ResonanceError) as caught:
        resolve(NAME, cache, [source(hub), source(serve(model))])
    assert caught.value.code == "RZ-0004"
    assert left_in(cache) == []


def test_what_was_there_survives_a_failing_fetch(model: Path, serve, tmp_path: Path) -> None:
    half = tmp_path / "cache" / "openai--whisper-small"
    half.mkdir(parents=True)
    (half / "config.json").write_text("theirs")
    with pytest.raises(ResonanceError):
        resolve(NAME, tmp_path / "cache", [source(serve(model, "wrong hash"))])
    assert (half / "config.json").read_text() == "theirs"


# ── Tokens ───────────────────────────────────────────────────────────────────
def test_token_goes_to_hugging_face_and_never_to_a_mirror(
    model: Path, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_user")
    official, mirror, modelscope = serve(model, "wrong hash"), serve(model, "wrong hash"), serve(model)
    tried = [
        source(official, send_token=True),
        source(mirror, send_token=False),
        source(modelscope, client="modelscope"),
    ]
    resolve(NAME, tmp_path / "cache", tried)
    assert any("hf_secret" in headers.get("authorization", "") for _, _, headers in official.requests)
    for hub in (mirror, modelscope):
        assert hub.requests
        assert "hf_secret" not in json.dumps(hub.requests)


def test_only_hugging_face_itself_may_have_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [s.send_token for s in default_sources()] == [True, False, False]
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert [s.send_token for s in default_sources()] == [False, False, False]
    assert default_sources()[0].endpoint == "https://mirror.example"
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.com")
    assert [s.endpoint for s in default_sources()] == ["https://hf-mirror.com", "https://www.modelscope.cn"]


def test_owner_on_modelscope_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_sources()[-1].their_name(NAME) == "openai-mirror/whisper-small"
    monkeypatch.setenv("RESONANCE_MODELSCOPE_OWNER", "AI-ModelScope")
    assert default_sources()[-1].their_name(NAME) == "AI-ModelScope/whisper-small"
    assert default_sources()[-1].their_name("someone/model") == "someone/model"


# ── Folders and caches ───────────────────────────────────────────────────────
def test_a_folder_is_known_by_its_name_never_its_path(model: Path, tmp_path: Path) -> None:
    base = resolve(str(model), tmp_path / "cache")
    assert (base.name, base.revision, base.folder) == ("published", "local", model)
    assert str(tmp_path) not in base.name
    (model / "config.json").write_text(json.dumps({"_name_or_path": "openai/whisper-base"}))
    assert resolve(str(model), tmp_path / "cache").name == "openai/whisper-base"
    (model / "config.json").write_text(json.dumps({"_name_or_path": "/home/somebody/models/x"}))
    assert resolve(str(model), tmp_path / "cache").name == "published"


def test_a_fetched_folder_keeps_its_identity_when_moved(model: Path, serve, tmp_path: Path) -> None:
    fetched = resolve(NAME, tmp_path / "cache", [source(serve(model))])
    moved = fetched.folder.rename(tmp_path / "usb stick")
    base = resolve(str(moved), tmp_path / "other cache")
    assert (base.name, base.revision) == (NAME, COMMIT)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("gone", ["model.safetensors", "tokenizer.json", "preprocessor_config.json", "config.json"])
def test_incomplete_folder(gone: str, lang: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    (model / gone).unlink()
    with pytest.raises(ResonanceError) as caught:
        resolve(str(model), tmp_path / "cache")
    assert caught.value.code == "RZ-0651"
    assert str(model) in str(caught.value) and gone in str(caught.value) and NAME in str(caught.value)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("given", ["/no/such/folder", "wisper-small", "a/b/c", "", "../x", "openai/", "https://x/y"])
def test_neither_folder_nor_name(given: str, lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    with pytest.raises(ResonanceError) as caught:
        resolve(given, tmp_path / "cache", [])
    assert caught.value.code == "RZ-0652"
    assert given in str(caught.value) and NAME in str(caught.value)


def test_hugging_face_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "hub" / "models--openai--whisper-small"
    snapshot = make_model(cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    base = resolve(NAME, tmp_path / "cache", [])
    assert (base.name, base.revision, base.folder.resolve()) == (NAME, COMMIT, snapshot)
    assert resolve(str(snapshot), tmp_path / "cache", []).name == NAME  # the same folder, given by hand
    (snapshot / "model.safetensors").unlink()  # a download that was broken off
    with pytest.raises(ResonanceError, match="RZ-0650"):
        resolve(NAME, tmp_path / "cache", [])


@pytest.mark.parametrize(
    "place",
    [
        "models/openai-mirror--whisper-small/snapshots/master",
        "models/openai-mirror/whisper-small",
        "hub/models/openai-mirror/whisper-small",
    ],
)
def test_modelscope_cache(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "ms" / place)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    base = resolve(NAME, tmp_path / "cache", [])
    assert (base.name, base.folder) == (NAME, folder)


def test_default_name(tmp_path: Path) -> None:
    own = Workspace(tmp_path, tmp_path / "out", "patient-01")
    sample = Workspace(tmp_path, tmp_path / "out", "sample", is_sample=True)
    assert default_name(own) == DEFAULT_BASE_MODEL
    assert default_name(sample) == PRACTICE_MODEL
    assert default_name(sample, "openai/whisper-base") == "openai/whisper-base"


def test_reasons_exist_in_both_languages() -> None:
    for lang in ("zh", "en"):
        assert "307" in message("base_model.reason.server_error", lang, status=307)
