"""What a sample rate keeps of a recording: waveform and spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from scipy.signal import spectrogram

from ...core.messages import message
from ...ui.html import Markup, table_html
from ...ui.plots import AFTER, BEFORE, INK, LOUDEST_DB, QUIETEST_DB, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from .logic import RateComparison, RateVersion


ZOOM_S = 0.008  # of the waveform, so that single samples can be seen
HIGHEST_HZ = 12_000  # of a spectrogram: speech has little above, and what a telephone loses should not look small


@styled
def rates_and_spectra(comparison: RateComparison) -> Picture:
    """The same clip at its own rate, at 16 kHz and at 8 kHz: 8 ms of its waveform, and its spectrogram."""
    versions = comparison.versions
    highest = min(HIGHEST_HZ, max(version.rate for version in versions) / 2)
    words = "\n".join(
        f"{version_name(v)}: {message('chart.rates.nothing', top=f'{v.rate / 2000:g}')}" for v in versions
    )
    figure = picture(11, 0.7 + 2.2 * len(versions), message("chart.rates.title"), words)
    grid = figure.subplots(len(versions), 2, squeeze=False, width_ratios=[2, 3])
    moment = _loudest_moment(versions[0])
    for (wave, spectrum), version in zip(grid, versions, strict=True):
        _zoomed(wave, version, moment)
        _spectrum(spectrum, version, highest)
        wave.sharey(grid[0][0])
    grid[0][1].set_title(message("chart.rates.spectrum"))
    grid[-1][0].set_xlabel(message("chart.rates.milliseconds"))
    grid[-1][1].set_xlabel(message("chart.rates.seconds"))
    return figure


def rates_table(comparison: RateComparison) -> Markup:
    """Rate, channels, depth and size of each version."""
    rows = [
        (
            version_name(v),
            f"{v.rate:,} Hz",
            message("chart.rates.channels", n=v.channels),
            message("chart.rates.bits", n=v.bits) if v.bits else message("chart.rates.lossy", codec=comparison.codec),
            f"{v.wav_bytes / 1000:,.0f} kB",
        )
        for v in comparison.versions
    ]
    headers = [message(f"chart.rates.column.{name}") for name in ("version", "rate", "channels", "depth", "size")]
    return table_html(headers, rows, comparison.name)


def version_name(version: RateVersion) -> str:
    return message(f"chart.rates.{version.key}")


def _zoomed(axes: Axes, version: RateVersion, moment: float) -> None:
    first = int(moment * version.rate)
    part = version.samples[:2, first : first + int(ZOOM_S * version.rate) + 1]
    milliseconds = np.arange(part.shape[1]) / version.rate * 1000
    for channel, colour, mark in zip(part, (AFTER, BEFORE), (".-", "x-"), strict=False):
        axes.plot(milliseconds, channel, mark, color=colour, markersize=4, linewidth=0.8)
    axes.set_xlim(0, ZOOM_S * 1000)
    axes.set_title(message("chart.rates.wave", name=version_name(version), rate=f"{version.rate:,}"))
    quiet(axes)


def _spectrum(axes: Axes, version: RateVersion, highest: float) -> None:
    rate = version.rate
    width = max(16, int(0.025 * rate))  # 25 ms, as Whisper's own features
    frequency, time, power = spectrogram(version.samples.mean(axis=0), rate, nperseg=width, noverlap=width // 2)
    level = 10 * np.log10(power + 1e-20)
    axes.pcolormesh(time, frequency / 1000, level, cmap="cividis", vmin=QUIETEST_DB, vmax=LOUDEST_DB, rasterized=True)
    axes.set_xlim(0, version.samples.shape[1] / rate)
    axes.set_ylim(0, highest / 1000)
    axes.set_ylabel("kHz")
    if rate / 2 < highest:
        axes.axhspan(rate / 2000, highest / 1000, facecolor="white", hatch="//", edgecolor="#cccccc", linewidth=0)
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


def _loudest_moment(version: RateVersion) -> float:
    """Where the loudest ``ZOOM_S`` of the first channel begin, in seconds."""
    block = max(1, int(ZOOM_S * version.rate))
    samples = version.samples[0]
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    return float(np.argmax(np.abs(blocks).max(axis=1))) * block / version.rate if len(blocks) else 0.0
