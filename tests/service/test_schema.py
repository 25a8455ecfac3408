"""Whatever the document allows and whatever it forbids: schemathesis sends it, and nothing ends in a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from serving import Voices, make_adapter, running

from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.registry import AdapterRegistry

PATHS = json.loads((REPOSITORY / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"]


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    """The document of a running service that answers for two patients."""
    with TemporaryDirectory() as name:
        root = Path(name)
        for patient in ("alice", "bob"):
            make_adapter(root / patient / "adapter", patient)
        _, key = make_key(root / KEYS_FILE, None)
        with running(create_app(Voices, AdapterRegistry(root), Keyring(file=root / KEYS_FILE))) as url:
            headers = {"Authorization": f"Bearer {key}"}
            document = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=headers)
            document.config.update(headers=headers)
            yield document


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), [(path, method) for path in PATHS for method in PATHS[path]])
def test_nothing_ends_in_a_server_error_and_every_answer_is_in_the_document(
    api: Any, path: str, method: str, mode: GenerationMode
) -> None:
    operation = api[path][method]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def send(case: Any) -> None:
        case.call_and_validate(checks=[not_a_server_error, status_code_conformance, response_schema_conformance])

    try:
        send()
    except Unsatisfiable:
        pytest.skip("nothing of this operation could be wrong: it takes no input")
