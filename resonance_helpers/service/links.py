"""What hands the service to a phone: a link for its browser, an address for an app. Each is made with a key of its own,
for one patient, so that one that was seen by others is revoked alone (``resonance keys revoke``)."""

from __future__ import annotations

from pathlib import Path

from ..core.workspace import Workspace
from .keys import KEYS_FILE, make_key


def phone_link(workspace: Workspace, url: str) -> str:
    """A link to the phone page at ``url``, with a new key behind the #: a browser sends that part to nobody, the page
    keeps it on the phone and takes it out of the address. Raises what ``make_key`` raises."""
    return f"{url}/#key={_new_key(workspace, phone=True)}"


def app_address(workspace: Workspace, url: str) -> str:
    """The guide's one field: where an app sends recordings, with a new key in the path. Raises what ``make_key``
    raises."""
    return f"{url}/k/{_new_key(workspace, phone=False)}/transcribe"


def _new_key(workspace: Workspace, phone: bool) -> str:
    file: Path = workspace.output_dir / KEYS_FILE
    _, key = make_key(
        file, [workspace.patient_id], "header" if phone else "address", note="phone page" if phone else "app"
    )
    return key
