"""What a test found beyond the scores: polarity errors and what is taken for what."""

from .confusions import Confused, Confusions, confusions
from .polarity import ClipResult, PolarityError, is_same_sentence, polarity_error_kind, polarity_errors

__all__ = [
    "ClipResult",
    "Confused",
    "Confusions",
    "PolarityError",
    "confusions",
    "is_same_sentence",
    "polarity_error_kind",
    "polarity_errors",
]
