"""Lesson 04: from nothing to a checked set of recordings.

``check`` listens to every labelled recording and says, before anything is trained, which are fit for it.
"""

from ..labels import clean_up
from . import arrivals, intake, label_import, long_recording
from .check import Notice, RecordingsCheck, Row, Totals, check
from .close_up import CloseUp, close_up
from .session import Session
from .texts import Hint, hear

__all__ = [
    "CloseUp",
    "Hint",
    "Notice",
    "RecordingsCheck",
    "Row",
    "Session",
    "Totals",
    "arrivals",
    "check",
    "clean_up",
    "close_up",
    "hear",
    "intake",
    "label_import",
    "long_recording",
]
