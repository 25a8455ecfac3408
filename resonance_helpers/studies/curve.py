"""The learning curve: how good with how many phrases, and whether 30 more would help.

Retrains on nested subsets of a person's own phrases, several times, and judges each on the same test clips. What the
curve says, and the rule of the answer, stand in ``scoring.curve``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.guide_facts import EXPECTED_EFFECT
from ..core.messages import ResonanceError, message
from ..core.settings import MIN_RECORDINGS
from ..core.workspace import Workspace, replacing, write_json
from ..dataset.splits import nested_phrases
from ..scoring.error_rates import PARTS, Score
from ..scoring.learning_curve import MORE_PHRASES, WORTH, CurvePoint, Gain, Trial, curve_points, gain
from ..scoring.text import normalise
from .charts import learning_curve_chart, learning_curve_lines
from .retraining import OnProgress, Study, prepare, retrain, share_of

FOLDER = "learning_curve"
SIZES = (10, 30, 50, 100)  # the guide's three, and a start
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class LearningCurve:
    """The curve of one person; ``answer`` is the paragraph in the user's language that answers the question."""

    base_model: str
    is_practice: bool
    steps: int
    seeds: tuple[int, ...]
    points: tuple[CurvePoint, ...]
    seen: Gain | None  # None: no test clip of such a phrase
    unseen: Gain | None
    lines: tuple[str, ...]  # the figures as sentences
    answer: str
    json: Path
    png: Path


def learning_curve(
    workspace: Workspace,
    sizes: Sequence[int] | None = None,
    seeds: Sequence[int] = SEEDS,
    steps: int | None = None,
    base_model: str = "",
    language: str = "zh",
    on_progress: OnProgress | None = None,
) -> LearningCurve:
    """Retrain on ``sizes`` phrases (where None: ``SIZES`` as far as there are phrases, and all) with each of ``seeds``.

    Every retraining has a folder of its own under ``learning_curve/``; a finished one is kept and not repeated, also
    when the run was killed. Writes learning_curve.json and learning_curve.png there; ``adapter/`` is never touched.
    Raises RZ-1602 (sizes), RZ-0701 (no test clips) and what ``training.train`` raises, before anything is trained.
    """
    study = prepare(workspace, FOLDER, steps, base_model, language)
    if not study.test:
        raise ResonanceError("RZ-0701", path=workspace.labels)
    chosen = _checked(sizes, study)
    trials = _run(study, chosen, tuple(dict.fromkeys(seeds)), on_progress)
    points = curve_points(trials)
    seen, unseen = (gain(trials, part) for part in PARTS)
    folder = workspace.output_dir / FOLDER
    curve = LearningCurve(
        base_model=study.base_name,
        is_practice=study.is_practice,
        steps=study.settings.steps,
        seeds=tuple(dict.fromkeys(seeds)),
        points=points,
        seen=seen,
        unseen=unseen,
        lines=(*learning_curve_lines(points), message("curve.reading")),
        answer=answer(points, seen, unseen, study.is_practice),
        json=folder / "learning_curve.json",
        png=folder / "learning_curve.png",
    )
    write_json(curve.json, _as_json(curve, trials))
    with replacing(curve.png) as temporary:
        temporary.write_bytes(learning_curve_chart(points, study.is_practice).png())
    return curve


def _checked(sizes: Sequence[int] | None, study: Study) -> tuple[int, ...]:
    """The sizes in order, each once. Raises RZ-1602 unless there are two that can be trained on."""
    available = len({normalise(u.text) for u in study.train})
    smallest = max(2, MIN_RECORDINGS - len(study.test))  # one to learn from, one to choose the step by
    wanted = {*(s for s in SIZES if s < available), available} if sizes is None else set(sizes)
    if len(wanted) < 2 or min(wanted) < smallest or max(wanted) > available:
        value = ", ".join(map(str, sorted(wanted)))
        raise ResonanceError("RZ-1602", value=value, smallest=smallest, available=available)
    return tuple(sorted(wanted))


def _run(study: Study, sizes: Sequence[int], seeds: Sequence[int], on_progress: OnProgress | None) -> list[Trial]:
    """All trials, the small ones of every seed first: a run that is cut short then has whole sizes."""
    subsets = {seed: nested_phrases(study.train, sizes, seed) for seed in seeds}
    grid = list(itertools.product(sizes, seeds))
    trials = []
    for done, (size, seed) in enumerate(grid):
        on_share = share_of(on_progress, done, len(grid), message("curve.doing", size=size, seed=seed))
        name = f"phrases{size:03d}_seed{seed}"
        trials.append(Trial(size, seed, retrain(study, name, subsets[seed][size], study.test, seed, on_share)))
    if on_progress:
        on_progress(len(grid), len(grid), "")
    return trials


# ── In words ─────────────────────────────────────────────────────────────────
def answer(points: Sequence[CurvePoint], seen: Gain | None, unseen: Gain | None, is_practice: bool) -> str:
    """The answer, its figures, its rule and its limits; the guide's expectation only beside a real person's voice."""
    sentences = [message("curve.question", more=MORE_PHRASES)]
    sentences += [
        _about(message(f"chart.split.{part}"), found) for part, found in zip(PARTS, (seen, unseen), strict=True)
    ]
    last = points[-1]
    if last.seen and last.unseen:
        facts: dict[str, Any] = {
            "new": f"{last.unseen.sentence_accuracy:.0%}",
            "known": f"{last.seen.sentence_accuracy:.0%}",
            "phrases": last.phrases,
        }
        sentences.append(message("curve.themselves", more=MORE_PHRASES, **facts))
    sentences.append(message("curve.rule", worth=f"{WORTH:.2f}", more=MORE_PHRASES))
    if is_practice:
        sentences.append(message("curve.practice"))
    else:
        rows = (message("curve.guide.row", n=row.recordings, percent=row.accuracy_percent) for row in EXPECTED_EFFECT)
        sentences.append(message("curve.guide", table=message("list.comma").join(rows)))
    return "\n".join(sentences)


def _about(part: str, found: Gain | None) -> str:
    if found is None:
        return message("curve.gain.none", part=part)
    facts: dict[str, Any] = {
        "level": message(f"curve.level.{found.level}"),
        "before": f"{found.cer[0]:.2f}",
        "after": f"{found.cer[1]:.2f}",
        "fall": _signed(found.fall),
        "low": _signed(found.fall_ci[0]),
        "high": _signed(found.fall_ci[1]),
        "expected": _signed(found.expected),
        "expected_low": _signed(found.expected_ci[0]),
        "expected_high": _signed(found.expected_ci[1]),
    }
    sizes: dict[str, Any] = {"smaller": found.smaller, "larger": found.larger, "n": found.n, "more": MORE_PHRASES}
    return message("curve.gain", part=part, **sizes, **facts)


def _signed(change: float) -> str:
    return f"{round(change, 3) + 0.0:+.3f}"  # + 0.0: a zero has no minus


def _as_json(curve: LearningCurve, trials: Sequence[Trial]) -> dict[str, Any]:
    """As learning_curve.json keeps it: figures only, nothing of what the person said."""
    return {
        "base_model": curve.base_model,
        "is_practice": curve.is_practice,
        "steps": curve.steps,
        "seeds": list(curve.seeds),
        "points": [_point(point) for point in curve.points],
        "by_seed": {
            seed: [_point(point) for point in curve_points([trial for trial in trials if trial.seed == seed])]
            for seed in curve.seeds
        },
        "gain": {part: found and asdict(found) for part, found in (("known", curve.seen), ("new", curve.unseen))},
        "answer": curve.answer,
    }


def _point(point: CurvePoint) -> dict[str, Any]:
    def kept(score: Score | None) -> dict[str, Any] | None:
        return None if score is None else score.as_json()

    return {"phrases": point.phrases, "known": kept(point.seen), "new": kept(point.unseen)}
