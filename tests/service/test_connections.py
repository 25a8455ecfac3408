"""Strangers who only hang on: whoever has a key is answered all the same, and every connection ends some time."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from serving import SHORT, TOKEN, Voices, make_adapter, post, running, until

from resonance_helpers.core.settings import ServiceSettings
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.service.app import create_app
from resonance_helpers.service.certificates import prepare, trusting
from resonance_helpers.service.connections import Crowd, _network, allow_files
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.process import _environment
from resonance_helpers.service.registry import AdapterRegistry
from resonance_helpers.service.server import BATCH, listen

sys.path.append(str(REPOSITORY / "benchmarks"))
import strangers as strangers_module
from strangers import KINDS, hanging

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of open files")
FILES = 1024  # all that many systems allow
KEY = {"Authorization": f"Bearer {TOKEN}"}

# the imports stand below the question for the name, so that the decoders, which import this file, start without them
SERVER = f"""
import resource, sys
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
    from pathlib import Path
    import uvicorn
    from serving import TOKEN, Voices
    from resonance_helpers.service.app import create_app
    from resonance_helpers.service.certificates import prepare
    from resonance_helpers.service.keys import Keyring
    from resonance_helpers.service.registry import AdapterRegistry
    from resonance_helpers.service.server import listen, uvicorn_config
    folder, tls = Path(sys.argv[1]), sys.argv[2] == "https"
    app = create_app(Voices, AdapterRegistry(folder), Keyring(TOKEN))
    with listen("127.0.0.1", 0) as listening:
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn_config(app, prepare(tls, folder, "127.0.0.1"))).run(sockets=[listening])
"""


@dataclass(frozen=True)
class Server:
    """The service as it runs, with a model that answers at once, in a process that may open ``FILES`` files."""

    url: str
    process: psutil.Process
    trust: ssl.SSLContext | bool

    def ask(self) -> tuple[int, float]:
        """The status, and how many seconds it took, of a recording with a key over a connection of its own."""
        started = time.perf_counter()
        files, data = {"file": ("a.wav", SHORT)}, {"patient_id": "alice"}
        with httpx.Client(trust_env=False, verify=self.trust, timeout=60) as client:
            status = client.post(f"{self.url}/transcribe", files=files, data=data, headers=KEY).status_code
        return status, time.perf_counter() - started


@pytest.fixture(scope="module", params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    make_adapter(folder / "adapter", "alice")
    certificate = prepare(request.param == "https", folder, "127.0.0.1")
    (folder / "program.py").write_text(SERVER)
    environment = _environment("") | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests' / 'support'}"}
    command = [sys.executable, str(folder / "program.py"), str(folder), request.param]
    trust = trusting(certificate.file) if certificate else False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            url = f"{request.param}://127.0.0.1:{int(process.stdout.readline())}"
            while not _ready(url, trust):
                time.sleep(0.1)
            yield Server(url, psutil.Process(process.pid), trust)
        finally:
            process.kill()


def _ready(url: str, trust: ssl.SSLContext | bool) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, verify=trust).status_code == 200
    except httpx.TransportError:
        return False


# ── Many of them ─────────────────────────────────────────────────────────────
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_has_a_key_is_answered_while_strangers_want_every_file(server: Server, kind: str) -> None:
    allow_files()
    with hanging(server.url, FILES + 100, (kind,)) as strangers:
        until(lambda: strangers.came >= FILES + 100)
        answers = [server.ask() for _ in range(5)]
        files = server.process.num_fds()
    assert [status for status, _ in answers] == [200] * 5
    assert max(seconds for _, seconds in answers) < 30, answers  # without the bound: never
    assert files < FILES - 50, "room is left for decoders and adapters"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep shorter queues")
def test_a_burst_waits_with_what_it_has_sent() -> None:
    """Linux drops what is sent to a full queue: a question that is sent again comes a second after its connection."""
    burst = 200
    with listen("127.0.0.1", 0) as listening, ExitStack() as sockets:
        listening.listen(BATCH)  # as asyncio does
        listening.setblocking(False)
        for _ in range(burst):
            client = sockets.enter_context(socket.create_connection(listening.getsockname()))
            client.sendall(b"x")
        accepted = [sockets.enter_context(listening.accept()[0]) for _ in range(burst)]
        assert [each.recv(1, socket.MSG_DONTWAIT) for each in accepted] == [b"x"] * burst


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="another process's limit is set")
def test_accepting_goes_on_when_files_ran_out(server: Server) -> None:
    before = server.process.rlimit(psutil.RLIMIT_NOFILE)
    with hanging(server.url, 50, ("half_a_head",)) as strangers:
        server.process.rlimit(psutil.RLIMIT_NOFILE, (server.process.num_fds() + 3, before[1]))
        until(lambda: strangers.came > 5)
        time.sleep(1)
        server.process.rlimit(psutil.RLIMIT_NOFILE, before)
        assert server.ask()[0] == 200


# ── One of them ──────────────────────────────────────────────────────────────
IMPATIENT = ServiceSettings(head_s=0.5, body_s=1.0, decoders=1)


@pytest.fixture(scope="module", params=["http", "https"])
def impatient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("impatient")
    make_adapter(folder / "adapter", "alice")
    app = create_app(Voices, AdapterRegistry(folder), Keyring(TOKEN), IMPATIENT)
    certificate = prepare(request.param == "https", folder, "127.0.0.1")
    with running(app, certificate=certificate, settings=IMPATIENT) as url:
        yield url


@pytest.mark.parametrize("kind", KINDS)
def test_no_stranger_hangs_on_for_ever(impatient: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers_module, "SLOW_S", 0.1)
    with hanging(impatient, 3, (kind,), back=False) as strangers:
        until(lambda: strangers.came == 3)
        until(lambda: not strangers.here.total(), 20)


def test_the_service_stops_though_strangers_hang_on(tmp_path: Path) -> None:
    make_adapter(tmp_path / "adapter", "alice")
    app = create_app(Voices, AdapterRegistry(tmp_path), Keyring(TOKEN), IMPATIENT)
    service = running(app, settings=ServiceSettings())
    with hanging(service.__enter__(), 16, back=False) as strangers:
        until(lambda: strangers.came == 16)
        started = time.monotonic()
        service.__exit__(None, None, None)
        assert time.monotonic() - started < 20  # not for as long as one may take to send a recording


def test_whoever_is_being_answered_stays_whatever_comes(tmp_path: Path) -> None:
    make_adapter(tmp_path / "adapter", "alice")
    few = ServiceSettings(max_connections=16, head_s=0.5, decoders=1)
    voices = Voices(pause_s=2.0)  # longer than the time for a head
    app = create_app(lambda: voices, AdapterRegistry(tmp_path), Keyring(TOKEN), few)
    with running(app, settings=few) as url, ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(post, url, SHORT) for _ in range(4)]
        until(lambda: bool(voices.batches))
        with hanging(url, 100) as strangers:
            until(lambda: strangers.came >= 200)
            assert [answer.result().status_code for answer in answers] == [200] * 4


# ── Who leaves ───────────────────────────────────────────────────────────────
@dataclass(eq=False)
class One:
    """A connection as far as the crowd looks."""

    address: str = "a"
    is_known: bool = False
    is_served: bool = False
    ended: bool = False

    def end(self) -> None:
        self.ended = True


def ended(most: int, *come: One) -> list[int]:
    """Which of those who ``come`` one after the other have been ended."""
    crowd = Crowd(ServiceSettings(max_connections=most), 1 << 20)
    for one in come:
        crowd.enter(one)  # type: ignore[arg-type]
    assert len(crowd) == sum(not one.ended for one in come) <= most
    return [number for number, one in enumerate(come) if one.ended]


def test_the_oldest_of_the_address_leaves_and_not_the_new_one() -> None:
    assert ended(8, *(One() for _ in range(6))) == []
    assert ended(8, *(One() for _ in range(8))) == [0, 1]


def test_others_do_not_leave_for_the_most_crowded_address() -> None:
    assert ended(8, One("family"), *(One() for _ in range(20)), One("neighbour")) == list(range(1, 15))
    many = [One("family"), *(One(f"stranger {number % 3}") for number in range(20))]
    assert 0 not in ended(8, *many)


def test_who_had_an_answer_with_a_key_leaves_last_and_who_waits_for_one_never() -> None:
    assert ended(8, One(is_known=True), One(is_served=True), *(One() for _ in range(8))) == [2, 3, 4, 5]
    assert ended(8, *(One(is_known=True) for _ in range(6)), One()) == [0]
    assert ended(8, *(One(is_served=True) for _ in range(6)), One()) == [6]


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:0db8:0001:0002"),
        (("fe80::1%eth0", 5, 0, 2), "fe80:0000:0000:0000"),
        (None, ""),
        ("", ""),
    ],
)
def test_one_who_has_many_addresses_counts_as_one(peer: object, network: str) -> None:
    assert _network(peer) == network
