"""What a test found beyond the scores: meanings turned round, what is heard for what, what to record again.

Facts only; ``charts`` and ``report`` draw them.
"""

from .confusions import Confused, Confusions, confusions
from .meaning import Flip, Heard, flip_kind, is_same_sentence, meaning_flips
from .recording_again import Advice, Reason, record_again
from .takes import Left, Take, Takes, examine

__all__ = [
    "Advice",
    "Confused",
    "Confusions",
    "Flip",
    "Heard",
    "Left",
    "Reason",
    "Take",
    "Takes",
    "confusions",
    "examine",
    "flip_kind",
    "is_same_sentence",
    "meaning_flips",
    "record_again",
]
