"""What a test found beyond the scores: polarity errors and what is taken for what."""

from .confusions import Confused, Confusions, confusions
from .polarity import Flip, Heard, flip_kind, is_same_sentence, meaning_flips

__all__ = ["Confused", "Confusions", "Flip", "Heard", "confusions", "flip_kind", "is_same_sentence", "meaning_flips"]
