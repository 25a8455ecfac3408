"""report.html: what lesson 07 found, for a family to read. One file that fetches nothing; sound only when asked."""

from .background import Background, gather
from .page import changes, headlines, limits, page, write_html
from .players import MAX_AUDIO_BYTES

__all__ = ["MAX_AUDIO_BYTES", "Background", "changes", "gather", "headlines", "limits", "page", "write_html"]
