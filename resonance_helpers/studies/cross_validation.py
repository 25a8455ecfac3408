"""Cross-validation: a score for people who have recorded every phrase once, as in the guide.

With one take of each phrase there is nothing to test a *known* phrase on. So the phrases are cut into folds; each fold
is judged by an adapter that was trained from scratch on the others. Phrases that sound alike lie in one fold, or the
score would be of a phrase that was nearly trained on. Every clip is judged exactly once, and the answers are pooled.

What the figure means: how often a phrase that was **never recorded** is understood (*new*). The adapter that the person
gets knows all its phrases and has more to learn from, so for those it is a careful lower bound, not a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.messages import message
from ..core.settings import TrainingSettings
from ..core.workspace import Workspace, write_json
from ..dataset.splits import phrase_folds
from ..scoring.error_rates import Score, score
from ..scoring.learning_curve import ClipHypothesis
from ..scoring.text import normalise
from .retraining import OnProgress, prepare, retrain, share_of

FOLDER = "cross_validation"
FOLDS = 5


@dataclass(frozen=True)
class CrossValidation:
    """The pooled score of phrases that were held out, and of each fold; ``sentence`` says what it means."""

    base_model: str
    is_practice: bool
    steps: int
    seed: int
    phrases: int
    pooled: Score
    folds: tuple[Score, ...]
    sentence: str
    json: Path


def cross_validate(
    workspace: Workspace,
    folds: int = FOLDS,
    seed: int = TrainingSettings.seed,
    steps: int | None = None,
    base_model: str = "",
    language: str = "zh",
    on_progress: OnProgress | None = None,
) -> CrossValidation:
    """Train on all folds but one, judge the one, for each; write cross_validation/cross_validation.json.

    Clips that labels.json keeps for lesson 07 (``"split": "test"``) take no part; where it keeps none, all clips do. A
    finished fold is kept and not repeated; ``adapter/`` is never touched. Raises RZ-1603 (folds) and what
    ``training.train`` raises, before anything is trained.
    """
    study = prepare(workspace, FOLDER, steps, base_model, language)
    clips = study.train + tuple(clip for clip in study.test if clip.split != "test")
    parts = phrase_folds(clips, folds, seed)
    answers: list[Sequence[ClipHypothesis]] = []
    for done, part in enumerate(parts):
        on_share = share_of(on_progress, done, folds, message("folds.doing", fold=done + 1, folds=folds))
        others = [clip for other in parts if other is not part for clip in other]
        answers.append(retrain(study, f"folds{folds}_seed{seed}/fold{done + 1}", others, part, seed, on_share))
    if on_progress:
        on_progress(folds, folds, "")

    phrases = len({normalise(clip.text) for clip in clips})
    pooled = _score([answer for fold in answers for answer in fold])
    result = CrossValidation(
        base_model=study.base_name,
        is_practice=study.is_practice,
        steps=study.settings.steps,
        seed=seed,
        phrases=phrases,
        pooled=pooled,
        folds=tuple(_score(fold) for fold in answers),
        sentence=_sentence(pooled, phrases, folds, study.is_practice),
        json=workspace.output_dir / FOLDER / "cross_validation.json",
    )
    write_json(result.json, _as_json(result))
    return result


def _score(answers: Sequence[ClipHypothesis]) -> Score:
    return score([answer.reference for answer in answers], [answer.heard for answer in answers])


def _sentence(pooled: Score, phrases: int, folds: int, is_practice: bool) -> str:
    facts: dict[str, Any] = {
        "sentence_accuracy": f"{pooled.sentence_accuracy:.0%}",
        "sentence_accuracy_interval": "{:.0%} – {:.0%}".format(*pooled.sentence_accuracy_ci),
        "cer": f"{pooled.cer:.2f}",
        "cer_interval": "{:.2f} – {:.2f}".format(*pooled.cer_ci),
    }
    right = round(pooled.sentence_accuracy * pooled.n)
    said = message("folds.result", phrases=phrases, folds=folds, n=pooled.n, right=right, **facts)
    lines = [
        said,
        message("folds.meaning", share=f"{1 / folds:.0%}"),
        *([message("curve.practice")] if is_practice else []),
    ]
    return "\n".join(lines)


def _as_json(result: CrossValidation) -> dict[str, Any]:
    """Figures only, nothing of what the person said."""
    return {
        "base_model": result.base_model,
        "is_practice": result.is_practice,
        "steps": result.steps,
        "seed": result.seed,
        "phrases": result.phrases,
        "new_phrases": result.pooled.as_json(),
        "folds": [fold.as_json() for fold in result.folds],
        "sentence": result.sentence,
    }
