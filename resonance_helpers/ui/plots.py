"""One calm look for every plot: readable by colour-blind people, when printed grey, and in Chinese on any machine.

Colours are from Okabe and Ito's palette, chosen so that neighbours also differ in lightness; whatever a colour says, a
mark, a line style or a word says too. The look is applied inside a context: matplotlib's own settings stay untouched.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from cycler import cycler
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.messages import message

FONT_FILE = Path(__file__).with_name("fonts") / "ResonanceSansSC-Regular.otf"
FONT_FAMILY = "Resonance Sans SC"
# Where they are installed, these lend the rare characters that our subset leaves out.
_LENDERS = ("Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Micro Hei", "DejaVu Sans")

INK, SOFT, GRID, PAPER = "#222222", "#666666", "#dddddd", "#ffffff"
BEFORE, AFTER = "#e69f00", "#0072b2"  # light and dark when printed grey
GOOD, CARE, FAULT = "#00664a", "#8a5a00", "#a63a00"  # 4.5:1 or better as text on white
VERDICTS = {"ok": (GOOD, "✓"), "again": (CARE, "↻"), "listen": (AFTER, "?"), "unusable": (FAULT, "✗")}
LOUDEST_DB, QUIETEST_DB = -30.0, -100.0  # ends of the colour scale of spectra, dB of power density at full scale
PNG_DPI = 110

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")


class Picture(Figure):
    """A figure that shows itself in a notebook without pyplot and says in words what is on it (``alt``)."""

    alt: str = ""

    def png(self) -> bytes:
        """The figure as a PNG file."""
        buffer = io.BytesIO()
        with _look():
            self.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"image/png": self.png(), "text/plain": self.alt}


def styled(draw: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """Run a drawing function inside our look."""

    @wraps(draw)
    def inside(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
        with _look():
            return draw(*args, **kwargs)

    return inside


def picture(width: float, height: float, title: str, alt: str, practice: bool = False) -> Picture:
    """An empty figure of ``width`` × ``height`` inches with a title; ``practice`` adds the note on synthetic voices."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="normal")
    note = message("chart.practice") if practice else ""
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=10, color=SOFT)
    figure.alt = "\n".join(line for line in (title, alt, note) if line)
    return figure


def quiet(axes: Axes, *, grid: str = "y") -> None:
    """Take away the frame; leave a faint grid along ``grid`` (``x``, ``y``, ``both`` or ``""``)."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def _look() -> Any:
    return mpl.rc_context(_settings())


@cache
def _settings() -> Any:
    font_manager.fontManager.addfont(FONT_FILE)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {
        "font.family": [FONT_FAMILY, *(name for name in _LENDERS if name in installed)],
        "font.size": 11,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=[AFTER, BEFORE, "#009e73", "#cc79a7", "#56b4e9", "#d55e00"]),
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "figure.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "legend.frameon": False,
        "text.parse_math": False,  # a "$" in a label is a dollar, not mathematics
    }
