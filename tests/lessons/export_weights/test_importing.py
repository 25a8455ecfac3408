"""Importing a bundle: whole or not at all, wherever it comes from and whenever the process is killed."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from bundles import bundle, files, lay, lying, packed, with_sums
from safetensors.numpy import save

from resonance_helpers import ResonanceError
from resonance_helpers.asr.adapter import CONFIG, WEIGHTS
from resonance_helpers.asr.manifest import MANIFEST
from resonance_helpers.core import archives, workspace
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.lessons.export_weights import import_bundle
from resonance_helpers.service.registry import AdapterRegistry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Adapters of alice and bob, whole, and alice's other things."""
    for patient in ("alice", "bob"):
        lay(tmp_path / "root" / patient / "adapter", files(patient))
    lay(tmp_path / "root" / "alice" / "runs", {"log.txt": b"1"})
    return tmp_path / "root"


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(ResonanceError) as caught:
        act()
    assert caught.value.code == code, caught.value
    for lang in LANGUAGES:
        assert message(code, lang=lang, **caught.value.facts)


def everything(root: Path) -> dict[str, bytes | None]:
    """All that lies below ``root``."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


def imported(zipped: io.BytesIO, output: Path, patient: str = "") -> object:
    """``zipped`` as a file outside of the served folder, imported over what is there."""
    path = output.parent.parent / f"{threading.get_ident()}.zip"
    path.write_bytes(zipped.getvalue())
    try:
        return import_bundle(path, output, patient, replace=True)
    finally:
        path.unlink()


def spoilt(**changed: bytes | None) -> dict[str, bytes]:
    names = {"weights": WEIGHTS, "config": CONFIG, "manifest": MANIFEST}
    content = files("alice", 1) | {names[key]: data for key, data in changed.items()}  # type: ignore[dict-item]
    return {name: data for name, data in content.items() if data is not None}


REFUSED = {
    "pickle": ("RZ-0941", files("alice") | {"adapter_model.bin": b"\x80\x04."}),
    "checkpoint": ("RZ-0941", files("alice") | {"optimizer.pt": b"PK"}),
    "code": ("RZ-0941", files("alice") | {"evil.py": b"import os"}),
    "other weights": ("RZ-0941", files("alice") | {"model.safetensors": files("alice")[WEIGHTS]}),
    "nested": ("RZ-0941", files("alice") | {"more/vocab.json": b"{}"}),
    "two folders": ("RZ-0941", files("alice") | {"../other-adapter/vocab.json": b"{}"}),
    "no weights": ("RZ-0942", spoilt(weights=None)),
    "no config": ("RZ-0942", spoilt(config=None)),
    "no manifest": ("RZ-0942", spoilt(manifest=None)),
    "empty": ("RZ-0942", {}),
    "changed": ("RZ-0943", with_sums(files("alice")) | {CONFIG: b"{}"}),
    "added": ("RZ-0943", with_sums(files("alice")) | {"vocab.json": b"{}"}),
    "left out": ("RZ-0943", {k: v for k, v in with_sums(files("alice")).items() if k != "tokenizer.json"}),
    "sums are noise": ("RZ-0943", files("alice") | {"SHA256SUMS": b"\xff\0" * 50}),
    "no json": ("RZ-0944", spoilt(manifest=b"\x80\x04.")),
    "deep json": ("RZ-0944", spoilt(manifest=b"[" * 100_000)),
    "another schema": ("RZ-0944", files("alice", schema=99)),
    "a key too many": ("RZ-0944", files("alice", evil=1)),
    "a number for a name": ("RZ-0944", files("alice", language=7)),
    "a text for a number": ("RZ-0944", files("alice", recordings="80")),
    "no base": ("RZ-0944", files("alice", base_model="whisper")),
    "base without weights": ("RZ-0944", files("alice", base_model={"name": "x"})),
    "base of numbers": ("RZ-0944", files("alice", base_model={"name": 1, "tensors_sha256": 2})),
    "no time": ("RZ-0944", files("alice", time="yesterday")),
    "endless window": ("RZ-0944", files("alice", window_s=float("inf"))),
    "no window": ("RZ-0944", files("alice", window_s=0)),
    "NaN for a window": ("RZ-0944", files("alice", window_s=float("nan"))),
    "pickle as weights": ("RZ-0944", spoilt(weights=b"\x80\x04\x95" + bytes(100))),
    "empty weights": ("RZ-0944", spoilt(weights=b"")),
    "weights of nothing": ("RZ-0944", spoilt(weights=save({}))),
    "cut weights": ("RZ-0944", spoilt(weights=files("alice")[WEIGHTS][:-1])),
    **{
        f"id {patient[:9]!r}": ("RZ-0002", files(patient))
        for patient in ("../bob", "/etc", "", "..", "a/b", "a\0b", "Alice", "李华", ".staging-1", "x" * 100_000)
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_adapter_changes_nothing(root: Path, tmp_path: Path, case: str) -> None:
    code, contents = REFUSED[case]
    before = everything(tmp_path)
    if code != "RZ-0943" and "SHA256SUMS" not in contents:
        contents = with_sums(contents)
    zipped = packed(contents)
    if case == "two folders":
        zipped = packed({f"{'a' if name[0] != '.' else 'b'}/{Path(name).name}": v for name, v in contents.items()}, "")
    refused(code, lambda: imported(zipped, root / "alice"))
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("code", "zipped"),
    [
        ("RZ-0050", io.BytesIO(b"no zip")),
        ("RZ-0051", packed(files("alice") | {"../../bob/adapter/tokenizer.json": b"evil"})),
        ("RZ-0051", packed(files("alice"), top="/etc/")),
        ("RZ-0941", packed(files("alice"), top="alice/adapter/")),
        ("RZ-0055", packed(files("alice") | {f"{i}.json": b"{}" for i in range(50)})),
        ("RZ-0057", packed(files("alice") | {"vocab.json": bytes(50_000_000)})),
        ("RZ-0942", packed(files("alice"))),
        ("RZ-0803", bundle("bob", 1)),
    ],
)
def test_what_is_no_good_bundle_changes_nothing(root: Path, tmp_path: Path, code: str, zipped: io.BytesIO) -> None:
    before = everything(tmp_path)
    refused(code, lambda: imported(zipped, root / "alice", "alice"))
    assert everything(tmp_path) == before


def test_a_full_disk_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(root)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_contents", full)
    refused("RZ-0004", lambda: imported(bundle("alice", 1), root / "alice"))
    assert everything(root) == before


# ── Many at once, and killed ─────────────────────────────────────────────────
def test_a_reader_always_finds_one_whole_adapter(root: Path) -> None:
    registry = AdapterRegistry(root)
    versions = [with_sums(files("alice", version)) for version in range(8)]
    seeds, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            seeds.append(registry.find("alice").manifest.seed)

    with ThreadPoolExecutor(10) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        list(threads.map(lambda version: imported(packed(versions[version]), root / "alice"), range(8)))
        done.set()
    for reader in readers:
        reader.result()
    assert len(seeds) > 10 and set(seeds) <= set(range(8))
    assert lying(root / "alice" / "adapter") == versions[registry.find("alice").manifest.seed]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def killed_at(event: int, act: Callable[[], object]) -> bool:
    """Do ``act`` in a process that is killed with −9 before its ``event``-th touch of the disk; False if it ended."""
    child = os.fork()
    if child == 0:
        touches = count(1)

        def watch(name: str, _: object) -> None:
            if name.startswith(("open", "os.", "shutil.", "ctypes.dlsym")) and next(touches) == event:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


@needs_fork
@pytest.mark.parametrize("together", [True, False], ids=["in one step", "where the system has no such step"])
@pytest.mark.parametrize("what", ["replace", "add"])
def test_killed_anywhere_every_adapter_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, together: bool
) -> None:
    if not together:
        monkeypatch.setattr(workspace, "_exchange", lambda *_: False)
    patient = "carol" if what == "add" else "alice"
    old, new = files("alice"), with_sums(files(patient, 1))
    zipped = tmp_path / "bundle.zip"
    zipped.write_bytes(packed(new).getvalue())
    possible = {"replace": [old, new], "add": [None, new]}[what]
    if what == "replace" and not together:
        possible.append(None)  # between two steps: lost, but not half
    seen = []
    for event in count(1):
        root = tmp_path / str(event)
        lay(root / "alice" / "adapter", old)
        lay(root / "bob" / "adapter", files("bob"))
        killed = killed_at(event, partial(import_bundle, zipped, root / patient, replace=True))
        found = lying(root / patient / "adapter")
        assert found in possible, event
        again = AdapterRegistry(root)
        assert again.patients == tuple(sorted({"alice", "bob"} - {patient} | ({patient} if found else set())))
        assert lying(root / "bob" / "adapter") == files("bob")
        seen.append(found)
        if not killed:
            break
    assert seen[0] == possible[0] and seen[-1] == possible[1] and len(seen) > 5
    if what == "replace":
        assert (None in seen) is not together
