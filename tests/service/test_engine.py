"""The queue, the batches, the deadline, the clients that leave, and the adapters in memory."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from serving import HTTP, SHOWN, TOKEN, Voice, Voices, make_adapter, post, refused, running, sound, until

from resonance_helpers import ResonanceError
from resonance_helpers.core.settings import SAMPLE_RATE, ServiceSettings
from resonance_helpers.service.adapters import AdapterCache
from resonance_helpers.service.app import create_app
from resonance_helpers.service.engine import Answer, Engine
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.metrics import Metrics
from resonance_helpers.service.registry import AdapterRegistry

CLIP = sound(0.5, SAMPLE_RATE, 1)


def with_engine(
    work: Callable[[Engine], Coroutine[Any, Any, Any]], voices: Voices, settings: ServiceSettings | None = None
) -> Any:
    async def run() -> Any:
        engine = Engine(lambda: voices, lambda patient: 0, settings or ServiceSettings(decoders=1), Metrics())
        await engine.load()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def texts(answers: list[Answer]) -> list[str]:
    return [segment.text for answer in answers for segment in answer.segments]


# ── Batches ──────────────────────────────────────────────────────────────────
def test_one_patient_is_answered_in_batches_and_two_never_share_one() -> None:
    voices = Voices(pause_s=0.1)
    patients = ["alice", "alice", "bob", "alice", "bob", "alice"]

    async def ask(engine: Engine) -> list[Answer]:
        return await asyncio.gather(*(engine.transcribe(CLIP, patient) for patient in patients))

    answers = with_engine(ask, voices)
    assert texts(answers) == ["幫我開燈" if patient == "bob" else "我想喝水" for patient in patients]
    assert len(voices.batches) < len(patients) and sum(voices.batches) == len(patients)


def test_a_batch_is_bounded() -> None:
    voices = Voices(pause_s=0.1)

    async def ask(engine: Engine) -> list[Answer]:
        return await asyncio.gather(*(engine.transcribe(CLIP, "alice") for _ in range(9)))

    assert len(with_engine(ask, voices, ServiceSettings(decoders=1, batch_size=4))) == 9
    assert max(voices.batches) == 4


def test_one_bad_recording_in_a_batch_costs_one_request() -> None:
    class Choosy(Voices):
        def recognise(self, samples: Any, voice: Voice, window_s: float) -> Any:
            if any(len(clip) > SAMPLE_RATE for clip in samples):
                raise RuntimeError("too much for the model")
            return super().recognise(samples, voice, window_s)

    async def ask(engine: Engine) -> list[Answer | BaseException]:
        clips = [CLIP, sound(1.5, SAMPLE_RATE, 1), CLIP, CLIP]
        return await asyncio.gather(*(engine.transcribe(clip, "alice") for clip in clips), return_exceptions=True)

    answers = with_engine(ask, Choosy(pause_s=0.1))
    assert [isinstance(answer, RuntimeError) for answer in answers] == [False, True, False, False]


# ── Long recordings ──────────────────────────────────────────────────────────
def test_a_long_recording_is_cut_at_pauses_and_joined(folder_of_two: Path) -> None:
    voices = Voices()
    with running(create_app(lambda: voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as url:
        talk, rest = sound(3.2, SAMPLE_RATE, 1), sound(0.6, SAMPLE_RATE, 1, level=1e-4)
        header, content = talk[:44], talk[44:] + rest[44:] + talk[44:]
        wav = header[:4] + (36 + len(content)).to_bytes(4, "little") + header[8:40] + len(content).to_bytes(4, "little")
        response = post(url, wav + content)
        assert response.json()["text"] == "，".join([SHOWN["alice"]] * 2)
        assert response.json()["duration"] == pytest.approx(7.0, abs=0.01)
        body = post(url, wav + content, data={"patient_id": "alice", "punctuation": "false"}).json()
        assert body["text"] == " ".join([SHOWN["alice"]] * 2)
    assert all(samples < 4 * SAMPLE_RATE for samples in voices.heard)


def test_script_is_the_readers_choice(folder_of_two: Path) -> None:
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as url:
        asked = {"patient_id": "bob"}
        assert post(url, data=asked).json()["text"] == "帮我开灯"
        assert post(url, data=asked | {"script": "traditional"}).json()["text"] == "幫我開燈"
        assert "script" in refused(post(url, data=asked | {"script": "cuneiform"}), "RZ-0903")


# ── Who is not waited for ────────────────────────────────────────────────────
def test_after_the_deadline_there_is_an_error_and_the_model_is_spared() -> None:
    voices = Voices(pause_s=0.6)

    async def ask(engine: Engine) -> list[Answer | BaseException]:
        clips = (engine.transcribe(CLIP, patient) for patient in ("alice", "bob", "alice", "bob"))
        return await asyncio.gather(*clips, return_exceptions=True)

    answers = with_engine(ask, voices, ServiceSettings(decoders=1, deadline_s=0.9))
    codes = [answer.code if isinstance(answer, ResonanceError) else "fine" for answer in answers]
    assert codes.count("RZ-0914") >= 1 and codes.count("fine") >= 1
    assert all(answer.facts["seconds"] >= 1 for answer in answers if isinstance(answer, ResonanceError))


def test_who_hangs_up_leaves_the_queue(folder_of_two: Path) -> None:
    voices = Voices(pause_s=0.5)
    with running(create_app(lambda: voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as url:
        host, port = url.removeprefix("http://").split(":")
        request = HTTP.build_request(
            "POST",
            f"{url}/transcribe",
            files={"file": ("a.wav", CLIP)},
            data={"patient_id": "bob"},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        raw = f"POST /transcribe HTTP/1.1\r\n{head}\r\n".encode() + request.read()
        waiting = threading.Thread(target=post, args=(url, CLIP))
        waiting.start()
        time.sleep(0.2)  # the model is busy with alice
        for _ in range(3):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(raw)
                time.sleep(0.02)
        waiting.join()
        time.sleep(0.3)
        counted = HTTP.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
        assert voices.batches == [1]  # nobody recognised bob's
        assert 'resonance_dropped_total{why="client"} 3.0' in counted
        assert 'resonance_requests_total{route="/transcribe",status="499"} 3.0' in counted
        assert post(url, CLIP).status_code == 200


# ── What the operator sees ───────────────────────────────────────────────────
def test_metrics_count_and_name_nobody(folder_of_two: Path) -> None:
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as url:
        assert post(url, sound(1.5)).status_code == 200
        refused(post(url, b"no audio"), "RZ-0502")
        refused(HTTP.get(f"{url}/metrics"), "RZ-0901")
        response = HTTP.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'resonance_requests_total{route="/transcribe",status="200"} 1.0',
        'resonance_requests_total{route="/transcribe",status="422"} 1.0',
        'resonance_request_seconds_count{route="/transcribe"} 2.0',
        "resonance_audio_seconds_total 1.5",
        "resonance_queue 0.0",
        "resonance_adapters 1.0",
        "resonance_adapter_loads_total 1.0",
        "resonance_adapter_evictions_total 0.0",
        "resonance_model_seconds_count 1.0",
    ):
        assert line in response.text.splitlines(), line
    assert "alice" not in response.text and "bob" not in response.text


def test_a_removed_adapter_leaves_the_memory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resonance_helpers.service.app.LOOK_S", 0.05)
    for patient in ("alice", "bob"):
        make_adapter(tmp_path / patient / "adapter", patient)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    voices = Voices()
    app = create_app(lambda: voices, AdapterRegistry(tmp_path), Keyring(TOKEN))
    with running(app) as url:
        for patient in ("alice", "bob"):
            assert post(url, CLIP, data={"patient_id": patient}, headers=headers).status_code == 200
        assert "resonance_adapters 2.0" in HTTP.get(f"{url}/metrics", headers=headers).text
        assert voices.active == "bob"
        shutil.rmtree(tmp_path / "bob" / "adapter")
        until(lambda: "resonance_adapters 1.0" in HTTP.get(f"{url}/metrics", headers=headers).text)
        until(lambda: voices.active == "")
    assert voices.active == ""  # nor does the model hold it any longer


# ── Adapters in memory ───────────────────────────────────────────────────────
@dataclass(frozen=True, eq=False)
class Weights:
    patient: str
    version: int
    bytes: int = 10


class Disk:
    """Where a cache loads from: counts, may be slow, may fail."""

    def __init__(self) -> None:
        self.version = dict.fromkeys("abcdef", 0)
        self.loads: list[str] = []
        self.failure: Exception | None = None

    def load(self, patient: str) -> Weights:
        time.sleep(0.01)
        self.loads.append(patient)
        if self.failure:
            raise self.failure
        return Weights(patient, self.version[patient])

    def cache(self, max_count: int = 3, max_bytes: int = 1000) -> AdapterCache[Weights]:
        return AdapterCache(self.load, self.version.__getitem__, max_count, max_bytes)


def in_loop(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_the_least_recently_used_is_dropped() -> None:
    disk = Disk()

    async def use() -> None:
        cache = disk.cache()
        for patient in "abcada":
            assert (await cache.get(patient)).patient == patient
        assert (disk.loads, len(cache), cache.loads, cache.evictions) == (list("abcd"), 3, 4, 1)
        assert (await cache.get("b")).patient == "b"  # it was dropped for d, as a had been used since
        assert disk.loads == list("abcdb")
        cache.close()

    in_loop(use())


def test_bytes_are_bounded_too_and_one_always_fits() -> None:
    disk = Disk()

    async def use() -> None:
        cache = disk.cache(max_bytes=25)
        for patient in "abc":
            await cache.get(patient)
        assert (len(cache), cache.bytes) == (2, 20)
        tiny = disk.cache(max_bytes=1)
        assert (await tiny.get("a")).patient == "a" and len(tiny) == 1
        cache.close(), tiny.close()

    in_loop(use())


def test_eight_at_once_load_once() -> None:
    disk = Disk()

    async def use() -> None:
        cache = disk.cache()
        voices = await asyncio.gather(*(cache.get("a") for _ in range(8)))
        assert disk.loads == ["a"] and all(voice is voices[0] for voice in voices)
        cache.close()

    in_loop(use())


def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    disk = Disk()

    async def use() -> None:
        cache = disk.cache()
        impatient = asyncio.create_task(cache.get("a"))
        patient = asyncio.create_task(cache.get("a"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).patient == "a" and disk.loads == ["a"]
        cache.close()

    in_loop(use())


def test_another_version_on_disk_is_loaded_and_the_old_one_stays_whole_with_its_user() -> None:
    disk = Disk()

    async def use() -> None:
        cache = disk.cache()
        old = await cache.get("a")
        disk.version["a"] = 1
        new = await cache.get("a")
        assert (old.version, new.version, len(cache)) == (0, 1, 1)
        disk.failure, disk.version["a"] = ResonanceError("RZ-0614", path="x", detail="y"), 2
        assert await cache.get("a") is new, "what can't be loaded replaces nothing"
        assert not cache.drop_absent(["a"]) and cache.drop_absent([]) and len(cache) == 0
        cache.close()

    in_loop(use())


def test_a_failed_load_is_tried_again() -> None:
    disk = Disk()
    disk.failure = ResonanceError("RZ-0614", path="x", detail="y")

    async def use() -> None:
        cache = disk.cache()
        for _ in range(2):
            with pytest.raises(ResonanceError, match="RZ-0614"):
                await cache.get("a")
        disk.failure = None
        assert (await cache.get("a")).patient == "a" and len(cache) == 1
        cache.close()

    in_loop(use())


def test_silence_between_is_no_segment() -> None:
    class Deaf(Voices):
        def recognise(self, samples: Any, voice: Voice, window_s: float) -> Any:
            from resonance_helpers.asr.whisper import Hypothesis

            return [Hypothesis("", truncated=False, unsure=True) for _ in samples]

    answer = with_engine(lambda engine: engine.transcribe(CLIP, "alice"), Deaf())
    assert (answer.segments, answer.duration, answer.uncertain) == ((), 0.5, True)
