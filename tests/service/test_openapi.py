"""The contract of the service, as it was last agreed upon: ``docs/openapi.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from serving import TOKEN, Voices, make_adapter

from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.registry import AdapterRegistry

SNAPSHOT = REPOSITORY / "docs" / "openapi.json"


def document() -> str:
    with TemporaryDirectory() as folder:
        make_adapter(Path(folder) / "adapter", "alice")
        app = create_app(Voices, AdapterRegistry(Path(folder)), Keyring(TOKEN))
    return json.dumps(app.openapi(), ensure_ascii=False, indent=1) + "\n"


def test_the_document_is_the_one_that_apps_were_promised() -> None:
    """A change on purpose is written with ``python tests/service/test_openapi.py``, and reviewed like code."""
    assert document() == SNAPSHOT.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(SNAPSHOT.write_text(document(), encoding="utf-8") < 1)
