"""Never the wrong patient: the service under load, with everything going wrong that may. ``make soak``.

    python benchmarks/soak.py --seconds 600

Twenty patients, each with two adapters that were trained to answer otherwise to the same clips. What is right is what
an adapter says alone, in a model that nothing else has touched. Eight clients ask; the cache is so small that adapters
are evicted all the time; meanwhile adapters are imported, replaced and removed on disk; and failures are
raised in the middle of generating, loading and switching. While an adapter is being changed either answer is right;
from the moment the files are in place, only the new one. Then the service runs as a process of its own
and is killed with −9 again and again: afterwards every adapter is whole or absent. In between it is hammered: 2,000
strangers hang on to it and come back, its decoders are killed and stopped, adapters change; every client is answered or
told to come again, and neither memory nor files nor processes grow. Prints JSON; the exit status is 1 when a single
answer was another one's, or something of this did not hold.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import psutil
import soundfile
import torch
import uvicorn
from fastapi import FastAPI
from strangers import hanging

from resonance_helpers import Workspace
from resonance_helpers.asr import adapter, rescoring
from resonance_helpers.asr.adapter import CONFIG, WEIGHTS
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.manifest import MANIFEST, Manifest
from resonance_helpers.asr.whisper import SpeechModel, load_speech_model
from resonance_helpers.audio import decode as audio
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE, LoraSettings, ServiceSettings, plain
from resonance_helpers.core.workspace import SAMPLE_DIR, replacing_folder
from resonance_helpers.lessons.export_weights import import_bundle
from resonance_helpers.lessons.export_weights.bundle import export_adapter
from resonance_helpers.scoring.text import show
from resonance_helpers.service import process
from resonance_helpers.service.app import create_app
from resonance_helpers.service.connections import allow_files
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.problems import STATUS
from resonance_helpers.service.registry import AdapterRegistry
from resonance_helpers.service.server import listen, uvicorn_config
from resonance_helpers.service.voices import WhisperRecogniser

CLIENTS, CHANGERS = 8, 2
CLIPS, WINDOW_S = 4, 4.0
SHAPES = (LoraSettings(), LoraSettings(r=4, alpha=8, target_modules=("q_proj", "v_proj")))  # patients take turns
STEPS, RATE, LOSS = 300, 5e-3, 0.01  # of learning four phrases by heart; it ends when the loss is as low as this
NOISE = 0.05  # standard deviation of what an adapter adds in the encoder
ABSENT = -1  # in the place of a version
UNKNOWN_PATIENT = "RZ-0904"
KILL_EVERY_S = 60  # of a soak, once
HAMMER_S, ANSWERS, STRANGERS = 90.0, 1000, 2000
HURT_EVERY_S = (1.0, 4.0)  # a decoder is killed or stopped
BUSY = {code for code, status in STATUS.items() if status in (429, 503)}  # come again
MORE_MB, MORE_FILES = 96, 16  # that the service may hold at the end of a hammering: some connections are still open
# How often each is made to fail: a step of the decoder, a file, a weight that is put in its place
FAILURES = {"generation": 0.01, "loading": 0.2, "switching": 0.002}


# ── Patients ─────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Version:
    """One adapter of a patient, the zip of lesson 08, and what it says to each clip when it is alone."""

    folder: Path
    bundle: bytes
    answers: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """The clips as WAV files, and the versions of each patient's adapter."""

    clips: tuple[bytes, ...]
    patients: dict[str, tuple[Version, ...]]


def make_world(root: Path, count: int) -> World:
    """Train two adapters for each of ``count`` patients; every one answers otherwise to the same clip."""
    labels = json.loads((SAMPLE_DIR / "labels.json").read_text(encoding="utf-8"))
    phrases = sorted({label["text"] for label in labels})
    clips = tuple(_wav(SAMPLE_DIR / label["audio"]) for label in labels[: 2 * CLIPS : 2])
    sounds = [audio.load(clip, WINDOW_S) for clip in clips]
    patients = {}
    for number in range(count):
        name = f"patient-{number:02}"
        versions = []
        for version in range(2):
            first = number + version * count
            wanted = [phrases[(first + 7 * clip) % len(phrases)] for clip in range(CLIPS)]
            workspace = Workspace(root / "data", root / name / str(version), name)
            _train(workspace, sounds, wanted, SHAPES[number % len(SHAPES)])
            bundle = export_adapter(workspace).zip.read_bytes()
            versions.append(Version(workspace.adapter, bundle, _alone(workspace, sounds)))
        patients[name] = tuple(versions)
    for clip in range(CLIPS):
        said = [version.answers[clip] for versions in patients.values() for version in versions]
        assert len(set(said)) == len(said), f"two adapters answer the same to clip {clip}: {said}"
    return World(clips, patients)


def _wav(path: Path) -> bytes:
    """A recording as 16 kHz mono WAV, so that the service hears the very samples that the adapters learned."""
    file = io.BytesIO()
    soundfile.write(file, audio.load(path, WINDOW_S), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def _fresh(workspace: Workspace) -> SpeechModel:
    return load_speech_model(resolve(PRACTICE_MODEL, workspace.cache, on_message=lambda _: None))


def _train(workspace: Workspace, sounds: Sequence[np.ndarray], wanted: Sequence[str], lora: LoraSettings) -> None:
    """Learn ``wanted`` by heart, one phrase for each clip, and write the adapter.

    What it does in the encoder is drawn, and the decoder learns to answer to that: seconds instead of minutes, and the
    halves of two adapters fit together no better than their wholes.
    """
    speech = _fresh(workspace)
    torch.manual_seed(17 + sum(map(ord, "".join(wanted))))
    model = adapter.add_fresh(speech, lora)
    for name, weights in model.named_parameters():
        if "lora_B" in name and ".encoder." in name:
            torch.nn.init.normal_(weights, std=NOISE)
    features = speech.features(sounds, WINDOW_S)
    with torch.no_grad():
        encoded = speech.whisper.model.encoder(features)
    rows = [torch.tensor(speech.label_ids(text)) for text in wanted]
    labels = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    learned = [weights for name, weights in model.named_parameters() if "lora_" in name and ".decoder." in name]
    optimiser = torch.optim.AdamW(learned, lr=RATE)
    for _ in range(STEPS):
        loss = model(encoder_outputs=encoded, labels=labels).loss
        if loss.item() < LOSS:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    manifest = Manifest(
        patient_id=workspace.patient_id,
        base_model=adapter.identity(speech),
        language=speech.language,
        window_s=WINDOW_S,
        lora=plain(lora),
        recordings=len(sounds),
        phrases=len(wanted),
        audio_seconds=sum(map(len, sounds)) / SAMPLE_RATE,
        data_sha256="",
        run="",
        steps=STEPS,
        seed=17,
        wall_seconds=0.0,
        scores={},
        versions=adapter.versions(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    adapter.save(speech, workspace.adapter, manifest)


def _alone(workspace: Workspace, sounds: Sequence[np.ndarray]) -> tuple[str, ...]:
    """What the adapter says to each clip in a model that has never held another, as the service would show it."""
    speech = _fresh(workspace)
    adapter.attach(speech, workspace.adapter)
    with adapter.using(speech, "default"):
        return tuple(show([rescoring.transcribe(speech, [sound], WINDOW_S)[0].text]) for sound in sounds)


# ── What is right, and since when ────────────────────────────────────────────
class Truth:
    """Which versions of one patient's adapter may answer. One thread changes it."""

    def __init__(self) -> None:
        self._since: list[tuple[float, frozenset[int]]] = [(0.0, frozenset({0}))]

    @property
    def now(self) -> frozenset[int]:
        return self._since[-1][1]

    def becomes(self, versions: Iterable[int], at: float | None = None) -> None:
        self._since.append((time.perf_counter() if at is None else at, frozenset(versions)))

    def between(self, start: float, end: float) -> frozenset[int]:
        """The versions that were right at some moment from ``start`` to ``end``."""
        ends = [*(at for at, _ in self._since[1:]), float("inf")]
        spans = zip(self._since, ends, strict=True)
        return frozenset().union(*(right for (at, right), until in spans if at <= end and until >= start))


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent and answered, in seconds, with which text or code."""

    patient: str
    clip: int
    start: float
    end: float
    text: str | None
    code: str = ""


@dataclass
class Log:
    """What happened to everybody. Threads append; it is judged when they are done."""

    world: World
    truth: dict[str, Truth] = field(init=False)
    asked: list[Asked] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.truth = {patient: Truth() for patient in self.world.patients}

    @property
    def answers(self) -> int:
        return sum(one.text is not None for one in [*self.asked])

    def verdict(self, one: Asked) -> str:
        """``right``, ``wrong``, ``missing`` (a patient was unknown who was there) or the code of the error."""
        right = self.truth[one.patient].between(one.start, one.end)
        if one.text is not None:
            versions = self.world.patients[one.patient]
            return "right" if one.text in {versions[v].answers[one.clip] for v in right - {ABSENT}} else "wrong"
        if one.code == UNKNOWN_PATIENT:
            return one.code if ABSENT in right else "missing"
        return one.code

    def summary(self) -> dict[str, Any]:
        found = Counter(map(self.verdict, self.asked))
        milliseconds = [1000 * (one.end - one.start) for one in self.asked if one.text is not None]
        middle, last = np.quantile(milliseconds or [0.0], [0.5, 0.99])
        return {
            "asked": len(self.asked),
            "right": found.pop("right", 0),
            "wrong": found.pop("wrong", 0),
            "missing": found.pop("missing", 0),
            "errors": dict(sorted(found.items())),
            "changes": dict(sorted(Counter(self.changes).items())),
            "p50_ms": round(middle),
            "p99_ms": round(last),
        }


# ── Clients and changers, from outside ───────────────────────────────────────
class Outside:
    """What clients ask of the service at ``url``, and what is changed in its folder; ``log`` has all of it."""

    def __init__(self, url: str, key: str, root: Path, log: Log) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60)
        self._root = root
        self._log = log
        self._changes = (self._import, self._import, self._replace, self._remove)

    def ask(self, patient: str, clip: int) -> None:
        files = {"file": ("clip.wav", self._log.world.clips[clip])}
        start = time.perf_counter()
        text, code = None, ""
        try:
            response = self._http.post("/transcribe", files=files, data={"patient_id": patient})
            said = response.json()
            text, code = (said["text"], "") if response.status_code == 200 else (None, said["code"])
        except httpx.TransportError:
            code = "connection"
        self._log.asked.append(Asked(patient, clip, start, time.perf_counter(), text, code))

    def ask_all(self) -> None:
        """Everybody about every clip, once."""
        for patient in self._log.world.patients:
            for clip in range(CLIPS):
                self.ask(patient, clip)

    def busy(
        self,
        seconds: float,
        seed: int,
        changers: int = CHANGERS,
        then: Callable[[], object] = lambda: None,
        answers: int = 0,
    ) -> None:
        """Clients ask and changers change for so long and until there are ``answers``; then do ``then`` before they
        have stopped."""
        until = time.perf_counter() + seconds
        patients = sorted(self._log.world.patients)

        def goes_on() -> bool:
            return time.perf_counter() < until or self._log.answers < answers

        def client(rng: random.Random) -> None:
            while goes_on():
                self.ask(rng.choice(patients), rng.randrange(CLIPS))

        def changer(rng: random.Random, mine: Sequence[str]) -> None:
            while goes_on():
                self.change(rng.choice(mine), rng)
                time.sleep(rng.uniform(0, 0.3))

        with ThreadPoolExecutor(CLIENTS + changers) as threads:
            doing = [threads.submit(client, random.Random(seed + number)) for number in range(CLIENTS)]
            for number in range(changers):  # two never change the same patient
                rng = random.Random(seed - number - 1)
                doing.append(threads.submit(changer, rng, patients[number::changers]))
            time.sleep(max(0.0, until - time.perf_counter() - 0.05))
            then()
        for done in doing:
            done.result()

    def change(self, patient: str, rng: random.Random) -> None:
        """Give ``patient`` another adapter in one of three ways, or take it away."""
        truth = self._log.truth[patient]
        if truth.now == {ABSENT}:
            self._import(patient, rng.randrange(2))
        else:
            rng.choice(self._changes)(patient, 1 - max(truth.now))

    def _import(self, patient: str, version: int) -> None:
        def change() -> None:
            with tempfile.NamedTemporaryFile(suffix=".zip") as bundle:
                bundle.write(self._log.world.patients[patient][version].bundle)
                bundle.flush()
                import_bundle(Path(bundle.name), self._root / patient, patient, replace=True)

        self._until_done("import", patient, version, change)

    def _replace(self, patient: str, version: int) -> None:
        def change() -> None:
            with replacing_folder(self._root / patient / "adapter") as temporary:
                shutil.copytree(self._log.world.patients[patient][version].folder, temporary, dirs_exist_ok=True)

        self._until_done("replace", patient, version, change)

    def _remove(self, patient: str, _: int) -> None:
        def change() -> None:
            (self._root / patient / "adapter" / MANIFEST).unlink()  # from here on it is no adapter
            shutil.rmtree(self._root / patient / "adapter")

        self._until_done("remove", patient, ABSENT, change)

    def _until_done(self, name: str, patient: str, version: int, change: Callable[[], None]) -> None:
        """While the files change, either adapter is right."""
        truth = self._log.truth[patient]
        truth.becomes(truth.now | {version})
        change()
        truth.becomes({version})
        self._log.changes.append(name)

    def evictions(self) -> dict[str, float]:
        """What the service counts of its cache."""
        text = self._http.get("/metrics").text
        return {name: float(value) for name, value in re.findall(r"^resonance_adapter_(\w+)_total (\S+)$", text, re.M)}


# ── Failures in the middle ───────────────────────────────────────────────────
class Failures:
    """Raises at random while it is on, and counts."""

    def __init__(self, seed: int) -> None:
        self.on = False
        self.raised: Counter[str] = Counter()
        self._rng = random.Random(seed)

    def maybe(self, where: str) -> None:
        if self.on and self._rng.random() < FAILURES[where]:
            self.raised[where] += 1
            raise self._rng.choice((RuntimeError, OSError, MemoryError))("injected")

    @contextmanager
    def in_adapters(self) -> Iterator[None]:
        """Within the block the reading of an adapter's file may fail, and so may each step of switching to it."""
        read, load = adapter._read, adapter.load

        def fragile_read(speech: SpeechModel, folder: Path) -> adapter.Loaded:
            loaded = read(speech, folder)
            self.maybe("loading")
            return loaded

        def fragile_load(speech: SpeechModel, folder: Path) -> adapter.Loaded:
            loaded = load(speech, folder)
            return adapter.Loaded(loaded.manifest, loaded.lora, _Fragile(loaded.weights, self), loaded.folder)

        with patch.object(adapter, "_read", fragile_read), patch.object(adapter, "load", fragile_load):
            yield

    def in_decoder(self, speech: SpeechModel) -> None:
        """From here on each step of ``speech``'s decoder may fail, the encoder's work already done."""
        speech.whisper.model.decoder.register_forward_pre_hook(lambda *_: self.maybe("generation"))


class _Fragile(dict[str, torch.Tensor]):
    def __init__(self, weights: dict[str, torch.Tensor], failures: Failures) -> None:
        super().__init__(weights)
        self._failures = failures

    def __getitem__(self, key: str) -> torch.Tensor:
        self._failures.maybe("switching")
        return super().__getitem__(key)


# ── The service ──────────────────────────────────────────────────────────────
def served(world: World, root: Path) -> str:
    """Lay out a folder with every patient's first adapter; a key for all of them."""
    for patient, versions in world.patients.items():
        shutil.copytree(versions[0].folder, root / patient / "adapter")
    return make_key(root / KEYS_FILE, None)[1]


@contextmanager
def running(root: Path, failures: Failures, settings: ServiceSettings) -> Iterator[str]:
    """The service in a thread of this process, where failures can be injected; its URL."""
    registry = AdapterRegistry(root)

    def load() -> WhisperRecogniser:
        speech = load_speech_model(resolve(registry.base_model, root / "cache", on_message=lambda _: None))
        failures.in_decoder(speech)
        return WhisperRecogniser(speech, registry)

    app = create_app(load, registry, Keyring("", root / KEYS_FILE), settings)
    with failures.in_adapters(), _uvicorn(app) as url:
        yield url


@contextmanager
def _uvicorn(app: FastAPI) -> Iterator[str]:
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn_config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            while not server.started or httpx.get(f"{url}/health", trust_env=False).status_code != 200:
                time.sleep(0.05)
            yield url
        finally:
            server.should_exit = True
            thread.join()


def soak(
    world: World, root: Path, seconds: float, seed: int = 17, changers: int = CHANGERS, fail: bool = True
) -> dict[str, Any]:
    """Everything at once for so long; before and after it everybody is asked about everything, one by one."""
    key = served(world, root)
    log, failures = Log(world), Failures(seed)
    small = ServiceSettings(max_adapters=max(2, len(world.patients) // 5))
    with running(root, failures, small) as url:
        outside = Outside(url, key, root, log)
        outside.ask_all()
        failures.on = fail
        outside.busy(seconds, seed, changers)
        failures.on = False
        outside.ask_all()
        cache = outside.evictions()
    return log.summary() | {"injected": dict(failures.raised)} | cache


# ── Hammered ─────────────────────────────────────────────────────────────────
class Held:
    """What a service's process holds: ``now``, and the most and the usual while it is watched."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._seen: list[dict[str, int]] = []

    def now(self) -> dict[str, int]:
        """Its memory in MB, its open files, and how many processes it has started that live."""
        megabytes = self._process.memory_info().rss // 1_000_000
        living = [child for child in self._process.children() if child.status() != psutil.STATUS_ZOMBIE]
        return {"mb": megabytes, "files": self._process.num_fds(), "processes": len(living)}

    def watch(self) -> None:
        self._seen.append(self.now())

    def quarter(self, number: int) -> dict[str, int]:
        """The median of each in one quarter, 0 to 3, of the time that it was watched."""
        size = max(1, len(self._seen) // 4)
        part = self._seen[number * size : (number + 1) * size] or self._seen[-1:]
        return {name: round(np.median([seen[name] for seen in part])) for name in part[0]}

    def decoders(self) -> list[int]:
        return [child.pid for child in self._process.children() if "spawn_main" in " ".join(child.cmdline())]


@contextmanager
def hurting(held: Held, seed: int) -> Iterator[Counter[str]]:
    """Within the block decoders are killed and stopped, and what the service holds is watched."""
    rng, done, hurt = random.Random(seed), threading.Event(), Counter[str]()

    def hurt_them() -> None:
        while not done.wait(rng.uniform(*HURT_EVERY_S)):
            held.watch()
            how = rng.choice((signal.SIGKILL, signal.SIGSTOP))
            try:
                os.kill(rng.choice(held.decoders()), how)
                hurt[how.name] += 1
            except (IndexError, ProcessLookupError, psutil.NoSuchProcess):  # none is there now
                continue

    thread = threading.Thread(target=hurt_them)
    thread.start()
    try:
        yield hurt
    finally:
        done.set()
        thread.join()


def hammer(
    world: World, root: Path, seconds: float, answers: int = ANSWERS, strangers: int = STRANGERS, seed: int = 17
) -> dict[str, Any]:
    """A service as a process of its own, for ``seconds`` and until ``answers`` were compared, whichever is later."""
    allow_files()
    key = served(world, root)
    log = Log(world)
    with process.start(root) as service:
        outside = Outside(service.url, key, root, log)
        outside.ask_all()
        held = Held(service._process.pid)
        before = held.now()
        began = time.perf_counter()
        with hanging(service.url, strangers) as there, hurting(held, seed) as hurt:
            outside.busy(seconds, seed, answers=answers)
            here = there.here.total()
        took_s = time.perf_counter() - began
        outside.ask_all()
        ends = time.monotonic() + 60
        while not _as_before(after := held.now(), before) and time.monotonic() < ends:  # decoders start, strangers go
            time.sleep(0.5)
    return log.summary() | {
        "answers": log.answers,
        "seconds": round(took_s),
        "strangers": {"came": there.came, "here_at_the_end": here},
        "decoders": dict(hurt),
        "before": before,
        "second_quarter": held.quarter(1),
        "last_quarter": held.quarter(3),
        "after": after,
        "is_flat": _as_before(after, before) and held.quarter(3)["mb"] <= held.quarter(1)["mb"] + MORE_MB,
    }


def _as_before(after: dict[str, int], before: dict[str, int]) -> bool:
    return after["files"] <= before["files"] + MORE_FILES and after["processes"] == before["processes"]


# ── Killed ───────────────────────────────────────────────────────────────────
def kill_again_and_again(world: World, root: Path, times: int, seed: int = 17) -> dict[str, Any]:
    """Kill the service with −9 while adapters are being changed, start it again and look: ``whole``, ``absent`` and
    ``broken`` adapters on disk; what the next process answers stands in the rest, as in ``soak``."""
    key = served(world, root)
    log, rng = Log(world), random.Random(seed)
    states: Counter[str] = Counter()
    for number in range(times + 1):
        with ExitStack() as stack:
            service = stack.enter_context(process.start(root))
            outside = Outside(service.url, key, root, log)
            outside.ask_all()
            if number < times:
                outside.busy(rng.uniform(0.5, 3), seed + 100 * number, then=service._process.kill)
        for patient, versions in world.patients.items():
            found = on_disk(root / patient / "adapter", versions)
            truth = log.truth[patient]
            possible = truth.now | {ABSENT}
            states["broken" if found not in possible else "absent" if found == ABSENT else "whole"] += 1
            truth.becomes(possible & {found})
    return log.summary() | {"kills": times, "adapters": dict(states)}


def on_disk(folder: Path, versions: Sequence[Version]) -> int | None:
    """Which version lies in ``folder``, byte for byte: its number, ``ABSENT``, or None for anything else."""
    if not (folder / MANIFEST).exists():
        return ABSENT
    same: Collection[int] = [number for number, version in enumerate(versions) if _equal(folder, version.folder)]
    return next(iter(same), None)


def _equal(one: Path, other: Path) -> bool:
    return all(
        (one / name).exists() and (one / name).read_bytes() == (other / name).read_bytes()
        for name in (WEIGHTS, CONFIG, MANIFEST)
    )


def failed(found: dict[str, Any]) -> bool:
    """Whether anything happened that must not."""
    known = {*STATUS, "connection"} if "kills" in found else {*STATUS}
    if "is_flat" in found:
        known = BUSY | {UNKNOWN_PATIENT}
    broken = found.get("adapters", {}).get("broken", 0) or not found.get("is_flat", True)
    return bool(found["wrong"] or found["missing"] or broken or found["errors"].keys() - known)


def main() -> int:
    """Read the command line, train, soak, hammer, kill, print one JSON object."""
    parser = argparse.ArgumentParser(description="Never the wrong patient.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--hammer-seconds", type=float, default=HAMMER_S)
    parser.add_argument("--answers", type=int, default=ANSWERS, help="that are compared at least while it is hammered")
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # thousands of tracebacks that are meant to be
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        began = time.perf_counter()
        world = make_world(root / "made", options.patients)
        found: dict[str, Any] = {"patients": options.patients, "training_s": round(time.perf_counter() - began)}
        print(json.dumps(found), file=sys.stderr)
        soaked = soak(world, root / "soaked", options.seconds, options.seed)
        print(json.dumps(soaked, indent=1), file=sys.stderr)
        hammered = hammer(world, root / "hammered", options.hammer_seconds, options.answers, seed=options.seed)
        print(json.dumps(hammered, indent=1), file=sys.stderr)
        times = max(1, round(options.seconds / KILL_EVERY_S))
        killed = kill_again_and_again(world, root / "killed", times, options.seed)
    parts = {"soak": soaked, "hammer": hammered, "kill": killed}
    print(json.dumps(found | {"seconds": options.seconds} | parts, indent=1))
    return int(any(map(failed, parts.values())))


if __name__ == "__main__":
    sys.exit(main())
