"""HTTPS for a machine at home: a certificate that it makes itself, or one's own.

A phone's browser opens the microphone over https alone, and no authority vouches for a machine without a name on the
internet. So it vouches for itself: a browser warns, once for each phone, because no authority has checked whose
machine it is, and the fingerprint is how a family checks it. Our own programs never switch the check off: they trust
exactly this certificate (``trusting``).
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.messages import ResonanceError
from ..core.workspace import disk_full_is_said, locked, replacing, write_text

if TYPE_CHECKING:
    from cryptography import x509

VALID = timedelta(days=397)  # browsers refuse a longer life
RENEW_BEFORE_END = timedelta(days=30)  # at a start: a service may run for weeks
CLOCK_SLACK = timedelta(hours=1)  # a phone's clock may be behind ours
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)  # a Windows name may be Chinese


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key: two PEM files, as certbot writes them as well."""

    file: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256, in the form in which browsers show it: ``5C:0E:…``."""
        from cryptography.hazmat.primitives.hashes import SHA256

        return _leaf(self.file).fingerprint(SHA256()).hex(":").upper()

    @property
    def ends(self) -> datetime:
        return _leaf(self.file).not_valid_after_utc

    @property
    def is_self_signed(self) -> bool:
        leaf = _leaf(self.file)
        return leaf.issuer == leaf.subject


def chosen(tls: bool, cert: Path | None, key: Path | None) -> bool | Certificate:
    """What ``serve`` takes as ``tls``, from the options of a command line. Raises RZ-0952 for half a pair."""
    if cert is None and key is None:
        return tls
    if cert is None or key is None:
        raise ResonanceError("RZ-0952")
    return Certificate(cert.expanduser().resolve(), key.expanduser().resolve())


def prepare(tls: bool | Certificate, folder: Path, host: str) -> Certificate | None:
    """The certificate to serve with: the one given, looked through; that of ``folder``'s cache where ``tls`` is True;
    none where it is False. Raises RZ-0950, RZ-0951 and RZ-0953."""
    if isinstance(tls, Certificate):
        return _looked_through(tls)
    return self_signed(folder / "cache" / "tls", host) if tls else None


def self_signed(folder: Path, host: str) -> Certificate:
    """The certificate in ``folder``, made where there is none, or none that is still good for a while and for every
    name and address of this machine. The key is readable by its owner alone."""
    certificate = Certificate(folder / "certificate.pem", folder / "key.pem")
    names = names_of_this_machine(host)
    if not _still_good(certificate, names):
        with locked(folder), disk_full_is_said(folder):
            if not _still_good(certificate, names):  # another start may have made it meanwhile
                _make(certificate, names)
    return certificate


def trusting(file: Path) -> ssl.SSLContext:
    """A client's context that trusts the one certificate in ``file``, and no authority."""
    from cryptography.hazmat.primitives.serialization import Encoding

    context = ssl.create_default_context(cadata=_leaf(file).public_bytes(Encoding.DER))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # one from an authority ends the chain as well
    context.check_hostname = False  # it is this very certificate, whatever name the service is reached under
    return context


def names_of_this_machine(host: str) -> frozenset[str]:
    """The names and addresses under which a service that listens on ``host`` is reached.

    Of IPv6 only ``::1`` and ``host``: the others change daily at home, and each change would be a new certificate and
    a new warning.
    """
    import psutil

    found = psutil.net_if_addrs().values()
    addresses = {entry.address for entries in found for entry in entries if entry.family == socket.AF_INET}
    short = socket.gethostname().partition(".")[0]
    names = {"localhost", "::1", "127.0.0.1", socket.gethostname(), f"{short}.local", host} | addresses
    return frozenset(name.lower() for name in names if _is_reachable(name))


def addresses_to_show(certificate: Certificate) -> list[str]:
    """The addresses of ``certificate`` that another device in the same network can use, in order."""
    given = (ip_address(name) for name in _names(_leaf(certificate.file)) if _is_ip(name))
    return [str(each) for each in sorted((e for e in given if not e.is_loopback), key=lambda e: (e.version, int(e)))]


# ── Files ────────────────────────────────────────────────────────────────────
def _looked_through(certificate: Certificate) -> Certificate:
    for file in (certificate.file, certificate.key):
        try:
            file.read_bytes()
        except OSError as error:
            raise ResonanceError("RZ-0950", path=file, reason=error.strerror) from error
    try:
        ends = certificate.ends
    except ValueError as error:
        raise ResonanceError("RZ-0950", path=certificate.file, reason=error) from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.file, certificate.key, _no_password)
    except (OSError, ValueError) as error:
        raise ResonanceError("RZ-0951", cert=certificate.file, key=certificate.key, reason=error) from error
    if ends <= datetime.now(UTC):
        raise ResonanceError("RZ-0953", path=certificate.file, day=f"{ends:%Y-%m-%d}")
    return certificate


def _no_password() -> str:
    raise ValueError("the key is protected by a password")  # OpenSSL would ask for it on the terminal


def _still_good(certificate: Certificate, names: frozenset[str]) -> bool:
    try:
        _looked_through(certificate)
    except ResonanceError:  # none yet, or half of a pair that was never finished
        return False
    lasts = certificate.ends - datetime.now(UTC) > RENEW_BEFORE_END
    return lasts and names <= _names(_leaf(certificate.file))


def _leaf(file: Path) -> x509.Certificate:
    """The first certificate of a file: its own; those of its authorities come after it."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(file.read_bytes())


def _names(certificate: x509.Certificate) -> set[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _make(certificate: Certificate, names: Iterable[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    myself = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Resonance")])
    begins = datetime.now(UTC) - CLOCK_SLACK
    alternatives = [x509.IPAddress(ip_address(n)) if _is_ip(n) else x509.DNSName(n) for n in sorted(names)]
    # It signs its own connections and nothing else, above all no certificates (key_cert_sign): whoever installs it on a
    # phone trusts this one service.
    uses = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(myself)
        .issuer_name(myself)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + VALID)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(uses, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with replacing(certificate.key) as temporary:
        temporary.write_bytes(secret)
    write_text(certificate.file, made.public_bytes(serialization.Encoding.PEM).decode())


# ── Names ────────────────────────────────────────────────────────────────────
def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_reachable(name: str) -> bool:
    """Whether a certificate can carry ``name`` and a client could ask for it: not 0.0.0.0, not 169.254.…"""
    if _is_ip(name):
        address = ip_address(name)
        return not (address.is_unspecified or address.is_link_local)
    return bool(_DNS_NAME.fullmatch(name))
