"""Adapters that are imported, replaced and removed on disk while a service answers."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from bundles import bundle, files, lay, lying
from fastapi import FastAPI
from serving import HTTP, SHORT, TOKEN, Voices, refused, running, until

from resonance_helpers.asr.manifest import MANIFEST, read_manifest
from resonance_helpers.asr.whisper import Hypothesis
from resonance_helpers.core.settings import ServiceSettings
from resonance_helpers.core.workspace import put_in_place
from resonance_helpers.lessons.export_weights import import_bundle
from resonance_helpers.service import app as app_module
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring
from resonance_helpers.service.registry import AdapterRegistry

DIGITS = "零一二三四五六七八九"


@dataclass(frozen=True)
class Trained:
    """A voice that says whose it is and which version."""

    words: str
    window_s: float = 4.0
    bytes: int = 1000


class FromDisk(Voices):
    """Says what stands in the adapter on disk."""

    def __init__(self, registry: AdapterRegistry) -> None:
        super().__init__()
        self._registry = registry

    def load(self, patient_id: str) -> Trained:
        manifest = read_manifest(self._registry.find(patient_id).folder)
        return Trained(words(manifest.patient_id, manifest.seed))

    def recognise(self, samples: Sequence[np.ndarray], voice: Trained, window_s: float) -> list[Hypothesis]:
        return [Hypothesis(voice.words, truncated=False, unsure=False)] * len(samples)


def words(patient: str, version: int) -> str:
    return {"alice": "我想喝水", "bob": "帮我开灯", "carol": "今天很冷"}.get(patient, "你好") + DIGITS[version]


def app_of(root: Path, settings: ServiceSettings | None = None) -> FastAPI:
    registry = AdapterRegistry(root)
    return create_app(lambda: FromDisk(registry), registry, Keyring(TOKEN, root / KEYS_FILE), settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for patient in ("alice", "bob"):
        lay(tmp_path / "root" / patient / "adapter", files(patient))
    return tmp_path / "root"


@pytest.fixture
def url(root: Path) -> Iterator[str]:
    with running(app_of(root)) as address:
        yield address


def imports(root: Path, tmp_path: Path, patient: str, version: int = 0, **facts: object) -> None:
    """``resonance import`` on the serving machine."""
    zipped = tmp_path / f"{patient}-{version}.zip"
    zipped.write_bytes(bundle(patient, version, **facts).getvalue())
    import_bundle(zipped, root / patient, replace=True)


def ask(url: str, patient: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    sent = {"file": ("a.wav", SHORT)}
    return HTTP.post(f"{url}/transcribe", files=sent, data={"patient_id": patient}, headers=headers, timeout=60)


def said(url: str, patient: str) -> str:
    response = ask(url, patient)
    assert response.status_code == 200, response.text
    return response.json()["text"]


# ── What is on disk is what answers ──────────────────────────────────────────
def test_an_imported_adapter_answers_the_next_request(url: str, root: Path, tmp_path: Path) -> None:
    assert said(url, "alice") == words("alice", 0)
    imports(root, tmp_path, "alice", 1)
    assert (said(url, "alice"), said(url, "bob")) == (words("alice", 1), words("bob", 0))


def test_a_new_patient_is_answered_without_a_restart(url: str, root: Path, tmp_path: Path) -> None:
    refused(ask(url, "carol"), "RZ-0904")
    imports(root, tmp_path, "carol", 2)
    assert said(url, "carol") == words("carol", 2)


def test_files_that_a_training_wrote_over_the_old_ones_are_noticed(url: str, root: Path) -> None:
    assert said(url, "alice") == words("alice", 0)
    for name, data in files("alice", 3).items():
        (root / "alice" / "adapter" / name).write_bytes(data)
    assert said(url, "alice") == words("alice", 3)


def test_a_removed_adapter_answers_no_more_and_its_memory_is_freed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "LOOK_S", 0.05)
    application = app_of(root)
    with running(application) as url:
        metrics = lambda: HTTP.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text  # noqa: E731
        assert (said(url, "alice"), said(url, "bob")) == (words("alice", 0), words("bob", 0))
        assert "resonance_adapters 2.0" in metrics()
        shutil.rmtree(root / "alice" / "adapter")
        refused(ask(url, "alice"), "RZ-0904")
        until(lambda: "resonance_adapters 1.0" in metrics())
        assert said(url, "bob") == words("bob", 0)
        imports(root, tmp_path, "alice", 4)
        assert said(url, "alice") == words("alice", 4)


# ── What is not used ─────────────────────────────────────────────────────────
BAD = {
    "another patient's": ("RZ-0947", files("bob", 5)),
    "for another language": ("RZ-0945", files("alice", 5, language="en")),
    "without facts": ("RZ-0610", files("alice", 5) | {MANIFEST: b"{}"}),
    "cut off": ("RZ-0610", files("alice", 5) | {MANIFEST: files("alice", 5)[MANIFEST][:40]}),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_replacement_is_logged_and_the_old_adapter_answers(
    url: str, root: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    code, contents = BAD[kind]
    assert said(url, "alice") == words("alice", 0)
    put_in_place(lay(root / ".next", contents), root / "alice" / "adapter")
    shutil.rmtree(root / ".next", ignore_errors=True)
    assert [said(url, "alice") for _ in range(3)] == [words("alice", 0)] * 3
    assert said(url, "bob") == words("bob", 0)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1 and code in told[0] and not re.search("alice|bob", told[0]), "once, and nobody is named"
    put_in_place(lay(root / ".next", files("alice", 6)), root / "alice" / "adapter")
    assert said(url, "alice") == words("alice", 6)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_adapter_of_a_new_patient_is_never_used(url: str, root: Path, kind: str) -> None:
    _, contents = BAD[kind]
    lay(root / "carol" / "adapter", {n: d.replace(b"alice", b"carol") for n, d in contents.items()})
    refused(ask(url, "carol"), "RZ-0904")
    assert (said(url, "alice"), said(url, "bob")) == (words("alice", 0), words("bob", 0))


@pytest.mark.parametrize(
    "patient", ["carol", "..", "../bob", "/etc", "bob\0", "bob/../bob", "Bob", "linked", ".next", "a" * 5000]
)
def test_an_id_from_outside_reaches_nothing(url: str, root: Path, tmp_path: Path, patient: str) -> None:
    lay(tmp_path / "elsewhere" / "adapter", files("linked"))
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    lay(root / ".next" / "adapter", files(".next"))
    refused(ask(url, patient), "RZ-0904")
    assert said(url, "bob") == words("bob", 0)


# ── Meanwhile ────────────────────────────────────────────────────────────────
def test_no_request_fails_while_adapters_are_replaced(url: str, root: Path, tmp_path: Path) -> None:
    done = threading.Event()
    heard: list[str] = []

    def keep_asking() -> None:
        while not done.is_set():
            heard.append(said(url, "alice"))

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(keep_asking) for _ in range(2)]
        try:
            for version in range(1, 10):
                imports(root, tmp_path, "alice", version)
                assert said(url, "alice") == words("alice", version), "what was replaced never answers again"
        finally:
            done.set()
        for each in asking:
            each.result()
    assert set(heard) <= {words("alice", version) for version in range(10)} and len(heard) > 10
    assert heard[-1] == words("alice", 9)


def test_there_is_no_route_that_changes_adapters(url: str, root: Path) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for method, path in (("POST", "/adapters"), ("GET", "/adapters"), ("DELETE", "/adapters/alice")):
        assert HTTP.request(method, url + path, headers=headers).status_code == 404
    assert lying(root / "alice" / "adapter") == files("alice")
