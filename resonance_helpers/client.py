"""Lesson 10: an app is a POST with a file. This is that app, with an error for each way in which it can fail.

The recording goes out under a neutral name: the name of a file often holds the phrase itself.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import segno

from .messages import ResonanceError, language, message

TIMEOUT_S = 60.0  # a phrase takes a second; the rest is for a slow upload and a queue
ROUTE = "/transcribe"
NOT_READY = (502, 503, 504)  # what a proxy answers while the service behind it is not there
# what a server of the other kind says to us: OpenSSL's words, and nginx's and Go's to plain HTTP on a TLS port
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
_TLS_EXPECTED = ("plain http request was sent to https port", "http request to an https server")


@dataclass(frozen=True)
class Transcript:
    """One answer. ``duration`` of the recording and ``seconds`` of the service's work; ``uncertain``: a person should
    confirm the text first (None: the service does not say)."""

    text: str
    uncertain: bool | None
    duration: float
    seconds: float
    model: str


class ResonanceClient:
    """Calls one service. ``url`` may end in ``/transcribe`` or not; ``timeout_s`` bounds each wait for the network.

    ``ca_file`` is the certificate of a service that made its own (``resonance serve --tls``): it alone is trusted then.
    Raises RZ-1001 (address), RZ-1008 (a key that can't be one) and RZ-0950 (no certificate in that file) at once, the
    rest of RZ-10xx when a call fails.
    """

    def __init__(self, url: str, key: str, timeout_s: float = TIMEOUT_S, ca_file: Path | str | None = None) -> None:
        self.address = app_address(url)
        key = key.strip()
        if not (key.isascii() and key.isprintable() and key and " " not in key):
            raise ResonanceError("RZ-1008")
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {key}", "Accept-Language": language()},
            verify=_trusting(ca_file) if ca_file else True,
            trust_env=not _is_this_machine(self.address),  # a proxy cannot reach this machine
        )

    def health(self) -> dict[str, str]:
        """What ``GET /health`` says: ``{"status": "ok"}``."""
        address = self.address.removesuffix(ROUTE) + "/health"
        with self._explained(address):
            return _fields(self._http.get(address), address, "status")

    def transcribe(self, recording: Path | str | bytes, patient_id: str | None = None) -> Transcript:
        """The words of a recording (a file or its bytes, any common format), spoken by ``patient_id``."""
        if isinstance(recording, bytes):
            content, suffix = recording, ""
        else:
            path = Path(recording)
            if not path.is_file():
                raise ResonanceError("RZ-1016", path=path)
            content, suffix = path.read_bytes(), path.suffix
        form = {"patient_id": patient_id} if patient_id is not None else {}
        with self._explained(self.address):
            upload = {"file": ("recording" + suffix, io.BytesIO(content), "application/octet-stream")}
            response = self._http.post(self.address, files=upload, data=form)
            names = ("text", "uncertain", "duration", "seconds", "model")
            return Transcript(**_fields(response, self.address, *names))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> ResonanceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _explained(self, address: str) -> Iterator[None]:
        """Turn what goes wrong on the way into RZ-10xx."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise ResonanceError("RZ-1014", url=address, seconds=f"{self._timeout_s:g}") from error
        except httpx.TransportError as error:
            raise _on_the_way(error, address) from error


def app_address(url: str) -> str:
    """What goes into the app's field for a custom speech service: ``url`` with ``/transcribe`` once. Raises RZ-1001."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        usable = False
    if not usable or any(c.isspace() for c in url.strip()) or not parts.netloc.isascii() or "@" in parts.netloc:
        raise ResonanceError("RZ-1001", url=url)
    path = parts.path.rstrip("/")
    while path.endswith(ROUTE):
        path = path.removesuffix(ROUTE).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path + ROUTE, "", ""))


def qr_svg(text: str) -> str:
    """A QR code of ``text`` as inline SVG, large enough to scan from a screen."""
    return segno.make(text, error="m", micro=False).svg_inline(scale=6, border=4, dark="#000", light="#fff")


def _trusting(ca_file: Path | str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ResonanceError("RZ-0950", path=ca_file, reason=error.strerror or error) from error
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # the service's own certificate will do, without its authority
    return context


# ── What went wrong ──────────────────────────────────────────────────────────
def _on_the_way(error: httpx.TransportError, address: str) -> ResonanceError:
    words, secure = str(error), address.startswith("https")
    if secure and any(sign in words.upper().replace(" ", "_") for sign in _NO_TLS):
        return _other_scheme(address)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return ResonanceError("RZ-1005", url=address, reason=words.partition("failed: ")[2] or words)
    if any(sign in words for sign in ("Name or service", "nodename", "getaddrinfo failed", "No address", "name resol")):
        return ResonanceError("RZ-1003", host=urlsplit(address).hostname)
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        if not secure and _shakes_hands(address):
            return _other_scheme(address)
        return ResonanceError("RZ-1002", url=address, reason=message("client.reason.broken_off"))
    return ResonanceError("RZ-1002", url=address, reason=words)


def _shakes_hands(address: str) -> bool:
    """Whether TLS is spoken at ``address``: a server that wants TLS hangs up on plain HTTP without a word."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent, so nobody is trusted
    parts = urlsplit(address)
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 80), timeout=2) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except OSError:
        return False


def _other_scheme(address: str) -> ResonanceError:
    given, other = ("https", "http") if address.startswith("https") else ("http", "https")
    return ResonanceError("RZ-1004", url=address, given=given, other=other)


def _fields(response: httpx.Response, address: str, *names: str) -> dict[str, Any]:
    """The named fields of a good answer; RZ-10xx for any other."""
    if response.status_code != 200:
        raise _refusal(response, address)
    content = _json(response)
    if content is None:
        raise ResonanceError("RZ-1015", url=address, reason=message("client.reason.no_json"))
    for name in names:
        if name not in content:
            raise ResonanceError("RZ-1015", url=address, reason=message("client.reason.no_field", field=name))
    return {name: content[name] for name in names}


def _refusal(response: httpx.Response, address: str) -> ResonanceError:
    status, content = response.status_code, _json(response) or {}
    code, detail = str(content.get("code", "")), str(content.get("detail", ""))
    ours = code.startswith("RZ-")
    if _speaks_tls(response, address):
        return _other_scheme(address)
    if status in (401, 403):
        return ResonanceError("RZ-1007", status=status)
    if status == 413:
        return ResonanceError("RZ-1009", detail=detail)
    if status == 429:
        return ResonanceError("RZ-1011", seconds=response.headers.get("Retry-After", "?"))
    if status in NOT_READY:
        return ResonanceError("RZ-1010", url=address, status=status)
    if status >= 500:
        return ResonanceError("RZ-1013", status=status, detail=detail)
    if ours and code != "RZ-0908":  # RZ-0908: our service, but no such address
        return ResonanceError("RZ-1012", status=status, code=code, detail=detail)
    if status in (404, 405):
        return ResonanceError("RZ-1006", url=address)
    return ResonanceError("RZ-1015", url=address, reason=message("client.reason.status", status=status))


def _speaks_tls(response: httpx.Response, address: str) -> bool:
    """Whether a plain-HTTP request met a server that wants https: it redirects there or says so."""
    if not address.startswith("http:"):
        return False
    redirected = response.is_redirect and response.headers.get("Location", "").startswith("https:")
    words = response.text.lower() if response.status_code == 400 else ""
    return redirected or any(sign in words for sign in _TLS_EXPECTED)


def _json(response: httpx.Response) -> dict[str, Any] | None:
    try:
        content = response.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _is_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
