"""Before training: do the steps suit the recordings, and how long will it take?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...asr.base_models import default_name
from ...core.settings import SUITABLE_PASSES, USUAL_PASSES, TrainingSettings
from ...core.workspace import Workspace
from ...dataset.index import load_utterances
from ...dataset.splits import FACTS, hold_out_dev, split_utterances
from .records import TrainingResult, read_run


@dataclass(frozen=True)
class Outlook:
    """What can be known before the first step."""

    recordings: int  # that are learned from while the best step is chosen
    passes: float  # how often each of them comes up until then
    suits: Literal["few", "fits", "many"]
    usual_steps: int  # for ``USUAL_PASSES``
    seconds: float | None  # of the whole run, at the speed of the last one like it; None before there is one


def outlook(workspace: Workspace, settings: TrainingSettings, base_model: str = "") -> Outlook:
    """How ``settings`` suit the recordings of ``workspace``. RZ-0006 before lesson 05, RZ-0406 with too few of them."""
    train = split_utterances(load_utterances(workspace), settings.seed).train
    fit = hold_out_dev(train, settings.dev_fraction, settings.dev_max_clips, settings.seed).fit
    a_step = settings.batch_size * settings.accumulation
    passes = settings.steps * a_step / len(fit)
    _, most = SUITABLE_PASSES
    earlier = _last_run_like(workspace, settings, default_name(workspace, base_model))
    return Outlook(
        recordings=len(fit),
        passes=passes,
        suits="few" if settings.steps < fewest_steps(settings, len(fit)) else "many" if passes > most else "fits",
        usual_steps=math.ceil(USUAL_PASSES * len(fit) / a_step / 10) * 10,
        seconds=settings.all_steps * earlier.wall_seconds / earlier.steps if earlier else None,
    )


def fewest_steps(settings: TrainingSettings, recordings: int) -> int:
    """Steps after which each of ``recordings`` has come up as often as it must to be learned."""
    return math.ceil(SUITABLE_PASSES[0] * recordings / (settings.batch_size * settings.accumulation))


def _last_run_like(workspace: Workspace, settings: TrainingSettings, base_model: str) -> TrainingResult | None:
    for facts in sorted(workspace.runs.glob(f"*/{FACTS}"), reverse=True):
        run = read_run(facts.parent)
        same = run.batch_size == settings.batch_size and run.preset["window_s"] == settings.window_s
        if same and run.base_model in (base_model, Path(base_model).name):
            return run
    return None
