"""Lesson 04: the recorder in the browser. The screen is ``recorder.js``; what is kept is ``recordings.session``'s to
decide.

The browser sends one take at a time as 16-bit samples, and it is on disk with its label before the page is told so. No
sound is in the widget's state, so none is saved with the notebook.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython.display import display

from ...audio.decode import to_pcm16
from ...core.messages import ResonanceError, catalogue, message
from ...core.settings import MAX_CLIP_S, SAMPLE_RATE
from ...core.workspace import Workspace
from ...dataset.phrases.lists import Phrase
from ...ui.fallback import bundle
from ...ui.html import Markup, escape, stack
from .session import SavedTake, Session

_HERE = Path(__file__).parent
_PREFIX = "recorder."
_REASON = "{reason}"
_RATES = range(8_000, 384_001)  # Hz, of sound cards
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
PRACTICE = "recorder_practice"  # in OUTPUT_DIR: what is recorded during a rehearsal


class Recorder(anywidget.AnyWidget):
    """``Recorder(workspace)`` as the last line of a cell: record the phrases of the list, one after the other.

    ``phrases`` is what to record, by default the patient's own list or the bundled one; ``day`` is today's date.
    """

    _esm = _HERE / "recorder.js"
    _css = _HERE / "recorder.css"
    texts = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    hands_free = traitlets.Bool(False).tag(sync=True)
    spoken = traitlets.Bool(False).tag(sync=True)
    silence_s = traitlets.CFloat(3.0, min=2.0, max=6.0).tag(sync=True)

    def __init__(self, workspace: Workspace, phrases: Sequence[Phrase] = (), day: str = "") -> None:
        super().__init__()
        if workspace.is_sample:  # a real voice has no place among synthetic ones, for which nobody has to agree
            workspace = replace(workspace, data_dir=workspace.output_dir / PRACTICE, is_sample=False)
        self.session = Session(workspace, tuple(phrases), day)
        self.texts = dict(_sentences())
        self._turn = 0
        self._show()
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        progress = self.session.progress
        return message("recorder.plain", done=progress.done, total=progress.total)

    def _ipython_display_(self) -> None:
        lines = [self.state[name] for name in ("title", "phrase", "told", "progress") if self.state.get(name)]
        shown = stack(*(Markup(f"<p>{escape(line)}</p>", line) for line in [*lines, repr(self)]))
        display(bundle(self, repr(self), shown), raw=True)

    # ── From the browser ─────────────────────────────────────────────────────
    def _receive(self, _: Recorder, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        acts: dict[str, Callable[[], None]] = {
            "take": lambda: self._keep(content, buffers),
            "next": self._next,
            "skip": lambda: self._go(self.session.skip),
            "previous": lambda: self._go(self.session.back),
            "play": self._play,
        }
        act = acts.get(content.get("type", ""))
        # "rested", after which the phrase is shown; or sent twice, or by a page of yesterday
        if act is None or content.get("turn") != self._turn:
            self._show()
            return
        try:
            act()
        except (ResonanceError, OSError) as error:
            self._show([str(error)], "error")

    def _keep(self, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        rate = content.get("rate")
        if len(buffers) != 1 or buffers[0].nbytes % 2 or not isinstance(rate, int) or rate not in _RATES:
            raise ResonanceError("RZ-0432")
        if _DAY.fullmatch(str(content.get("day"))):  # where the person is, not where the kernel is
            self.session.day = content["day"]
        samples = np.frombuffer(buffers[0], dtype="<i2").astype(np.float32) / 32768.0
        kept = self.session.keep(samples, rate, redo=bool(content.get("redo")))
        full = [message("recorder.full", longest=f"{MAX_CLIP_S:g}")] if content.get("full") else []
        self._show([*full, *_news(kept)], "retry" if kept.retry else "saved")

    def _next(self) -> None:
        self._go(self.session.next, rest=self.session.progress.rest)

    def _go(self, move: Callable[[], str], rest: bool = False) -> None:
        stage = move()
        self._show(stage="rest" if rest and stage == "phrase" else stage)

    def _play(self) -> None:
        samples = self.session.sound()
        if samples is not None:
            self.send({"type": "sound", "rate": SAMPLE_RATE}, [to_pcm16(samples).tobytes()])

    # ── To the browser ───────────────────────────────────────────────────────
    def _show(self, news: Sequence[str] = (), mark: str = "", stage: str = "") -> None:
        self._turn += 1
        try:
            picture = self._picture(stage or self.session.stage) | {"mark": mark, "news": list(news)}
        except (ResonanceError, OSError) as error:  # with half of the picture one phrase is shown and another recorded
            told = message("recorder.unreadable")
            halted = {"stage": "unreadable", "told": told, "sound": False, "back": False}
            picture = self.state | halted | {"mark": "error", "news": list(dict.fromkeys([*news, str(error)]))}
        self.state = picture | {"turn": self._turn, "longest_s": MAX_CLIP_S}

    def _picture(self, stage: str) -> dict[str, Any]:
        session, progress = self.session, self.session.progress
        judges = session.for_test
        another = "recorder.second" if judges else "recorder.another"
        told = "recorder.tomorrow_another" if stage == "tomorrow" and not judges else f"recorder.{stage}"
        return {
            "stage": stage,
            "phrase": session.phrase.text,
            "picture": session.phrase.picture,
            "title": message(another if session.take > 1 else "recorder.number", number=session.number),
            "progress": message("recorder.progress", **vars(progress)),
            "told": "" if stage == "phrase" else message(told, today=progress.today),
            "sound": session.recorded,
            "back": session.number > 1,
        }


def _sentences() -> list[tuple[str, str]]:
    """What the page says by itself: the sentences without a figure of the kernel's in them. The page fills in why a
    microphone could not be opened."""
    own = {key: both["zh"].replace(_REASON, "") for key, both in catalogue().items() if key.startswith(_PREFIX)}
    return [(key.removeprefix(_PREFIX), message(key, reason=_REASON)) for key, text in own.items() if "{" not in text]


def _news(kept: SavedTake) -> list[str]:
    if kept.replaced is None:
        return list(kept.reasons)
    return [*kept.reasons, message("recorder.replaced" if kept.replaced else "recorder.kept_before")]
