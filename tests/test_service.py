"""The service over real HTTP, with voices that answer by patient; and once as the real process with a real Whisper."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn
from fastapi import FastAPI

from resonance_helpers import ResonanceError, adapter, service
from resonance_helpers.adapter import Manifest
from resonance_helpers.messages import LANGUAGES, message
from resonance_helpers.service import engine as engine_module
from resonance_helpers.service import process as process_module
from resonance_helpers.service import server as server_module
from resonance_helpers.service.__main__ import main
from resonance_helpers.service.app import create_app
from resonance_helpers.service.engine import Engine
from resonance_helpers.service.problems import STATUS, language_of
from resonance_helpers.service.registry import AdapterRegistry
from resonance_helpers.settings import PRACTICE_MODEL, SAMPLE_RATE, ServiceSettings
from resonance_helpers.workspace import PRACTICE_MODEL_DIR, Workspace

TOKEN = "a-key-for-tests-only"
ANSWERS = {"alice": "我想喝水", "bob": "幫我開燈"}  # bob's model writes Traditional characters
SHOWN = {"alice": "我想喝水", "bob": "帮我开灯"}


HTTP = httpx.Client(trust_env=False)  # one for all: making one costs more than a request


class Voices:
    """Answers by patient. Like PEFT it switches its one model in place: two threads at once would mix them up."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.active = ""
        self.pause_s = pause_s
        self.heard: list[int] = []
        self.failure: Exception | None = None

    def recognise(self, samples: Sequence[np.ndarray], patient_id: str) -> list[str]:
        self.active = patient_id
        time.sleep(self.pause_s)
        self.heard += [len(clip) for clip in samples]
        if self.failure:
            raise self.failure
        return [ANSWERS[self.active]] * len(samples)


def make_adapter(folder: Path, patient: str, weights: str = "0" * 64, name: str = PRACTICE_MODEL) -> Path:
    """An adapter as far as the registry looks: its manifest."""
    facts = dict.fromkeys((field.name for field in fields(Manifest)), "") | {
        "schema": adapter.SCHEMA,
        "patient_id": patient,
        "base_model": {"name": name, "revision": "1", "tensors_sha256": weights},
        "language": "zh",
        "window_s": 4.0,
        "versions": {},
    }
    folder.mkdir(parents=True)
    (folder / "resonance.json").write_text(json.dumps(facts))
    return folder


def sound(seconds: float = 1.0, rate: int = 48_000, channels: int = 2, kind: str = "WAV", level: float = 0.3) -> bytes:
    """A tone that comes and goes, as the bytes of a file."""
    time_s = np.arange(round(seconds * rate)) / rate
    tone = level * np.sin(2 * np.pi * 220 * time_s) * (np.sin(2 * np.pi * 2 * time_s) > 0)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone] * channels, axis=1), rate, format=kind)
    return file.getvalue()


SHORT = sound(0.3, SAMPLE_RATE, 1)


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """``app`` behind a real uvicorn on a free port; gives its URL."""
    with server_module.listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(server_module.uvicorn_config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def folder_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patients")
    for patient in ANSWERS:
        make_adapter(root / patient / "adapter", patient)
    return root


@pytest.fixture(scope="module")
def voices() -> Voices:
    return Voices()


@pytest.fixture(scope="module")
def url(folder_of_two: Path, voices: Voices) -> Iterator[str]:
    with running(create_app(voices, AdapterRegistry(folder_of_two), TOKEN)) as address:
        yield address


def post(url: str, content: bytes | None = None, **more: object) -> httpx.Response:
    """A good request for alice unless ``more`` says otherwise."""
    request = {
        "files": {"file": ("clip.wav", sound() if content is None else content)},
        "data": {"patient_id": "alice"},
        "headers": {"Authorization": f"Bearer {TOKEN}", "Accept-Language": "en"},
        "timeout": 30,
    } | more
    return HTTP.post(f"{url}/transcribe", **request)


def refused(response: httpx.Response, code: str) -> str:
    """The sentence of a refusal that is what it should be."""
    assert response.json()["code"] == code, response.text
    assert response.status_code == STATUS[code]
    assert set(response.json()) == {"code", "detail"}
    return response.json()["detail"]


# ── What the guide promises ──────────────────────────────────────────────────
def test_health_is_open_and_as_in_the_guide(url: str) -> None:
    response = HTTP.get(f"{url}/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_recording_is_answered(url: str) -> None:
    response = post(url, sound(seconds=1.5))
    assert response.status_code == 200
    answer = response.json()
    assert answer["text"] == SHOWN["alice"]
    assert answer["uncertain"] is None
    assert answer["duration"] == pytest.approx(1.5, abs=0.01)
    assert 0 < answer["seconds"] < 10
    assert answer["model"] == PRACTICE_MODEL
    assert set(answer) == {"text", "uncertain", "duration", "seconds", "model"}


def test_the_schema_reserves_uncertain(folder_of_two: Path) -> None:
    schema = create_app(Voices(), AdapterRegistry(folder_of_two), TOKEN).openapi()
    uncertain = schema["components"]["schemas"]["Transcription"]["properties"]["uncertain"]
    assert {kind["type"] for kind in uncertain["anyOf"]} == {"boolean", "null"}


def test_text_is_shown_in_simplified_characters(url: str) -> None:
    assert post(url, data={"patient_id": "bob"}).json()["text"] == SHOWN["bob"]


@pytest.mark.parametrize(
    ("kind", "rate", "channels"), [("WAV", 8_000, 1), ("FLAC", 44_100, 2), ("OGG", 48_000, 2), ("MP3", 22_050, 1)]
)
def test_any_format_and_rate_reaches_the_model_at_16_khz(
    url: str, voices: Voices, kind: str, rate: int, channels: int
) -> None:
    assert post(url, sound(2.0, rate, channels, kind)).status_code == 200
    assert voices.heard[-1] == pytest.approx(2 * SAMPLE_RATE, rel=0.06)  # mp3 adds its encoder's padding


# ── Whose voice ──────────────────────────────────────────────────────────────
def test_nobody_is_a_default_among_several(url: str) -> None:
    detail = refused(post(url, data={}), "RZ-0905")
    assert "patient_id" in detail
    assert "patient_id" in refused(post(url, data={"patient_id": ""}), "RZ-0905")


def test_one_patient_needs_no_name(tmp_path: Path) -> None:
    make_adapter(tmp_path / "adapter", "alice")
    with running(create_app(Voices(), AdapterRegistry(tmp_path), TOKEN)) as address:
        assert post(address, data={}).json()["text"] == SHOWN["alice"]
        refused(post(address, data={"patient_id": "bob"}), "RZ-0904")


@pytest.mark.parametrize(
    "patient", ["carol", "..", "../alice", "alice/../bob", "%2e%2e", "/etc", "alice\0", "ALICE", "a" * 500, "openai"]
)
def test_an_unknown_patient_is_404_and_nothing_is_asked_anywhere(
    url: str, voices: Voices, monkeypatch: pytest.MonkeyPatch, patient: str
) -> None:
    asked: list[object] = []
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: (asked.append(a[0]), real(*a, **k))[1])
    heard = len(voices.heard)
    detail = refused(post(url, data={"patient_id": patient}), "RZ-0904")
    assert "alice" not in detail.replace(patient, "")  # who else is here is nobody's business
    assert set(asked) <= {"127.0.0.1", b"127.0.0.1"}
    assert len(voices.heard) == heard


def test_eight_clients_each_get_their_own_patient(url: str) -> None:
    assert not _mixed_up(url)


def test_the_check_finds_a_mix_up_when_there_are_two_inference_threads(
    folder_of_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "ThreadPoolExecutor", lambda n, **names: ThreadPoolExecutor(4, **names))
    app = create_app(Voices(pause_s=0.01), AdapterRegistry(folder_of_two), TOKEN)
    with running(app) as address:
        assert _mixed_up(address)


def _mixed_up(url: str) -> list[tuple[str, str]]:
    """(patient, answer) of every answer that is another patient's, from 8 clients at once."""

    def ask(number: int) -> list[tuple[str, str]]:
        patient = ("alice", "bob")[number % 2]
        answers = [post(url, SHORT, data={"patient_id": patient}).json() for _ in range(6)]
        return [(patient, answer["text"]) for answer in answers]

    with ThreadPoolExecutor(8) as clients:
        answers = [answer for many in clients.map(ask, range(8)) for answer in many]
    assert len(answers) == 48
    return [(patient, text) for patient, text in answers if text != SHOWN[patient]]


# ── The key ──────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong-key-of-16-chars", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
)
def test_without_the_key_there_is_no_answer(url: str, voices: Voices, authorization: str | None) -> None:
    heard = len(voices.heard)
    headers = {} if authorization is None else {"Authorization": authorization}
    response = post(url, headers=headers)
    refused(response, "RZ-0901")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert len(voices.heard) == heard


def test_every_path_but_health_needs_the_key(folder_of_two: Path, url: str) -> None:
    paths = create_app(Voices(), AdapterRegistry(folder_of_two), TOKEN).openapi()["paths"]
    assert set(paths) == {"/health", "/transcribe"}
    for path in ("/transcribe", "/openapi.json", "/docs", "/nothing", "/health/", "/%68ealth/../transcribe"):
        for method in ("GET", "POST", "OPTIONS"):
            refused(HTTP.request(method, url + path), "RZ-0901")
    headers = {"Authorization": f"bearer {TOKEN}"}  # the scheme's name has no case
    refused(HTTP.get(f"{url}/nothing", headers=headers), "RZ-0908")
    response = HTTP.get(f"{url}/transcribe", headers=headers)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_only_a_hash_of_the_key_is_kept() -> None:
    from resonance_helpers.service.guard import Key

    assert TOKEN.encode() not in b"".join(str(value).encode() for value in vars(Key(TOKEN)).values())


@pytest.mark.parametrize(
    "token", ["", "short", "sixteen letters with spaces", "这个密钥有十六个汉字那么长对不对呀", "x" * 20 + "\n"]
)
def test_a_poor_key_is_refused_at_start(folder_of_two: Path, token: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        create_app(Voices(), AdapterRegistry(folder_of_two), token)
    assert caught.value.code == "RZ-0924"


# ── Bounds ───────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that takes 100 kB, 2 s and one request at a time."""
    root = tmp_path_factory.mktemp("small")
    make_adapter(root / "adapter", "alice")
    settings = ServiceSettings(max_body_bytes=100_000, max_audio_s=2.0, queue_size=1)
    with running(create_app(Voices(pause_s=0.5), AdapterRegistry(root), TOKEN, settings)) as address:
        yield address


def test_a_large_body_is_refused_with_the_limit_in_both_languages(small: str) -> None:
    for lang in LANGUAGES:
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Language": lang}
        detail = refused(post(small, bytes(3_000_000), headers=headers), "RZ-0902")
        assert "0.1 MB" in detail


def test_bytes_are_counted_when_no_length_is_declared(small: str) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield bytes(10_000)

    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "multipart/form-data; boundary=x"}
    response = HTTP.post(f"{small}/transcribe", content=endless(), headers=headers)
    assert "transfer-encoding" in response.request.headers
    refused(response, "RZ-0902")


@pytest.mark.parametrize(("key", "code"), [("", "RZ-0901"), (TOKEN, "RZ-0902")])
def test_a_refused_client_that_is_still_sending_reads_why(small: str, key: str, code: str) -> None:
    """Python's own client gives up when it can't send the rest; httpx reads on, and would hide an early close."""
    connection = http.client.HTTPConnection(small.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    connection.request("POST", "/transcribe", part + bytes(15_000_000), headers)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (STATUS[code], code)
    connection.close()


def test_a_long_recording_is_refused_while_it_is_decoded(small: str) -> None:
    assert "2 s" in refused(post(small, sound(8.0, 16_000, 1, "OGG")), "RZ-0504")


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "RZ-0501"), (b"this is no audio at all" * 50, "RZ-0502"), (sound(1, level=0.0), "RZ-0907")],
)
def test_what_cannot_be_heard_is_refused_in_both_languages(url: str, content: bytes, code: str) -> None:
    said = set()
    for lang in LANGUAGES:
        said.add(refused(post(url, content, headers=_asking(lang)), code))
    assert len(said) == len(LANGUAGES)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"files": {"other": ("a", b"x")}}, "file"),
        ({"files": None, "data": {"patient_id": "alice"}}, "file"),
        ({"files": None, "data": {"file": "text"}}, "file"),
    ],
)
def test_a_missing_field_is_named(url: str, request_: dict[str, object], field: str) -> None:
    assert f" {field} " in refused(post(url, **request_), "RZ-0903")


def test_a_body_that_is_no_form_is_refused(url: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "multipart/form-data"}
    refused(HTTP.post(f"{url}/transcribe", content=b"rubbish", headers=headers), "RZ-0910")
    two = [("file", ("a", sound())), ("file", ("b", sound()))]
    refused(post(url, files=two), "RZ-0910")


def test_a_full_queue_says_when_to_come_back(small: str) -> None:
    with ThreadPoolExecutor(4) as clients:
        responses = list(clients.map(lambda _: post(small, SHORT), range(4)))
    busy = [response for response in responses if response.status_code == 429]
    assert len(busy) == 3
    for response in busy:
        assert response.headers["Retry-After"] in refused(response, "RZ-0906")
    assert post(small, SHORT).status_code == 200  # and it goes on


def test_health_answers_while_the_model_is_busy(small: str) -> None:
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(post, small, SHORT)
        time.sleep(0.1)
        started = time.perf_counter()
        assert HTTP.get(f"{small}/health").status_code == 200
        assert not answer.done() and time.perf_counter() - started < 0.3
        assert answer.result().status_code == 200


# ── Privacy ──────────────────────────────────────────────────────────────────
def test_a_recording_never_touches_the_disk(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spilled: list[object] = []
    real = tempfile.SpooledTemporaryFile.rollover
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda self: (spilled.append(self), real(self)))
    content = sound(20.0)
    assert len(content) > 3_000_000  # Starlette writes what is over 1 MB
    assert post(url, content).status_code == 200
    assert not spilled


def test_nothing_of_a_request_is_in_the_log(url: str, voices: Voices, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "resonance")
    caplog.set_level(logging.INFO)
    post(url)
    post(url, headers={})
    HTTP.get(f"{url}/secret-path?patient=alice")
    voices.failure = ValueError("I heard 我想喝水")
    try:
        detail = refused(post(url), "RZ-0909")
    finally:
        voices.failure = None
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(("resonance", "uvicorn"))]
    written = "\n".join(lines)
    assert "POST /transcribe 200" in written and "GET - 401" in written and "ValueError" in written
    for private in ("alice", "我想喝水", TOKEN, "secret-path"):
        assert private not in written + detail


def test_a_failed_answer_does_not_stop_the_service(url: str, voices: Voices) -> None:
    voices.failure = RuntimeError("out of memory")
    refused(post(url), "RZ-0909")
    voices.failure = None
    assert post(url).json()["text"] == SHOWN["alice"]


def test_an_error_that_names_paths_stays_on_the_server(
    url: str, voices: Voices, caplog: pytest.LogCaptureFixture
) -> None:
    voices.failure = ResonanceError("RZ-0614", path="/secret/adapter", detail="x")
    detail = refused(post(url), "RZ-0909")
    voices.failure = None
    assert "secret" not in detail
    assert "RZ-0614" in caplog.text and "/secret/adapter" in caplog.text


def test_a_mistake_of_ours_is_a_calm_500(folder_of_two: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = AdapterRegistry(folder_of_two)
    said = {"heard": "我想喝水"}
    registry.choose = lambda patient: {}[said["heard"]]  # type: ignore[method-assign]
    with running(create_app(Voices(), registry, TOKEN)) as address:
        refused(post(address), "RZ-0909")
    assert "我想喝水" not in caplog.text and "KeyError" in caplog.text


# ── Language ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("header", "lang"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr, en;q=0.5", "en"),
        ("en;q=0, zh;q=0.1", "zh"),
        ("en;q=rubbish, zh;q=0.1", "zh"),
        ("zh;q=0.1, en", "en"),
    ],
)
def test_an_error_speaks_the_askers_language(url: str, header: str, lang: str) -> None:
    assert language_of(header) == lang
    detail = refused(post(url, headers=_asking(header), data={"patient_id": "carol"}), "RZ-0904")
    assert detail == message("RZ-0904", lang=lang, patient="carol")


def test_without_a_wish_the_server_speaks_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for lang in LANGUAGES:
        monkeypatch.setenv("RESONANCE_LANG", lang)
        assert language_of("fr") == language_of("") == lang


def _asking(accept_language: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}", "Accept-Language": accept_language}


# ── The registry ─────────────────────────────────────────────────────────────
def test_three_layouts_are_found(folder_of_two: Path, tmp_path: Path) -> None:
    alice = make_adapter(tmp_path / "out" / "adapter", "alice")
    assert AdapterRegistry(alice).patients == AdapterRegistry(alice.parent).patients == ("alice",)
    assert AdapterRegistry(folder_of_two).patients == ("alice", "bob")
    assert AdapterRegistry({"alice": alice}).folder("alice") == alice.resolve()


def test_an_empty_or_missing_folder_names_itself(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ResonanceError) as caught:
            AdapterRegistry(path)
        assert caught.value.code == "RZ-0921"
        for lang in LANGUAGES:
            assert str(path) in message("RZ-0921", lang=lang, **caught.value.facts)


def test_an_adapter_of_somebody_else_stops_the_start(tmp_path: Path) -> None:
    make_adapter(tmp_path / "alice" / "adapter", "bob")
    with pytest.raises(ResonanceError) as caught:
        AdapterRegistry(tmp_path)
    assert caught.value.code == "RZ-0922"
    for lang in LANGUAGES:
        said = message("RZ-0922", lang=lang, **caught.value.facts)
        assert "alice" in said and "bob" in said


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    make_adapter(tmp_path / "elsewhere" / "adapter", "bob")
    make_adapter(tmp_path / "served" / "alice" / "adapter", "alice")
    (tmp_path / "served" / "bob").symlink_to(tmp_path / "elsewhere")
    assert AdapterRegistry(tmp_path / "served").patients == ("alice",)


def test_a_folder_that_is_no_pseudonym_is_refused(tmp_path: Path) -> None:
    make_adapter(tmp_path / "Li Hua" / "adapter", "Li Hua")
    with pytest.raises(ResonanceError) as caught:
        AdapterRegistry(tmp_path)
    assert caught.value.code == "RZ-0002"


def test_patients_of_different_base_models_are_not_served_together(tmp_path: Path) -> None:
    make_adapter(tmp_path / "alice" / "adapter", "alice", weights="a" * 64)
    make_adapter(tmp_path / "bob" / "adapter", "bob", weights="b" * 64)
    with pytest.raises(ResonanceError) as caught:
        AdapterRegistry(tmp_path)
    assert caught.value.code == "RZ-0927"
    make_adapter(tmp_path / "same" / "carol" / "adapter", "carol", name="another/name")
    make_adapter(tmp_path / "same" / "dave" / "adapter", "dave")
    assert AdapterRegistry(tmp_path / "same").patients == ("carol", "dave")  # the weights decide, not the name


# ── The engine ───────────────────────────────────────────────────────────────
def test_closing_finishes_what_was_accepted() -> None:
    engine = Engine(Voices(pause_s=0.2), ServiceSettings())

    async def ask_and_close() -> str:
        answer = asyncio.create_task(engine.transcribe(sound(), "alice"))
        while not engine._model._work_queue.qsize() and not engine._voices.active:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
        engine.close()
        return (await answer).text

    assert asyncio.run(ask_and_close()) == SHOWN["alice"]


# ── The process ──────────────────────────────────────────────────────────────
def test_a_missing_package_is_a_sentence_with_the_pip_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server_module, "NEEDED", {"no_such_module": "no-such-package"})
    for call in (service.start, service.serve):
        with pytest.raises(ResonanceError) as caught:
            call(tmp_path)
        assert caught.value.code == "RZ-0920"
        for lang in LANGUAGES:
            assert "pip install no-such-package" in message("RZ-0920", lang=lang, **caught.value.facts)


def test_a_workspace_that_is_not_trained_names_lesson_06(tmp_path: Path) -> None:
    with pytest.raises(ResonanceError) as caught:
        service.start(Workspace(tmp_path, tmp_path, "alice"))
    assert caught.value.code == "RZ-0006"


def test_a_taken_port_is_said_before_anything_is_loaded(folder_of_two: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for call in (service.start, service.serve):
            with pytest.raises(ResonanceError) as caught:
                call(folder_of_two, port=port)
            assert caught.value.code == "RZ-0923"
            for lang in LANGUAGES:
                assert str(port) in message("RZ-0923", lang=lang, **caught.value.facts)


@pytest.mark.parametrize("host", ["256.0.0.1", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_said(folder_of_two: Path, host: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        service.start(folder_of_two, host=host)
    assert caught.value.code == "RZ-0923"


def test_a_folder_without_adapters_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in (service.start, service.serve):
        with pytest.raises(ResonanceError) as caught:
            call(tmp_path)
        assert caught.value.code == "RZ-0921"
    monkeypatch.setattr(sys, "argv", ["service", str(tmp_path)])
    assert main() == 1
    assert "RZ-0921" in capsys.readouterr().err


@pytest.fixture
def fake_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Have ``start`` run a small program in the service's place."""

    def run(program: str) -> None:
        make_adapter(tmp_path / "adapter", "alice")
        script = tmp_path / "program.py"
        script.write_text(program)
        real = subprocess.Popen
        monkeypatch.setattr(
            process_module.subprocess, "Popen", lambda argv, **more: real([argv[0], str(script), *argv[3:]], **more)
        )

    return run


def test_a_slow_start_is_ended_and_says_so(fake_process: Callable[[str], None], tmp_path: Path) -> None:
    fake_process("import time\nprint('loading')\ntime.sleep(60)")
    with pytest.raises(ResonanceError) as caught:
        service.start(tmp_path, timeout_s=0.5)
    assert caught.value.code == "RZ-0926"
    for lang in LANGUAGES:
        said = message("RZ-0926", lang=lang, **caught.value.facts)
        assert "loading" in said and "timeout_s" in said and "0.5" in said


def test_the_key_travels_in_the_environment_alone(fake_process: Callable[[str], None], tmp_path: Path) -> None:
    fake_process("import os, sys\nprint(sys.argv, os.environ['RESONANCE_TOKEN'] == 'k' * 20)\nsys.exit(3)")
    with pytest.raises(ResonanceError) as caught:
        service.start(tmp_path, token="k" * 20)
    assert "True" in caught.value.facts["log"] and "kkkk" not in str(caught.value)
    assert caught.value.facts["exit_code"] == 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with an adapter for the practice model (fresh, so it changes nothing)."""
    if not (PRACTICE_MODEL_DIR / "model.safetensors").exists():
        pytest.skip("the practice model is not there yet")
    from resonance_helpers import base_models, whisper
    from resonance_helpers.settings import LoraSettings

    root = tmp_path_factory.mktemp("trained")
    workspace = Workspace(root / "data", root / "out", "sample")
    speech = whisper.load_speech_model(base_models.resolve(PRACTICE_MODEL, workspace.cache))
    adapter.add_fresh(speech, LoraSettings())
    manifest = adapter.read_manifest(make_adapter(root / "scratch", "sample"))
    adapter.save(speech, workspace.adapter, replace(manifest, base_model=adapter.identity(speech)))
    return workspace


@pytest.mark.slow
def test_the_real_process_serves_a_real_model_and_ends(trained: Workspace) -> None:
    with service.start(trained) as running_service:
        answer = post(running_service.url, headers={"Authorization": f"Bearer {running_service.token}"}, data={})
        assert answer.status_code == 200 and answer.json()["model"] == PRACTICE_MODEL
    log = running_service.log(100)  # the line of an answer is written after it was sent
    assert running_service.url in log and "POST /transcribe 200" in log
    assert running_service.token not in log
    assert running_service.log_path.is_relative_to(trained.output_dir)
    assert not running_service.running
    with pytest.raises(httpx.ConnectError):
        HTTP.get(f"{running_service.url}/health")
    running_service.stop()  # again does no harm


@pytest.mark.slow
def test_the_service_ends_when_its_parent_is_killed(trained: Workspace, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from resonance_helpers import service\n"
        f"print(service.start(Path({str(trained.output_dir)!r})).url, flush=True); time.sleep(600)"
    )
    environment = process_module._environment("")
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        address = parent.stdout.readline().strip()
        assert HTTP.get(f"{address}/health").status_code == 200
        os.kill(parent.pid, signal.SIGKILL)
    for _ in range(100):
        try:
            HTTP.get(f"{address}/health")
        except httpx.TransportError:
            return
        time.sleep(0.1)
    pytest.fail("the service outlived its parent")
