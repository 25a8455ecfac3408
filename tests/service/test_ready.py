"""From loading to the end: when the service is there, when it is ready, and that it finishes what it accepted."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import HTTP, SHOWN, TOKEN, Voices, post, refused, running, sound, wait_until_ready

from resonance_helpers import ResonanceError
from resonance_helpers.core.settings import ServiceSettings
from resonance_helpers.service.app import create_app
from resonance_helpers.service.engine import Engine
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.metrics import Metrics
from resonance_helpers.service.registry import AdapterRegistry


def test_it_lives_before_it_is_ready(folder_of_two: Path) -> None:
    may_load, told = threading.Event(), []
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Language": "en"}

    def load() -> Voices:
        assert may_load.wait(30)
        return Voices()

    app = create_app(load, AdapterRegistry(folder_of_two), Keyring(TOKEN), on_loaded=told.append)
    with running(app, until_ready=False) as url:
        assert HTTP.get(f"{url}/livez").json() == {"status": "ok"}
        for response in (HTTP.get(f"{url}/readyz", headers=headers), HTTP.get(f"{url}/health"), post(url)):
            refused(response, "RZ-0911")
            assert int(response.headers["Retry-After"]) > 0
        assert not told
        may_load.set()
        wait_until_ready(url)
        assert told == [None] and HTTP.get(f"{url}/readyz", headers=headers).json() == {"status": "ok"}
        assert post(url).json()["text"] == SHOWN["alice"]


def test_a_model_that_cannot_be_loaded_is_told_and_never_ready(folder_of_two: Path) -> None:
    told: list[BaseException | None] = []

    def load() -> Voices:
        raise ResonanceError("RZ-0921", path="x")

    app = create_app(load, AdapterRegistry(folder_of_two), Keyring(TOKEN), on_loaded=told.append)
    with running(app, until_ready=False) as url:
        while not told:
            time.sleep(0.01)
        refused(HTTP.get(f"{url}/health"), "RZ-0911")
    assert isinstance(told[0], ResonanceError)


def test_closing_finishes_what_was_accepted() -> None:
    voices = Voices(pause_s=0.2)

    async def ask_and_close() -> str:
        engine = Engine(lambda: voices, lambda patient: 0, ServiceSettings(decoders=1), Metrics())
        await engine.load()
        answer = asyncio.create_task(engine.transcribe(sound(), "alice"))
        while not voices.active:
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        assert not engine.ready and not answer.done()
        with pytest.raises(ResonanceError, match="RZ-0911"):
            await engine.transcribe(sound(), "alice")
        await closing
        (segment,) = (await answer).segments
        return segment.text

    assert asyncio.run(ask_and_close()) == SHOWN["alice"]


def test_who_is_stopped_while_starting_leaves_no_process_behind() -> None:
    async def start_and_close() -> None:
        engine = Engine(Voices, lambda patient: 0, ServiceSettings(decoders=2), Metrics())
        loading = asyncio.create_task(engine.load())
        await asyncio.sleep(0.05)
        loading.cancel()
        await engine.close()

    before = set(multiprocessing.active_children())
    asyncio.run(start_and_close())
    assert set(multiprocessing.active_children()) <= before


def test_a_service_that_is_told_to_stop_still_answers_whoever_waits(folder_of_two: Path) -> None:
    voices = Voices(pause_s=0.5)
    with ThreadPoolExecutor(3) as clients:
        with running(create_app(lambda: voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as url:
            waiting = [clients.submit(post, url, data={"patient_id": patient}) for patient in ("alice", "bob", "alice")]
            while _inside(url) < 3:
                time.sleep(0.01)
        assert sorted(answer.result().json()["text"] for answer in waiting) == sorted(
            [SHOWN["alice"], SHOWN["alice"], SHOWN["bob"]]
        )


def _inside(url: str) -> float:
    text = HTTP.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("resonance_queue "))
