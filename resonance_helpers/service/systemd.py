"""The service under systemd: the text of a unit that keeps it running, and starts it with the machine.

The key comes from a file that root alone may read; on the command line everybody on the machine could.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..core.messages import language
from ..core.settings import ServiceSettings
from ..core.workspace import REPOSITORY, Workspace
from .certificates import Certificate
from .server import GRACE_S, adapters_folder

KEY_FILE = Path("/etc/resonance/resonance.env")  # RESONANCE_TOKEN=…
UNIT_FILE = Path("/etc/systemd/system/resonance.service")

_UNIT = """\
[Unit]
Description=Resonance, the speech recognition service
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
User={user}
EnvironmentFile={key_file}
Environment={environment}
ExecStart={command}
Restart=on-failure
RestartSec=5
TimeoutStopSec={stop_s}
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={folders}
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
"""


def unit(
    adapters: Workspace | Path,
    base_model: str = "",
    host: str = ServiceSettings.host,
    port: int = ServiceSettings.port,
    tls: bool | Certificate = False,
    corrections: Path | None = None,
) -> str:
    """A systemd unit that serves as ``serve`` does, with this Python and as the owner of the folder.

    It may write into the served folder, into that of ``corrections``, and nowhere else. Raises RZ-0006 and RZ-0921.
    """
    folder = adapters_folder(adapters)
    command = [sys.executable, "-m", "resonance_helpers.service", str(folder), "--host", host, "--port", str(port)]
    command += ["--base-model", base_model] if base_model else []
    if isinstance(tls, Certificate):
        command += ["--tls-cert", str(tls.file), "--tls-key", str(tls.key)]
    elif tls:
        command.append("--tls")
    writable = [folder]
    if corrections:
        writable.append(corrections.expanduser().resolve())
        command += ["--corrections", str(writable[-1])]
    environment = {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "RESONANCE_LANG": language()}
    return _UNIT.format(
        user=_owner(folder),
        key_file=KEY_FILE,
        environment=" ".join(_quoted(f"{name}={value}") for name, value in environment.items()),
        command=" ".join(_quoted(word).replace("$", "$$") for word in command),
        stop_s=GRACE_S + 5,
        folders=" ".join(_quoted(str(each)) for each in writable),
    )


def _owner(folder: Path) -> str:
    try:
        return folder.owner()
    except (NotImplementedError, KeyError):  # Windows; a number without a name
        return str(folder.stat().st_uid)


def _quoted(word: str) -> str:
    """``word`` as one word of a unit: "%" would be replaced, and a space would end it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if any(c.isspace() or c in "\"'\\;" for c in word) else escaped
