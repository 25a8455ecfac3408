"""Voices, adapters and requests for the tests of the service."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import httpx
import numpy as np
import soundfile
import uvicorn
from fastapi import FastAPI

from resonance_helpers.asr import adapter
from resonance_helpers.asr.manifest import Manifest
from resonance_helpers.asr.whisper import Hypothesis
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE, ServiceSettings
from resonance_helpers.service import server as server_module
from resonance_helpers.service.certificates import Certificate, trusting
from resonance_helpers.service.engine import Engine
from resonance_helpers.service.problems import STATUS

TOKEN = "a-key-for-tests-only"
ANSWERS = {"alice": "我想喝水", "bob": "幫我開燈"}  # bob's model writes Traditional characters
SHOWN = {"alice": "我想喝水", "bob": "帮我开灯"}
KEY = {"Authorization": f"Bearer {TOKEN}", "Accept-Language": "en"}
CONSENT = {  # of somebody who agreed to corrections
    "version": "1",
    "person": "x",
    "given_by": "x",
    "relationship": "self",
    "assent": True,
    "purposes": ["training", "corrections"],
    "processor": "this machine",
    "date": "2026-11-23",
}


HTTP = httpx.Client(trust_env=False)  # one for all: making one costs more than a request


@dataclass(frozen=True)
class Voice:
    patient_id: str
    window_s: float = 4.0
    bytes: int = 1000


class Voices:
    """Answers by patient. Like PEFT it switches its one model in place: two threads at once would mix them up."""

    longest_s = 30.0

    def __init__(self, pause_s: float = 0.0) -> None:
        self.active = ""
        self.pause_s = pause_s
        self.heard: list[int] = []
        self.batches: list[int] = []
        self.failure: Exception | None = None

    def load(self, patient_id: str) -> Voice:
        return Voice(patient_id)

    def window_for(self, voice: Voice, seconds: float) -> float:
        return max(voice.window_s, seconds)

    def clear(self) -> None:
        self.active = ""

    def recognise(self, samples: Sequence[np.ndarray], voice: Voice, window_s: float) -> list[Hypothesis]:
        self.active = voice.patient_id
        self.batches.append(len(samples))
        time.sleep(self.pause_s)
        self.heard += [len(clip) for clip in samples]
        if self.failure:
            raise self.failure
        return [Hypothesis(ANSWERS[self.active], truncated=False, unsure=False)] * len(samples)


class CarelessEngine(Engine):
    """The service with its protection taken out: four calls of the one model at the same time."""

    async def load(self) -> None:
        await super().load()
        assert self._voices
        self._model = ThreadPoolExecutor(4)
        self._others = [asyncio.create_task(self._answer_all(self._voices)) for _ in range(3)]

    async def close(self) -> None:
        await super().close()
        for task in self._others:
            task.cancel()


def make_adapter(folder: Path, patient: str, weights: str = "0" * 64, name: str = PRACTICE_MODEL) -> Path:
    """An adapter as far as the registry looks: its manifest, and a file for its weights."""
    nothing = {"str": "", "int": 0, "float": 0.0}
    facts = {field.name: nothing.get(str(field.type), {}) for field in fields(Manifest)} | {
        "schema": adapter.SCHEMA,
        "speech_bar": 0.0,
        "patient_id": patient,
        "base_model": {"name": name, "revision": "1", "tensors_sha256": weights},
        "language": "zh",
        "window_s": 4.0,
        "time": "2026-11-23T00:00:00+00:00",
    }
    folder.mkdir(parents=True)
    (folder / "resonance.json").write_text(json.dumps(facts))
    (folder / "adapter_model.safetensors").touch()
    return folder


def sound(seconds: float = 1.0, rate: int = 48_000, channels: int = 2, kind: str = "WAV", level: float = 0.3) -> bytes:
    """A tone that comes and goes, as the bytes of a file."""
    time_s = np.arange(round(seconds * rate)) / rate
    tone = level * np.sin(2 * np.pi * 220 * time_s) * (np.sin(2 * np.pi * 2 * time_s) > 0)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone] * channels, axis=1), rate, format=kind)
    return file.getvalue()


SHORT = sound(0.3, SAMPLE_RATE, 1)


@contextmanager
def running(
    app: FastAPI,
    until_ready: bool = True,
    certificate: Certificate | None = None,
    settings: ServiceSettings | None = None,
) -> Iterator[str]:
    """``app`` behind a real uvicorn on a free port; gives its URL, https with a ``certificate``."""
    with server_module.listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(server_module.uvicorn_config(app, certificate, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = f"{'https' if certificate else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        try:
            if until_ready:
                wait_until_ready(url, certificate)
            yield url
        finally:
            server.should_exit = True
            thread.join()


def wait_until_ready(url: str, certificate: Certificate | None = None) -> None:
    client = httpx.Client(trust_env=False, verify=trusting(certificate.file)) if certificate else HTTP
    for _ in range(1000):
        if client.get(f"{url}/health").status_code == 200:
            return
        time.sleep(0.01)
    raise TimeoutError(url)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def post(url: str, content: bytes | None = None, **more: object) -> httpx.Response:
    """A good request for alice unless ``more`` says otherwise."""
    request = {
        "files": {"file": ("clip.wav", sound() if content is None else content)},
        "data": {"patient_id": "alice"},
        "headers": {"Authorization": f"Bearer {TOKEN}", "Accept-Language": "en"},
        "timeout": 30,
    } | more
    return HTTP.post(f"{url}/transcribe", **request)


def refused(response: httpx.Response, code: str) -> str:
    """The sentence of a refusal that is what it should be."""
    assert response.json()["code"] == code, response.text
    assert response.status_code == STATUS[code]
    assert set(response.json()) == {"code", "detail"}
    return response.json()["detail"]
