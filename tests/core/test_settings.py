"""Options that would make no sense are refused where they are made, with what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resonance_helpers import ResonanceError
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import LoraSettings, TrainingSettings


@pytest.mark.parametrize(
    ("make", "name", "value", "allowed"),
    [
        (TrainingSettings, "steps", 0, "≥ 1"),
        (TrainingSettings, "batch_size", True, "≥ 1"),
        (TrainingSettings, "learning_rate", 1.0, "0 < x < 1"),
        (TrainingSettings, "window_s", 5.0, "6.0"),
        (TrainingSettings, "native_every", -1, "≥ 0"),
        (TrainingSettings, "augment", ("speed", "echo"), "room"),
        (LoraSettings, "r", 0, "≥ 1"),
        (LoraSettings, "dropout", 1.0, "0 ≤ x < 1"),
        (LoraSettings, "parts", ("head",), "encoder"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    make: Callable[..., Any], name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ResonanceError) as caught:
        make(**{name: value})
    assert caught.value.code == "RZ-0001"
    for lang in LANGUAGES:
        told = message("RZ-0001", lang=lang, **caught.value.facts)
        assert name in told and str(value) in told and allowed in told
