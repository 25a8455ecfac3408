"""What tests share: no network, no trace outside temporary folders, the sample, the real weights where they are."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

from resonance_helpers import Workspace, open_workspace
from resonance_helpers.core.workspace import REPOSITORY

settings.register_profile("resonance", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("resonance")  # a busy machine is no failure

SHARED = REPOSITORY.parent / "shared"  # the real weights and speech; not in a stranger's clone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem != "test_real_voice")  # it takes the longest: the others run beside it
    missing = [
        str(path.relative_to(REPOSITORY.parent)) for path in (SHARED / "models", SHARED / "speech") if not path.is_dir()
    ]
    if missing:
        skip = pytest.mark.skip(
            reason=f"needs real weights and speech: {', '.join(missing)} not found beside the repository"
        )
        for item in items:
            if "real" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine fails the test that makes it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def environment_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chinese unless a test says otherwise; what a workspace sets for libraries does not leak into the next test."""
    monkeypatch.delenv("RESONANCE_LANG", raising=False)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def converted_sample(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The bundled sample, converted. Shared: for reading only."""
    from resonance_helpers.lessons.convert_audio import logic as conversion

    workspace = open_workspace(output_dir=tmp_path_factory.mktemp("sample"))
    conversion.convert(workspace)
    return workspace


@pytest.fixture
def own_sample(converted_sample: Workspace, tmp_path: Path) -> Workspace:
    """The converted sample as somebody's own recordings, in folders of this test alone."""
    data = tmp_path / "data"
    shutil.copytree(converted_sample.data_dir, data)
    return open_workspace(data, tmp_path / "output", "patient-a")


@pytest.fixture(scope="session")
def shared_speech() -> Path:
    return SHARED / "speech"


@pytest.fixture(scope="session")
def whisper_base() -> Path:
    return SHARED / "models" / "whisper-base"


@pytest.fixture(scope="module")
def folder_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters of two patients, as far as a service looks."""
    from serving import ANSWERS, make_adapter

    root = tmp_path_factory.mktemp("patients")
    for patient in ANSWERS:
        make_adapter(root / patient / "adapter", patient)
    return root


@pytest.fixture(scope="session")
def practice_adapter(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with an adapter for the practice model, fresh, so that it changes nothing. For reading only."""
    from dataclasses import replace

    from serving import make_adapter

    from resonance_helpers.asr import adapter, base_models, whisper
    from resonance_helpers.core.settings import PRACTICE_MODEL, LoraSettings, plain

    root = tmp_path_factory.mktemp("practice_adapter")
    workspace = Workspace(root / "data", root / "out", "sample")
    speech = whisper.load_speech_model(base_models.resolve(PRACTICE_MODEL, workspace.cache))
    adapter.add_fresh(speech, LoraSettings())
    manifest = adapter.read_manifest(make_adapter(root / "scratch", "sample"))
    facts = {"base_model": adapter.identity(speech), "lora": plain(LoraSettings())}
    adapter.save(speech, workspace.adapter, replace(manifest, **facts))
    return workspace
