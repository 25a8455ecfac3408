"""Which phrases to record, in which order, and which sounds of Mandarin they hold.

``everyday.csv`` brings 120 everyday phrases for people who have no list yet. The patient's own list is
``DATA_DIR/phrases.csv``, which their spreadsheet can open.
"""

from .coverage import FINALS, INITIALS, RARE_FINALS, TONES, Coverage, recorded_sounds, sounds, wanted_sounds
from .lists import (
    TOPICS,
    LeftOut,
    Parsed,
    Phrase,
    everyday,
    new_to,
    own_list,
    parse,
    read,
    topic_key,
    topic_name,
    write,
)

__all__ = [
    "FINALS",
    "INITIALS",
    "RARE_FINALS",
    "TONES",
    "TOPICS",
    "Coverage",
    "LeftOut",
    "Parsed",
    "Phrase",
    "everyday",
    "new_to",
    "own_list",
    "parse",
    "read",
    "recorded_sounds",
    "sounds",
    "topic_key",
    "topic_name",
    "wanted_sounds",
    "write",
]
