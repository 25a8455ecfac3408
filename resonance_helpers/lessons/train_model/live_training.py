"""Lesson 06 while it trains: the curve, the guesses, the time left, and ■ to stop and keep the best so far.

Stopping is the notebook's own ■ (interrupt), not a button of ours: while a cell runs, the kernel answers no widget.
(Under ipykernel 7.4 a click was handled when the cell had ended, 15 s later: it goes to the thread that made it.)
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from IPython.display import DisplayHandle, display

from ...core.messages import message
from ...ui.html import Markup, escape
from ...ui.progress_bar import duration
from .charts import guesses_table, training_curve

if TYPE_CHECKING:
    from .records import Event, Guess, Point, TrainingResult

REDRAW_S = 3.0  # drawing takes a moment in which nothing is trained; an evaluation is always drawn


class LiveTraining:
    """Shows itself when made; ``train(on_event=live.on_event, should_stop=live.should_stop)`` keeps it up to date.

    From then until the cell ends, the first interrupt asks to stop; a second one interrupts as it always does.
    """

    def __init__(self, total_steps: int, practice: bool = False, yuan_per_hour: float = 0.0) -> None:
        self.total_steps, self.practice, self.yuan_per_hour = total_steps, practice, yuan_per_hour
        self.history: list[Point] = []
        self.guesses: list[Guess] = []
        self.best_step: int | None = None
        self.drawn = 0.0
        self._asked_to_stop = False
        self._status = _place(_line(message("widget.training.begun")))
        self._curve = _place(self._picture())
        self._guesses = _place(guesses_table(self.guesses))
        self._listen()

    def on_event(self, event: Event) -> None:
        """Take in one ``training.Event``."""
        if self.history and event.step < self.history[-1].step:  # memory ran out, and from here all is measured again
            self.history = [point for point in self.history if point.step < event.step]
            self.guesses = [guess for guess in self.guesses if guess.step < event.step]
        self.history.append(event.point)
        self.guesses += event.guesses
        self.best_step = event.best_step or self.best_step  # none is told while a run finishes on all recordings
        self._status.update(_line(self._now(event)))
        if event.guesses:
            self._guesses.update(guesses_table(self.guesses))
        if event.point.dev_cer is not None or time.monotonic() - self.drawn >= REDRAW_S:
            self.drawn = time.monotonic()
            self._curve.update(self._picture())

    def should_stop(self) -> bool:
        """True once an interrupt asked for it."""
        return self._asked_to_stop

    def finish(self, result: TrainingResult) -> None:
        """Show how the run ended, in the place of the live picture."""
        self._stop_listening()
        self._status.update(_line(ended(result)))
        self._curve.update(training_curve(result.history, result.best_step, practice=result.is_practice))
        self._guesses.update(guesses_table(result.guesses))

    @staticmethod
    def redraw(result: TrainingResult) -> None:
        """Show a run again from its folder (``training.read_run``), as it looked at its end."""
        display(_line(ended(result)))
        display(training_curve(result.history, result.best_step, practice=result.is_practice))
        display(guesses_table(result.guesses))

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread hears interrupts
        # A cell that fails never reaches finish(), but the kernel gives the interrupt back after every cell.
        self._handler_before: Any = signal.signal(signal.SIGINT, self._stop)

    def _stop_listening(self) -> None:
        if signal.getsignal(signal.SIGINT) == self._stop:
            signal.signal(signal.SIGINT, self._handler_before)

    def _stop(self, *_: object) -> None:
        # Nothing is shown from here: the interrupt may have come in the middle of showing something.
        self._asked_to_stop = True
        signal.signal(signal.SIGINT, self._handler_before)

    def _now(self, event: Event) -> str:
        if self._asked_to_stop:
            return message("widget.training.stopping")
        left = duration(event.seconds_left)
        now = message("widget.training.step", step=event.step, total=event.total_steps, left=left)
        return now + cost(event.point.seconds + event.seconds_left, self.yuan_per_hour)

    def _picture(self) -> object:
        return training_curve(self.history, self.best_step, self.total_steps, self.practice)


def cost(seconds: float, yuan_per_hour: float) -> str:
    """What a rented machine costs for ``seconds``; nothing where ``yuan_per_hour`` is 0."""
    return message("widget.training.cost", yuan=f"{seconds / 3600 * yuan_per_hour:.2f}") if yuan_per_hour else ""


def ended(result: TrainingResult) -> str:
    """Why the run stopped, whose weights were kept, and what was out of the ordinary."""
    key = "widget.training.finished_on_all" if result.finishing_steps else "widget.training.kept"
    time_spent = duration(result.wall_seconds)
    said = message(result.stopped)
    said += message(key, step=result.best_step, finishing=result.finishing_steps, time=time_spent)
    if result.resumed_from:
        said += message("widget.training.resumed", step=result.resumed_from)
    if result.batch_size < result.preset["batch_size"]:
        said += message("widget.training.smaller_batches", batch=result.batch_size, accumulation=result.accumulation)
    return said


def _line(text: str) -> Markup:
    return Markup(f"<p>{escape(text)}</p>", text)


def _place(content: object) -> DisplayHandle:
    return display(content, display_id=True)
