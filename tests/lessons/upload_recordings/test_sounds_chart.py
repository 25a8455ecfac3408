"""The chart of sounds: a tile for each, the missing ones marked and named in words, in Chinese and English."""

from __future__ import annotations

import warnings

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from resonance_helpers.dataset import phrases
from resonance_helpers.lessons.upload_recordings.sounds_chart import sounds_covered
from resonance_helpers.ui.plots import CARE, Picture

EVERYTHING = phrases.sounds(phrase.text for phrase in phrases.everyday())
NOTHING = phrases.sounds(())


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return str(request.param)


def tiles(figure: Picture) -> dict[str, str]:
    """The sound of each tile and the figure or mark in it."""
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    return dict(zip(written[::2], written[1::2], strict=True))


def test_every_sound_has_a_tile_with_how_often_it_was_recorded() -> None:
    shown = tiles(sounds_covered(phrases.sounds(["我想喝水", "喝水"]), EVERYTHING))
    assert len(shown) == len(phrases.INITIALS) + len(phrases.FINALS) + len(phrases.TONES)
    counted = {sound: n for sound, n in shown.items() if n not in "✗–"}
    assert counted == {
        "x": "1",
        "h": "2",
        "sh": "2",
        "零声母": "1",
        "uo": "1",
        "iang": "1",
        "e": "2",
        "ui": "2",
        "一声 ā": "2",
        "三声 ǎ": "4",
    }
    assert shown["p"] == shown["ün"] == shown["轻声 a"] == "✗"


def test_what_is_missing_is_marked_without_colour_too_and_named() -> None:
    recorded = phrases.sounds(phrase.text for phrase in phrases.everyday()[:30])
    figure = sounds_covered(recorded, EVERYTHING)
    absent = {sound for sound, n in {**recorded.initials, **recorded.finals}.items() if not n}
    assert {"p", "j", "zh", "o", "üe"} <= absent
    assert {sound for sound, n in tiles(figure).items() if n == "✗"} == absent
    dashed = [patch for axes in figure.axes for patch in axes.patches if patch.get_linestyle() == "--"]
    assert len(dashed) == len(absent) and all(to_hex(patch.get_edgecolor()) == CARE for patch in dashed)
    assert "声母：录到 19 个，共 22 个。还没录到：p、j、zh" in figure.alt
    assert "b 8、m 2" in figure.alt
    assert "声调：录到 5 个，共 5 个。都录到了。" in figure.alt


def test_what_no_phrase_of_the_list_has_is_not_called_missing() -> None:
    figure = sounds_covered(NOTHING, phrases.sounds(["我想喝水"]))
    assert tiles(figure)["p"] == "–" and tiles(figure)["h"] == "✗"
    assert "声母：录到 0 个，共 4 个。还没录到：h、x、sh、零声母" in figure.alt
    extra = sounds_covered(phrases.sounds(["爬"]), phrases.sounds(["我想喝水"]))
    assert tiles(extra)["p"] == "1" and "共 5 个" in extra.alt


@pytest.mark.parametrize(
    ("recorded", "wanted"), [(NOTHING, EVERYTHING), (EVERYTHING, EVERYTHING), (NOTHING, NOTHING), (EVERYTHING, NOTHING)]
)
def test_no_empty_boxes_and_no_words_outside(recorded: phrases.Coverage, wanted: phrases.Coverage, lang: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = sounds_covered(recorded, wanted)
        assert len(figure.png()) > 20_000
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        for patch, words in zip(axes.patches, zip(axes.texts[::2], axes.texts[1::2], strict=True), strict=True):
            box = patch.get_window_extent()
            for text in words:
                inside = text.get_window_extent()
                assert box.x0 <= inside.x0 and inside.x1 <= box.x1, text.get_text()
        title = axes.title.get_window_extent()
        assert title.x0 >= 0 and title.x1 <= figure.bbox.width
    assert all(figure.alt.split("\n")) and figure.alt.count("\n") >= 3
