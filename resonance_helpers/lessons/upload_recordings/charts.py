"""Waveforms and spectra of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from ...core.messages import message
from ...ui.plots import AFTER, FAULT, SOFT, VERDICTS, Picture, picture, styled

if TYPE_CHECKING:
    from .checking import RecordingRow
    from .clip_view import ClipView


COLUMNS = 4
SOUND = "#d6e6f2"  # behind a wave; light enough for it to stand out
MEL_FLOOR_DB = -70.0  # below the loudest band; what is quieter is drawn as dark


@styled
def waveforms(rows: Sequence[RecordingRow], limit: int = 24) -> Picture:
    """A small waveform of each recording with its phrase and verdict, those that need a look first, at most ``limit``.

    ``rows`` are ``recordings.check(workspace).rows``.
    """
    shown = sorted(rows, key=lambda row: row.level == "ok")[:limit]
    lines = max(1, -(-len(shown) // COLUMNS))
    title = message("chart.waveforms.title", shown=len(shown), total=len(rows))
    words = "\n".join(f"{row.text}: {verdict(row.level)}" for row in shown)
    figure = picture(11, 0.7 + 1.35 * lines, title, words)
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for axes, row in zip(grid.flat, shown, strict=False):
        _small_waveform(axes, row)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    if not shown:
        figure.text(0.01, 0.4, message("chart.waveforms.empty"), color=SOFT)
        figure.alt = message("chart.waveforms.empty")
    return figure


@styled
def draw_clip_view(row: RecordingRow, clip: ClipView) -> Picture:
    """One recording: its wave with the sound that was found in it, what was cut off or clipped, and its mel picture.

    ``clip`` is ``recordings.load_clip_view(workspace, row)``.
    """
    words = [message("chart.clip_view.wave", sound=sum(stop - start for start, stop in clip.sound))]
    title = message(
        "chart.clip_view.title", verdict=verdict(row.level), text=_short(row.text, 24), seconds=clip.seconds
    )
    figure = picture(9, 3.9, title, "")
    wave, mel = figure.subplots(2, 1, sharex=True)
    _whole_wave(wave, clip)
    wave.set_title(words[0])
    for code, key, side in (("RZ-0516", "cut_start", "left"), ("RZ-0517", "cut_end", "right")):
        if code in row.codes:
            words.append(message(f"chart.clip_view.{key}"))
            _cut_edge(wave, words[-1], side)
    if len(clip.clipped):
        words.append(message("chart.clip_view.clipped", n=len(clip.clipped)))
        wave.plot(
            clip.clipped, np.full(len(clip.clipped), wave.get_ylim()[1]), "x", color=FAULT, markersize=4, clip_on=False
        )
        wave.set_title(words[-1], loc="right", color=FAULT)
    extent = (0.0, clip.seconds, 0.0, float(len(clip.mel)))
    mel.imshow(clip.mel, "cividis", aspect="auto", origin="lower", extent=extent, vmin=MEL_FLOOR_DB, vmax=0)
    mel.set_yticks([])
    mel.set_ylabel(message("chart.clip_view.bands"))
    mel.set_title(message("chart.clip_view.mel"))
    mel.set_xlabel(message("chart.clip_view.seconds"))
    figure.alt = "\n".join([title, *words])
    return figure


def _whole_wave(axes: Axes, clip: ClipView) -> None:
    """Lowest and highest sample of each of at most 1,200 stretches: more is finer than the picture."""
    stretches = np.array_split(clip.samples, min(1_200, max(1, len(clip.samples))))
    time = np.linspace(0, clip.seconds, len(stretches))
    low, high = ([float(part_of(each)) for each in stretches] for part_of in (np.min, np.max))
    for start, stop in clip.sound:
        axes.axvspan(start, stop, color=SOUND, linewidth=0)
    axes.fill_between(time, low, high, color=AFTER, linewidth=0.5)
    loudest = max(0.05, float(np.abs(clip.samples).max(initial=0.0)))
    axes.set_ylim(-1.1 * loudest, 1.1 * loudest)
    axes.set_xlim(0, clip.seconds)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)


def _cut_edge(axes: Axes, words: str, side: str) -> None:
    at, shift = (0.0, 6) if side == "left" else (1.0, -6)
    axes.axvline(axes.get_xlim()[int(at)], color=FAULT, linewidth=4)
    axes.annotate(
        words,
        (at, 0.95),
        (shift, 0),
        "axes fraction",
        textcoords="offset points",
        ha=side,
        va="top",
        color=FAULT,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def verdict(level: str) -> str:
    """A recording's level with its mark, such as "✓ 可以用"."""
    return f"{VERDICTS[level][1]} {message(f'chart.verdict.{level}')}"


def _small_waveform(axes: Axes, row: RecordingRow) -> None:
    colour = VERDICTS[row.level][0]
    axes.set_ylim(-1.05, 1.05)
    axes.set_xlim(0, max(row.seconds, 0.1))
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=8)
    phrase = message("chart.waveforms.take", text=_short(row.text), take=row.take) if row.take > 1 else _short(row.text)
    axes.set_title(f"{verdict(row.level)} · {phrase}", fontsize=10, color=colour)
    if len(row.envelope):
        time = np.linspace(0, row.seconds, len(row.envelope))
        axes.fill_between(time, -row.envelope, row.envelope, color=colour, linewidth=0.5)
    else:
        axes.set_xticks([])
        axes.text(0.5, 0.5, message("chart.waveforms.nothing"), transform=axes.transAxes, ha="center", color=SOFT)


def _short(text: str, most: int = 10) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
