"""Lesson 02: your browser, the server and the notebook are three places.

Commands made here are copied into a terminal, so host, port and user are checked strictly: nothing that a shell would
read as anything but a word ever gets into one. Standard library and, where it is there, ``jupyter_server``:
this runs before anything is installed. No password is asked for, kept or put into a command.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
import platform
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.messages import ResonanceError, message
from ...core.settings import AUTODL_PORTS

SSH_PORT = 22  # where ssh goes when no -p is given
MAX_PORT = 65_535
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,31}")
_POWERSHELL_COPY_KEY = (
    'type $env:USERPROFILE\\.ssh\\id_ed25519.pub | {ssh} "mkdir -p ~/.ssh && cat >> ~/.ssh/authorized_keys"'
)


@dataclass(frozen=True)
class Server:
    """A machine that ssh can reach. Raises RZ-0201 (host), RZ-0202 (port), RZ-0203 (user)."""

    host: str
    port: int = SSH_PORT
    user: str = "root"

    def __post_init__(self) -> None:
        if not _is_host(self.host):
            raise ResonanceError("RZ-0201", value=self.host)
        check_port(self.port)
        if not _USER.fullmatch(self.user):
            raise ResonanceError("RZ-0203", value=self.user)


def parse_ssh(text: str) -> Server:
    """The server that a pasted login command names, such as ``ssh -p 12345 root@connect.example.com``.

    A label before the command and lines after it, as consoles show them, are ignored. Raises RZ-0201–RZ-0204.
    """
    lines = text.strip().splitlines() or [""]
    found = re.search(r"(?<![A-Za-z])ssh\s.*", lines[0])
    words = iter((found.group() if found else lines[0]).split()[1 if found else 0 :])
    destination, port = "", SSH_PORT
    for word in words:
        if word.startswith("-p"):
            port = _port_of(word[2:] or next(words, ""))
        elif "@" in word and not destination and not word.startswith("-"):
            destination = word
        else:
            raise ResonanceError("RZ-0204", value=lines[0], word=word)
    if not destination:
        raise ResonanceError("RZ-0204", value=lines[0], word="user@host?")
    user, _, host = destination.partition("@")
    return Server(host, port, user)


def ssh_command(host: str, port: int, user: str = "root") -> str:
    """The command that logs in."""
    server = Server(host, port, user)
    return f"ssh -p {server.port} {server.user}@{server.host}"


def jupyter_command(port: int, user: str = "root") -> str:
    """The command, for the project's folder on the server, that starts JupyterLab there, at ``port`` of loopback.

    Its root is the project's folder: outside of its root it plays no recording.
    """
    allowed = " --allow-root" if user == "root" else ""  # it would not start
    return f"jupyter lab --no-browser --ip 127.0.0.1 --port {check_port(port)} --ServerApp.root_dir=.{allowed}"


def tunnel_command(host: str, port: int, local_port: int, remote_port: int, user: str = "root") -> str:
    """The command, for the learner's own computer, that brings the server's ``remote_port`` to its ``local_port``.

    Both ends are bound to loopback, so that no other machine in the network gets in.
    """
    server = Server(host, port, user)
    forward = f"{check_port(local_port)}:127.0.0.1:{check_port(remote_port)}"
    return f"ssh -N -L 127.0.0.1:{forward} -p {server.port} {server.user}@{server.host}"


def check_port(port: int) -> int:
    """``port`` if it is one, else RZ-0202."""
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= MAX_PORT:
        raise ResonanceError("RZ-0202", value=port, allowed=f"1–{MAX_PORT}")
    return port


# ── Instructions, as data ────────────────────────────────────────────────────
@dataclass(frozen=True)
class LoginStep:
    """One thing to do: the sentence under ``key``, and a command to paste where there is one."""

    key: str
    command: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return message(self.key, **self.facts)


@dataclass(frozen=True)
class Way:
    """One way to reach a goal, step by step; ``key`` is its title."""

    key: str
    steps: tuple[LoginStep, ...]

    @property
    def title(self) -> str:
        return message(self.key)


def ways_to_connect(host: str, port: int, user: str = "root") -> tuple[Way, ...]:
    """How to log in from Windows (twice), Mac and Linux."""
    finish = (LoginStep("connect.step.password"), LoginStep("connect.step.prompt", facts={"user": user}))
    login = (LoginStep("connect.step.login", ssh_command(host, port, user)), *finish)
    mobaxterm = (
        LoginStep("connect.step.get_mobaxterm", "https://mobaxterm.mobatek.net/"),
        LoginStep("connect.step.mobaxterm_session", facts={"host": host, "user": user, "port": port}),
        *finish,
        LoginStep("connect.step.mobaxterm_files"),
    )
    return (
        Way("connect.way.powershell", (LoginStep("connect.step.open_powershell"), *login)),
        Way("connect.way.mobaxterm", mobaxterm),
        Way("connect.way.mac", (LoginStep("connect.step.open_mac"), *login)),
        Way("connect.way.linux", (LoginStep("connect.step.open_linux"), *login)),
    )


def ways_to_use_a_key(host: str, port: int, user: str = "root") -> tuple[Way, ...]:
    """How to log in with a key instead of a password: Mac and Linux, then Windows PowerShell."""
    ssh = ssh_command(host, port, user)
    make, attempt = LoginStep("connect.step.make_key", "ssh-keygen -t ed25519"), LoginStep("connect.step.try_key", ssh)
    copy = LoginStep("connect.step.copy_key", f"ssh-copy-id -p {port} {user}@{host}")
    copy_windows = LoginStep("connect.step.copy_key", _POWERSHELL_COPY_KEY.format(ssh=ssh))
    return (
        Way("connect.way.key", (make, copy, attempt)),
        Way("connect.way.key_windows", (make, copy_windows, attempt)),
    )


def ways_to_reach(
    host: str,
    port: int,
    local_port: int,
    remote_port: int,
    user: str = "root",
    autodl_ports: tuple[int, ...] = AUTODL_PORTS,
) -> tuple[Way, ...]:
    """How an app reaches a service on the server's ``remote_port``: a tunnel, or AutoDL's custom service."""
    address = f"http://127.0.0.1:{check_port(local_port)}"
    public = remote_port if remote_port in autodl_ports else autodl_ports[0]
    tunnel = (
        LoginStep("connect.step.tunnel", tunnel_command(host, port, local_port, remote_port, user)),
        LoginStep("connect.step.tunnel_address", facts={"address": address, "remote_port": remote_port}),
    )
    custom_service = (
        LoginStep("connect.step.autodl_port", facts={"port": public, "ports": " / ".join(map(str, autodl_ports))}),
        LoginStep("connect.step.autodl_console", facts={"port": public}),
        LoginStep("connect.step.autodl_key"),
    )
    return (Way("connect.way.tunnel", tunnel), Way("connect.way.autodl", custom_service))


# ── Where am I? ──────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Place:
    """The machine that this Python runs on, which need not be the one that shows the browser."""

    hostname: str
    os: str
    user: str
    python: str
    is_ssh: bool
    is_container: bool
    is_autodl: bool
    jupyter_port: int | None

    @property
    def is_server(self) -> bool:
        """True where a trace of a server was found; False only means that none was."""
        return self.is_ssh or self.is_container or self.is_autodl

    @property
    def key(self) -> str:
        """The message key of what this place is."""
        kinds = {"autodl": self.is_autodl, "ssh": self.is_ssh, "container": self.is_container, "local": True}
        return "connect.place." + next(kind for kind, holds in kinds.items() if holds)

    @property
    def text(self) -> str:
        return message(self.key, hostname=self.hostname)


def where_am_i() -> Place:
    """What this machine says about itself. Reads the environment and two kinds of files; sends nothing."""
    return Place(
        hostname=platform.node() or socket.gethostname(),
        os=f"{platform.system()} {platform.release()}",
        user=_user_name(),
        python=sys.executable,
        is_ssh=any(name in os.environ for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")),
        is_container=_is_container(),
        is_autodl="AutoDLContainerUUID" in os.environ,
        jupyter_port=_jupyter_port(),
    )


def autodl_address(port: int) -> str | None:
    """The public address that AutoDL has given ``port`` of this container, from its environment; None elsewhere."""
    return os.environ.get(f"AutoDLService{check_port(port)}URL") or None


def _is_host(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host)) and "%" not in host  # a scope ("%eth0") may hold anything
    except ValueError:
        labels = host.split(".")
    is_name = len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels)
    return is_name and not labels[-1].isdigit()  # digits at the end: an IP address that is none


def _port_of(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ResonanceError("RZ-0202", value=word, allowed=f"1–{MAX_PORT}") from None


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number without a name
        return str(os.getuid()) if hasattr(os, "getuid") else "?"


def _is_container() -> bool:
    if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")):
        return True
    if "KUBERNETES_SERVICE_HOST" in os.environ or "container" in os.environ:
        return True
    groups = Path("/proc/1/cgroup")
    return groups.is_file() and any(mark in groups.read_text() for mark in ("docker", "kubepods", "containerd", "lxc"))


def _jupyter_port() -> int | None:
    """The port of the Jupyter server that started this kernel: our parent's, else that of the only one that runs."""
    servers = list(_jupyter_servers())
    parents = {str(os.getppid()), os.environ.get("JPY_PARENT_PID", "")}
    ours = [server for server in servers if str(server.get("pid")) in parents]
    running = ours or [server for server in servers if _answers(server.get("port"))]
    return running[0]["port"] if len(running) == 1 else None


def _jupyter_servers() -> Iterator[dict[str, Any]]:
    """What this user's running Jupyter servers say of themselves; nothing where the kernel has no jupyter_server."""
    with suppress(ImportError, OSError):  # OSError: a file of another user
        from jupyter_server.serverapp import list_running_servers

        yield from list_running_servers()


def _answers(port: object) -> bool:
    if not isinstance(port, int) or not 1 <= port <= MAX_PORT:
        return False
    with socket.socket() as connection:
        connection.settimeout(0.2)
        return connection.connect_ex(("127.0.0.1", port)) == 0
