"""Run the service as a process of its own, as lesson 09 does, and be sure to end it.

The child reads its standard input, which nothing is written to: it ends when this process closes it or dies, however it
dies. A restarted Jupyter kernel leaves no service behind that keeps the GPU, and stopping needs no signals, which
Windows does not have.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..core.messages import ResonanceError
from ..core.settings import ServiceSettings
from ..core.workspace import REPOSITORY, Workspace, make_folder, open_private, private_files
from . import certificates
from .certificates import Certificate
from .keys import new_key
from .server import GRACE_S, TOKEN_VARIABLE, adapters_folder, listen, require_installed, url_of

LOG_LINES = 12  # of the log, in an error
POLL_S = 0.1
_REQUEST = re.compile(r"^(\S+ [\d:]+),\d+ ([A-Z]+ \S+) (\d+) (\d+) ms$", re.MULTILINE)  # as ``guard`` writes it


@dataclass(frozen=True)
class LoggedRequest:
    """What the service's log keeps of one request. No name, key or words are in it."""

    at: str  # the machine's own time, YYYY-MM-DD HH:MM:SS
    route: str  # such as ``POST /transcribe``
    status: int
    milliseconds: int


class ServiceProcess:
    """A running service. Use it as a context manager, or call ``stop``; it also ends with this Python.

    ``ca_file`` is the certificate of a service that speaks https, for clients: they trust it and no other.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], url: str, token: str, log_path: Path, ca_file: Path | None = None
    ) -> None:
        self._process = process
        self.url = url
        self.token = token
        self.log_path = log_path
        self.ca_file = ca_file
        self._trust = certificates.trusting(ca_file) if ca_file else None
        atexit.register(self.stop)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log(self, lines: int = LOG_LINES) -> str:
        """The last lines of the service's log."""
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def requests(self) -> list[LoggedRequest]:
        """The requests in the log, the oldest first. Questions for ``/health`` are not in it: monitors ask all day."""
        return logged_requests(self.log_path.read_text(encoding="utf-8", errors="replace"))

    def stop(self, grace_s: float = GRACE_S + 5) -> None:
        """Let it finish the answers it is giving, for ``grace_s`` seconds, then end it. May be called again."""
        atexit.unregister(self.stop)
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return when ``/health`` answers. Raises RZ-0925 (it ended) or RZ-0926 (too slow, stopped)."""
        deadline = time.monotonic() + timeout_s
        while not self._is_healthy():
            if not self.running:
                code = self._process.returncode
                raise ResonanceError("RZ-0925", exit_code=code, log=self.log(), path=self.log_path)
            if time.monotonic() > deadline:
                self.stop(grace_s=0)
                raise ResonanceError("RZ-0926", seconds=f"{timeout_s:g}", log=self.log(), path=self.log_path)
            time.sleep(POLL_S)

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _is_healthy(self) -> bool:
        no_proxy = urllib.request.ProxyHandler({})  # a proxy cannot reach this machine
        direct = urllib.request.build_opener(no_proxy, urllib.request.HTTPSHandler(context=self._trust))
        try:
            with direct.open(f"{self.url}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def logged_requests(log: str) -> list[LoggedRequest]:
    """The lines of a service's log that tell of a request."""
    return [LoggedRequest(at, route, int(status), int(ms)) for at, route, status, ms in _REQUEST.findall(log)]


def start(
    adapters: Workspace | Path,
    base_model: str = "",
    port: int = 0,
    host: str = ServiceSettings.host,
    token: str | None = None,
    timeout_s: float = 300.0,
    tls: bool | Certificate = False,
    corrections: Path | None = None,
) -> ServiceProcess:
    """Start ``python -m resonance_helpers.service`` and wait until it answers.

    ``adapters``, ``base_model``, ``tls`` and ``corrections`` are as for ``serve``; ``port`` 0 picks a free one; without
    a ``token`` one is made. ``timeout_s`` covers loading the model. Raises RZ-0006, RZ-0920, RZ-0923, RZ-0925, RZ-0926
    and RZ-095x.
    """
    require_installed()
    folder = adapters_folder(adapters)
    certificate = certificates.prepare(tls, folder, host)
    with listen(host, port) as probe:  # says at once that a port is taken, and finds a free one
        port = probe.getsockname()[1]
    token = token or new_key()
    log_path = folder / "cache" / f"service-{port}.log"
    make_folder(log_path.parent)
    arguments = [str(folder), "--host", host, "--port", str(port), "--base-model", base_model, "--until-stdin-closes"]
    if certificate:  # named, so that the child serves with the very one that is trusted here
        arguments += ["--tls-cert", str(certificate.file), "--tls-key", str(certificate.key)]
    if corrections:
        arguments += ["--corrections", str(corrections)]
    with private_files(), open_private(log_path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "resonance_helpers.service", *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(token),
            start_new_session=True,  # the interrupt button of a notebook is not meant for the service …
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # … nor is it on Windows
        )
    url = url_of(host, port, secure=certificate is not None)
    service = ServiceProcess(process, url, token, log_path, certificate.file if certificate else None)
    try:
        service.wait_until_ready(timeout_s)
    except BaseException:  # an impatient Ctrl + C as well
        service.stop(grace_s=0)
        raise
    return service


def _environment(token: str) -> dict[str, str]:
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]  # notebooks may run before an install
    return {
        **os.environ,
        TOKEN_VARIABLE: token,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",  # the log is UTF-8 on Windows too
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # a bar in a log file is a hundred lines
    }
