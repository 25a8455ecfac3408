"""What the workspace knows beside the scores: the recordings, how the adapter was made, with which versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .... import __version__
from ....asr.augmentation import effects_in_words
from ....asr.manifest import Manifest, read_manifest
from ....core.workspace import Workspace, read_json
from ....dataset.splits import FACTS, read_split
from ..takes import Takes, examine

_HASH_SHOWN = 12  # characters; enough to tell two sets of recordings apart


@dataclass(frozen=True)
class Background:
    """``settings`` and ``versions`` are name → value, with no path of this machine; ``simulated``: nobody's voice."""

    patient_id: str
    tested_on: str  # ISO date
    simulated: bool = False
    takes: Takes = field(default_factory=Takes)
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def gather(workspace: Workspace) -> Background:
    """The background of a test that has just been run: what ``evaluate`` needed is still there, else its errors."""
    manifest = read_manifest(workspace.adapter)
    run = workspace.runs / manifest.run
    facts = run / FACTS  # not there yet where the run was killed after the adapter was saved
    preset = read_json(facts, "preset")["preset"] if facts.exists() else {}
    return Background(
        patient_id=workspace.patient_id,
        tested_on=datetime.now().astimezone().date().isoformat(),
        simulated=workspace.is_sample,
        takes=examine(workspace, read_split(run), manifest.window_s),
        settings=_settings(manifest, preset),
        versions={"resonance-helpers": __version__, "Python": platform.python_version(), **manifest.versions},
    )


def _settings(manifest: Manifest, preset: Mapping[str, Any]) -> dict[str, str]:
    """Message names of the form ``report.fact.<name>`` and their values."""
    lora = manifest.lora_settings
    return {
        "base_model": f"{manifest.base_model['name']} @ {manifest.base_model['revision']}",
        "trained_at": manifest.time,
        "lora": f"r={lora.r}, α={lora.alpha}, {'/'.join(lora.target_modules)}",
        **{name: _written(preset[name]) for name in ("learning_rate", "batch_size", "augment") if name in preset},
        "seed": str(manifest.seed),
        "data_sha256": manifest.data_sha256[:_HASH_SHOWN],
    }


def _written(value: Any) -> str:
    return effects_in_words(value) if isinstance(value, list) else str(value)
