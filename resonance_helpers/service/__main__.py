"""``python -m resonance_helpers.service FOLDER``: what ``start`` runs; ``resonance serve`` is the same for people."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

from ..core.messages import ResonanceError, make_console_print_everything
from ..core.settings import ServiceSettings
from ..core.workspace import require_unicode_names
from . import certificates
from .server import serve


def main() -> int:
    make_console_print_everything()
    parser = argparse.ArgumentParser(prog="python -m resonance_helpers.service", description=__doc__)
    parser.add_argument("adapters", type=Path, help="OUTPUT_DIR of one patient, or a folder of many")
    parser.add_argument(
        "--base-model", default="", help="name or folder; default: the one the adapters were trained on"
    )
    parser.add_argument("--host", default=ServiceSettings.host)
    parser.add_argument("--port", type=int, default=ServiceSettings.port)
    parser.add_argument("--tls", action="store_true", help="https, with a certificate that is made here")
    parser.add_argument("--tls-cert", type=Path, help="https, with this certificate (PEM, its authorities after it)")
    parser.add_argument("--tls-key", type=Path, help="the private key of --tls-cert (PEM)")
    parser.add_argument("--corrections", type=Path, help="DATA_DIR, to which corrected recordings are added")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when standard input ends")
    given = parser.parse_args()
    # the bare descriptor: a thread that waits inside a buffered reader makes Python abort when it exits first
    until = (lambda: os.read(sys.stdin.fileno(), 1)) if given.until_stdin_closes else None
    try:
        require_unicode_names()
        tls = certificates.chosen(given.tls, given.tls_cert, given.tls_key)
        where = given.adapters, given.base_model, given.host, given.port
        serve(*where, tls=tls, corrections=given.corrections, until=until)
    except ResonanceError as error:
        print(error, file=sys.stderr)
        return 1
    gc.freeze()  # Python's last sweep through all of torch took 10 s on a busy machine; without it the end takes 1.5 s
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
