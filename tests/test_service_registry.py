"""Which adapters a service finds, which it refuses, and how another takes the place of one."""

from __future__ import annotations

import io
import os
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from bundles import GOOD, bundle, files, lay, lying, packed, with_sums
from safetensors.numpy import save
from serving import make_adapter

from resonance_helpers import ResonanceError
from resonance_helpers.asr.adapter import CONFIG, WEIGHTS
from resonance_helpers.asr.manifest import MANIFEST
from resonance_helpers.core import archives, workspace
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.workspace import replacing_folder
from resonance_helpers.service.registry import AdapterRegistry


def test_three_layouts_are_found(folder_of_two: Path, tmp_path: Path) -> None:
    alice = make_adapter(tmp_path / "out" / "adapter", "alice")
    assert AdapterRegistry(alice).patients == AdapterRegistry(alice.parent).patients == ("alice",)
    assert AdapterRegistry(folder_of_two).patients == ("alice", "bob")
    assert AdapterRegistry({"alice": alice}).folder("alice") == alice.resolve()


def test_an_empty_or_missing_folder_names_itself(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ResonanceError) as caught:
            AdapterRegistry(path)
        assert caught.value.code == "RZ-0921"
        for lang in LANGUAGES:
            assert str(path) in message("RZ-0921", lang=lang, **caught.value.facts)


def test_an_adapter_of_somebody_else_stops_the_start(tmp_path: Path) -> None:
    make_adapter(tmp_path / "alice" / "adapter", "bob")
    with pytest.raises(ResonanceError) as caught:
        AdapterRegistry(tmp_path)
    assert caught.value.code == "RZ-0922"
    for lang in LANGUAGES:
        said = message("RZ-0922", lang=lang, **caught.value.facts)
        assert "alice" in said and "bob" in said


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    make_adapter(tmp_path / "elsewhere" / "adapter", "bob")
    make_adapter(tmp_path / "served" / "alice" / "adapter", "alice")
    (tmp_path / "served" / "bob").symlink_to(tmp_path / "elsewhere")
    assert AdapterRegistry(tmp_path / "served").patients == ("alice",)


def test_a_folder_that_is_no_pseudonym_is_refused(tmp_path: Path) -> None:
    make_adapter(tmp_path / "Li Hua" / "adapter", "Li Hua")
    with pytest.raises(ResonanceError) as caught:
        AdapterRegistry(tmp_path)
    assert caught.value.code == "RZ-0002"


def test_patients_of_different_base_models_are_not_served_together(tmp_path: Path) -> None:
    make_adapter(tmp_path / "alice" / "adapter", "alice", weights="a" * 64)
    make_adapter(tmp_path / "bob" / "adapter", "bob", weights="b" * 64)
    with pytest.raises(ResonanceError) as caught:
        AdapterRegistry(tmp_path)
    assert caught.value.code == "RZ-0927"
    make_adapter(tmp_path / "same" / "carol" / "adapter", "carol", name="another/name")
    make_adapter(tmp_path / "same" / "dave" / "adapter", "dave")
    assert AdapterRegistry(tmp_path / "same").patients == ("carol", "dave")  # the weights decide, not the name


# ── Changes ──────────────────────────────────────────────────────────────────
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


def test_an_upload_takes_the_place_of_the_one_before(root: Path) -> None:
    registry = AdapterRegistry(root)
    before = registry.generation("alice"), registry.generation("bob")
    served = registry.install(bundle("alice", 1))
    assert served.manifest == registry.manifest("alice") and served.manifest.seed == 1
    assert lying(root / "alice" / "adapter") == with_sums(files("alice", 1))
    assert served.bytes == sum(map(len, with_sums(files("alice", 1)).values()))
    assert registry.generation("alice") > before[0] and registry.generation("bob") == before[1]
    assert sorted(path.name for path in root.iterdir()) == ["alice", "bob"]
    assert AdapterRegistry(root).manifest("alice") == served.manifest


def test_an_upload_of_somebody_new(root: Path) -> None:
    registry = AdapterRegistry(root)
    refused("RZ-0904", lambda: registry.generation("carol"))
    registry.install(packed(files("carol"), top=""))  # no folder in the zip, no checksums
    assert registry.patients == ("alice", "bob", "carol")
    assert lying(registry.folder("carol")) == files("carol")
    assert stat.S_IMODE(registry.folder("carol").stat().st_mode) == 0o700


def test_a_removed_patient_is_unknown_and_only_the_adapter_goes(root: Path) -> None:
    registry = AdapterRegistry(root)
    first = registry.install(bundle("alice", 1)).generation
    registry.remove("alice")
    assert registry.patients == ("bob",)
    for act in (registry.folder, registry.generation, registry.manifest, registry.remove, registry.reload):
        refused("RZ-0904", lambda act=act: act("alice"))
    assert everything(root / "alice") == {"runs": None, "runs/log.txt": b"1"}
    assert sorted(path.name for path in root.iterdir()) == ["alice", "bob"]
    assert registry.install(bundle("alice", 1)).generation > first, "a cache must not take it for the old one"


def test_the_last_one_may_go(root: Path) -> None:
    registry = AdapterRegistry(root)
    registry.remove("alice")
    registry.remove("bob")
    for patient in ("alice", None):
        refused("RZ-0904", lambda patient=patient: registry.choose(patient))
    refused("RZ-0945", lambda: registry.install(bundle("alice", language="en")))  # that of the start
    assert registry.install(bundle("alice")) and registry.choose(None) == "alice"


def test_an_adapter_that_somebody_deleted_by_hand_can_be_removed(root: Path) -> None:
    registry = AdapterRegistry(root)
    shutil.rmtree(root / "alice" / "adapter")
    refused("RZ-0944", lambda: registry.reload("alice"))
    registry.remove("alice")
    assert registry.patients == ("bob",)


def test_reload_sees_what_was_trained_anew(root: Path) -> None:
    registry = AdapterRegistry(root)
    before = registry.generation("alice")
    with replacing_folder(root / "alice" / "adapter") as temporary:
        shutil.copytree(lay(root / "new", files("alice", 5)), temporary, dirs_exist_ok=True)
    assert registry.manifest("alice").seed == 0
    assert registry.reload("alice").manifest.seed == registry.manifest("alice").seed == 5
    assert registry.generation("alice") > before


def test_reload_finds_somebody_new(root: Path) -> None:
    registry = AdapterRegistry(root)
    refused("RZ-0904", lambda: registry.reload("carol"))
    lay(root / "carol" / "adapter", files("carol"))
    assert registry.reload("carol").folder == root / "carol" / "adapter"
    assert registry.patients == ("alice", "bob", "carol")


@pytest.mark.parametrize("patient", ["", ".", "..", "../root/bob", "bob/adapter", "/etc", "bo\0b", "Bob", "x" * 65])
def test_an_id_never_becomes_a_path(root: Path, patient: str) -> None:
    registry = AdapterRegistry(root / "alice" if patient == "../root/bob" else root)
    for act in (registry.reload, registry.remove):
        refused("RZ-0904", lambda act=act: act(patient))


def test_links_are_neither_followed_nor_replaced(root: Path, tmp_path: Path) -> None:
    registry = AdapterRegistry(root)
    lay(tmp_path / "elsewhere" / "adapter", files("carol"))
    (root / "carol").symlink_to(tmp_path / "elsewhere")
    (root / "dave").mkdir()
    (root / "dave" / "adapter").symlink_to(root / "bob" / "adapter")
    before = everything(tmp_path)
    for patient in ("carol", "dave"):
        refused("RZ-0904", lambda patient=patient: registry.reload(patient))
        refused("RZ-0946", lambda patient=patient: registry.install(bundle(patient, 1)))
    assert everything(tmp_path) == before
    shutil.rmtree(root / "bob" / "adapter")
    (root / "bob" / "adapter").symlink_to(tmp_path / "elsewhere" / "adapter")
    for act in (registry.reload, registry.remove, lambda patient: registry.install(bundle(patient))):
        refused("RZ-0946", lambda act=act: act("bob"))


@pytest.mark.parametrize("place", ["out", "out/adapter"])
def test_a_service_for_one_takes_only_theirs(tmp_path: Path, place: str) -> None:
    lay(tmp_path / "out" / "adapter", files("alice"))
    registry = AdapterRegistry(tmp_path / place)
    refused("RZ-0946", lambda: registry.install(bundle("bob")))
    registry.install(bundle("alice", 1))
    assert lying(tmp_path / "out" / "adapter") == with_sums(files("alice", 1))
    registry.remove("alice")
    registry.install(bundle("alice", 2))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["adapter"]


def test_a_mapping_stays_as_it_is(root: Path) -> None:
    registry = AdapterRegistry({"alice": root / "alice" / "adapter"})
    before = everything(root)
    for act in (lambda: registry.install(bundle("alice", 1)), lambda: registry.remove("alice")):
        refused("RZ-0946", act)
    assert everything(root) == before and registry.reload("alice").generation > 0


# ── What is refused, and leaves everything as it was ─────────────────────────
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
    "another base": ("RZ-0945", files("alice", base_model=GOOD.base_model | {"tensors_sha256": "f" * 64})),
    "another language": ("RZ-0945", files("alice", language="en")),
    **{
        f"id {patient[:9]!r}": ("RZ-0002", files(patient))
        for patient in ("../bob", "/etc", "", "..", "a/b", "a\0b", "Alice", "李华", ".staging-1", "x" * 100_000)
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_adapter_changes_nothing(root: Path, tmp_path: Path, case: str) -> None:
    code, contents = REFUSED[case]
    registry = AdapterRegistry(root)
    before, known = everything(tmp_path), registry.served
    zipped = packed(contents)
    if case == "two folders":
        zipped = packed({f"{'a' if name[0] != '.' else 'b'}/{Path(name).name}": v for name, v in contents.items()}, "")
    refused(code, lambda: registry.install(zipped))
    assert everything(tmp_path) == before and registry.served == known


@pytest.mark.parametrize(
    ("code", "zipped"),
    [
        ("RZ-0050", io.BytesIO(b"no zip")),
        ("RZ-0051", packed(files("alice") | {"../../bob/adapter/tokenizer.json": b"evil"})),
        ("RZ-0051", packed(files("alice"), top="/etc/")),
        ("RZ-0941", packed(files("alice"), top="alice/adapter/")),
        ("RZ-0055", packed(files("alice") | {f"{i}.json": b"{}" for i in range(50)})),
        ("RZ-0057", packed(files("alice") | {"vocab.json": bytes(50_000_000)})),
    ],
)
def test_what_is_no_good_zip_changes_nothing(root: Path, tmp_path: Path, code: str, zipped: io.BytesIO) -> None:
    registry = AdapterRegistry(root)
    before = everything(tmp_path)
    refused(code, lambda: registry.install(zipped))
    assert everything(tmp_path) == before


def test_a_full_disk_changes_nothing_and_names_no_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = AdapterRegistry(root)
    before = everything(root)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_contents", full)
    with pytest.raises(ResonanceError, match="RZ-0948") as caught:
        registry.install(bundle("alice", 1))
    assert str(root) not in str(caught.value) and everything(root) == before


@pytest.mark.parametrize(
    ("code", "contents"),
    [("RZ-0944", spoilt(manifest=b"{")), ("RZ-0944", spoilt(weights=None)), ("RZ-0945", files("alice", language="en"))],
)
def test_what_is_damaged_on_disk_takes_nobody_down(root: Path, code: str, contents: dict[str, bytes]) -> None:
    registry = AdapterRegistry(root)
    known = registry.served
    shutil.rmtree(root / "alice" / "adapter")
    lay(root / "alice" / "adapter", contents)
    refused(code, lambda: registry.reload("alice"))
    assert registry.served == known
    registry.install(bundle("bob", 1))
    registry.install(bundle("alice", 2))
    assert registry.patients == ("alice", "bob")


def test_the_adapter_of_somebody_else_is_not_reloaded(root: Path) -> None:
    registry = AdapterRegistry(root)
    shutil.rmtree(root / "alice" / "adapter")
    shutil.copytree(root / "bob" / "adapter", root / "alice" / "adapter")
    refused("RZ-0947", lambda: registry.reload("alice"))


# ── Many at once ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize("together", [True, False], ids=["in one step", "where the system has no such step"])
def test_who_reads_always_finds_one_whole_adapter(root: Path, monkeypatch: pytest.MonkeyPatch, together: bool) -> None:
    if not together:
        monkeypatch.setattr(workspace, "_exchange", lambda *_: False)
    registry = AdapterRegistry(root)
    versions = [with_sums(files("alice", version)) for version in range(8)]
    found, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            with registry.reading("alice") as folder:
                found.append(lying(folder))

    with ThreadPoolExecutor(10) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        list(threads.map(lambda version: registry.install(packed(versions[version])), range(8)))
        done.set()
    for reader in readers:
        reader.result()
    assert len(found) > 10 and all(each in [*versions, files("alice")] for each in found)
    assert lying(root / "alice" / "adapter") == versions[registry.manifest("alice").seed]
    assert registry.generation("alice") == 8


# ── Killed ───────────────────────────────────────────────────────────────────
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
@pytest.mark.parametrize("what", ["replace", "add", "remove"])
def test_killed_anywhere_every_adapter_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, together: bool
) -> None:
    if not together:
        monkeypatch.setattr(workspace, "_exchange", lambda *_: False)
    patient = "carol" if what == "add" else "alice"
    old, new = files("alice"), with_sums(files(patient, 1))
    zipped = packed(new).getvalue()
    possible = {"replace": [old, new], "add": [None, new], "remove": [old, None]}[what]
    if what == "replace" and not together:
        possible.append(None)  # between two steps: lost, but not half
    seen = []
    for event in count(1):
        root = tmp_path / str(event)
        lay(root / "alice" / "adapter", old)
        lay(root / "bob" / "adapter", files("bob"))
        registry = AdapterRegistry(root)
        act = partial(registry.remove, patient) if what == "remove" else partial(registry.install, io.BytesIO(zipped))
        killed = killed_at(event, act)
        found = lying(root / patient / "adapter")
        assert found in possible, event
        again = AdapterRegistry(root)
        assert again.patients == tuple(sorted({"alice", "bob"} - {patient} | ({patient} if found else set())))
        assert lying(root / "bob" / "adapter") == files("bob")
        assert not list(root.glob(".staging-*")), "what was left is removed by the next start"
        seen.append(found)
        if not killed:
            break
    assert seen[0] == possible[0] and seen[-1] == possible[1] and len(seen) > 5
    if what == "replace":
        assert (None in seen) is not together


@needs_fork
def test_killed_while_it_clears_away_what_a_killed_one_left(root: Path) -> None:
    for event in count(1):
        left = root / ".staging-x"
        lay(left / "unpacked" / "carol-adapter", files("carol"))
        lay(left / "adapter", files("carol"))
        killed = killed_at(event, lambda: AdapterRegistry(root))
        assert AdapterRegistry(root).patients == ("alice", "bob") and not left.exists()
        if not killed:
            assert event > 5
            break
