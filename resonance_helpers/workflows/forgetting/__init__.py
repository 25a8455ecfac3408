"""Consent is withdrawn: find everything that was kept of one person, say it, remove it, and say what is out of reach.

Nothing is guessed. A folder is touched only when it says whose it is; in it only what this package writes and the
recordings of lesson 04 are removed, and everything else is named and stays. Links are removed, never followed. What was
found is written into the folder before the first file goes, so that whoever is interrupted can run it again.

No proof of the withdrawal is kept: a file that says whose it was would be one more trace of a person who asked for
none. ``Removed.lines`` is a receipt without a phrase in it; who has to prove the withdrawal keeps that, somewhere else.
"""

from .folders import Piece
from .forget import ADMIN_KEY_VARIABLE, Forgetting, Found, Removed

__all__ = ["ADMIN_KEY_VARIABLE", "Forgetting", "Found", "Piece", "Removed"]
