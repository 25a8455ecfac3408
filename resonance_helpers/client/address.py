"""The address of a service: what an app's field takes, what may be shown of it, whom it may be trusted to."""

from __future__ import annotations

import os
import re
import ssl
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import segno

from ..core.messages import ResonanceError

ROUTE = "/transcribe"
KEY_VARIABLE = "RESONANCE_TOKEN"  # as the service reads it too
_KEY = re.compile(r"/k/([^/]+)(?=/)")


def app_address(url: str) -> str:
    """What goes into the app's field for a custom speech service: ``url`` with ``/transcribe`` once. Raises RZ-1001."""
    try:
        parts = urlsplit(url.strip())
        host = httpx.URL(url.strip()).host.encode("idna")  # what is no name would fail later, and without a sentence
        usable = parts.scheme in ("http", "https") and bool(host) and (parts.port is None or parts.port > 0)
    except (ValueError, httpx.InvalidURL):  # a port that is no number, 192.168.1.256, a..b
        usable = False
    if not usable or any(c.isspace() for c in url.strip()) or not parts.netloc.isascii() or "@" in parts.netloc:
        raise ResonanceError("RZ-1001", url=shown(url))
    path = parts.path.rstrip("/")
    while path.endswith(ROUTE):
        path = path.removesuffix(ROUTE).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path + ROUTE, "", ""))


def qr_svg(text: str) -> str:
    """A QR code of ``text`` as inline SVG, large enough to scan from a screen."""
    return segno.make(text, error="m", micro=False).svg_inline(scale=6, border=4, dark="#000", light="#fff")


def read_key(key_file: Path | None) -> str:
    """The key in a file (alone or as ``RESONANCE_TOKEN=…``), else the environment's; "" for none. Raises RZ-1018."""
    if key_file is None:
        return os.environ.get(KEY_VARIABLE, "")
    try:
        return key_file.read_text(encoding="utf-8-sig").strip().removeprefix(f"{KEY_VARIABLE}=").strip("\"'")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "UTF-8"
        raise ResonanceError("RZ-1018", path=key_file, reason=reason) from error


def holds_key(address: str) -> bool:
    """Whether a key stands in the address, ``/k/<key>/transcribe``: it then needs no other."""
    return _KEY.search(urlsplit(address).path) is not None


def without_key(address: str) -> str:
    """The address of the same service for requests that need no key."""
    return _KEY.sub("", address)


def shown(address: str) -> str:
    """The address as it may stand in a message, a log or a notebook."""
    return _KEY.sub("/k/…", address)


def is_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trusting(ca_file: Path | str) -> ssl.SSLContext:
    """TLS that trusts the certificate in ``ca_file`` and no other. Raises RZ-0950."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ResonanceError("RZ-0950", path=ca_file, reason=error.strerror or error) from error
    # the service's own certificate will do, without its authority
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
