"""What the tests of the service share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from serving import CONSENT

from resonance_helpers import Workspace


@pytest.fixture
def data(converted_sample: Workspace, tmp_path: Path) -> Path:
    """The recordings of alice, who agreed to corrections, and of bob, who did not."""
    for patient, purposes in (("alice", CONSENT["purposes"]), ("bob", ["training"])):
        folder = tmp_path / "data" / patient
        shutil.copytree(converted_sample.data_dir, folder)
        (folder / "consent.json").write_text(json.dumps(CONSENT | {"person": patient, "purposes": purposes}))
    return tmp_path / "data"
