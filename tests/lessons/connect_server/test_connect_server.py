"""Commands that are safe to paste, and where this Python runs."""

from __future__ import annotations

import json
import os
import shlex
import socket
from pathlib import Path

import pytest

from resonance_helpers import ResonanceError
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import AUTODL_PORTS
from resonance_helpers.lessons.connect_server import logic as server_access
from resonance_helpers.lessons.connect_server.logic import Server, parse_ssh

HOST = "connect.example.com"


# ── Reading a pasted command ─────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("ssh -p 12345 root@connect.example.com", Server(HOST, 12345)),
        ("ssh root@connect.example.com -p 12345", Server(HOST, 12345)),
        ("ssh -p12345 root@connect.example.com", Server(HOST, 12345)),
        ("root@connect.example.com", Server(HOST, 22)),
        ("  SSH 连接：ssh -p 12345 root@connect.example.com \n密码：autodl\n", Server(HOST, 12345)),
        ("ssh -p 12345 li.hua-2@203.0.113.5", Server("203.0.113.5", 12345, "li.hua-2")),
        ("ssh -p 22 root@2001:db8::1", Server("2001:db8::1", 22)),
    ],
)
def test_a_pasted_login_command_is_read(text: str, server: Server) -> None:
    assert parse_ssh(text) == server


def test_what_is_made_can_be_read_again() -> None:
    assert parse_ssh(server_access.ssh_command(HOST, 12345, "ubuntu")) == Server(HOST, 12345, "ubuntu")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "RZ-0204"),
        ("hello", "RZ-0204"),
        ("ssh", "RZ-0204"),
        ("ssh connect.example.com", "RZ-0204"),
        ("ssh -L 1:2:3 root@connect.example.com", "RZ-0204"),
        ("ssh root@connect.example.com; rm -rf ~", "RZ-0204"),
        ("ssh root@connect.example.com;reboot", "RZ-0201"),
        ("ssh root@a.example.com root@b.example.com", "RZ-0204"),
        ("ssh -p twelve root@connect.example.com", "RZ-0202"),
        ("ssh root@connect.example.com -p", "RZ-0202"),
        ("ssh -p 123456 root@connect.example.com", "RZ-0202"),
        ("ssh -p 12345 root@123.456.789.0", "RZ-0201"),
        ("ssh -p 12345 ro'ot@connect.example.com", "RZ-0203"),
    ],
)
def test_rubbish_is_refused_with_its_code(text: str, code: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        parse_ssh(text)
    assert caught.value.code == code


def test_the_refusal_quotes_the_word_and_shows_the_right_shape_in_both_languages() -> None:
    with pytest.raises(ResonanceError) as caught:
        parse_ssh("ssh -X root@connect.example.com")
    for lang in LANGUAGES:
        words = message(caught.value.code, lang=lang, **caught.value.facts)
        assert "-X" in words and "ssh -p 12345 root@connect.example.com" in words


# ── Nothing that a shell would interpret gets into a command ─────────────────
HOSTILE = [
    "",
    "-oProxyCommand=x",
    "a b",
    "a;b",
    "a$(b)",
    "a`b`",
    "a'b",
    'a"b',
    "a|b",
    "a&b",
    "a\nb",
    "..",
    "a/b",
    "a:b",
]


@pytest.mark.parametrize("word", [*HOSTILE, "http://a", "10.0.0", "fe80::1%eth0;b", "x" * 254, "主机", "a_b.com"])
def test_a_hostile_host_is_refused(word: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        server_access.ssh_command(word, 22)
    assert caught.value.code == "RZ-0201"


@pytest.mark.parametrize("word", [*HOSTILE, "x" * 33, "用户", "1abc", "a@b"])
def test_a_hostile_user_is_refused(word: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        server_access.tunnel_command(HOST, 22, 8000, 6006, word)
    assert caught.value.code == "RZ-0203"


@pytest.mark.parametrize("port", [0, -1, 65_536, True, "22; rm", 22.0])
def test_a_wrong_port_is_refused_wherever_it_stands(port: int) -> None:
    for call in (
        lambda: server_access.ssh_command(HOST, port),
        lambda: server_access.jupyter_command(port),
        lambda: server_access.tunnel_command(HOST, 22, port, 6006),
        lambda: server_access.tunnel_command(HOST, 22, 8000, port),
        lambda: server_access.ways_to_reach(HOST, 22, port, 6006),
    ):
        with pytest.raises(ResonanceError) as caught:
            call()
        assert caught.value.code == "RZ-0202"
        for lang in LANGUAGES:
            assert "65535" in message("RZ-0202", lang=lang, **caught.value.facts)


def test_the_tunnel_ends_on_loopback_at_both_sides() -> None:
    words = shlex.split(server_access.tunnel_command(HOST, 12345, 8000, 6006, "ubuntu"))
    assert words == ["ssh", "-N", "-L", "127.0.0.1:8000:127.0.0.1:6006", "-p", "12345", f"ubuntu@{HOST}"]


def test_jupyterlab_is_opened_on_the_project_for_nobody_else_and_starts_for_root() -> None:
    words = shlex.split(server_access.jupyter_command(8888, "ubuntu"))
    assert words == [
        *("jupyter", "lab", "--no-browser", "--ip", "127.0.0.1", "--port", "8888"),
        "--ServerApp.root_dir=.",  # as start.sh does: players reach the recordings outside of notebooks/
    ]
    assert shlex.split(server_access.jupyter_command(8888, "root")) == [*words, "--allow-root"]


# ── Instructions ─────────────────────────────────────────────────────────────
def test_each_system_has_a_way_in_and_each_step_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = (
        *server_access.ways_to_connect(HOST, 12345, "ubuntu"),
        *server_access.ways_to_use_a_key(HOST, 12345, "ubuntu"),
        *server_access.ways_to_reach(HOST, 12345, 8000, 8000, "ubuntu"),
    )
    for lang in LANGUAGES:
        monkeypatch.setenv("RESONANCE_LANG", lang)
        said = "\n".join(f"{way.title}\n" + "\n".join(f"{s.text} {s.command}" for s in way.steps) for way in ways)
        assert "{" not in said
        for needed in ("PowerShell", "MobaXterm", "Mac", "Linux", "ssh-keygen", "ssh-copy-id", "ubuntu@", "12345"):
            assert needed in said
        assert "autodl\n" not in said  # no password stands anywhere


def test_the_custom_service_says_which_ports_are_forwarded() -> None:
    for wanted, told in ((8000, AUTODL_PORTS[0]), (AUTODL_PORTS[1], AUTODL_PORTS[1])):
        custom = server_access.ways_to_reach(HOST, 22, 8000, wanted)[-1]
        assert custom.steps[0].facts["port"] == told
        assert all(str(port) in custom.steps[0].text for port in AUTODL_PORTS)
    (other,) = {
        s.facts["port"] for s in server_access.ways_to_reach(HOST, 22, 1, 2, autodl_ports=(7007,))[-1].steps[:2]
    }
    assert other == 7007


# ── Where am I? ──────────────────────────────────────────────────────────────
@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with no trace of ssh, container or Jupyter; gives Jupyter's runtime folder."""
    for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "AutoDLContainerUUID", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server_access, "_is_container", lambda: False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_a_machine_without_traces_seems_to_be_the_one_in_front(laptop: Path) -> None:
    place = server_access.where_am_i()
    assert not place.is_server and place.key == "connect.place.local"
    assert place.jupyter_port is None
    assert place.hostname in place.text and Path(place.python).exists() and place.user and place.os


@pytest.mark.parametrize(
    ("variable", "key"), [("SSH_CONNECTION", "connect.place.ssh"), ("AutoDLContainerUUID", "connect.place.autodl")]
)
def test_a_server_is_recognised(laptop: Path, monkeypatch: pytest.MonkeyPatch, variable: str, key: str) -> None:
    monkeypatch.setenv(variable, "1.2.3.4 5 6.7.8.9 22")
    place = server_access.where_am_i()
    assert place.is_server and place.key == key


def test_a_container_is_recognised(laptop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_access, "_is_container", lambda: True)
    assert server_access.where_am_i().key == "connect.place.container"


def test_the_port_is_that_of_the_jupyter_server_that_started_us(laptop: Path) -> None:
    _jupyter(laptop, pid=os.getppid(), port=8888)
    _jupyter(laptop, pid=os.getpid(), port=9999)  # not 1: in a container that may be our parent
    (laptop / "jpserver-3.json").write_text("{half writ")
    assert server_access.where_am_i().jupyter_port == 8888


def test_else_it_is_that_of_the_only_one_that_runs(laptop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        _jupyter(laptop, pid=1, port=server.getsockname()[1])
        _jupyter(laptop, pid=2, port=1)
        assert server_access.where_am_i().jupyter_port == server.getsockname()[1]


def test_the_public_address_comes_from_autodls_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AutoDLService6006URL", "https://u1-6006.example.com:8443")
    assert server_access.autodl_address(6006) == "https://u1-6006.example.com:8443"
    assert server_access.autodl_address(6008) is None


def _jupyter(folder: Path, pid: int, port: int) -> None:
    content = {"pid": pid, "port": port, "token": "secret", "url": f"http://localhost:{port}/"}
    (folder / f"jpserver-{pid}.json").write_text(json.dumps(content))
