"""How many connections the service has, and which of them it ends: those of strangers, the oldest first.

Each connection is an open file, and 1,024 files are all that many systems allow; whoever holds them without asking
anything would keep the family out. So there is a time for TLS and for a request's head, a bound on all connections and
on those of one address, and where one too many comes, it is let in and another ends: of the most crowded address the
one that has been there for the longest time. Not the new one is refused, since strangers and family may come from one
address, through a tunnel or a proxy. Who has been answered with a key is the last to go, and who is being answered or
waits for it never goes. What a stranger asks meanwhile changes nothing, or many quick questions would be a way to stay.

Of the servers for ASGI none does this. uvicorn's ``limit_concurrency`` refuses the new one, its keep-alive timer is
stopped by any byte, and a head may take for ever; hypercorn and granian have times for the head or between two reads,
but no bound under which idle connections give way. So this is uvicorn's own protocol with these steps watched. TLS is
begun here and not by uvicorn, whose protocol hears of a connection only after the handshake.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..core.settings import ServiceSettings
from .keys import NOBODY

FILES = 16_384  # that the service asks the system for; its own needs are some dozens
STOP_S = 1.0  # for idle connections to end when the service stops


def allow_files() -> int:
    """Raise this process's own limit of open files as far as the system lets it, up to ``FILES``; the limit."""
    try:
        import resource
    except ImportError:  # Windows has none
        return FILES
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (FILES if limit == resource.RLIM_INFINITY else limit for limit in given)
    wanted = min(hard, FILES)
    if soft < wanted:
        with suppress(OSError, ValueError):  # macOS refuses more than a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, given[1]))
            return wanted
    return soft


class Crowd:
    """All connections, by address. Belongs to one event loop.

    ``files`` is how many this process may open; three quarters of them are for connections, three quarters of those for
    one address. ``tls`` is the context of a service that speaks https.
    """

    def __init__(self, settings: ServiceSettings, files: int, tls: ssl.SSLContext | None = None) -> None:
        self.settings, self.tls = settings, tls
        self.is_closing = False  # the service stops
        self.most = min(settings.max_connections, files * 3 // 4)
        self.most_of_one = self.most * 3 // 4
        self._from: dict[str, dict[Connection, None]] = {}  # the oldest first

    def __len__(self) -> int:
        return sum(map(len, self._from.values()))

    def enter(self, connection: Connection) -> None:
        """Let it in; another ends where it is one too many, or itself where all others are being answered."""
        mine = self._from.setdefault(connection.address, {})
        mine[connection] = None
        if len(mine) > self.most_of_one:
            self._make_room(mine, connection)
        elif len(self) > self.most:
            self._make_room(max(self._from.values(), key=len), connection)

    def answered(self, connection: Connection) -> None:
        """A request with a key was answered: the connection counts as new."""
        mine = self._from.get(connection.address, {})
        if connection in mine:
            mine[connection] = mine.pop(connection)

    def leave(self, connection: Connection) -> None:
        mine = self._from.get(connection.address, {})
        mine.pop(connection, None)
        if not mine:
            self._from.pop(connection.address, None)

    def _make_room(self, among: Collection[Connection], newest: Connection) -> None:
        strangers = (each for each in among if not each.is_known and not each.is_served and each is not newest)
        others = (each for each in among if not each.is_served and each is not newest)
        leaves = next(strangers, None) or next(others, newest)
        self.leave(leaves)
        leaves.end()


class Connection(H11Protocol):
    """One connection of ``crowd``."""

    def __init__(self, crowd: Crowd, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._crowd = crowd
        self._early = b""  # what came before TLS was known to be there
        self._unread = math.inf  # bytes of the answer, when last looked at
        self.is_known = False  # has had an answer with a key

    # ── Steps forward ────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._raw = transport
        self.address = _network(transport.get_extra_info("peername"))
        self.connections.add(self)  # uvicorn waits for these when it stops
        self._step_at = self.loop.time()
        self._timer = self.loop.call_later(self._crowd.settings.head_s, self._look)
        self._crowd.enter(self)
        if self._crowd.is_closing:  # it was accepted just before, and uvicorn has told all others to end
            self.end()
        if not self._crowd.tls:
            super().connection_made(transport)
        elif not transport.is_closing():
            transport.pause_reading()
            self._securing = self.loop.create_task(self._secure(self._crowd.tls))

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._step()

    def on_response_complete(self) -> None:
        self._step()
        if self._has_key:
            self.is_known = True
            self._crowd.answered(self)
        elif self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            self.transport.close()  # a stranger who asks again without a look at the answer has nothing to do here
        super().on_response_complete()

    def _step(self) -> None:
        self._step_at, self._unread = self.loop.time(), math.inf

    async def _secure(self, tls: ssl.SSLContext) -> None:
        try:
            secure = await self.loop.start_tls(
                self._raw, self, tls, server_side=True, ssl_handshake_timeout=self._crowd.settings.head_s
            )
        except OSError:  # no TLS, or too slow; asyncio has closed it
            secure = None
        if secure is None or self._raw.is_closing():
            self._left()
            self._raw.abort()
            return
        super().connection_made(secure)
        if self._early:
            super().data_received(self._early)

    def data_received(self, data: bytes) -> None:
        if self.transport is None:  # asyncio gives what came with the last step of the handshake before it says so
            self._early += data
        else:
            super().data_received(data)

    # ── The end ──────────────────────────────────────────────────────────────
    @property
    def is_served(self) -> bool:
        """Whether a request with a key is being answered, or waits for that."""
        return self.cycle is not None and not self.cycle.response_complete and self._has_key

    @property
    def _has_key(self) -> bool:
        return self.scope["state"].get("access", NOBODY) != NOBODY  # as ``guard`` has found

    def end(self) -> None:
        """At once: a close that waits until everything is read may wait for ever."""
        self._raw.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        if self.transport is not None:
            super().connection_lost(exc)

    def shutdown(self) -> None:
        self._crowd.is_closing = True
        if self.transport is None:
            self.end()
            return
        super().shutdown()
        if not self.is_served:
            self.loop.call_later(STOP_S, self.end)

    def _left(self) -> None:
        self._crowd.leave(self)
        self.connections.discard(self)
        self._timer.cancel()

    def _look(self) -> None:
        """End it if its next step is due; else look again when it is."""
        due_s = self._due_s() - self.loop.time()
        if due_s <= 0:
            self.end()
        else:
            self._timer = self.loop.call_later(due_s, self._look)

    def _due_s(self) -> float:
        """The loop's time by which the next step has to come."""
        settings = self._crowd.settings
        unread = self.transport.get_write_buffer_size() if self.transport else 0
        reads, self._unread = 0 < unread < self._unread, unread
        if self.is_served or reads:
            return self.loop.time() + settings.head_s
        # who was refused at once may still be sending a recording, and reads the answer only then
        sends_body = self.conn.their_state is h11.SEND_BODY
        return self._step_at + (settings.body_s if sends_body else settings.head_s)


def _network(peer: Any) -> str:
    """What counts as one address. An IPv6 address comes with the 2⁶⁴ of the same prefix."""
    try:
        address = ip_address(peer[0].partition("%")[0])
    except (TypeError, ValueError, IndexError):  # gone already, or no address of the internet
        return ""
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or address.exploded[:19])
    return str(address)
