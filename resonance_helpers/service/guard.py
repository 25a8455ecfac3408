"""The outermost layer: no key, no reading; and never more than the limit, whatever the headers say.

FastAPI parses a body before any dependency runs, so key and size are checked here, on plain ASGI, while the bytes come
in. Also the only place that writes a line for each request: the route's pattern, the status and the time, but no
address, no patient, no words.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.messages import ResonanceError
from ..core.settings import ServiceSettings
from . import page_routes
from .keys import NOBODY, Access, Keyring
from .metrics import Metrics
from .problems import log_failure, problem

OPEN_PATHS = page_routes.PATHS | {"/health", "/livez"}
ADDRESS_PATHS = frozenset({"/health", "/transcribe"})  # what an app with one address field asks for
CLIENT_GONE = 499  # what servers log where the client has gone
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_ADDRESS = re.compile(r"/k/([^/]*)(/.*)?", re.DOTALL)
log = logging.getLogger("resonance.service")


class Guard:
    """ASGI middleware: the key for every path but ``OPEN_PATHS``, the bounds on bodies, a line in the log.

    What the key allows is left in ``request.state.access``. ``/k/<key>/…`` becomes the path behind the key before
    anything else sees it, and a path is looked at in the spelling in which it is routed. What the application fails to
    handle becomes RZ-0909.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, settings: ServiceSettings, metrics: Metrics) -> None:
        self.app = app
        self._keyring = keyring
        self._settings = settings
        self._metrics = metrics
        self._held = _Held(settings.max_held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        method, (scope, access) = scope["method"], self._admitted(_as_routed(scope))
        exchange = _Exchange(receive, send, self._settings.max_body_bytes, self._settings.body_s, self._held)
        try:
            if access:
                scope.setdefault("state", {})["access"] = access
                await self.app(scope, exchange.receive, exchange.send)
            else:
                await problem(ResonanceError("RZ-0901"), scope)(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = CLIENT_GONE
        except Exception as error:
            log_failure(error)
            if not exchange.status:
                await problem(ResonanceError("RZ-0909"), scope)(scope, exchange.receive, exchange.send)
        finally:
            exchange.end()
        route, seconds = getattr(scope.get("route"), "path", "-"), time.perf_counter() - started
        self._metrics.request(route, exchange.status, seconds)
        level = logging.DEBUG if scope["path"] in OPEN_PATHS else logging.INFO  # monitors ask all day
        log.log(level, "%s %s %s %.0f ms", method, route, exchange.status, 1000 * seconds)

    def _admitted(self, scope: Scope) -> tuple[Scope, Access | None]:
        """The scope without a key in its path, and what the key allows; None where none fits."""
        address = _ADDRESS.fullmatch(scope["path"])
        if address:
            key, path = address.groups("/")
            access = self._keyring.access(key, "address") if path in ADDRESS_PATHS else None
            return {**scope, "path": path, "raw_path": path.encode()}, access
        if scope["path"] in OPEN_PATHS:
            return scope, NOBODY
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        access = self._keyring.access(key.strip(), "header")
        return scope, access if scheme.lower() == "bearer" else None


def _as_routed(scope: Scope) -> Scope:
    """The scope as all routes are written: no slash is doubled or the last, and HEAD is a GET, of whose response the
    server keeps the body to itself."""
    path = "/" + "/".join(filter(None, scope["path"].split("/")))
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "path": path, "raw_path": path.encode(), "method": method}


@dataclass
class _Held:
    """The bytes of all bodies that are in memory now. Only the event loop's thread counts."""

    limit: int
    bytes: int = 0


class _Exchange:
    """One request and its response, watched: how many bytes may still come, until when, and how it was answered.

    What is raised here is Starlette's own kind of error: FastAPI lets it pass and would turn any other into a 400.
    """

    def __init__(self, receive: Receive, send: Send, max_bytes: int, body_s: float, held: _Held) -> None:
        self._receive = receive
        self._send = send
        self._bytes_left = max_bytes
        self._deadline = time.monotonic() + body_s
        self._is_whole = False
        self._mine, self._held = 0, held
        self.status = 0

    async def receive(self) -> Message:
        if self._is_whole:  # what comes now is the end of the connection, and may take its time
            return await self._receive()
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                event = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408) from error
        size = len(event.get("body", b""))
        self._is_whole = not event.get("more_body", False)
        self._bytes_left -= size
        self._mine += size
        self._held.bytes += size
        if self._bytes_left < 0:
            raise HTTPException(413)
        if self._held.bytes > self._held.limit:
            raise HTTPException(429)
        return event

    async def send(self, event: Message) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
            headers = MutableHeaders(raw=event["headers"])
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(event)

    def end(self) -> None:
        """The body is in memory no more."""
        self._held.bytes -= self._mine
