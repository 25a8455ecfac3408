"""An administrator's routes: upload, list, reload and delete, while others are being answered."""

from __future__ import annotations

import http.client
import io
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pytest
from bundles import GOOD, bundle, files, lay, lying, packed, with_sums
from fastapi import FastAPI
from serving import HTTP, SHORT, TOKEN, Voices, refused, running, until

from resonance_helpers.asr.manifest import MANIFEST, read_manifest
from resonance_helpers.asr.whisper import Hypothesis
from resonance_helpers.core.settings import ServiceSettings
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
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
        with self._registry.reading(patient_id) as folder:
            manifest = read_manifest(folder)
            time.sleep(0.002)  # long enough for a careless change to come between
            assert json.loads((folder / "tokenizer.json").read_bytes())["version"] == manifest.seed
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


@pytest.fixture
def admin(root: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_key(root / KEYS_FILE, None, admin=True)[1]}", "Accept-Language": "en"}


def upload(url: str, headers: dict[str, str], zipped: io.BytesIO) -> httpx.Response:
    sent = {"file": ("alice-adapter.zip", zipped.getvalue(), "application/zip")}
    return HTTP.post(f"{url}/adapters", files=sent, headers=headers, timeout=60)


def ask(url: str, patient: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    sent = {"file": ("a.wav", SHORT)}
    return HTTP.post(f"{url}/transcribe", files=sent, data={"patient_id": patient}, headers=headers, timeout=60)


def said(url: str, patient: str) -> str:
    response = ask(url, patient)
    assert response.status_code == 200, response.text
    return response.json()["text"]


# ── What an administrator does ───────────────────────────────────────────────
def test_the_list(url: str, admin: dict[str, str]) -> None:
    response = HTTP.get(f"{url}/adapters", headers=admin)
    assert response.status_code == 200
    alice, bob = response.json()["adapters"]
    assert alice == {
        "patient_id": "alice",
        "trained": GOOD.time,
        "recordings": 80,
        "window_s": 4.0,
        "bytes": sum(map(len, files("alice").values())),
    }
    assert bob["patient_id"] == "bob"


def test_an_upload_is_answered_with_from_then_on(url: str, root: Path, admin: dict[str, str]) -> None:
    assert said(url, "alice") == words("alice", 0)
    response = upload(url, admin, bundle("alice", 1))
    assert response.status_code == 201
    assert response.json()["patient_id"] == "alice"
    assert (said(url, "alice"), said(url, "bob")) == (words("alice", 1), words("bob", 0))
    assert lying(root / "alice" / "adapter") == with_sums(files("alice", 1))


def test_somebody_new_is_answered_without_a_restart(url: str, admin: dict[str, str]) -> None:
    refused(ask(url, "carol"), "RZ-0904")
    assert upload(url, admin, bundle("carol", 2)).status_code == 201
    assert said(url, "carol") == words("carol", 2)
    assert len(HTTP.get(f"{url}/adapters", headers=admin).json()["adapters"]) == 3


def test_reload_after_a_training(url: str, root: Path, admin: dict[str, str]) -> None:
    assert said(url, "alice") == words("alice", 0)
    for name, data in files("alice", 3).items():
        (root / "alice" / "adapter" / name).write_bytes(data)
    response = HTTP.post(f"{url}/adapters/alice/reload", headers=admin)
    assert response.status_code == 200 and response.json()["patient_id"] == "alice"
    assert said(url, "alice") == words("alice", 3)


def test_delete(url: str, root: Path, admin: dict[str, str]) -> None:
    assert said(url, "alice") == words("alice", 0)
    response = HTTP.delete(f"{url}/adapters/alice", headers=admin)
    assert (response.status_code, response.content) == (204, b"")
    refused(ask(url, "alice"), "RZ-0904")
    assert said(url, "bob") == words("bob", 0)
    assert lying(root / "alice" / "adapter") is None
    refused(HTTP.delete(f"{url}/adapters/alice", headers=admin), "RZ-0904")
    assert HTTP.delete(f"{url}/adapters/bob", headers=admin).status_code == 204
    for patient in ("alice", "bob"):
        refused(ask(url, patient), "RZ-0904")
    assert HTTP.get(f"{url}/adapters", headers=admin).json() == {"adapters": []}
    assert upload(url, admin, bundle("bob", 4)).status_code == 201
    assert said(url, "bob") == words("bob", 4)


# ── What is refused ──────────────────────────────────────────────────────────
ACTS: dict[str, Callable[[str, dict[str, str]], httpx.Response]] = {
    "list": lambda url, headers: HTTP.get(f"{url}/adapters", headers=headers),
    "upload": lambda url, headers: upload(url, headers, bundle("alice", 1)),
    "reload": lambda url, headers: HTTP.post(f"{url}/adapters/alice/reload", headers=headers),
    "delete": lambda url, headers: HTTP.delete(f"{url}/adapters/alice", headers=headers),
}


@pytest.mark.parametrize("act", ACTS)
def test_nobody_else_may(url: str, root: Path, act: str) -> None:
    keys = [TOKEN, make_key(root / KEYS_FILE, ["alice"])[1], make_key(root / KEYS_FILE, None)[1]]
    for key in keys:
        assert "administrator" in refused(
            ACTS[act](url, {"Authorization": f"Bearer {key}", "Accept-Language": "en"}), "RZ-0940"
        )
    for headers in ({}, {"Authorization": "Bearer wrong-key-of-16-chars"}):
        refused(ACTS[act](url, headers), "RZ-0901")
    assert lying(root / "alice" / "adapter") == files("alice")


def test_a_body_is_not_waited_for_without_the_right(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "multipart/form-data; boundary=x"}
    connection.request("POST", "/adapters", headers=headers | {"Content-Length": "1000000"})
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize(
    ("code", "zipped"),
    [
        ("RZ-0050", io.BytesIO(b"no zip at all")),
        ("RZ-0051", packed({"../../../bob/adapter/resonance.json": b"{}"})),
        ("RZ-0055", packed({f"{i}.json": b"{}" for i in range(50)})),
        ("RZ-0057", packed({"vocab.json": bytes(50_000_000)})),
        ("RZ-0941", packed(files("alice") | {"adapter_model.bin": b"\x80\x04."})),
        ("RZ-0942", packed({"adapter_config.json": b"{}"})),
        ("RZ-0943", packed(with_sums(files("alice")) | {"tokenizer.json": b"{}"})),
        ("RZ-0944", packed(files("alice") | {MANIFEST: b"{}"})),
        ("RZ-0945", bundle("alice", language="en")),
        ("RZ-0002", bundle("../bob")),
    ],
)
def test_a_bad_upload_is_said_and_changes_nothing(
    url: str, root: Path, admin: dict[str, str], code: str, zipped: io.BytesIO
) -> None:
    detail = refused(upload(url, admin, zipped), code)
    assert str(root) not in detail
    assert [lying(root / patient / "adapter") for patient in ("alice", "bob")] == [files("alice"), files("bob")]
    assert {path.name for path in root.iterdir()} == {"alice", "bob", KEYS_FILE, f".{KEYS_FILE}.lock"}
    assert said(url, "alice") == words("alice", 0)


def test_an_upload_over_the_limit(root: Path, admin: dict[str, str]) -> None:
    with running(app_of(root, ServiceSettings(max_bundle_bytes=500))) as url:
        refused(upload(url, admin, bundle("alice", 1)), "RZ-0902")
    assert lying(root / "alice" / "adapter") == files("alice")


def test_a_form_without_a_file(url: str, admin: dict[str, str]) -> None:
    refused(HTTP.post(f"{url}/adapters", data={"file": "text"}, headers=admin), "RZ-0903")


@pytest.mark.parametrize(
    "patient",
    ["carol", "..", "%2e%2e", "%2e%2e%2fbob", "/etc", "bob%00", "bob%2f%2e%2e%2fbob", "Bob", "linked", "a" * 5000],
)
def test_an_id_from_outside_reaches_nothing(
    url: str, root: Path, tmp_path: Path, admin: dict[str, str], patient: str
) -> None:
    lay(tmp_path / "elsewhere" / "adapter", files("linked"))
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    raw = patient if "%" in patient else quote(patient, safe="")
    for method, below in (("POST", "/reload"), ("DELETE", "")):
        response = raw_request(url, method, f"/adapters/{raw}{below}", admin)
        assert response[0] in (404, 405) and response[1] in ("RZ-0904", "RZ-0908"), response
    assert said(url, "bob") == words("bob", 0) and (tmp_path / "elsewhere" / "adapter").exists()


def raw_request(url: str, method: str, target: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status and code, for a target that httpx would tidy up."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, target, headers=headers)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())["code"]
    connection.close()
    return answer


# ── Meanwhile ────────────────────────────────────────────────────────────────
def test_eight_uploads_at_once(url: str, root: Path, admin: dict[str, str]) -> None:
    patients = ["alice", "alice", "bob", *(f"patient-{i}" for i in range(5))]
    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(lambda i: upload(url, admin, bundle(patients[i], i + 1)), range(8)))
    assert [response.status_code for response in responses] == [201] * 8
    assert [response.json()["patient_id"] for response in responses] == patients
    versions = {"alice": (1, 2)} | {patient: (i + 1,) for i, patient in enumerate(patients) if patient != "alice"}
    for patient, possible in versions.items():
        on_disk = read_manifest(root / patient / "adapter").seed
        assert on_disk in possible and lying(root / patient / "adapter") == with_sums(files(patient, on_disk))
        assert said(url, patient) == words(patient, on_disk)
    assert not list(root.glob(".staging-*"))


def test_no_request_fails_while_adapters_are_replaced(url: str, root: Path, admin: dict[str, str]) -> None:
    done = threading.Event()
    heard: list[str] = []

    def keep_asking() -> None:
        while not done.is_set():
            heard.append(said(url, "alice"))

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(keep_asking) for _ in range(2)]
        try:
            for version in range(1, 10):
                assert upload(url, admin, bundle("alice", version)).status_code == 201
                assert HTTP.post(f"{url}/adapters/alice/reload", headers=admin).status_code == 200
                assert said(url, "alice") == words("alice", version), "what was replaced is never heard again"
        finally:
            done.set()
        for each in asking:
            each.result()
    assert set(heard) <= {words("alice", version) for version in range(10)} and len(heard) > 10
    assert heard[-1] == words("alice", 9)


def test_health_is_answered_while_a_large_upload_is_unpacked(
    url: str, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go = threading.Event(), threading.Event()
    real = AdapterRegistry.install

    def slow(self: AdapterRegistry, zipped: io.BytesIO) -> object:
        inside.set()
        assert go.wait(10)
        return real(self, zipped)

    monkeypatch.setattr(AdapterRegistry, "install", slow)
    with ThreadPoolExecutor(1) as threads:
        uploading = threads.submit(upload, url, admin, bundle("alice", 1))
        assert inside.wait(10)
        assert HTTP.get(f"{url}/health", timeout=5).status_code == 200
        assert said(url, "alice") == words("alice", 0)
        go.set()
        assert uploading.result().status_code == 201


def test_the_log_names_nobody(url: str, root: Path, admin: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upload(url, admin, bundle("alice", 1))
    refused(upload(url, admin, bundle("alice", language="en")), "RZ-0945")
    for act in ACTS.values():
        act(url, admin)
    HTTP.post(f"{url}/adapters/carol/reload", headers=admin)

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith(("resonance", "uvicorn"))]

    assert [line for line in lines() if re.match(r"POST /adapters 201 \d+ ms", line)]
    until(lambda: any("/adapters/{patient_id}/reload 404" in line for line in lines()))  # written after the answer
    assert not re.search("alice|carol", "".join(lines()))
