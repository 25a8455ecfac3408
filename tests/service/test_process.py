"""The service as a process: what stops its start, and the real one with a real Whisper."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from serving import HTTP, TOKEN, Voices, make_adapter, post, running, sound

from resonance_helpers import ResonanceError, service
from resonance_helpers.client import ResonanceClient
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import PRACTICE_MODEL
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.service import process as process_module
from resonance_helpers.service import server as server_module
from resonance_helpers.service.__main__ import main
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.registry import AdapterRegistry


def test_a_missing_package_is_a_sentence_with_the_pip_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server_module, "NEEDED", {"no_such_module": "no-such-package"})
    for call in (service.start, service.serve):
        with pytest.raises(ResonanceError) as caught:
            call(tmp_path)
        assert caught.value.code == "RZ-0920"
        for lang in LANGUAGES:
            assert "pip install no-such-package" in message("RZ-0920", lang=lang, **caught.value.facts)


def test_a_workspace_that_is_not_trained_names_lesson_06(tmp_path: Path) -> None:
    with pytest.raises(ResonanceError) as caught:
        service.start(Workspace(tmp_path, tmp_path, "alice"))
    assert caught.value.code == "RZ-0006"


def test_a_taken_port_is_said_before_anything_is_loaded(folder_of_two: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for call in (service.start, service.serve):
            with pytest.raises(ResonanceError) as caught:
                call(folder_of_two, port=port)
            assert caught.value.code == "RZ-0923"
            for lang in LANGUAGES:
                assert str(port) in message("RZ-0923", lang=lang, **caught.value.facts)


@pytest.mark.parametrize("host", ["256.0.0.1", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_said(folder_of_two: Path, host: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        service.start(folder_of_two, host=host)
    assert caught.value.code == "RZ-0923"


def test_a_folder_without_adapters_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in (service.start, service.serve):
        with pytest.raises(ResonanceError) as caught:
            call(tmp_path)
        assert caught.value.code == "RZ-0921"
    monkeypatch.setattr(sys, "argv", ["service", str(tmp_path)])
    assert main() == 1
    assert "RZ-0921" in capsys.readouterr().err


@pytest.fixture
def fake_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Have ``start`` run a small program in the service's place."""

    def run(program: str) -> None:
        make_adapter(tmp_path / "adapter", "alice")
        script = tmp_path / "program.py"
        script.write_text(program)
        real = subprocess.Popen
        monkeypatch.setattr(
            process_module.subprocess, "Popen", lambda argv, **more: real([argv[0], str(script), *argv[3:]], **more)
        )

    return run


def test_a_slow_start_is_ended_and_says_so(fake_process: Callable[[str], None], tmp_path: Path) -> None:
    fake_process("import time\nprint('loading')\ntime.sleep(60)")
    with pytest.raises(ResonanceError) as caught:
        service.start(tmp_path, timeout_s=0.5)
    assert caught.value.code == "RZ-0926"
    for lang in LANGUAGES:
        said = message("RZ-0926", lang=lang, **caught.value.facts)
        assert "loading" in said and "timeout_s" in said and "0.5" in said


def test_the_key_travels_in_the_environment_alone(fake_process: Callable[[str], None], tmp_path: Path) -> None:
    fake_process("import os, sys\nprint(sys.argv, os.environ['RESONANCE_TOKEN'] == 'k' * 20)\nsys.exit(3)")
    with pytest.raises(ResonanceError) as caught:
        service.start(tmp_path, token="k" * 20)
    assert "True" in caught.value.facts["log"] and "kkkk" not in str(caught.value)
    assert caught.value.facts["exit_code"] == 3


def test_the_log_is_read_as_the_service_writes_it(folder_of_two: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="resonance.service")
    caplog.handler.setFormatter(logging.Formatter(server_module.LOG_FORMAT))
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as address:
        post(address)
        post(address, data={"patient_id": "nobody"})
        post(address, headers={"Authorization": "Bearer wrong"})
    lines = process_module.logged_requests(f"loading\n{caplog.text}Traceback …\n")
    assert [(line.route, line.status) for line in lines] == [
        ("POST /transcribe", 200),
        ("POST /transcribe", 404),
        ("POST -", 401),
    ]
    assert all(0 <= line.milliseconds < 60_000 for line in lines)
    assert all(time.strptime(line.at, "%Y-%m-%d %H:%M:%S") for line in lines)


@pytest.mark.slow
def test_the_real_process_serves_a_real_model_and_ends(practice_adapter: Workspace) -> None:
    with service.start(practice_adapter) as running_service:
        answer = post(running_service.url, headers={"Authorization": f"Bearer {running_service.token}"}, data={})
        assert answer.status_code == 200 and answer.json()["model"] == PRACTICE_MODEL
        children = psutil.Process(running_service._process.pid).children()
        assert len(children) >= 2 and not any(server_module.TOKEN_VARIABLE in child.environ() for child in children)
    log = running_service.log(100)  # the line of an answer is written after it was sent
    assert running_service.url in log and "POST /transcribe 200" in log
    assert running_service.token not in log
    assert running_service.log_path.is_relative_to(practice_adapter.output_dir)
    assert not running_service.running
    with pytest.raises(httpx.ConnectError):
        HTTP.get(f"{running_service.url}/health")
    running_service.stop()  # again does no harm


@pytest.mark.slow
def test_the_real_process_serves_https_to_who_trusts_its_certificate(practice_adapter: Workspace) -> None:
    with service.start(practice_adapter, tls=True) as secure:
        assert secure.url.startswith("https://") and secure.ca_file
        with ResonanceClient(secure.url, secure.token, ca_file=secure.ca_file) as client:
            assert client.transcribe(sound()).model == PRACTICE_MODEL
        with ResonanceClient(secure.url, secure.token) as stranger, pytest.raises(ResonanceError) as caught:
            stranger.health()
        assert caught.value.code == "RZ-1005"
    assert service.Certificate(secure.ca_file, secure.ca_file.with_name("key.pem")).fingerprint in secure.log(100)
    assert [(line.route, line.status) for line in secure.requests()] == [("POST /transcribe", 200)]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_process_with_the_reason(practice_adapter: Workspace) -> None:
    with pytest.raises(ResonanceError) as caught:
        service.start(practice_adapter, base_model="no/such-model")
    assert caught.value.code == "RZ-0925" and caught.value.facts["exit_code"] == 1
    assert "RZ-065" in caught.value.facts["log"]


@pytest.mark.slow
def test_the_service_ends_when_its_parent_is_killed(practice_adapter: Workspace, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from resonance_helpers import service\n"
        f"print(service.start(Path({str(practice_adapter.output_dir)!r})).url, flush=True); time.sleep(600)"
    )
    environment = process_module._environment("")
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        address = parent.stdout.readline().strip()
        assert HTTP.get(f"{address}/health").status_code == 200
        os.kill(parent.pid, signal.SIGKILL)
    for _ in range(300):
        try:
            HTTP.get(f"{address}/health")
        except httpx.TransportError:
            return
        time.sleep(0.1)
    pytest.fail("the service outlived its parent")
