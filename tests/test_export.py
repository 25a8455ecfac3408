"""The bundle: the same bytes each time, whole or absent, never another patient's."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from resonance_helpers import Workspace, adapter, export, training
from resonance_helpers.messages import ResonanceError
from resonance_helpers.settings import TrainingSettings


@pytest.fixture(scope="module")
def trained(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = replace(converted_sample, output_dir=tmp_path_factory.mktemp("export"))
    training.train(workspace, TrainingSettings(steps=1, eval_every=1, augment=()))
    return workspace


def test_the_bundle_holds_the_adapter_and_its_checksums(trained: Workspace) -> None:
    made = export.export_adapter(trained)
    with zipfile.ZipFile(made.zip) as bundle:
        assert bundle.testzip() is None
        contents = {Path(name).name: bundle.read(name) for name in bundle.namelist()}
        assert {Path(name).parent.name for name in bundle.namelist()} == {"sample-adapter"}
    on_disk = {path.name: path.read_bytes() for path in trained.adapter.iterdir()}
    assert {name: data for name, data in contents.items() if name != export.CHECKSUMS} == on_disk
    sums = dict(reversed(line.split("  ")) for line in contents[export.CHECKSUMS].decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in on_disk.items()}
    assert [(name, size) for name, size, _ in made.files] == [(name, len(data)) for name, data in contents.items()]
    assert made.total_bytes == sum(len(data) for data in contents.values())


def test_the_same_adapter_gives_the_same_bytes(trained: Workspace) -> None:
    first = export.export_adapter(trained).zip.read_bytes()
    (trained.adapter / adapter.MANIFEST).touch()
    assert export.export_adapter(trained).zip.read_bytes() == first


def test_every_file_says_what_it_is_for(trained: Workspace) -> None:
    purposes = {name: purpose for name, _, purpose in export.export_adapter(trained).files}
    assert len(set(purposes.values())) == len(purposes), "each has a purpose of its own"


def test_lesson_six_comes_first(converted_sample: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ResonanceError, match=r"RZ-0006.*第六课"):
        export.export_adapter(replace(converted_sample, output_dir=tmp_path))


def test_another_patients_adapter_is_not_packed_under_this_name(trained: Workspace) -> None:
    with pytest.raises(ResonanceError, match="RZ-0005"):
        export.export_adapter(replace(trained, patient_id="patient-b"))
    assert not (trained.export / "patient-b-adapter.zip").exists()


def test_a_full_disk_leaves_the_previous_bundle(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = export.export_adapter(trained).zip.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(ResonanceError, match="RZ-0004"):
        export.export_adapter(trained)
    assert (trained.export / "sample-adapter.zip").read_bytes() == before
    assert [path.name for path in trained.export.iterdir()] == ["sample-adapter.zip"]
