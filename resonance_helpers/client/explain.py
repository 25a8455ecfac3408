"""What went wrong between an app and a service, each as an RZ-10xx that says what to do."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..core.messages import ResonanceError, message
from .address import shown

NOT_READY = (502, 503, 504)  # what a proxy answers while the service behind it is not there
# what a server of the other kind says to us: OpenSSL's words, and nginx's and Go's to plain HTTP on a TLS port
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
_TLS_EXPECTED = ("plain http request was sent to https port", "http request to an https server")
_NO_HOST = ("Name or service", "nodename", "getaddrinfo failed", "No address", "name resol")


# ── No answer ────────────────────────────────────────────────────────────────
def on_the_way(error: httpx.RequestError, timeout_s: float) -> ResonanceError:
    """Why a request got no answer that can be read. May ask the address once more, for up to two seconds."""
    address, words = str(error.request.url), _said_by_the_system(error)
    secure = address.startswith("https")
    if isinstance(error, httpx.DecodingError):  # compressed, it says, and is not
        return ResonanceError("RZ-1015", url=shown(address), reason=message("client.reason.no_json"))
    if isinstance(error, httpx.TimeoutException):
        return ResonanceError("RZ-1014", url=shown(address), seconds=f"{timeout_s:g}")
    if secure and any(sign in words.upper().replace(" ", "_") for sign in _NO_TLS):
        return _other_scheme(address)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return ResonanceError("RZ-1005", url=shown(address), reason=words.partition("failed: ")[2] or words)
    if any(sign in words for sign in _NO_HOST):
        return ResonanceError("RZ-1003", host=urlsplit(address).hostname)
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        if not secure and _shakes_hands(address):
            return _other_scheme(address)
        words = message("client.reason.broken_off")
    return ResonanceError("RZ-1002", url=shown(address), reason=words)


def _said_by_the_system(error: BaseException) -> str:
    """The words of the first error with a number: asyncio, and httpx on it, put words of their own before them."""
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "errno", None) is None:
        below = cause.__cause__ or cause.__context__
        cause = below.exceptions[0] if isinstance(below, BaseExceptionGroup) else below
    if isinstance(cause, ConnectionError) and cause.errno:
        return os.strerror(cause.errno)
    return str(cause or error)


def _shakes_hands(address: str) -> bool:
    """Whether TLS is spoken at ``address``: a server that wants TLS hangs up on plain HTTP without a word."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent, so no server is trusted
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
    return ResonanceError("RZ-1004", url=shown(address), given=given, other=other)


# ── An answer ────────────────────────────────────────────────────────────────
def fields(response: httpx.Response, *names: str) -> dict[str, Any]:
    """The named fields of a good answer; RZ-10xx for any other."""
    if response.status_code != 200:
        raise refusal(response)
    content = content_of(response)
    if content is None:
        raise not_ours(response, message("client.reason.no_json"))
    for name in names:
        if name not in content:
            raise not_ours(response, message("client.reason.no_field", field=name))
    return {name: content[name] for name in names}


def refusal(response: httpx.Response) -> ResonanceError:
    """What an answer that is none means."""
    address, status, content = str(response.url), response.status_code, content_of(response) or {}
    code, detail = str(content.get("code", "")), str(content.get("detail", ""))
    ours = code.startswith("RZ-")
    if _speaks_tls(response, address):
        return _other_scheme(address)
    if status == 401 or (status == 403 and not ours):
        return ResonanceError("RZ-1007", status=status)
    if status == 413:
        return ResonanceError("RZ-1009", detail=detail)
    if status == 429:
        return ResonanceError("RZ-1011", seconds=response.headers.get("Retry-After", "?"))
    if status in NOT_READY:
        return ResonanceError("RZ-1010", url=shown(address), status=status)
    if status >= 500:
        return ResonanceError("RZ-1013", status=status, detail=detail)
    if ours and code != "RZ-0908":  # RZ-0908: our service, but no such address
        return ResonanceError("RZ-1012", status=status, code=code, detail=detail)
    if status in (404, 405):
        return ResonanceError("RZ-1006", url=shown(address), status=status)
    return not_ours(response, message("client.reason.status", status=status))


def not_ours(response: httpx.Response, reason: str) -> ResonanceError:
    return ResonanceError("RZ-1015", url=shown(str(response.url)), reason=reason)


def content_of(response: httpx.Response) -> dict[str, Any] | None:
    """The answer as a JSON object; None where it is anything else."""
    try:
        content = response.json()
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _speaks_tls(response: httpx.Response, address: str) -> bool:
    """Whether a plain-HTTP request met a server that wants https: it redirects there or says so."""
    if not address.startswith("http:"):
        return False
    redirected = response.is_redirect and response.headers.get("Location", "").startswith("https:")
    words = response.text.lower() if response.status_code == 400 else ""
    return redirected or any(sign in words for sign in _TLS_EXPECTED)
