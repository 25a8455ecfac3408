"""The report of lesson 07: one HTML page that opens offline."""

from .background import Background, gather
from .page import changes, headlines, limits, page, write_html
from .players import MAX_AUDIO_BYTES

__all__ = ["MAX_AUDIO_BYTES", "Background", "changes", "gather", "headlines", "limits", "page", "write_html"]
