"""The app's side: answers from a real service, and one clear error for each way in which a call can fail."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from canned import GOOD, canned, http, service_that_says
from serving import SHORT, SHOWN, TOKEN, Voices, make_adapter, running

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.client import (
    ResonanceClient,
    Retries,
    Transcript,
    app_address,
    calls,
    qr_svg,
)
from resonance_helpers.client.address import KEY_VARIABLE
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import PRACTICE_MODEL, ServiceSettings
from resonance_helpers.dataset.consent import Consent, write_consent
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.service import app as service_app
from resonance_helpers.service import server
from resonance_helpers.service.app import create_app
from resonance_helpers.service.certificates import self_signed
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.problems import STATUS
from resonance_helpers.service.registry import AdapterRegistry

NEVER = Retries(times=0)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real service for alice and bob, taking at most 100 kB."""
    root = tmp_path_factory.mktemp("patients")
    for patient in SHOWN:
        make_adapter(root / patient / "adapter", patient)
    app = create_app(Voices, AdapterRegistry(root), Keyring(TOKEN), ServiceSettings(max_body_bytes=100_000))
    with running(app) as address:
        yield address


def failure(
    url: str,
    key: str = TOKEN,
    recording: Path | bytes = SHORT,
    timeout_s: float = 5.0,
    patient: str | None = "alice",
    ca_file: Path | None = None,
) -> ResonanceError:
    """The error of a call, whose sentence holds in both languages."""
    options = {"timeout_s": timeout_s, "ca_file": ca_file, "retries": NEVER}
    with pytest.raises(ResonanceError) as caught, ResonanceClient(url, key, **options) as client:
        client.transcribe(recording, patient)
    for lang in LANGUAGES:
        assert "{" not in message(caught.value.code, lang=lang, **caught.value.facts)
    return caught.value


def says(error: ResonanceError, *facts: str) -> bool:
    """Whether the sentence names ``facts`` in both languages."""
    sentences = [message(error.code, lang=lang, **error.facts) for lang in LANGUAGES]
    return all(fact in sentence for fact in facts for sentence in sentences)


# ── Answers ──────────────────────────────────────────────────────────────────
def test_a_file_and_its_bytes_are_answered_alike(url: str, tmp_path: Path) -> None:
    path = tmp_path / "我想喝水.wav"
    path.write_bytes(SHORT)
    with ResonanceClient(url, TOKEN) as client:
        assert client.health() == {"status": "ok"}
        by_path, by_bytes = client.transcribe(path, "alice"), client.transcribe(SHORT, "alice")
        assert client.transcribe(str(path), patient_id="bob").text == SHOWN["bob"]
    assert by_path.text == by_bytes.text == SHOWN["alice"]
    assert by_path == Transcript(SHOWN["alice"], False, 0.3, by_path.seconds, PRACTICE_MODEL)


def test_a_key_in_the_address_needs_no_other_and_is_shown_nowhere(tmp_path: Path, folder_of_two: Path) -> None:
    file = tmp_path / KEYS_FILE
    _, key = make_key(file, ["bob"], "address")
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN, file))) as address:
        with ResonanceClient(f"{address}/k/{key}/transcribe") as client:
            assert client.health() == {"status": "ok"}
            assert client.transcribe(SHORT).text == SHOWN["bob"]
        for error in (
            failure(f"{address}/k/{key}", "", recording=b"no audio" * 20, patient=None),
            failure(f"{address}/k/{key}x", "", patient=None),
            failure(f"{address}/k/{key}/elsewhere", "", patient=None),
        ):
            assert key not in str(error)
    gone = failure(f"{address}/k/{key}", "", patient=None)
    assert gone.code == "RZ-1002" and key not in str(gone) and "/k/…/transcribe" in str(gone)


# ── Later ────────────────────────────────────────────────────────────────────
@contextmanager
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The waits, in seconds, which are not waited."""
    slept: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(calls.time, "sleep", slept.append)
        yield slept


def outcome(address: str, retries: Retries) -> Transcript | str:
    """The answer, or the code of the error."""
    with ResonanceClient(address, TOKEN, retries=retries) as client:
        try:
            return client.transcribe(SHORT, "alice")
        except ResonanceError as error:
            return error.code


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_says_later_is_asked_again_with_growing_waits(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service_that_says(status, status, status) as (address, got), waits(monkeypatch) as slept:
        answers = [outcome(address, Retries()) for _ in range(2)]
    assert [isinstance(each, Transcript) and each.text for each in answers] == ["好", "好"]
    assert len(got) == 8 and set(got) == {SHORT}, "the whole recording each time"
    for first in (0, 3):
        for wait, least in zip(slept[first : first + 3], (0.5, 1, 2), strict=True):
            assert least <= wait <= 1.5 * least
    assert len(set(slept)) == 6, "no two alike: that is the jitter"


def test_what_the_service_asks_for_is_waited_for_and_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with service_that_says(429, **{"Retry-After": "7"}) as (address, _), waits(monkeypatch) as slept:
        outcome(address, Retries(jitter=0))
        assert slept == [7]
    with service_that_says(429, 429, **{"Retry-After": "7"}) as (address, _), waits(monkeypatch) as slept:
        assert outcome(address, Retries(total_s=6)) == "RZ-1011" and slept == []
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with service_that_says(503, **{"Retry-After": soon}) as (address, _), waits(monkeypatch) as slept:
        outcome(address, Retries(jitter=0))
        assert len(slept) == 1 and 25 < slept[0] <= 30
    for nonsense in ("soon", "-3", "9" * 400):
        with service_that_says(503, **{"Retry-After": nonsense}) as (address, _), waits(monkeypatch) as slept:
            outcome(address, Retries(jitter=0))
            assert slept in ([0.5], [])


def test_in_the_end_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with service_that_says(*[503] * 99) as (address, got), waits(monkeypatch) as slept:
        assert outcome(address, Retries(times=5, longest_s=2, jitter=0)) == "RZ-1010"
    assert len(got) == 6 and slept == [0.5, 1, 2, 2, 2]


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 413, 422, 425, 500, 502, 504, 507])
def test_nothing_else_is_ever_sent_twice(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with service_that_says(status, status, **{"Retry-After": "1"}) as (address, got), waits(monkeypatch) as slept:
        assert isinstance(outcome(address, Retries()), str)
    assert slept == [] and len(got) == 1


def test_a_recording_whose_answer_was_lost_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned(b"") as (place, received), waits(monkeypatch) as slept:
        assert outcome(f"http://{place}", Retries()) == "RZ-1002"
    assert received.count(b"POST /transcribe") == 1 and slept == []


@pytest.mark.parametrize("name", ["times", "total_s", "first_s", "longest_s", "jitter"])
def test_retries_check_themselves(name: str) -> None:
    with pytest.raises(ResonanceError, match=f"RZ-0001.*retries.{name}"):
        Retries(**{name: -1})


# ── Corrections ──────────────────────────────────────────────────────────────
@pytest.fixture
def correcting(folder_of_two: Path, converted_sample: Workspace, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A service that keeps alice's corrections, and her folder."""
    data = tmp_path / "data"
    shutil.copytree(converted_sample.data_dir, data / "alice")
    write_consent(
        data / "alice" / "consent.json", Consent("1", "alice", "x", "x", True, ("corrections",), "x", "2026-11-23")
    )
    app = create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN), corrections=data)
    with running(app) as address:
        yield address, data / "alice"


def test_an_answer_is_put_right_by_its_id(correcting: tuple[str, Path]) -> None:
    address, folder = correcting
    before = len(read_labels(folder / "labels.json"))

    with ResonanceClient(address, TOKEN) as client:
        answer = client.transcribe(SHORT, "alice")
        assert answer.answer and client.transcribe(SHORT, "bob").answer is None
        client.correct(answer.answer, "我想喝水")
        with pytest.raises(ResonanceError) as caught:
            client.correct(answer.answer, "我想喝水")
    assert caught.value.code == "RZ-1012" and says(caught.value, "404", "RZ-0916")
    added = read_labels(folder / "labels.json")[before:]
    assert [label.text for label in added] == ["我想喝水"]


def test_the_names_are_the_services(correcting: tuple[str, Path]) -> None:
    assert calls.ANSWER_HEADER == service_app.ANSWER_HEADER
    assert KEY_VARIABLE == server.TOKEN_VARIABLE
    assert set(calls.LATER) == {STATUS[code] for code in ("RZ-0906", "RZ-0911", "RZ-0914")}


def test_the_name_of_a_recording_stays_here(tmp_path: Path) -> None:
    path = tmp_path / "secret-phrase.m4a"
    path.write_bytes(SHORT)
    with canned(http("500 Oops")) as (place, received):
        failure(f"http://{place}", recording=path)
    assert b"secret" not in received and b".m4a" in received
    assert f"Authorization: Bearer {TOKEN}".encode() in received


@pytest.mark.parametrize("suffix", ["", "/", "/transcribe", "/transcribe/", "/transcribe/transcribe"])
def test_the_route_is_added_exactly_once(url: str, suffix: str) -> None:
    assert app_address(f" {url}{suffix}\n") == f"{url}/transcribe"
    assert app_address(f"https://u1-6006.example.com:8443/a{suffix}") == "https://u1-6006.example.com:8443/a/transcribe"
    with ResonanceClient(url + suffix, TOKEN) as client:
        assert client.transcribe(SHORT, "alice").text == SHOWN["alice"]


def test_the_qr_code_is_an_svg_that_differs_by_text() -> None:
    codes = [qr_svg(app_address(f"http://127.0.0.1:{port}")) for port in (8000, 8001)]
    assert codes[0] != codes[1]
    for code in codes:
        assert ElementTree.fromstring(code).tag.endswith("svg")
        assert len(code) < 20_000


# ── Before anything is sent ──────────────────────────────────────────────────
@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://a",
        "http://",
        "http：//a",
        "http://a b",
        "http://a:x",
        "http://a:99999",
        "http://a:0",
        "http://主机",
        "http://key@a",
        "http://192.168.1.256",
        "http://a..b",
        f"http://{'a' * 64}.example.com",
        "http://xn--a",
        "http://a\x7f",
        "http://a/\x00",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    error = failure(url)
    assert error.code == "RZ-1001" and says(error, url, "http://", "https://")


@pytest.mark.parametrize("key", ["", "  ", "two words", "密钥", "ｆｕｌｌ", "a\nb"])
def test_a_key_that_cannot_be_one_is_refused(url: str, key: str) -> None:
    assert failure(url, key).code == "RZ-1008"


def test_a_recording_that_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    error = failure(url, recording=tmp_path / "none.wav")
    assert error.code == "RZ-1016" and says(error, "none.wav")


# ── On the way ───────────────────────────────────────────────────────────────
def test_nothing_listens(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    error = failure(f"http://127.0.0.1:{free}")
    assert error.code == "RZ-1002" and says(error, str(free))


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure("http://no-such-host.example.com")
    assert error.code == "RZ-1003" and says(error, "no-such-host.example.com")


def test_https_to_a_service_that_speaks_http(url: str) -> None:
    error = failure(url.replace("http:", "https:"))
    assert error.code == "RZ-1004" and says(error, "http://")


@pytest.mark.parametrize(
    "answer",
    [
        http("400 Bad Request", "<h1>The plain HTTP request was sent to HTTPS port</h1>"),
        http("400 Bad Request", "Client sent an HTTP request to an HTTPS server.\n"),
        http("301 Moved", "", "Location: https://127.0.0.1/transcribe"),
    ],
)
def test_http_to_a_service_that_speaks_https(answer: bytes) -> None:
    with canned(answer) as (place, _):
        error = failure(f"http://{place}")
    assert error.code == "RZ-1004" and says(error, "https://")


def test_http_to_a_tls_server_that_hangs_up(certificate: ssl.SSLContext) -> None:
    with canned(b"", lambda s: certificate.wrap_socket(s, server_side=True)) as (place, _):
        error = failure(f"http://{place}")
    assert error.code == "RZ-1004" and says(error, "https://")


def test_a_certificate_of_nobody(certificate: ssl.SSLContext) -> None:
    with canned(http("200 OK"), lambda s: certificate.wrap_socket(s, server_side=True)) as (place, _):
        error = failure(f"https://{place}")
    assert error.code == "RZ-1005" and says(error, place)


def test_a_service_that_does_not_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        error = failure(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3)
    assert error.code == "RZ-1014" and says(error, "0.3", "timeout_s")
    assert time.monotonic() - started < 3


def test_a_connection_that_breaks_off() -> None:
    with canned(b"") as (place, _):
        error = failure(f"http://{place}")
    assert error.code == "RZ-1002" and says(error, place)


def test_a_real_server_over_https_is_trusted_by_its_own_certificate_alone(folder_of_two: Path, tmp_path: Path) -> None:
    made, other = (self_signed(tmp_path / name, "127.0.0.1") for name in ("made", "other"))
    app = create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))
    with running(app, certificate=made) as address:
        assert address.startswith("https:")
        with ResonanceClient(address, TOKEN, ca_file=made.file) as client:
            assert client.transcribe(SHORT, "bob").text == SHOWN["bob"]

        assert failure(address).code == failure(address, ca_file=other.file).code == "RZ-1005"
        assert failure(address.replace("https:", "http:")).code == "RZ-1004"


def test_https_to_the_real_service_without_it(url: str) -> None:
    assert failure(url.replace("http:", "https:")).code == "RZ-1004"


def test_a_service_that_is_still_loading(folder_of_two: Path) -> None:
    loaded = threading.Event()

    def load() -> Voices:
        loaded.wait(20)
        return Voices()

    with running(create_app(load, AdapterRegistry(folder_of_two), Keyring(TOKEN)), until_ready=False) as address:
        error = failure(address)
        loaded.set()
    assert error.code == "RZ-1010" and says(error, "503", address)


# ── Refusals of the real service ─────────────────────────────────────────────
def test_a_refused_key(url: str) -> None:
    error = failure(url, "some-other-key-of-today")
    assert error.code == "RZ-1007" and says(error, "401")


def test_too_large(url: str) -> None:
    error = failure(url, recording=bytes(200_000))
    assert error.code == "RZ-1009" and says(error, "0.1 MB")


def test_an_unknown_patient_and_no_sound_come_in_the_services_words(url: str) -> None:
    error = failure(url, recording=b"no audio" * 20)
    assert error.code == "RZ-1012" and says(error, "422", "RZ-0502")
    error = failure(url, patient="carol")
    assert error.code == "RZ-1012" and says(error, "404", "RZ-0904", "carol")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_services_sentence_comes_in_the_callers_language(
    url: str, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    with pytest.raises(ResonanceError) as caught, ResonanceClient(url, TOKEN) as client:
        client.transcribe(SHORT)
    assert caught.value.facts["detail"] == message("RZ-0905", lang=lang, count=2)


def test_a_path_that_the_service_does_not_have(url: str) -> None:
    error = failure(f"{url}/api")
    assert error.code == "RZ-1006" and says(error, "404", f"{url}/api/transcribe")


# ── Answers of other servers ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "code", "fact"),
    [
        (http("404 Not Found", "<h1>nginx</h1>"), "RZ-1006", "/transcribe"),
        (http("405 Method Not Allowed"), "RZ-1006", "405"),
        (http("403 Forbidden"), "RZ-1007", "403"),
        (http("413 Too Large", "<h1>nginx</h1>"), "RZ-1009", "413"),
        (http("429 Too Many", "", "Retry-After: 7"), "RZ-1011", "7"),
        (http("502 Bad Gateway"), "RZ-1010", "502"),
        (http("503 Unavailable", '{"code": "x"}'), "RZ-1010", "503"),
        (http("504 Timeout"), "RZ-1010", "504"),
        (http("500 Oops", json.dumps({"code": "RZ-0909", "detail": "look there"})), "RZ-1013", "look there"),
        (http("302 Found", "", "Location: http://login.example.com"), "RZ-1015", "302"),
        (http("400 Bad Request", "[]"), "RZ-1015", "400"),
        (http("200 OK", "<h1>Welcome</h1>"), "RZ-1015", "JSON"),
        (http("200 OK", '["text"]'), "RZ-1015", "JSON"),
        (http("200 OK", "[" * 100_000), "RZ-1015", "JSON"),
        (http("200 OK", json.dumps(GOOD), "Content-Encoding: gzip"), "RZ-1015", "JSON"),  # which it is not
        (http("200 OK", json.dumps({**GOOD, "text": None} | {"duration": 1})[:-30] + "}"), "RZ-1015", "JSON"),
        (http("200 OK", json.dumps({k: v for k, v in GOOD.items() if k != "model"})), "RZ-1015", "model"),
    ],
)
def test_what_other_servers_say_is_explained(answer: bytes, code: str, fact: str) -> None:
    with canned(answer) as (place, _):
        error = failure(f"http://{place}")
    assert error.code == code and says(error, fact)


def test_the_key_follows_no_redirect() -> None:
    with canned(http("200 OK", json.dumps(GOOD))) as (other, received):
        with canned(http("307 Moved", "", f"Location: http://{other}/transcribe")) as (place, _):
            assert failure(f"http://{place}").code == "RZ-1015"
        assert not received


def test_a_proxy_is_not_asked_for_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ResonanceClient(url, TOKEN) as client:
        assert client.health() == {"status": "ok"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's TLS settings with a self-signed certificate for 127.0.0.1, made now."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography, which makes the test certificate, is missing")
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
