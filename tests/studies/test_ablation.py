"""The ablation changes what its table says, and nothing beside it."""

from __future__ import annotations

import runpy
from dataclasses import asdict

from resonance_helpers.core.workspace import REPOSITORY

NAMED = {"learning_rate", "augment", "lora.parts", "lora.target_modules", "lora.r", "lora.alpha"}


def test_configurations_differ_in_what_their_names_say_only() -> None:
    configurations = runpy.run_path(str(REPOSITORY / "benchmarks" / "ablation.py"))["CONFIGURATIONS"]
    flat = []
    for settings in configurations.values():
        facts = asdict(settings)
        flat.append({f"lora.{name}": value for name, value in facts.pop("lora").items()} | facts)
    assert len(flat) <= 12
    assert {name for name in flat[0] if len({facts[name] for facts in flat}) > 1} == NAMED
