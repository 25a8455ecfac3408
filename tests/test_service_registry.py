"""Which adapters a service finds, and which it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import make_adapter

from resonance_helpers import ResonanceError
from resonance_helpers.messages import LANGUAGES, message
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
