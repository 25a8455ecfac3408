"""Which adapters a service finds, which it refuses, and that it notices what changes on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundles import files, lay
from serving import make_adapter

from resonance_helpers import ResonanceError
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.workspace import put_in_place
from resonance_helpers.service.registry import AdapterRegistry


def test_three_layouts_are_found(folder_of_two: Path, tmp_path: Path) -> None:
    alice = make_adapter(tmp_path / "out" / "adapter", "alice")
    assert AdapterRegistry(alice).patients == AdapterRegistry(alice.parent).patients == ("alice",)
    assert AdapterRegistry(folder_of_two).patients == ("alice", "bob")
    assert AdapterRegistry({"alice": alice}).find("alice").folder == alice.resolve()


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


# ── Changes on disk ──────────────────────────────────────────────────────────
@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Adapters of alice and bob."""
    for patient in ("alice", "bob"):
        lay(tmp_path / "root" / patient / "adapter", files(patient))
    return tmp_path / "root"


def replaced(folder: Path, contents: dict[str, bytes]) -> None:
    shutil.rmtree(folder.parent / ".next", ignore_errors=True)
    put_in_place(lay(folder.parent / ".next", contents), folder)


def test_another_adapter_has_another_version_and_the_same_one_the_same(root: Path) -> None:
    registry = AdapterRegistry(root)
    first, other = registry.find("alice"), registry.find("bob")
    assert registry.find("alice") is first
    replaced(root / "alice" / "adapter", files("alice", 1))
    second = registry.find("alice")
    assert second.manifest.seed == 1 and second.version != first.version and registry.find("bob") is other
    replaced(root / "alice" / "adapter", files("alice", 0))
    assert registry.find("alice").version not in (first.version, second.version), "a cache must not take it for the old"


def test_patients_come_and_go(root: Path) -> None:
    registry = AdapterRegistry(root)
    lay(root / "carol" / "adapter", files("carol"))
    assert registry.patients == ("alice", "bob", "carol") and registry.choose("carol") == "carol"
    for patient in ("alice", "bob", "carol"):
        shutil.rmtree(root / patient / "adapter")
    assert registry.patients == ()
    for patient in ("alice", None):
        with pytest.raises(ResonanceError, match="RZ-0904"):
            registry.choose(patient)
    lay(root / "bob" / "adapter", files("bob"))
    assert registry.choose(None) == "bob"


def test_an_adapter_that_is_missing_for_a_moment_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system can't exchange two folders in one step, a replaced adapter is away for a moment."""
    registry, home = AdapterRegistry(root), root / "alice" / "adapter"
    registry.find("alice")
    home.rename(root / ".away")
    monkeypatch.setattr("resonance_helpers.service.registry.time.sleep", lambda _: (root / ".away").rename(home))
    assert registry.find("alice").folder == home


@pytest.mark.parametrize("place", ["out", "out/adapter"])
def test_a_service_for_one_patient_answers_for_no_other(tmp_path: Path, place: str) -> None:
    lay(tmp_path / "out" / "adapter", files("alice"))
    registry = AdapterRegistry(tmp_path / place)
    lay(tmp_path / "out" / "bob" / "adapter", files("bob"))
    assert registry.patients == ("alice",)
    replaced(tmp_path / "out" / "adapter", files("bob"))
    registry.find("alice")
    with pytest.raises(ResonanceError, match="RZ-0904"):
        registry.find("bob")


@pytest.mark.parametrize("layout", ["many", "one", "adapter", "mapping"])
def test_a_link_that_appears_is_not_followed_out_of_the_folder(root: Path, tmp_path: Path, layout: str) -> None:
    home = root / "bob" / "adapter"
    registry = AdapterRegistry({"many": root, "one": home.parent, "adapter": home, "mapping": {"bob": home}}[layout])
    lay(tmp_path / "elsewhere" / "adapter", files("bob"))
    assert registry.find("bob").folder == home
    shutil.rmtree(home)
    home.symlink_to(tmp_path / "elsewhere" / "adapter")
    with pytest.raises(ResonanceError, match="RZ-0904"):
        registry.find("bob")


@pytest.mark.parametrize("patient", ["", ".", "..", "../root/bob", "bob/adapter", "/etc", "bo\0b", "Bob", "x" * 65])
def test_an_id_never_becomes_a_path(root: Path, patient: str) -> None:
    registry = AdapterRegistry(root / "alice" if patient == "../root/bob" else root)
    for look in (registry.find, registry.choose):
        with pytest.raises(ResonanceError, match="RZ-0904"):
            look(patient)
