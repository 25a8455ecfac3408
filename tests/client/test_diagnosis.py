"""check-service: one address step by step, each failure at its own step, and the key shown nowhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from canned import canned, healthy, http
from fastapi import FastAPI
from serving import SHOWN, TOKEN, Voices, make_adapter, running, sound
from typer.testing import CliRunner

from resonance_helpers.cli import app as cli
from resonance_helpers.client import CheckStep, check_service, diagnosis, read_key
from resonance_helpers.client.address import KEY_VARIABLE
from resonance_helpers.core.messages import LANGUAGES, ResonanceError, message
from resonance_helpers.core.settings import PRACTICE_MODEL
from resonance_helpers.service.app import create_app
from resonance_helpers.service.certificates import self_signed
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.registry import AdapterRegistry

ALL = ["address", "name", "port", "tls", "service", "ready", "key", "recording"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters of alice and bob, and the keys beside them."""
    root = tmp_path_factory.mktemp("patients")
    for patient in SHOWN:
        make_adapter(root / patient / "adapter", patient)
    return root


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with running(create_app(Voices, AdapterRegistry(root), Keyring(TOKEN, root / KEYS_FILE))) as address:
        yield address


def failed(steps: tuple[CheckStep, ...], last: str, code: str) -> str:
    """The words of the one step that failed, which is the ``last``."""
    assert [step.name for step in steps] == ALL[: ALL.index(last) + 1]
    assert [step.ok for step in steps] == [True] * (len(steps) - 1) + [False]
    assert steps[-1].words.startswith(f"[{code}]"), steps[-1].words
    return steps[-1].words


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_good_address_is_gone_through_to_the_answer(url: str, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    steps = check_service(url, TOKEN, "alice", sound(0.5))
    assert [step.name for step in steps] == ALL and all(step.ok for step in steps)
    assert f"{url}/transcribe" in steps[0].words and steps[1].words == message("check.name.number", host="127.0.0.1")
    assert url.rpartition(":")[2] in steps[2].words and steps[3].words == message("check.tls.here")
    assert SHOWN["alice"] in steps[-1].words and PRACTICE_MODEL in steps[-1].words
    assert not any(TOKEN in step.words for step in steps)
    for step in steps:
        assert message(f"check.step.{step.name}", lang)


def test_without_a_recording_the_samples_is_sent_and_said_to_be_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        message("check.recording.sample", text="", seconds="", model="")[-40:]
        in check_service(url, TOKEN, "bob")[-1].words
    )
    monkeypatch.setattr(diagnosis, "SAMPLE_DIR", Path("nowhere"))
    assert all(step.ok for step in check_service(url, TOKEN, "bob"))  # a tone


def test_an_address_with_its_key_is_checked_with_it_and_hidden(url: str, root: Path) -> None:
    _, key = make_key(root / KEYS_FILE, ["bob"], "address")
    steps = check_service(f"{url}/k/{key}/transcribe", recording=sound(0.5))
    assert all(step.ok for step in steps) and SHOWN["bob"] in steps[-1].words
    assert not any(key in step.words for step in steps) and "/k/…/transcribe" in steps[0].words
    wrong = check_service(f"{url}/k/{key}x/transcribe")
    assert key not in failed(wrong, "key", "RZ-1007")


# ── Each failure at its step ─────────────────────────────────────────────────
def test_an_address_that_is_none() -> None:
    for address in ("127.0.0.1:8000", "http：//主机", ""):
        failed(check_service(address, TOKEN), "address", "RZ-1001")


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "nowhere.example" in failed(check_service("https://nowhere.example", TOKEN), "name", "RZ-1003")


def test_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert str(port) in failed(check_service(f"http://127.0.0.1:{port}", TOKEN), "port", "RZ-1002")


def test_http_and_https_mixed_up_and_a_certificate_of_nobody(url: str, tmp_path: Path) -> None:
    assert "http://" in failed(check_service(url.replace("http:", "https:"), TOKEN), "tls", "RZ-1004")
    made = self_signed(tmp_path, "127.0.0.1")
    with healthy(made) as port:
        assert "https://" in failed(check_service(f"http://127.0.0.1:{port}", TOKEN), "tls", "RZ-1004")
        assert "certificate.pem" in failed(check_service(f"https://127.0.0.1:{port}", TOKEN), "tls", "RZ-1005")
        trusted = check_service(f"https://127.0.0.1:{port}", TOKEN, ca_file=made.file)
        assert trusted[3].ok and "20" in trusted[3].words  # the year it is valid until
    with pytest.raises(ResonanceError, match="RZ-0950"):
        check_service(url, TOKEN, ca_file=tmp_path / "none.pem")


def test_a_line_that_others_can_read_is_said(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(diagnosis, "is_this_machine", lambda address: False)
    steps = check_service(url, TOKEN, "alice", sound(0.5))
    assert steps[3].ok and steps[3].words == message("check.tls.none")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http("200 OK", "<h1>Welcome</h1>"), "RZ-1015"),
        (http("200 OK", '{"status": "ok"}'), "RZ-1015"),  # healthy, but it asks nobody for a key
        (http("404 Not Found", "<h1>nginx</h1>"), "RZ-1006"),
        (http("401 Unauthorized", "log in"), "RZ-1015"),
        (http("302 Found", "", "Location: http://login.example.com"), "RZ-1015"),
        (http("502 Bad Gateway"), "RZ-1010"),
    ],
)
def test_another_program(answer: bytes, code: str) -> None:
    with canned(answer) as (place, received):
        failed(check_service(f"http://{place}", TOKEN), "service", code)
    assert TOKEN.encode() not in received, "a stranger is not told the key"


def test_an_answer_that_nobody_can_unpack() -> None:
    with canned(http("200 OK", "<h1>Welcome</h1>", "Content-Encoding: gzip")) as (place, _):
        failed(check_service(f"http://{place}", TOKEN), "tls", "RZ-1015")


def test_a_service_that_is_still_loading_is_asked_about_the_key_but_for_no_answer(root: Path) -> None:
    loaded = threading.Event()

    def load() -> Voices:
        loaded.wait(20)
        return Voices()

    app = create_app(load, AdapterRegistry(root), Keyring(TOKEN))
    with running(app, until_ready=False) as address:
        for key, right in ((TOKEN, True), ("another-key-altogether", False)):
            steps = check_service(address, key, "alice")
            assert [(step.name, step.ok) for step in steps[5:]] == [("ready", False), ("key", right)]
            assert steps[5].words.startswith("[RZ-1010]")
        loaded.set()


def test_a_missing_an_impossible_and_a_wrong_key(url: str) -> None:
    assert KEY_VARIABLE in failed(check_service(url), "key", "RZ-1017")
    failed(check_service(url, "密钥"), "key", "RZ-1008")
    failed(check_service(url, "some-other-key-of-today"), "key", "RZ-1007")


def test_what_the_service_says_of_the_recording_is_passed_on(url: str) -> None:
    assert "RZ-0905" in failed(check_service(url, TOKEN), "recording", "RZ-1012")  # alice or bob?
    assert "RZ-0904" in failed(check_service(url, TOKEN, "carol"), "recording", "RZ-1012")
    assert "RZ-0502" in failed(check_service(url, TOKEN, "alice", b"no audio" * 20), "recording", "RZ-1012")


def test_behind_a_proxy_nothing_is_said_of_what_the_proxy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned(http("502 Bad Gateway")) as (place, _):
        monkeypatch.setenv("http_proxy", f"http://{place}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        steps = check_service("http://far.example", TOKEN)
    assert [step.words for step in steps[1:3]] == [message("check.by_proxy")] * 2
    failed(steps, "service", "RZ-1010")


# ── The command ──────────────────────────────────────────────────────────────
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_command_prints_the_steps_and_never_the_key(
    url: str, tmp_path: Path, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    clip = tmp_path / "clip.wav"
    clip.write_bytes(sound(0.5))
    monkeypatch.setenv(KEY_VARIABLE, TOKEN)
    good = CliRunner().invoke(cli, ["check-service", url, "--patient", "alice", "--recording", str(clip)])
    assert good.exit_code == 0 and good.stdout.count("✅") == len(ALL) and SHOWN["alice"] in good.stdout
    assert message("cli.check.good", lang) in good.stdout and TOKEN not in good.output
    file = tmp_path / "key"
    file.write_text("some-other-key-of-today\n")
    bad = CliRunner().invoke(cli, ["check-service", url, "--key-file", str(file)])
    assert bad.exit_code == 1 and bad.stdout.count("\n❌") == 1 and "RZ-1007" in bad.stdout
    assert "some-other-key" not in bad.output and message("cli.check.bad", lang) in bad.stdout
    none = CliRunner().invoke(cli, ["check-service", url, "--key-file", str(tmp_path / "none")])
    assert none.exit_code == 1 and none.stderr.startswith("[RZ-1018]") and "✅" not in none.stdout


def test_a_key_file_is_one_line_or_that_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    for content in (
        TOKEN,
        f"{TOKEN}\r\n",
        f"{KEY_VARIABLE}={TOKEN}\n",
        f'{KEY_VARIABLE}="{TOKEN}"\n',
        f"\ufeff{TOKEN}",
    ):
        file.write_text(content, encoding="utf-8")
        assert read_key(file) == TOKEN
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key(None) == ""
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ResonanceError, match="RZ-1018"):
        read_key(file)


def test_serves_plainly(tmp_path: Path) -> None:
    """A program with a /livez of its own is not taken for ours."""
    app = FastAPI()
    app.get("/livez")(lambda: {"status": "ok"})
    app.get("/health")(lambda: {"status": "ok"})
    with running(app) as address:
        failed(check_service(address, TOKEN), "service", "RZ-1015")
