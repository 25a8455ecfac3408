"""The lessons' parameters: each has a type and bounds, and whatever is given is taken or named in a sentence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers import ResonanceError, check_parameters, open_workspace
from resonance_helpers.core.parameters import _EXAMPLES
from resonance_helpers.studies.lessons import _declared_parameters, lesson_paths


def test_every_parameter_of_the_ten_lessons_is_known_with_its_type_and_its_default_is_taken() -> None:
    declared = {name: value for path in lesson_paths() for name, value in _declared_parameters(path).items()}
    assert {name: type(value) for name, value in declared.items()} == {n: type(v) for n, v in _EXAMPLES.items()}
    check_parameters(declared)
    check_parameters(_EXAMPLES)


def test_every_lesson_with_parameters_checks_them_before_they_are_used() -> None:
    for path in lesson_paths():
        assert "check_parameters(globals())" in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("PATIENT_ID: 001", "RZ-1405"),
        ("PATIENT_ID: 2026-12-01", "RZ-1405"),
        ("PATIENT_ID: yes", "RZ-1405"),
        ("PATIENT_ID:", "RZ-1405"),
        ("DATA_DIR: 5", "RZ-1405"),
        ("DATA_DIR: [a, b]", "RZ-1405"),
        ("BASE_MODEL: 1.5", "RZ-1405"),
        ("STEPS: many", "RZ-1405"),
        ("STEPS: '20'", "RZ-1405"),
        ("STEPS: 1e3", "RZ-1405"),  # text in YAML
        ("STEPS: true", "RZ-1405"),
        ("STEPS: 0", "RZ-0001"),
        ("SEED: -1", "RZ-0001"),
        ("SEED: 4294967296", "RZ-0001"),
        ("BATCH_SIZE: -8", "RZ-0001"),
        ("PORT: 70000", "RZ-0001"),
        ("LOCAL_PORT: 0", "RZ-0001"),
        ("OTHER_SOUNDS: -1", "RZ-0001"),
        ("YUAN_PER_HOUR: .nan", "RZ-0001"),
        ("YUAN_PER_HOUR: free", "RZ-1405"),
        ("PRESET: best", "RZ-0001"),
        ("PROVE: 1", "RZ-1405"),
        ("YUAN_PER_HOUR: 2", None),
        ("PATIENT_ID: '001'", None),
        ("SOMETHING_ELSE: 5", None),
    ],
)
def test_what_yaml_makes_of_a_value_is_taken_or_named(text: str, code: str | None) -> None:
    values = yaml.safe_load(text)
    if code is None:
        check_parameters(values)
        return
    with pytest.raises(ResonanceError, match=code) as caught:
        check_parameters(values)
    assert next(iter(values)) in str(caught.value)


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.binary()


@given(st.dictionaries(st.sampled_from(sorted(_EXAMPLES)), ANYTHING))
def test_anything_is_taken_or_refused_with_a_code(values: dict[str, Any]) -> None:
    try:
        check_parameters(values)
    except ResonanceError as error:
        assert error.code in ("RZ-1405", "RZ-0001")
    else:
        assert not any(isinstance(value, float) and math.isnan(value) for value in values.values())


@pytest.mark.parametrize("patient", [1, 0o1, None, True, 1.0, b"anna", ["anna"], Path("anna")])
def test_a_patient_id_that_is_no_text_is_named(tmp_path: Path, patient: Any) -> None:
    with pytest.raises(ResonanceError, match="PATIENT_ID"):
        open_workspace(tmp_path, tmp_path / "out", patient)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["a\0b", "x" * 5000, "a/\udcff", "~nobody-of-this-name/a", "/dev/null/a", "\ud83d"])
def test_what_can_be_no_folder_is_named(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ResonanceError, match=r"RZ-0012.*OUTPUT_DIR"):
        open_workspace(tmp_path, folder, "anna")
    with pytest.raises(ResonanceError, match=r"RZ-0003|RZ-0012") as caught:
        open_workspace(folder, tmp_path / "out", "anna")
    str(caught.value).encode()


def test_an_output_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ResonanceError, match="RZ-0012"):
        open_workspace(tmp_path, tmp_path / "out", "anna")
    with pytest.raises(ResonanceError, match="RZ-0012"):
        open_workspace("", tmp_path / "out", "anna")
    assert (tmp_path / "out").read_text() == "mine"
