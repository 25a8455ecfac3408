"""Pictures of recordings: lesson 04 (what was recorded) and lesson 05 (sound is numbers)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from scipy.signal import spectrogram

from ..messages import message
from .markup import Markup, table_html
from .style import AFTER, BEFORE, CARE, FAULT, GOOD, INK, SOFT, Picture, picture, quiet, styled

if TYPE_CHECKING:
    from ..conversion import RateComparison, RateVersion
    from ..recordings import CloseUp, Row

VERDICTS = {"ok": (GOOD, "✓"), "again": (CARE, "↻"), "listen": (AFTER, "?"), "unusable": (FAULT, "✗")}
COLUMNS = 4
SOUND = "#d6e6f2"  # behind a wave; light enough for it to stand out
MEL_FLOOR_DB = -70.0  # below the loudest band; what is quieter is drawn as dark
ZOOM_S = 0.008  # of the waveform, so that single samples can be seen
HIGHEST_HZ = 12_000  # of a spectrogram: speech has little above, and what a telephone loses should not look small
LOUDEST_DB, QUIETEST_DB = -30.0, -100.0  # ends of the colour scale, dB of power density at full scale


@styled
def waveforms(rows: Sequence[Row], limit: int = 24) -> Picture:
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
def close_up(row: Row, clip: CloseUp) -> Picture:
    """One recording: its wave with the sound that was found in it, what was cut off or clipped, and its mel picture.

    ``clip`` is ``recordings.close_up(workspace, row)``.
    """
    words = [message("chart.close_up.wave", sound=sum(stop - start for start, stop in clip.sound))]
    title = message("chart.close_up.title", verdict=verdict(row.level), text=_short(row.text, 24), seconds=clip.seconds)
    figure = picture(9, 3.9, title, "")
    wave, mel = figure.subplots(2, 1, sharex=True)
    _whole_wave(wave, clip)
    wave.set_title(words[0])
    for code, key, side in (("RZ-0516", "cut_start", "left"), ("RZ-0517", "cut_end", "right")):
        if code in row.codes:
            words.append(message(f"chart.close_up.{key}"))
            _cut_edge(wave, words[-1], side)
    if len(clip.clipped):
        words.append(message("chart.close_up.clipped", n=len(clip.clipped)))
        wave.plot(
            clip.clipped, np.full(len(clip.clipped), wave.get_ylim()[1]), "x", color=FAULT, markersize=4, clip_on=False
        )
        wave.set_title(words[-1], loc="right", color=FAULT)
    extent = (0.0, clip.seconds, 0.0, float(len(clip.mel)))
    mel.imshow(clip.mel, "cividis", aspect="auto", origin="lower", extent=extent, vmin=MEL_FLOOR_DB, vmax=0)
    mel.set_yticks([])
    mel.set_ylabel(message("chart.close_up.bands"))
    mel.set_title(message("chart.close_up.mel"))
    mel.set_xlabel(message("chart.close_up.seconds"))
    figure.alt = "\n".join([title, *words])
    return figure


def _whole_wave(axes: Axes, clip: CloseUp) -> None:
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


def _small_waveform(axes: Axes, row: Row) -> None:
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


def _short(text: str, most: int = 10) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
