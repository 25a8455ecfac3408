"""Clients without a key who want nothing but to stay: as many as there may be, and back as soon as they are gone.

Each is one kind of connection that a server may wait for too long. They hang in a thread of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

BACK_S = 1.0  # until one that was sent away is there again
SLOW_S = 1.0  # between two bytes
TCP_ESTABLISHED = 1

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
_HEAD = b"POST /transcribe HTTP/1.1\r\nHost: x\r\n"
_BODY = _HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n--x\r\n"
_ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


# ── Kinds ────────────────────────────────────────────────────────────────────
async def says_nothing(reader: Reader, writer: Writer) -> None:
    """Over https it does not even begin with TLS."""
    await reader.read()


async def half_a_handshake(reader: Reader, writer: Writer) -> None:
    """The beginning of TLS; a line that never ends where there is none."""
    writer.write(b"\x16\x03\x01\x02\x00\x01")
    await reader.read()


async def half_a_head(reader: Reader, writer: Writer) -> None:
    writer.write(_HEAD)
    await reader.read()


async def slow_head(reader: Reader, writer: Writer) -> None:
    """One byte a second."""
    writer.write(_HEAD + b"X: ")
    await _trickle(writer)


async def slow_body(reader: Reader, writer: Writer) -> None:
    """One byte a second, after a head without a key."""
    writer.write(_BODY)
    await _trickle(writer)


async def idle(reader: Reader, writer: Writer) -> None:
    """A question and its answer, and then nothing more."""
    writer.write(_ASK)
    await reader.read()


async def idle_then_slow(reader: Reader, writer: Writer) -> None:
    """A question, and the head of the next one byte a second."""
    writer.write(_ASK)
    await _trickle(writer)


async def never_reads(reader: Reader, writer: Writer) -> None:
    """A thousand questions, and never a look at the answers."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(1000 * _ASK)
    await _trickle(writer, b" ")


async def _trickle(writer: Writer, byte: bytes = b"x") -> None:
    while not (writer.is_closing() or _is_gone(writer)):
        await asyncio.sleep(SLOW_S)
        writer.write(byte)


def _is_gone(writer: Writer) -> bool:
    """Whether the other side has ended the connection, for one that does not read and so is not told (Linux)."""
    if not hasattr(socket, "TCP_INFO"):
        return False
    return writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_ESTABLISHED


KINDS: dict[str, Callable[[Reader, Writer], Coroutine[Any, Any, None]]] = {
    kind.__name__: kind
    for kind in (
        says_nothing,
        half_a_handshake,
        half_a_head,
        slow_head,
        slow_body,
        idle,
        idle_then_slow,
        never_reads,
    )
}
PLAIN = (says_nothing, half_a_handshake)  # do not speak TLS


# ── Many of them ─────────────────────────────────────────────────────────────
class Strangers:
    """``here``: how many of each kind hang on now; ``came``: how many have come in all."""

    def __init__(self, url: str, back: bool = True) -> None:
        parts = urlsplit(url)
        self._where = parts.hostname, parts.port
        self._tls = _careless() if parts.scheme == "https" else None
        self._back = back
        self.here: Counter[str] = Counter()
        self.came = 0

    async def come(self, count: int, kinds: tuple[str, ...]) -> None:
        """``count`` of them, the kinds in turn, until cancelled, or gone where they do not come back."""
        await asyncio.gather(*(self._come(kinds[number % len(kinds)]) for number in range(count)))

    async def _come(self, kind: str) -> None:
        act = KINDS[kind]
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                tls = None if act in PLAIN else self._tls
                reader, writer = await asyncio.open_connection(sock=await self._connected(), ssl=tls, **_name(tls))
                self.came += 1
                self.here[kind] += 1
                try:
                    await act(reader, writer)
                finally:
                    self.here[kind] -= 1
                    writer.transport.abort()
            if not self._back:
                return
            await asyncio.sleep(BACK_S)

    async def _connected(self) -> socket.socket:
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little room for answers that nobody reads
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, self._where)
        except BaseException:
            sock.close()
            raise
        return sock


@contextmanager
def hanging(url: str, count: int, kinds: tuple[str, ...] = (*KINDS,), back: bool = True) -> Iterator[Strangers]:
    """``count`` strangers at ``url`` for the length of the block."""
    strangers = Strangers(url, back)
    loop = asyncio.new_event_loop()
    task: asyncio.Task[None] = loop.create_task(strangers.come(count, kinds))

    def hang() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=hang, name="strangers")
    thread.start()
    try:
        yield strangers
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _name(tls: ssl.SSLContext | None) -> dict[str, str]:
    return {"server_hostname": ""} if tls else {}


def _careless() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
