"""Pictures of recordings: lesson 04 (what was recorded) and lesson 05 (sound is numbers)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from scipy.signal import spectrogram

from ..messages import message
from .style import AFTER, CARE, FAULT, GOOD, INK, SOFT, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ..recordings import Row

VERDICTS = {"ok": (GOOD, "✓"), "again": (CARE, "↻"), "listen": (AFTER, "?"), "unusable": (FAULT, "✗")}
COLUMNS = 4
SILENCE_DB = -90.0  # dB below full scale: the floor of the colour scale


@styled
def waveforms(rows: Sequence[Row], limit: int = 24) -> Picture:
    """A small waveform of each recording with its phrase and verdict, those that need a look first, at most ``limit``.

    ``rows`` are ``recordings.check(workspace).rows``; ``row.envelope`` holds peak values in [-1, 1] along the clip.
    """
    careful = sorted(rows, key=lambda row: row.level == "ok")
    shown = careful[:limit]
    lines = max(1, -(-len(shown) // COLUMNS))
    counted = message("chart.waveforms.shown", shown=len(shown), total=len(rows))
    words = "\n".join(f"{row.text}: {message(f'chart.verdict.{row.level}')}" for row in shown)
    figure = picture(11, 0.8 + 1.35 * lines, message("chart.waveforms.title") + " · " + counted, words)
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for axes, row in zip(grid.flat, shown, strict=False):
        _small_waveform(axes, row)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    return figure


def _small_waveform(axes: Axes, row: Row) -> None:
    colour, mark = VERDICTS[row.level]
    envelope = np.asarray(row.envelope, dtype=float)
    seconds = row.seconds or 0.0
    time = np.linspace(0, seconds, len(envelope))
    axes.fill_between(time, -envelope, envelope, color=colour, linewidth=0)
    axes.set_ylim(-1.05, 1.05)
    axes.set_xlim(0, max(seconds, 0.1))
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_title(f"{mark} {message(f'chart.verdict.{row.level}')} · {_short(row.text)}", fontsize=10, color=colour)


@styled
def rates_and_spectra(versions: Sequence[tuple[str, np.ndarray, int]]) -> Picture:
    """The same clip at several sampling rates: a few milliseconds of its waveform, and its spectrogram.

    ``versions`` are (name, mono samples in [-1, 1], rate in Hz), the original first.
    """
    highest = max(rate for _, _, rate in versions) / 2
    names = "\n".join(message("chart.rates.alt", name=n, rate=r, top=r // 2) for n, _, r in versions)
    figure = picture(11, 0.8 + 2.3 * len(versions), message("chart.rates.title"), names)
    grid = figure.subplots(len(versions), 2, squeeze=False, width_ratios=[2, 3])
    moment = _loudest_moment(*versions[0][1:])
    for (wave, spectrum), (name, samples, rate) in zip(grid, versions, strict=True):
        _zoomed(wave, samples, rate, moment)
        wave.set_title(message("chart.rates.wave", name=name, rate=f"{rate:,}"))
        _spectrum(spectrum, samples, rate, highest)
    grid[-1][0].set_xlabel(message("chart.rates.milliseconds"))
    grid[-1][1].set_xlabel(message("chart.rates.seconds"))
    return figure


def _zoomed(axes: Axes, samples: np.ndarray, rate: int, moment: float, milliseconds: float = 8.0) -> None:
    first = int(moment * rate)
    part = samples[first : first + int(milliseconds / 1000 * rate) + 1]
    axes.plot(np.arange(len(part)) / rate * 1000, part, ".-", color=AFTER, markersize=4, linewidth=0.8)
    axes.set_xlim(0, milliseconds)
    quiet(axes)


def _spectrum(axes: Axes, samples: np.ndarray, rate: int, highest: float) -> None:
    width = max(16, int(0.025 * rate))  # 25 ms, as Whisper's own features
    frequency, time, power = spectrogram(samples, rate, nperseg=width, noverlap=width // 2)
    level = np.maximum(10 * np.log10(power + 1e-12), SILENCE_DB)
    axes.pcolormesh(time, frequency / 1000, level, cmap="cividis", shading="nearest", vmin=SILENCE_DB, rasterized=True)
    axes.set_ylim(0, highest / 1000)
    axes.set_ylabel("kHz")
    if rate / 2 < highest:
        axes.axhspan(rate / 2000, highest / 1000, facecolor="white", hatch="///", edgecolor=SOFT, linewidth=0)
        axes.text(
            0.5,
            (rate / 2 + highest) / 2 / highest,
            message("chart.rates.nothing", top=f"{rate / 2000:g}"),
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none"},
        )


def _loudest_moment(samples: np.ndarray, rate: int) -> float:
    """Where the loudest 8 ms begin, in seconds."""
    block = max(1, int(0.008 * rate))
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    return float(np.argmax(np.abs(blocks).max(axis=1)) * block / rate) if len(blocks) else 0.0


def _short(text: str, most: int = 10) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
