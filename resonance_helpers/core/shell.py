"""Commands as they can be typed on this machine: no environment has to be activated first.

Windows' shell is PowerShell, as in ``start.ps1`` and lesson 02. Standard library only.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import sysconfig
from pathlib import Path

_PLAIN = re.compile(r"[\w.:/\\+=%-]+")  # what PowerShell takes as it stands


def typed(*words: str, windows: bool = os.name == "nt") -> str:
    """``words``, the first of which is a program, as one line that the shell takes apart into them again."""
    if not windows:
        return shlex.join(words)
    quoted = [word if _PLAIN.fullmatch(word) else "'" + word.replace("'", "''") + "'" for word in words]
    return " ".join(["&", *quoted] if quoted[0] != words[0] else quoted)  # without & a quoted program is only a text


def pip() -> str:
    """The installer of this Python; what else is called ``pip`` may belong to another one."""
    return typed(sys.executable, "-m", "pip")


def resonance(*arguments: str) -> str:
    """Our command line with ``arguments``: the script among those of this Python, or else the package itself."""
    script = Path(sysconfig.get_path("scripts"), "resonance.exe" if os.name == "nt" else "resonance")
    program = [str(script)] if script.is_file() else [sys.executable, "-m", "resonance_helpers.cli"]
    return typed(*program, *arguments)
