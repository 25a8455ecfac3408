"""How much faster is the service than the guide's? Both sides in one run: ``make bench-service``.

    python benchmarks/bench_service.py --data DATA_DIR --base-model FOLDER --adapter OUTPUT_DIR --guide-adapter DIR

The same clips of 3 s over HTTP to both, the same number of threads, each with an adapter of its own training
(``--adapter``: what lesson 06 wrote; ``--guide-adapter``: what ``guide_train.py`` wrote). Blocks of requests take turns
between the two, so that a slow minute of the machine strikes both. Nothing bounds the guide's answers: a clip which
either side answers without end is left out beforehand, which spares the guide its slowest answers (``left_out``), and
if one is endless all the same, there is no comparison, and the exit status is 1. Times are those of the client. Prints
JSON; ``q1`` and ``q3`` are quartiles, memory is that of a process and all its children together (pages that they share
count several times).
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from resonance_helpers.asr.manifest import MANIFEST
from resonance_helpers.audio import decode as audio
from resonance_helpers.core.settings import SAMPLE_RATE, ServiceSettings
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.scoring.error_rates import is_repetition, score
from resonance_helpers.service import process
from resonance_helpers.service.server import listen

HERE = Path(__file__).resolve().parent
CLIP_S = 3.0
CLIENTS = 16
MANY = 200  # patients that are registered
LIVEZ_S = 0.02  # between two questions whether the service lives
MB = 1e6
MERGED = ("faster_whisper", "ctranslate2")  # modules of the third side


@dataclass(frozen=True)
class Effort:
    """How often everything is done."""

    clips: int = 8
    starts: int = 3
    repeats: int = 5
    requests: int = 16  # of one client, in a row
    guide_load: int = 3  # of each of the clients
    load: int = 12
    pairs: int = 60  # of requests that are compared one by one


QUICK = Effort(clips=2, starts=1, repeats=1, requests=4, guide_load=1, load=2, pairs=4)


# ── Clips and adapters ───────────────────────────────────────────────────────
@dataclass(frozen=True)
class Clip:
    """Three seconds as WAV at 16 kHz mono, and what is said in them."""

    wav: bytes
    text: str

    @property
    def samples(self) -> np.ndarray:
        return audio.load(self.wav, 2 * CLIP_S)


def clips_of(data: Path) -> list[Clip]:
    """All recordings, the nearest to 3 s first, cut or padded with silence to just that. Those that were trained on:
    both sides then say the same, and what is timed is not who makes the longer mistakes."""
    labels = [label for label in read_labels(data / "labels.json") if label.split != "test"]
    sounds = [(audio.load(data / label.audio, 60.0), label.text) for label in labels]
    length = round(CLIP_S * SAMPLE_RATE)
    clips = []
    for samples, text in sorted(sounds, key=lambda sound: abs(len(sound[0]) - length)):
        file = io.BytesIO()
        whole = np.pad(samples[:length], (0, max(0, length - len(samples))))
        soundfile.write(file, whole, SAMPLE_RATE, format="WAV")
        clips.append(Clip(file.getvalue(), text))
    return clips


def answered(clips: Sequence[Clip], count: int, theirs: Side, mine: Side, patient: str) -> tuple[list[Clip], int]:
    """The first ``count`` clips that neither side answers without end, and how many before the last were left out."""
    found: list[Clip] = []
    for asked, clip in enumerate(clips):
        if len(found) == count:
            return found, asked - count
        theirs.ask(clip)
        mine.ask(clip, patient)
        if not (is_repetition(theirs.texts.pop()[1]) or is_repetition(mine.texts.pop()[1])):
            found.append(clip)
    sys.exit(f"only {len(found)} of {len(clips)} clips are answered without repetition by both sides")


def register(adapter: Path, root: Path, count: int) -> list[str]:
    """``count`` patients below ``root``, all with copies of one adapter; their ids."""
    patients = [f"patient-{number:03}" for number in range(count)]
    for patient in patients:
        copy = root / patient / "adapter"
        shutil.copytree(adapter, copy)
        manifest = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
        (copy / MANIFEST).write_text(json.dumps(manifest | {"patient_id": patient}), encoding="utf-8")
    return patients


# ── Two sides ────────────────────────────────────────────────────────────────
@dataclass
class Side:
    """One running server, and everything that it has answered."""

    url: str
    pid: int
    start_s: float  # from the command to the first good /health
    headers: dict[str, str] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)  # what is said, what was answered

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, headers=self.headers, trust_env=False, timeout=600)

    def ask(self, clip: Clip, patient: str = "") -> float:
        """Seconds from sending a clip to having its text. The guide's server knows one patient and is told none."""
        began = time.perf_counter()
        files, data = {"file": ("clip.wav", clip.wav)}, {"patient_id": patient} if patient else {}
        response = self.http.post("/transcribe", files=files, data=data)
        seconds = time.perf_counter() - began
        response.raise_for_status()
        self.texts.append((clip.text, response.json()["text"]))
        return seconds

    @property
    def memory_mb(self) -> float:
        return sum(_resident(pid) for pid in (self.pid, *_descendants(self.pid))) / MB

    def answers(self) -> dict[str, Any]:
        """So that nobody compares a long answer with a short one."""
        said, heard = zip(*self.texts, strict=True)
        return {
            "n": len(heard),
            "endless": sum(map(is_repetition, heard)),
            "characters": float(np.mean([len(text) for text in heard])),
            "cer": round(score(said, heard).cer, 3),
        }


def _resident(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield int(child)
            yield from _descendants(int(child))


@contextmanager
def guide(base_model: str, adapter: Path) -> Iterator[Side]:
    """The guide's server in a process of its own."""
    with listen("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(HERE / "guide_server.py"), "--base-model", base_model, "--adapter", str(adapter)]
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log) as running,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            while not _healthy(url):
                if running.poll() is not None:
                    log.seek(0)
                    sys.exit(log.read().decode()[-3000:])
                time.sleep(process.POLL_S)
            yield Side(url, running.pid, time.perf_counter() - began)
        finally:
            running.terminate()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def ours(base_model: str, root: Path) -> Iterator[Side]:
    """The service in a process of its own, for everybody below ``root``."""
    began = time.perf_counter()
    with process.start(root, base_model) as service:
        started = time.perf_counter() - began
        yield Side(service.url, service._process.pid, started, {"Authorization": f"Bearer {service.token}"})


# ── Measuring ────────────────────────────────────────────────────────────────
def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, in ms."""
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return {"ms": round(1000 * middle, 1), "q1": round(1000 * low, 1), "q3": round(1000 * high, 1), "n": len(seconds)}


def starts(side: Callable[[], Any], times: int) -> dict[str, Any]:
    """Seconds (read every 0.1 s) and memory from the command to the first good /health: the median of some starts."""
    seconds, memory = [], []
    for _ in range(times):
        with side() as running:
            seconds.append(running.start_s)
            memory.append(running.memory_mb)
    return {"s": round(float(np.median(seconds)), 1), "all_s": np.round(seconds, 1).tolist(), "mb": round(max(memory))}


@dataclass(frozen=True)
class Load:
    """One block of many clients at once: answers in a second, and seconds of each."""

    per_second: float
    seconds: list[float]


def load(side: Side, clips: Sequence[Clip], patients: Sequence[str], each: int) -> Load:
    """Sixteen clients, ``each`` so many requests in a row; the clients share ``patients`` evenly."""

    def client(number: int) -> list[float]:
        mine = patients[number % len(patients)]
        return [side.ask(clips[(number + turn) % len(clips)], mine) for turn in range(each)]

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        seconds = [one for many in clients.map(client, range(CLIENTS)) for one in many]
    return Load(len(seconds) / (time.perf_counter() - began), seconds)


def summary(loads: Sequence[Load]) -> dict[str, Any]:
    """Throughput as the median of the blocks, latency over all requests."""
    rates = [one.per_second for one in loads]
    middle, last = np.quantile([s for one in loads for s in one.seconds], [0.5, 0.99])
    low, rate, high = np.quantile(rates, [0.25, 0.5, 0.75])
    return {
        "per_second": round(rate, 2),
        "q1": round(low, 2),
        "q3": round(high, 2),
        "p50_ms": round(1000 * middle),
        "p99_ms": round(1000 * last),
        "n": sum(len(one.seconds) for one in loads),
    }


def compare(theirs: Side, mine: Side, clips: Sequence[Clip], patients: Sequence[str], effort: Effort) -> dict[str, Any]:
    """Latency of one client and throughput of sixteen, in blocks that take turns; /livez while ours is under load."""
    one: dict[str, list[float]] = {"guide": [], "ours": []}
    loads: dict[str, list[Load]] = {"guide": [], "ours_1_patient": [], "ours_16_patients": []}
    livez: list[float] = []
    for side, patient in ((theirs, ""), (mine, patients[0])):  # to warm up, and not counted
        for clip in clips:
            side.ask(clip, patient)
    for patient in patients:
        mine.ask(clips[0], patient)
    for _ in range(effort.repeats):
        some = list(islice(cycle(clips), effort.requests))
        one["guide"] += [theirs.ask(clip) for clip in some]
        one["ours"] += [mine.ask(clip, patients[0]) for clip in some]
        loads["guide"].append(load(theirs, clips, [""], effort.guide_load))
        with alive(mine) as waited:
            loads["ours_1_patient"].append(load(mine, clips, patients[:1], effort.load))
            loads["ours_16_patients"].append(load(mine, clips, patients, effort.load))
        livez += waited
    throughput = {name: summary(many) for name, many in loads.items()}
    rates = {name: each["per_second"] for name, each in throughput.items()}
    by_patients = {n: rates[f"ours_{n}"] / rates["guide"] for n in ("1_patient", "16_patients")}
    return {
        "latency": {name: spread(seconds) for name, seconds in one.items()},
        "latency_ratio": round(float(np.median(one["guide"]) / np.median(one["ours"])), 2),
        "throughput": throughput,
        "throughput_ratio": round(min(by_patients.values()), 2),
        **{f"throughput_ratio_{name}": round(ratio, 2) for name, ratio in by_patients.items()},
        "livez_under_load": spread(livez) | {"p99_ms": round(1000 * float(np.quantile(livez, 0.99)), 1)},
    }


@contextmanager
def alive(side: Side) -> Iterator[list[float]]:
    """Within the block a thread asks /livez all the time; the seconds of each answer."""
    seconds: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=side.url, trust_env=False) as http:
            http.get("/livez")  # connects
            while not done.wait(LIVEZ_S):
                began = time.perf_counter()
                http.get("/livez").raise_for_status()
                seconds.append(time.perf_counter() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seconds
    finally:
        done.set()
        thread.join()


def added(
    mine: Side, clip: Clip, patient: str, base_model: str, root: Path, threads: int, pairs: int
) -> dict[str, Any]:
    """What decoding, HTTP and the queue add to the bare call of the model on the same clip, which is made here: the
    two take turns."""
    import torch

    from resonance_helpers.asr.base_models import resolve
    from resonance_helpers.asr.whisper import load_speech_model
    from resonance_helpers.service.registry import AdapterRegistry
    from resonance_helpers.service.voices import WhisperRecogniser

    torch.set_num_threads(threads)
    registry = AdapterRegistry(root)
    voices = WhisperRecogniser(load_speech_model(resolve(base_model, root / "cache"), registry.language), registry)
    voice, samples = voices.load(patient), clip.samples
    window_s = voices.window_for(voice, len(samples) / SAMPLE_RATE)

    def bare() -> float:
        began = time.perf_counter()
        voices.recognise([samples], voice, window_s)
        return time.perf_counter() - began

    for _ in range(3):
        bare()
    both = [(bare(), mine.ask(clip, patient)) for _ in range(pairs)]
    calls, requests = (list(side) for side in zip(*both, strict=True))
    difference = float(np.median(requests) - np.median(calls))
    return {"bare_call": spread(calls), "request": spread(requests), "added_ms": round(1000 * difference, 1)}


def switch(mine: Side, clip: Clip, patients: Sequence[str], pairs: int) -> dict[str, Any]:
    """What it costs to answer another patient than the last one, both in memory: of A A B B A A … every second request
    is a switch, so that both kinds see the same machine."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for patient in islice(cycle(patients[:2]), pairs):
        for is_switch in (True, False):
            seconds[is_switch].append(mine.ask(clip, patient))
    difference = float(np.median(seconds[True]) - np.median(seconds[False]))
    return {"switching": spread(seconds[True]), "staying": spread(seconds[False]), "ms": round(1000 * difference, 1)}


def memory(base_model: str, adapter: Path, root: Path, clip: Clip, many: int) -> dict[str, Any]:
    """The service for one patient and for many, everybody asked once, beside what is allowed: 1.5 × one, and the bound
    of the cache."""
    found = {}
    for count in (1, many):
        patients = register(adapter, root / str(count), count)
        with ours(base_model, root / str(count)) as mine:
            for _ in range(5):
                mine.ask(clip, patients[0])
            for patient in patients:
                mine.ask(clip, patient)
            found[count] = mine.memory_mb
        shutil.rmtree(root / str(count))
    weights = sum(path.stat().st_size for path in adapter.glob("*.safetensors"))
    settings = ServiceSettings()
    bound = min(settings.max_adapter_bytes, settings.max_adapters * weights) / MB
    allowed = 1.5 * found[1] + bound
    return {
        "patients": many,
        "one_mb": round(found[1]),
        "many_mb": round(found[many]),
        "adapter_mb": round(weights / MB, 1),
        "cache_bound_mb": round(bound),
        "allowed_mb": round(allowed),
        "within": found[many] <= allowed,
    }


# ── faster-whisper ───────────────────────────────────────────────────────────
def merged(base_model: str, adapter: Path, clips: Sequence[Clip], threads: int, times: int) -> dict[str, Any]:
    """faster-whisper in int8 on the adapter merged into its model, 30 s windows, one call after another, no HTTP."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from faster_whisper import WhisperModel
    from peft import PeftModel
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    with tempfile.TemporaryDirectory() as name:
        whole, converted = Path(name) / "merged", Path(name) / "int8"
        base = WhisperForConditionalGeneration.from_pretrained(base_model, dtype=torch.float32)
        PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(whole)
        processor = WhisperProcessor.from_pretrained(base_model)
        processor.tokenizer.save_pretrained(whole)
        processor.feature_extractor.save_pretrained(whole)  # its own file, which the processor writes no more
        copied = ["tokenizer.json", "preprocessor_config.json"]
        TransformersConverter(str(whole), copy_files=copied).convert(str(converted), quantization="int8")
        model = WhisperModel(str(converted), device="cpu", compute_type="int8", cpu_threads=threads)
        sounds = [clip.samples for clip in clips]
        texts, seconds = [], []
        for sound in islice(cycle(sounds), len(sounds) + times):
            began = time.perf_counter()
            segments, _ = model.transcribe(sound, language="zh", beam_size=1, without_timestamps=True)
            texts.append("".join(segment.text for segment in segments))
            seconds.append(time.perf_counter() - began)
    return spread(seconds[len(sounds) :]) | {
        "characters": float(np.median([len(text) for text in texts])),
        "endless": sum(map(is_repetition, texts)),
    }


def merged_beside(
    base_model: str, adapter: Path, clips: Sequence[Clip], threads: int, times: int, bare_ms: float
) -> dict[str, Any]:
    """``merged``, and how much longer it takes than our bare call; or why there is none."""
    missing = [module for module in MERGED if importlib.util.find_spec(module) is None]
    if missing:
        return {"missing": missing}
    try:
        found = merged(base_model, adapter, clips, threads, times)
    except Exception as error:  # what was measured before must not be lost with it
        return {"failed": f"{type(error).__name__}: {error}"}
    return found | {"ratio_to_bare_call": round(found["ms"] / bare_ms, 2)}


def main() -> int:
    """Read the command line, run both sides, print one JSON object."""
    parser = argparse.ArgumentParser(description="Serving: the guide and this package, in one run.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--adapter", type=Path, required=True, help="OUTPUT_DIR of a trained voice")
    parser.add_argument("--guide-adapter", type=Path, required=True, help="what guide_train.py wrote")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="a few requests of everything: a trial, no measurement")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # both servers inherit it
    effort = QUICK if options.quick else Effort()
    adapter, base_model = options.adapter / "adapter", options.base_model
    clips = clips_of(options.data)
    found: dict[str, Any] = {"threads": options.threads, "clip_s": CLIP_S, "quick": options.quick}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        patients = register(adapter, root / "16", CLIENTS)
        sides = {
            "guide": lambda: guide(base_model, options.guide_adapter),
            "ours": lambda: ours(base_model, root / "16"),
        }
        found["start"] = {side: starts(start, effort.starts) for side, start in sides.items()}
        with sides["guide"]() as theirs, sides["ours"]() as mine:
            clips, left_out = answered(clips, effort.clips, theirs, mine, patients[0])
            found |= {"clips": len(clips), "left_out": left_out}
            found |= compare(theirs, mine, clips, patients, effort)
            found["answers"] = {"guide": theirs.answers(), "ours": mine.answers()}
        with sides["ours"]() as mine:
            found["switch"] = switch(mine, clips[0], patients, effort.pairs)
            found["http_and_queue"] = added(
                mine, clips[0], patients[0], base_model, root / "16", options.threads, effort.pairs
            )
        found["memory"] = memory(base_model, adapter, root / "many", clips[0], 20 if options.quick else MANY)
    found["faster_whisper_int8"] = merged_beside(
        base_model, adapter, clips, options.threads, effort.pairs, found["http_and_queue"]["bare_call"]["ms"]
    )
    endless = {side: each["endless"] for side, each in found["answers"].items() if each["endless"]}
    if endless:
        for ratio in [key for key in found if "ratio" in key]:
            del found[ratio]
        found["refused"] = f"endless answers, so nothing is compared: {endless}"
    print(json.dumps(found, indent=1))
    return int(bool(endless))


if __name__ == "__main__":
    sys.exit(main())
