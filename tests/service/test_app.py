"""The service over real HTTP, with voices that answer by patient."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import HTTP, SHORT, SHOWN, TOKEN, CarelessEngine, Voices, make_adapter, post, refused, running, sound

from resonance_helpers import ResonanceError
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE, ServiceSettings
from resonance_helpers.service import app as app_module
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.problems import STATUS, language_of
from resonance_helpers.service.registry import AdapterRegistry

OPEN = {"/health", "/livez"}


@pytest.fixture(scope="module")
def voices() -> Voices:
    return Voices()


@pytest.fixture(scope="module")
def url(folder_of_two: Path, voices: Voices) -> Iterator[str]:
    with running(create_app(lambda: voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as address:
        yield address


# ── What the guide promises ──────────────────────────────────────────────────
def test_health_is_open_and_as_in_the_guide(url: str) -> None:
    response = HTTP.get(f"{url}/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_recording_is_answered(url: str) -> None:
    response = post(url, sound(seconds=1.5))
    assert response.status_code == 200
    answer = response.json()
    assert answer["text"] == SHOWN["alice"]
    assert answer["uncertain"] is False
    assert answer["duration"] == pytest.approx(1.5, abs=0.01)
    assert 0 < answer["seconds"] < 10
    assert answer["model"] == PRACTICE_MODEL
    assert set(answer) == {"text", "uncertain", "duration", "seconds", "model"}


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
    with running(create_app(Voices, AdapterRegistry(tmp_path), Keyring(TOKEN))) as address:
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
    monkeypatch.setattr(app_module, "Engine", CarelessEngine)
    app = create_app(lambda: Voices(pause_s=0.01), AdapterRegistry(folder_of_two), Keyring(TOKEN))
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


def test_every_path_but_two_needs_the_key(folder_of_two: Path, url: str) -> None:
    paths = create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN)).openapi()["paths"]
    for path in {*paths, "/openapi.json", "/docs", "/nothing", "/health/x", "/%68ealth/../transcribe"} - OPEN:
        for method in ("GET", "POST", "OPTIONS"):
            response = HTTP.request(method, url + path)
            said = response.json().get("error", response.json())  # OpenAI's form below /v1
            assert (response.status_code, said["code"]) == (401, "RZ-0901"), (method, path)
    headers = {"Authorization": f"bearer {TOKEN}"}  # the scheme's name has no case
    refused(HTTP.get(f"{url}/nothing", headers=headers), "RZ-0908")
    response = HTTP.get(f"{url}/transcribe", headers=headers)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_the_document_says_which_path_needs_the_key(folder_of_two: Path) -> None:
    paths = create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN)).openapi()["paths"]
    operations = {(path, method): facts for path, each in paths.items() for method, facts in each.items()}
    assert {path for (path, _), facts in operations.items() if "security" not in facts} == OPEN
    assert all("401" in facts["responses"] for facts in operations.values() if "security" in facts)


# ── Bounds ───────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that takes 100 kB, 2 s and one request at a time."""
    root = tmp_path_factory.mktemp("small")
    make_adapter(root / "adapter", "alice")
    settings = ServiceSettings(max_body_bytes=100_000, max_audio_s=2.0, queue_size=1)
    with running(create_app(lambda: Voices(pause_s=1.0), AdapterRegistry(root), Keyring(TOKEN), settings)) as address:
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
    rubbish = HTTP.post(f"{url}/transcribe", content=b"rubbish", headers=headers)
    two = post(url, files=[("file", ("a", sound())), ("file", ("b", sound()))])
    for response in (rubbish, two):
        assert "multipart/form-data" in refused(response, "RZ-0910")


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
        assert HTTP.get(f"{small}/health").status_code == 200
        assert not answer.done()
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
    registry.choose = lambda *_: {}[said["heard"]]  # type: ignore[method-assign]
    with running(create_app(Voices, registry, Keyring(TOKEN))) as address:
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
