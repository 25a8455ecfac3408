"""What the guide says, as data: its expectations, its costs, its timeline. Words are in ``messages/13_guide.toml``.

These are quotations. No source could be found for the effect table and the costs were not measured here, so what
shows them says so, and never puts them beside figures that were measured. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Expectation:
    """One row of the guide's table of expected effects, for an RTX 4090."""

    recordings: int
    accuracy_percent: int  # "预期识别准确率"; the guide doesn't say whether of sentences or of characters
    gain_points: int  # "相比通用 ASR 提升"
    minutes: int  # of training


EXPECTED_EFFECT = (Expectation(30, 55, 15, 8), Expectation(50, 70, 30, 12), Expectation(100, 80, 40, 20))

# ── What the guide asks for ──────────────────────────────────────────────────
GUIDE_GPU = "NVIDIA GeForce RTX 4090"
GUIDE_MEMORY_GB = 24  # "GPU 显存 ≥ 24GB"; what the card itself reports is 24564 MiB
GUIDE_CUDA = (12, 1)
GUIDE_DRIVER, GUIDE_DRIVER_CUDA = "580.105.08", (13, 0)
GUIDE_TRAINING_MINUTES = 30

# ── Costs of an own card, in yuan ────────────────────────────────────────────
ELECTRICITY_YUAN_PER_TRAINING = 0.1  # one training of about 20 minutes
SERVICE_YUAN_PER_MONTH = (30, 80)  # running day and night

# ── Keys of messages ─────────────────────────────────────────────────────────
TIMELINE = ("record", "prepare", "train", "serve")  # together the guide's one to two weeks
FAQ = ("memory", "poor", "bf16", "patients")
SUCCESS_MARKS = {lesson: f"guide.success.{lesson:02d}" for lesson in range(1, 11)}
CLOSING = "guide.closing"
