"""Tables and pictures of lesson 10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.messages import message
from ...scoring.text import normalise
from ...ui.html import Markup, escape, table_html
from ...ui.plots import AFTER, BEFORE, INK, Picture, picture, styled
from ..serve_model.charts import TimedAnswer, _box, _shortened, _two_parts

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class WholeWay:
    """What happened to one recording, station by station.

    ``text`` is what the service heard and ``uncertain`` whether it doubts that, ``seconds`` its work. ``take`` is the
    file that the correction became, None without the consent to corrections: the way then ends there. ``trained`` and
    ``tested`` count the recordings of the next training before and after it.
    """

    said: str
    duration: float
    text: str
    uncertain: bool | None
    seconds: float
    take: str | None
    trained: tuple[int, int]
    tested: tuple[int, int]
    learns_it: bool
    same_test: bool


@styled
def whole_way_stations(way: WholeWay, practice: bool = False) -> Picture:
    """One recording from being said to the next training: five stations, or three where corrections are not kept."""
    facts = {
        "said": _shortened(way.said, 8),
        "duration": f"{way.duration:.1f}",
        "seconds": f"{way.seconds:.2f}",
        "text": _shortened(way.text, 8) or message("chart.once.nothing"),
        "before": way.trained[0],
        "after": way.trained[1],
        "tested": way.tested[1],
    }
    doubt = "unsure" if way.uncertain else "sure"
    put_right = "confirmed" if normalise(way.text) == normalise(way.said) else "corrected"
    kept = (put_right, "learned") if way.take else ("not_kept", "not_learned")
    keys = ("said", "served", f"heard.{doubt}", *kept)
    said = [_two_parts(f"chart.once.{key}", facts) for key in keys]
    alt = "\n".join(" ".join(" ".join(parts).split()) for parts in said)
    figure = picture(11, 2.05, message("chart.once.title"), alt, practice)
    axes = figure.subplots()
    axes.set(xlim=(0, 110), ylim=(0, 15))
    axes.axis("off")
    for i, (key, words) in enumerate(zip(keys, said, strict=True)):
        reached = way.take or not key.startswith("not_")
        _box(axes, 1 + 22 * i, 1, 19, 13, AFTER if reached else BEFORE, *words)
        if i and reached:
            axes.annotate("", (22 * i + 1, 7.5), (22 * i - 2, 7.5), arrowprops={"arrowstyle": "->", "color": INK})
    return figure


def answered_table(answers: Sequence[TimedAnswer]) -> Markup:
    """Who was answered, what, and how fast."""
    headers = [message(f"chart.answered.{name}") for name in ("patient", "text", "seconds")]
    return table_html(headers, [(a.patient, a.text, f"{a.seconds:.2f} s") for a in answers])


def qr_card(code: str, address: str) -> Markup:
    """A QR code (``client.qr_svg``) on white, with its address as text below it for those who cannot scan."""
    frame = f'<div style="background:#fff;display:inline-block;padding:16px">{code}</div>'
    return Markup(f"{frame}<p><code>{escape(address)}</code></p>", message("chart.qr.alt", address=address))
