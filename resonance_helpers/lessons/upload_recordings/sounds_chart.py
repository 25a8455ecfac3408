"""Which sounds of Mandarin were recorded so far: lesson 04, before and after recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from ...core.messages import message
from ...ui.plots import AFTER, CARE, INK, PAPER, SOFT, Picture, picture, styled

if TYPE_CHECKING:
    from ...dataset.phrases.coverage import Coverage

COLUMNS = 13
OFTEN = 10  # recordings of a sound; more is no darker
NAMED = 10  # sounds that fit above their panel; the alt text names all
_ROWS = {"initials": (0, 11), "finals": (0, 13, 25, 33), "tones": (0,)}  # of each panel; where each row begins
_SHADES = LinearSegmentedColormap.from_list("said", ("#e4f0f8", AFTER))


@dataclass(frozen=True)
class _Tile:
    """One sound: how often it was recorded, and whether some phrase of the list has it."""

    name: str
    n: int
    wanted: bool

    @property
    def is_missing(self) -> bool:
        return self.wanted and not self.n

    @property
    def count(self) -> str:
        """The figure in the tile; marks carry what the colours say."""
        if self.n:
            return f"{self.n}"
        return "✗" if self.wanted else "–"


@styled
def sounds_covered(recorded: Coverage, wanted: Coverage) -> Picture:
    """A tile for each initial, final and tone with how often it was ``recorded``; what is in the phrases that are
    ``wanted`` and was not recorded yet is marked, and named in the alt text."""
    panels = {part: _tiles(part, getattr(recorded, part), getattr(wanted, part)) for part in _ROWS}
    words = [line for part, tiles in panels.items() for line in (_summary(part, tiles, len(tiles)), _counts(tiles))]
    figure = picture(11, 7.2, message("chart.sounds.title"), "\n".join(filter(None, words)))
    grid = figure.subplots(len(_ROWS), 1, height_ratios=[len(rows) for rows in _ROWS.values()])
    for axes, (part, tiles) in zip(grid, panels.items(), strict=True):
        _panel(axes, tiles, _ROWS[part])
        axes.set_title(_summary(part, tiles, NAMED))
    figure.supxlabel(message("chart.sounds.how"), x=0.01, ha="left", fontsize=10, color=SOFT)
    return figure


def _tiles(part: str, recorded: Mapping[str, int], wanted: Mapping[str, int]) -> list[_Tile]:
    return [_Tile(_name(part, sound), n, wanted[sound] > 0) for sound, n in recorded.items()]


def _name(part: str, sound: str) -> str:
    if part == "tones":
        return message(f"chart.sounds.tone.{sound}")
    return sound or message("chart.sounds.no_initial")


def _summary(part: str, tiles: Sequence[_Tile], named: int) -> str:
    """How many of the sounds were recorded, and which are missing where these are at most ``named``."""
    said = sum(tile.n > 0 for tile in tiles)
    possible = sum(tile.wanted or tile.n > 0 for tile in tiles)
    missing = [tile.name for tile in tiles if tile.is_missing]
    counted = message(f"chart.sounds.{part}", said=said, possible=possible)
    if 0 < len(missing) <= named:
        counted += message("chart.sounds.missing", names=message("list.comma").join(missing))
    elif possible and not missing:
        counted += message("chart.sounds.complete")
    return counted


def _counts(tiles: Sequence[_Tile]) -> str:
    return message("list.comma").join(f"{tile.name} {tile.n}" for tile in tiles if tile.n)


def _panel(axes: Axes, tiles: Sequence[_Tile], rows: Sequence[int]) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(len(rows), 0)
    for y, (start, stop) in enumerate(zip(rows, [*rows[1:], len(tiles)], strict=True)):
        for x, tile in enumerate(tiles[start:stop]):
            _draw(axes, x, y, tile)


def _draw(axes: Axes, x: int, y: int, tile: _Tile) -> None:
    often = min(tile.n, OFTEN) / OFTEN
    colour = PAPER if often >= 0.9 else CARE if tile.is_missing else INK if tile.n else SOFT
    axes.add_patch(
        Rectangle(
            (x + 0.05, y + 0.06),
            0.9,
            0.88,
            facecolor=_SHADES(often) if tile.n else PAPER,
            edgecolor=CARE if tile.is_missing else SOFT,
            linewidth=1.6 if tile.is_missing else 0.5,
            linestyle="--" if tile.is_missing else "-",
        )
    )
    axes.text(x + 0.5, y + 0.36, tile.name, ha="center", va="center", color=colour, fontsize=13)
    axes.text(x + 0.5, y + 0.74, tile.count, ha="center", va="center", color=colour, fontsize=10)
