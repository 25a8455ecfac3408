"""The process that serves: load the model, listen, say where and with which key."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.messages import ResonanceError, message
from ..core.settings import PRACTICE_MODEL, ServiceSettings
from ..core.workspace import Workspace, require
from . import certificates
from .certificates import Certificate
from .keys import KEYS_FILE, Keyring, new_key, read_keys

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from .registry import AdapterRegistry
    from .voices import WhisperRecogniser

TOKEN_VARIABLE = "RESONANCE_TOKEN"  # the environment, because everybody on a machine may read a command line
NEEDED = {  # module → package
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
    "cryptography": "cryptography",
    "psutil": "psutil",
}
LAYOUTS = ("", "adapter/", "*/adapter/")  # where manifests lie below the served folder, as `registry` reads them
LOG_FORMAT = "%(asctime)s %(message)s"
# How many connections are accepted before the next look at those that are there: so few that the question of a new one
# is read before so many others have come that it would have to go
BATCH = 32
# Connections that wait for that in the system, as far as it allows. Where they are more, it drops what they have sent,
# and the sender tries again a second later: until then a question counts as one that says nothing.
QUEUE = 4096
GRACE_S = round(ServiceSettings.deadline_s) + 1  # for what was accepted when the service is told to stop


def serve(
    adapters: Workspace | Path,
    base_model: str = "",
    host: str = ServiceSettings.host,
    port: int = ServiceSettings.port,
    token: str | None = None,
    *,
    tls: bool | Certificate = False,
    corrections: Path | None = None,
    until: Callable[[], object] | None = None,
) -> None:
    """Serve the adapters of one patient (a workspace or ``OUTPUT_DIR``) or of a folder of many until Ctrl + C.

    ``base_model`` is a name or folder; empty means the one the adapters were trained on. Without a ``token`` that of
    the environment (``RESONANCE_TOKEN``) is used; where that is missing too and the folder's file of keys has none, one
    is made and shown. ``tls`` serves https: with your own certificate, or with one that is made here when True.
    ``corrections`` is the folder of the recordings, to which corrected ones are added with consent.
    ``until`` blocks in a thread of its own; when it returns, the service stops. Raises RZ-0006, RZ-092x, RZ-095x,
    RZ-061x and RZ-065x.
    """
    require_installed()
    folder = adapters_folder(adapters)
    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    certificate = certificates.prepare(tls, folder, host)
    with listen(host, port) as listening, _taken(TOKEN_VARIABLE) as of_environment:
        import uvicorn

        from .app import create_app
        from .registry import AdapterRegistry

        registry = AdapterRegistry(folder)
        file = folder / KEYS_FILE
        given = token or of_environment
        made = "" if given or read_keys(file) else new_key()
        keyring = Keyring(given or made, file)
        failures: list[BaseException] = []

        def on_loaded(failure: BaseException | None) -> None:
            if failure:
                failures.append(failure)
                server.should_exit = True
            else:
                _introduce(registry, listening, certificate, shown_key=made)

        app = create_app(
            lambda: _voices(registry, base_model, folder),
            registry,
            keyring,
            on_loaded=on_loaded,
            corrections=corrections,
        )
        server = uvicorn.Server(uvicorn_config(app, certificate))
        if until:
            threading.Thread(target=_stop_after, args=(until, server), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
        if failures:
            raise failures[0]


def uvicorn_config(
    app: FastAPI, certificate: Certificate | None = None, settings: ServiceSettings | None = None
) -> uvicorn.Config:
    """How the service runs. No access log: paths may hold keys and queries anything; ``guard`` writes its own lines."""
    import uvicorn

    from .connections import Connection, Crowd, allow_files

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if tls and certificate:
        tls.load_cert_chain(certificate.file, certificate.key)
    crowd = Crowd(settings or ServiceSettings(), allow_files(), tls)
    return uvicorn.Config(
        app,
        http=partial(Connection, crowd),  # type: ignore[arg-type]  # uvicorn only calls it
        backlog=BATCH,
        log_config=None,
        log_level="error",  # its warnings are about requests of strangers, who could fill the disk with them
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
    )


def require_installed() -> None:
    """RZ-0920 with the pip command when the packages of the service are not there."""
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ResonanceError("RZ-0920", missing=" ".join(missing))


def adapters_folder(adapters: Workspace | Path) -> Path:
    """The folder to serve, after a look that needs no torch. Raises RZ-0006 (not trained yet) and RZ-0921 (empty)."""
    if isinstance(adapters, Workspace):
        require(adapters.adapter, lesson=6)
        adapters = adapters.output_dir
    folder = adapters.expanduser().resolve()
    if not any(path for pattern in LAYOUTS for path in folder.glob(f"{pattern}resonance.json")):
        raise ResonanceError("RZ-0921", path=folder)
    return folder


class _Listening(socket.socket):
    """Queues ``QUEUE`` connections: uvicorn and asyncio have one number for this and for ``BATCH``."""

    def listen(self, backlog: int = 0, /) -> None:
        super().listen(max(backlog, QUEUE))


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to ``host`` and ``port`` (0: any free one), before anything slow happens. Raises RZ-0923."""
    with contextlib.ExitStack() as undo:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            family, kind, protocol, _, address = found
            # asyncio turns delays off only where the protocol is named; else an answer waits 40 ms for an ACK
            listening = undo.enter_context(_Listening(family, kind, protocol))
            if sys.platform != "win32":  # there it would let two services share a port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except (OSError, OverflowError) as error:
            raise ResonanceError("RZ-0923", host=host, port=port, reason=error) from error
        undo.pop_all()
    return listening


def url_of(host: str, port: int, secure: bool = False) -> str:
    """The address under which a service that listens on ``host`` is reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'https' if secure else 'http'}://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


def _voices(registry: AdapterRegistry, base_model: str, folder: Path) -> WhisperRecogniser:
    from ..asr.base_models import resolve
    from ..asr.whisper import load_speech_model
    from .voices import WhisperRecogniser

    name = base_model or registry.base_model
    print(message("service.loading", model=name), flush=True)
    base = resolve(name, folder / "cache", on_message=lambda text: print(text, flush=True))
    voices = WhisperRecogniser(load_speech_model(base, registry.language), registry)
    voices.warm_up(registry.patients[0])
    return voices


def _introduce(
    registry: AdapterRegistry, listening: socket.socket, certificate: Certificate | None, shown_key: str
) -> None:
    host, port = listening.getsockname()[:2]
    url = url_of(host, port, secure=certificate is not None)
    lines = [
        message("service.ready", url=url, count=len(registry.patients), model=registry.base_model),
        message("service.not_for"),
    ]
    if certificate:
        lines += _about(certificate, host, port)
    if registry.base_model == PRACTICE_MODEL:
        lines.append(message("service.practice"))
    if host not in ("127.0.0.1", "::1"):
        lines.append(message("service.public", host=host))
    if shown_key:
        lines.append(message("service.new_key", token=shown_key))
    print("\n".join(lines), flush=True)


def _about(certificate: Certificate, host: str, port: int) -> list[str]:
    """What a family needs to know to trust the certificate, and the addresses for their phones."""
    lines = [message("service.tls", fingerprint=certificate.fingerprint, day=f"{certificate.ends:%Y-%m-%d}")]
    if certificate.is_self_signed:
        lines.append(message("service.tls.warns"))
        if ip_address(host).is_loopback:
            lines.append(message("service.tls.loopback"))
        if ip_address(host).is_unspecified:
            urls = (url_of(address, port, secure=True) for address in certificates.addresses_to_show(certificate))
            lines.append(message("service.tls.addresses", urls="  ".join(urls)))
    return lines


@contextlib.contextmanager
def _taken(variable: str) -> Iterator[str]:
    """The value of an environment variable, which is not there for the length of the block: no decoder inherits it."""
    value = os.environ.pop(variable, "")
    try:
        yield value
    finally:
        if value:
            os.environ[variable] = value


def _stop_after(until: Callable[[], object], server: uvicorn.Server) -> None:
    until()
    server.should_exit = True
