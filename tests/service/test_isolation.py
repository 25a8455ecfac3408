"""Never the wrong patient: a short run of ``make soak``, and that its check finds what it is there for."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.service import engine as engine_module
from resonance_helpers.service.engine import Engine


@pytest.fixture(scope="module")
def soak() -> Iterator[ModuleType]:
    """``benchmarks/soak.py`` as a module."""
    sys.path.append(str(REPOSITORY / "benchmarks"))
    spec = importlib.util.spec_from_file_location("soak", REPOSITORY / "benchmarks" / "soak.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["soak"]


@pytest.fixture(scope="module")
def world(soak: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six patients with two trained adapters each."""
    return soak.make_world(tmp_path_factory.mktemp("world"), 6)


# ── The check itself ─────────────────────────────────────────────────────────
def test_either_version_is_right_while_it_is_changed_and_the_new_one_from_then_on(soak: ModuleType) -> None:
    truth = soak.Truth()
    truth.becomes({0, 1}, at=10.0)
    truth.becomes({1}, at=20.0)
    cases = {(1, 9): {0}, (9, 11): {0, 1}, (11, 12): {0, 1}, (19, 21): {0, 1}, (21, 22): {1}, (1, 30): {0, 1}}
    assert {span: set(truth.between(*span)) for span in cases} == cases


def test_an_answer_is_judged_by_patient_clip_and_time(soak: ModuleType) -> None:
    versions = tuple(soak.Version(Path(), b"", (f"{name} a", f"{name} b")) for name in ("old", "new"))
    other = tuple(replace(version, answers=("other a", "other b")) for version in versions)
    log = soak.Log(soak.World((b"", b""), {"alice": versions, "bob": other}))
    log.truth["alice"].becomes({1}, at=10.0)
    log.truth["bob"].becomes({soak.ABSENT}, at=10.0)

    def verdict(patient: str, clip: int, at: float, text: str | None, code: str = "") -> str:
        return log.verdict(soak.Asked(patient, clip, at, at + 1, text, code))

    assert verdict("alice", 1, 1.0, "old b") == verdict("alice", 0, 11.0, "new a") == "right"
    assert verdict("alice", 0, 11.0, "old a") == "wrong"  # what was replaced is gone
    assert verdict("alice", 0, 11.0, "new b") == "wrong"  # another clip of the same batch
    assert verdict("alice", 0, 1.0, "other a") == "wrong"
    assert verdict("bob", 0, 11.0, "other a") == "wrong"  # what was deleted is gone
    assert verdict("bob", 0, 11.0, None, "RZ-0904") == "RZ-0904"
    assert verdict("alice", 0, 11.0, None, "RZ-0904") == "missing"
    assert verdict("alice", 0, 11.0, None, "RZ-0909") == "RZ-0909"


def test_half_an_adapter_is_neither_whole_nor_absent(soak: ModuleType, tmp_path: Path) -> None:
    versions = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in (soak.WEIGHTS, soak.CONFIG, soak.MANIFEST):
            (folder / name).write_text(f"{name} {number}")
        versions.append(soak.Version(folder, b"", ()))
    served = tmp_path / "served"
    assert soak.on_disk(served, versions) == soak.ABSENT
    shutil.copytree(versions[1].folder, served)
    assert soak.on_disk(served, versions) == 1
    shutil.copy(versions[0].folder / soak.WEIGHTS, served)
    assert soak.on_disk(served, versions) is None
    (served / soak.WEIGHTS).unlink()
    assert soak.on_disk(served, versions) is None


# ── The service ──────────────────────────────────────────────────────────────
@pytest.mark.slow
def test_every_answer_is_the_patients_own_whatever_fails_meanwhile(
    soak: ModuleType, world: Any, tmp_path: Path
) -> None:
    found = soak.soak(world, tmp_path, seconds=20)
    assert not soak.failed(found), found
    assert found["right"] > 50 and found["errors"].get("RZ-0909", 0) < found["right"]
    assert set(found["injected"]) == set(soak.FAILURES)  # each was tried …
    assert {"import", "replace", "remove"} <= set(found["changes"])  # … and so was each of these
    assert found["evictions"] > 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be stopped there")
def test_every_client_is_answered_while_strangers_hang_on_and_decoders_fall(
    soak: ModuleType, world: Any, tmp_path: Path
) -> None:
    """A short form of the hammer in ``make soak``."""
    found = soak.hammer(world, tmp_path, seconds=12, answers=40, strangers=500)
    assert not soak.failed(found), found
    assert found["answers"] >= 40 and found["strangers"]["came"] >= 500 and sum(found["decoders"].values()) >= 2


@pytest.mark.slow
def test_killed_at_any_time_every_adapter_is_whole_or_absent(soak: ModuleType, world: Any, tmp_path: Path) -> None:
    found = soak.kill_again_and_again(world, tmp_path, times=2)
    assert not soak.failed(found), found
    assert found["adapters"]["whole"] > 0 and found["errors"]["connection"] > 0
    assert found["changes"]


@pytest.mark.slow
def test_the_check_finds_mix_ups_when_there_are_two_inference_threads(
    soak: ModuleType, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what protects: a batch no longer waits for the one before it, and there are threads for both."""
    answer = Engine._answer
    answering: set[asyncio.Task[None]] = set()

    async def at_once(self: Engine, voices: Any, batch: Sequence[Any]) -> None:
        task = asyncio.create_task(answer(self, voices, [*batch]))
        answering.add(task)
        task.add_done_callback(answering.discard)

    monkeypatch.setattr(Engine, "_answer", at_once)
    monkeypatch.setattr(engine_module, "ThreadPoolExecutor", lambda _, **names: ThreadPoolExecutor(2, **names))
    found = soak.soak(world, tmp_path, seconds=5, changers=0, fail=False)
    assert found["wrong"] > 0, found
