"""Our Chinese CER as an ``evaluate`` metric, for users of that library.

It comes with the package, so no hub is asked. It has a module of its own because importing ``evaluate`` takes seconds.
"""

from __future__ import annotations

import datasets
import evaluate

from .error_rates import cer


class ChineseCER(evaluate.Metric):
    """``ChineseCER().compute(predictions=[...], references=[...])`` → ``{"cer": scoring.cer(...)}``."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self) -> str:
        # The library would make a cache folder in the user's home; kept in memory, nothing is ever written there.
        return self._data_dir_root

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Micro character error rate of Chinese text; script, numerals and punctuation normalised.",
            citation="",
            inputs_description="predictions: list of recognised texts; references: list of what was said.",
            features=datasets.Features({name: datasets.Value("string") for name in ("predictions", "references")}),
        )

    def _compute(self, *, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"cer": cer(references, predictions)}
