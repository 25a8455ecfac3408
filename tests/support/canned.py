"""Servers that answer as a test says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from serving import running

from resonance_helpers.service import server as server_module
from resonance_helpers.service.certificates import Certificate

GOOD = {"text": "好", "uncertain": None, "duration": 1.0, "seconds": 0.1, "model": "m"}


@contextmanager
def canned(
    answer: bytes, wrap: Callable[[socket.socket], socket.socket] = lambda s: s
) -> Iterator[tuple[str, bytearray]]:
    """A server that reads a request and sends ``answer``; gives host:port and what it was sent."""
    received = bytearray()

    def run() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed: the test is over
                return
            try:
                with wrap(connection) as talking:
                    talking.settimeout(0.3)
                    while chunk := talking.recv(65_536):
                        received.extend(chunk)
                        if received.endswith(b"--\r\n") or received.startswith(b"GET"):
                            break
                    talking.sendall(answer)
            except OSError:  # the client left, or it did not speak our protocol
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=run, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", received
        listening.shutdown(socket.SHUT_RDWR)


def http(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close", *headers]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


@contextmanager
def service_that_says(*statuses: int, **headers: str) -> Iterator[tuple[str, list[bytes]]]:
    """A real server that answers with ``statuses`` in turn, then with 200; gives its address and what was uploaded."""
    app, got = FastAPI(), list[bytes]()

    @app.post("/transcribe")
    async def transcribe(request: Request) -> JSONResponse:
        form = await request.form()
        got.append(await form["file"].read())  # type: ignore[union-attr]
        left = statuses[(len(got) - 1) % (len(statuses) + 1) :]
        return JSONResponse({"code": "x"}, left[0], headers) if left else JSONResponse(GOOD)

    with running(app, until_ready=False) as address:
        yield address, got


@contextmanager
def healthy(certificate: Certificate | None) -> Iterator[int]:
    """Something that answers ``/health`` over https as the service does; gives its port."""
    app = FastAPI()
    app.get("/health")(lambda: {"status": "ok"})
    with server_module.listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(server_module.uvicorn_config(app, certificate))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
