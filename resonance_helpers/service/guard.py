"""The outermost layer: no key, no reading; and never more than the limit, whatever the headers say.

FastAPI parses a body before any dependency runs, so key and size are checked here, on plain ASGI, while the bytes come
in. Also the only place that writes a line for each request: the route's pattern, the status and the time, but no
address, no patient, no words.
"""

from __future__ import annotations

import logging
import re
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..messages import ResonanceError
from .keys import NOBODY, Access, Keyring
from .problems import log_failure, problem

OPEN_PATHS = frozenset({"/health", "/livez"})
ADDRESS_PATHS = frozenset({"/health", "/transcribe"})  # what an app with one address field asks for
_ADDRESS = re.compile(r"/k/([^/]*)(/.*)")
log = logging.getLogger("resonance.service")


class Guard:
    """ASGI middleware: the key for every path but ``OPEN_PATHS``, at most ``max_body_bytes``, a line in the log.

    What the key allows is left in ``request.state.access``. ``/k/<key>/…`` becomes the path behind the key before
    anything else sees it. What the application fails to handle becomes RZ-0909.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, max_body_bytes: int) -> None:
        self.app = app
        self.keyring = keyring
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, exchange = time.perf_counter(), _Exchange(receive, send, self.max_body_bytes)
        scope, access = self._admitted(scope)
        try:
            if access:
                scope.setdefault("state", {})["access"] = access
                await self.app(scope, exchange.receive, exchange.send)
            else:
                await problem(ResonanceError("RZ-0901"), scope)(scope, exchange.receive, exchange.send)
        except Exception as error:
            log_failure(error)
            if not exchange.status:
                await problem(ResonanceError("RZ-0909"), scope)(scope, exchange.receive, exchange.send)
        route = getattr(scope.get("route"), "path", "-")
        milliseconds = 1000 * (time.perf_counter() - started)
        level = logging.DEBUG if scope["path"] in OPEN_PATHS else logging.INFO  # monitors ask all day
        log.log(level, "%s %s %s %.0f ms", scope["method"], route, exchange.status, milliseconds)

    def _admitted(self, scope: Scope) -> tuple[Scope, Access | None]:
        """The scope without a key in its path, and what the key allows; None where none fits."""
        address = _ADDRESS.fullmatch(scope["path"])
        if address:
            key, path = address.groups()
            access = self.keyring.access(key, "address") if path in ADDRESS_PATHS else None
            return {**scope, "path": path, "raw_path": path.encode()}, access
        if scope["path"] in OPEN_PATHS:
            return scope, NOBODY
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        access = self.keyring.access(key.strip(), "header")
        return scope, access if scheme.lower() == "bearer" else None


class _Exchange:
    """One request and its response, watched: how many bytes may still come, and how it was answered."""

    def __init__(self, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._bytes_left = max_body_bytes
        self.status = 0

    async def receive(self) -> Message:
        event = await self._receive()
        self._bytes_left -= len(event.get("body", b""))
        if self._bytes_left < 0:
            raise HTTPException(413)  # FastAPI lets its own kind pass and would turn any other into a 400
        return event

    async def send(self, event: Message) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
        await self._send(event)
