"""Players with the sound inside the page, for those who asked for it."""

from __future__ import annotations

import base64
from pathlib import Path

from ....ui.html import Markup, escape

MAX_AUDIO_BYTES = 20 * 1024 * 1024  # of WAV in one page: ten minutes; mail programs refuse much more


class Players:
    """Embeds WAVs in the order in which they are asked for, until ``limit`` bytes are used; counts the rest."""

    def __init__(self, limit: int = MAX_AUDIO_BYTES) -> None:
        self._left = limit
        self.embedded = 0
        self.left_out = 0

    def player(self, wav: Path, name: str) -> Markup | None:
        """A player named ``name`` for ``wav``, or None where it does not fit any more."""
        if wav.stat().st_size > self._left:
            self.left_out += 1
            return None
        sound = wav.read_bytes()
        self._left -= len(sound)
        self.embedded += 1
        data = base64.b64encode(sound).decode()
        return Markup(f'<audio controls aria-label="{escape(name)}" src="data:audio/wav;base64,{data}"></audio>', name)
