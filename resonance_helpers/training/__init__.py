"""Lesson 06: from converted recordings to one patient's adapter.

``train`` runs it; every run keeps its own story in ``runs/<time>/``, which ``read_run`` tells again after the browser
was closed.
"""

from .outlook import Outlook, outlook
from .records import Event, Guess, Point, TrainingResult, latest_run, read_run
from .train import train

__all__ = ["Event", "Guess", "Outlook", "Point", "TrainingResult", "latest_run", "outlook", "read_run", "train"]
