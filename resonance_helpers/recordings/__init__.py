"""Lesson 04: from nothing to a checked set of recordings.

``check`` listens to every labelled recording and says, before anything is trained, which are fit for it.
"""

from . import intake, long_recording
from .check import Notice, RecordingsCheck, Row, Totals, check

__all__ = ["Notice", "RecordingsCheck", "Row", "Totals", "check", "intake", "long_recording"]
