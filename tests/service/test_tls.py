"""HTTPS: the certificate that a machine makes itself, who trusts it, and who must not."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections import namedtuple
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from canned import healthy
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from serving import make_adapter
from typer.testing import CliRunner

from resonance_helpers import ResonanceError, service
from resonance_helpers.cli import app as cli
from resonance_helpers.client import ResonanceClient
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.service import certificates
from resonance_helpers.service import process as process_module
from resonance_helpers.service import server as server_module
from resonance_helpers.service.certificates import Certificate, chosen, prepare, self_signed, trusting

KEY = "a-key-for-tests-only"
Entry = namedtuple("Entry", ["family", "address"])


@pytest.fixture(autouse=True)
def a_home_network(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Entry]]:
    """A machine named 书房-pc in somebody's home."""
    cards = {
        "lo": [Entry(socket.AF_INET, "127.0.0.1"), Entry(socket.AF_INET6, "::1")],
        "wlan0": [Entry(socket.AF_INET, "192.168.1.7"), Entry(socket.AF_INET6, "2408:8207:1::5")],
        "eth0": [Entry(socket.AF_INET, "169.254.3.4"), Entry(socket.AF_INET6, "fe80::1%eth0")],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: cards)
    monkeypatch.setattr(socket, "gethostname", lambda: "Study-PC.lan")
    return cards


def read(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.file.read_bytes())


def names(certificate: Certificate) -> set[str]:
    found = read(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


# ── The certificate ──────────────────────────────────────────────────────────
def test_it_stands_for_every_name_and_address_of_this_machine(tmp_path: Path) -> None:
    expected = {"localhost", "127.0.0.1", "::1", "192.168.1.7", "study-pc.lan", "study-pc.local"}
    assert names(self_signed(tmp_path, "0.0.0.0")) == expected
    assert names(self_signed(tmp_path / "b", "fd00::7")) == {*expected, "fd00::7"}


def test_a_name_that_no_certificate_can_carry_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "书房的电脑")
    assert names(self_signed(tmp_path, "127.0.0.1")) == {"localhost", "127.0.0.1", "::1", "192.168.1.7"}


def test_it_lives_no_longer_than_browsers_allow_and_can_sign_for_nobody_else(tmp_path: Path) -> None:
    made = read(self_signed(tmp_path, "127.0.0.1"))
    assert made.not_valid_after_utc - made.not_valid_before_utc <= timedelta(days=397)
    assert made.not_valid_before_utc < datetime.now(UTC) < made.not_valid_after_utc - timedelta(days=390)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    uses = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert uses.digital_signature and not uses.key_cert_sign
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_the_key_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((Path(target).name, stat.S_IMODE(self.stat().st_mode)))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    before = os.umask(0)
    try:
        made = self_signed(tmp_path, "127.0.0.1")
    finally:
        os.umask(before)
    assert ("key.pem", 0o600) in seen
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert "PRIVATE" not in made.file.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.pem", "key.pem"]


def test_the_fingerprint_is_the_one_that_browsers_show(tmp_path: Path) -> None:
    made = self_signed(tmp_path, "127.0.0.1")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(made.file.read_text())).hexdigest().upper()
    assert made.fingerprint == ":".join(digest[i : i + 2] for i in range(0, 64, 2))


def test_it_is_made_once(tmp_path: Path, a_home_network: dict[str, list[Entry]]) -> None:
    first = self_signed(tmp_path, "0.0.0.0").fingerprint
    assert self_signed(tmp_path, "127.0.0.1").fingerprint == first
    del a_home_network["wlan0"]  # an address that is gone needs no new certificate, and no phone a new warning
    assert self_signed(tmp_path, "0.0.0.0").fingerprint == first


def another_address(made: Certificate, network: dict[str, list[Entry]]) -> None:
    network["wlan0"] = [Entry(socket.AF_INET, "10.0.0.9")]


def no_key(made: Certificate, network: object) -> None:
    made.key.unlink()


def a_strange_key(made: Certificate, network: object) -> None:
    made.key.write_bytes(self_signed(made.file.parent / "other", "127.0.0.1").key.read_bytes())


def a_broken_file(made: Certificate, network: object) -> None:
    made.file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("change", [another_address, no_key, a_strange_key, a_broken_file])
def test_it_is_made_anew_when_it_would_not_do(
    tmp_path: Path, a_home_network: dict[str, list[Entry]], change: Callable[..., None]
) -> None:
    made = self_signed(tmp_path, "0.0.0.0")
    first = made.fingerprint
    change(made, a_home_network)
    again = self_signed(tmp_path, "0.0.0.0")
    assert again.fingerprint != first
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(again.file, again.key)
    assert self_signed(tmp_path, "0.0.0.0").fingerprint == again.fingerprint


def test_it_is_made_anew_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "VALID", timedelta(days=29))
        first = self_signed(tmp_path, "0.0.0.0").fingerprint
    assert self_signed(tmp_path, "0.0.0.0").fingerprint != first


# ── One's own ────────────────────────────────────────────────────────────────
def refusal(tls: Certificate) -> str:
    with pytest.raises(ResonanceError) as caught:
        prepare(tls, Path("not used"), "127.0.0.1")
    for lang in LANGUAGES:
        assert (
            str(tls.file) in (said := message(caught.value.code, lang=lang, **caught.value.facts))
            or str(tls.key) in said
        )
    return caught.value.code


def test_ones_own_certificate_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = self_signed(tmp_path / "good", "127.0.0.1")
    other = self_signed(tmp_path / "other", "127.0.0.1")
    assert prepare(good, Path("not used"), "127.0.0.1") == good
    assert refusal(Certificate(tmp_path / "none.pem", good.key)) == "RZ-0950"
    assert refusal(Certificate(good.file, tmp_path / "none.pem")) == "RZ-0950"
    assert refusal(Certificate(good.key, good.key)) == "RZ-0950"
    assert refusal(Certificate(good.file, other.key)) == "RZ-0951"
    secret = load_pem_private_key(good.key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert refusal(Certificate(good.file, locked)) == "RZ-0951"  # and nobody was asked for the password
    monkeypatch.setattr(certificates, "VALID", timedelta(minutes=30))
    assert refusal(self_signed(tmp_path / "old", "127.0.0.1")) == "RZ-0953"


def test_half_a_pair_is_refused_on_the_command_line(tmp_path: Path) -> None:
    make_adapter(tmp_path / "adapter", "alice")
    for option in ("--tls-cert", "--tls-key"):
        result = CliRunner().invoke(cli, ["serve", str(tmp_path), option, "file.pem"])
        assert result.exit_code == 1 and "RZ-0952" in result.stderr
    assert chosen(False, None, None) is False and chosen(True, None, None) is True
    assert chosen(False, Path("c.pem"), Path("k.pem")) == Certificate(Path("c.pem").resolve(), Path("k.pem").resolve())


def test_without_tls_nothing_is_made(tmp_path: Path) -> None:
    assert prepare(False, tmp_path, "127.0.0.1") is None
    assert not list(tmp_path.iterdir())
    made = prepare(True, tmp_path, "127.0.0.1")
    assert made and made.file.is_relative_to(tmp_path / "cache")


# ── On the line ──────────────────────────────────────────────────────────────
def asked(url: str, ca_file: Path | None = None) -> str:
    """The code of a failure, or ``ok``."""
    try:
        with ResonanceClient(url, KEY, ca_file=ca_file) as client:
            return client.health()["status"]
    except ResonanceError as error:
        return error.code


def test_a_client_trusts_the_certificate_that_it_was_given_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, other = (self_signed(tmp_path / name, "127.0.0.1") for name in ("made", "other"))
    with healthy(made) as port:
        for url in (f"https://127.0.0.1:{port}", f"https://localhost:{port}"):
            assert asked(url, made.file) == "ok"
            assert asked(url, other.file) == asked(url) == "RZ-1005"
        assert asked(f"http://127.0.0.1:{port}", made.file) == "RZ-1004"
        assert answers(port, trusting(made.file)) and not answers(port, trusting(other.file))
    with healthy(None) as port:
        assert asked(f"https://127.0.0.1:{port}", made.file) == "RZ-1004"
    monkeypatch.setattr(certificates, "names_of_this_machine", lambda host: frozenset({"elsewhere.example"}))
    elsewhere = self_signed(tmp_path / "elsewhere", "127.0.0.1")
    with healthy(elsewhere) as port:  # a client on another machine asks for a name; the parent knows the very file
        assert asked(f"https://127.0.0.1:{port}", elsewhere.file) == "RZ-1005"
        assert answers(port, trusting(elsewhere.file))


def answers(port: int, context: ssl.SSLContext) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        return opener.open(f"https://127.0.0.1:{port}/health", timeout=5).status == 200
    except urllib.error.URLError:
        return False


def test_old_tls_is_not_spoken(tmp_path: Path) -> None:
    with healthy(self_signed(tmp_path, "127.0.0.1")) as port:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")  # this side would
        with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_a_certificate_is_said(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(ResonanceError) as caught:
        ResonanceClient("https://127.0.0.1", KEY, ca_file=file)
    assert caught.value.code == "RZ-0950" and str(file) in str(caught.value)


# ── The process ──────────────────────────────────────────────────────────────
SERVER = """
import http.server, os, ssl, sys, threading
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"{}")
value = lambda name: sys.argv[sys.argv.index(name) + 1]
server = http.server.HTTPServer(("127.0.0.1", int(value("--port"))), Health)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.read(0, 1)
"""


@pytest.fixture
def fake_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Have ``start`` run a small https server in the service's place."""

    def use(cert: str, key: str) -> None:
        make_adapter(tmp_path / "adapter", "alice")
        script = tmp_path / "program.py"
        script.write_text(SERVER.replace("CERT, KEY", f"{cert}, {key}"))
        real = subprocess.Popen
        monkeypatch.setattr(
            process_module.subprocess, "Popen", lambda argv, **more: real([argv[0], str(script), *argv[3:]], **more)
        )

    return use


def test_the_child_serves_with_the_certificate_that_the_parent_trusts(
    fake_service: Callable[[str, str], None], tmp_path: Path
) -> None:
    fake_service('value("--tls-cert")', 'value("--tls-key")')
    with service.start(tmp_path, tls=True, timeout_s=20) as running:
        assert running.url.startswith("https://127.0.0.1:")
        assert running.ca_file == tmp_path / "cache" / "tls" / "certificate.pem"
    with service.start(tmp_path, timeout_s=20, tls=self_signed(tmp_path / "own", "127.0.0.1")) as running:
        assert running.ca_file == tmp_path / "own" / "certificate.pem"


def test_a_stranger_on_the_port_is_never_taken_for_the_service(
    fake_service: Callable[[str, str], None], tmp_path: Path
) -> None:
    stranger = self_signed(tmp_path / "stranger", "127.0.0.1")
    fake_service(repr(str(stranger.file)), repr(str(stranger.key)))
    with pytest.raises(ResonanceError) as caught:
        service.start(tmp_path, tls=True, timeout_s=2)
    assert caught.value.code == "RZ-0926"


# ── What the operator reads ──────────────────────────────────────────────────
@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_start_shows_the_fingerprint_and_says_why_a_phone_warns(
    tmp_path: Path, lang: str, host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    made = self_signed(tmp_path, host)
    registry = SimpleNamespace(patients=("alice",), base_model="a/model")
    listening = SimpleNamespace(getsockname=lambda: (host, 8443))
    server_module._introduce(registry, listening, made, shown_key="")  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "https://127.0.0.1:8443/transcribe" in said and made.fingerprint in said
    assert message("service.tls.warns", lang=lang) in said
    assert ("https://192.168.1.7:8443" in said) == (host == "0.0.0.0")
    assert (message("service.tls.loopback", lang=lang) in said) == (host == "127.0.0.1")
    server_module._introduce(registry, listening, None, shown_key="")  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "http://127.0.0.1:8443/transcribe" in said and "https" not in said


def test_addresses_for_phones_are_those_of_the_network(tmp_path: Path) -> None:
    shown = certificates.addresses_to_show(self_signed(tmp_path, "0.0.0.0"))
    assert shown == ["192.168.1.7"] and not any(ip_address(each).is_loopback for each in shown)
