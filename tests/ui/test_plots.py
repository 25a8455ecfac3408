"""Pictures: no empty boxes, matplotlib's global state untouched, and what is drawn is what was given."""

import json
import re
import subprocess
import sys
import unicodedata
import warnings
from dataclasses import asdict, replace
from functools import cache
from itertools import combinations
from types import SimpleNamespace as Facts
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch

from resonance_helpers.core.messages import LANGUAGES, catalogue, message
from resonance_helpers.core.settings import PRESETS, ServiceSettings
from resonance_helpers.lessons.check_gpu.charts import memory_bars_svg
from resonance_helpers.lessons.check_gpu.memory import Need
from resonance_helpers.lessons.connect_app.charts import qr_card
from resonance_helpers.lessons.connect_server.charts import tunnel_svg
from resonance_helpers.lessons.convert_audio.charts import rates_and_spectra
from resonance_helpers.lessons.convert_audio.logic import RateComparison, RateVersion
from resonance_helpers.lessons.export_weights.charts import bundle_sizes, bundle_table, offers_table
from resonance_helpers.lessons.export_weights.place import KINDS
from resonance_helpers.lessons.serve_model.charts import TimedAnswer, answered_table, latency, where_things_run
from resonance_helpers.lessons.test_model.charts import (
    another_ten,
    before_after,
    clips_table,
    diff_html,
    eight_of_ten,
    eight_of_ten_words,
    polarity_table,
)
from resonance_helpers.lessons.train_model.charts import guesses_table, presets_table, training_curve
from resonance_helpers.lessons.train_model.records import Guess, Point
from resonance_helpers.lessons.upload_recordings.charts import VERDICTS, waveforms
from resonance_helpers.lessons.upload_recordings.checking import RecordingRow
from resonance_helpers.scoring.error_rates import Score, score
from resonance_helpers.ui import plots as style
from resonance_helpers.ui.guide import closing, cost_table, expected_effect_table, faq, success_mark
from resonance_helpers.ui.html import table_html

NUMBER = re.compile(r"[−\d.,%]*")
WIDEST_URL = "https://192.168.100.107:38123"
PHRASES = ["我想喝水", "我想吃饭", "帮我开灯", "我不要", "我疼", "停"]


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return str(request.param)


def row(text: str, level: str, seconds: float = 2.0) -> RecordingRow:
    envelope = np.hanning(200).astype(np.float32) if level != "unusable" else np.zeros(0, np.float32)
    return RecordingRow(f"{text}.wav", text, 1, None, f"{text}.wav", seconds, envelope, None, level, (), ())


def comparison() -> RateComparison:
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    versions = tuple(
        RateVersion(key, np.stack([noise[:rate]] * channels), rate, 16, 2 * rate)
        for key, rate, channels in (("own", 48_000, 2), ("whisper", 16_000, 1), ("telephone", 8_000, 1))
    )
    return RateComparison("a.m4a", "aac", 9_000, 1.0, versions)


def history() -> tuple[Point, ...]:
    losses = (Point(step, float(step), loss=3 / step) for step in range(5, 65, 5))
    tests = (Point(step, float(step), dev_cer=cer) for step, cer in ((20, 0.8), (40, 0.1), (60, 0.2)))
    return (*losses, *tests)


def scores() -> tuple[Score, Score]:
    meant = [f"{phrase}{i}" for i in range(2) for phrase in PHRASES[:5]]
    return score(meant, [""] * 10), score(meant, [*meant[:8], "", ""])


def report(known: bool = True, new: bool = True) -> Facts:
    both = Facts(before=scores()[0], after=scores()[1])
    shown = {"known": both} if known else {}
    return Facts(tested=shown | ({"new": both} if new else {}))


def bundle() -> Facts:
    files = (("adapter_config.json", 900, "LoRA"), ("adapter_model.safetensors", 7_100_000, "权重"))
    return Facts(files=files, total_bytes=7_100_900)


@cache
def every_picture(lang: str) -> dict[str, tuple[style.Picture, np.ndarray]]:
    """name → (picture, its pixels); any warning, a missing glyph above all, is an error."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("RESONANCE_LANG", lang)
        warnings.simplefilter("error")
        pictures = {
            "waveforms": waveforms([row(text, level) for text, level in zip(PHRASES, VERDICTS, strict=False)]),
            "rates": rates_and_spectra(comparison()),
            "curve": training_curve(history(), 40, practice=True),
            "curve at the start": training_curve([], None, 120),
            "ten": eight_of_ten(scores()[1], practice=True),
            "before and after": before_after(report(), practice=True),
            "bundle": bundle_sizes(bundle(), 967_000_000, practice=True),
            "latency": latency([TimedAnswer("sample", "我疼", 0.2)] * 3, practice=True),
            "where": where_things_run(WIDEST_URL, "openai/whisper-large-v3-turbo", ["sample"]),
            "where many": where_things_run(WIDEST_URL, "/models/" + "e" * 90, ["n" * 64] * 200),
        }
        return {name: (picture, pixels(picture)) for name, picture in pictures.items()}


def pixels(picture: style.Picture) -> np.ndarray:
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


# ── Every picture ────────────────────────────────────────────────────────────
def test_every_picture_draws_without_a_missing_glyph_and_is_not_empty(lang: str) -> None:
    for name, (picture, dots) in every_picture(lang).items():
        assert picture.alt, name
        inked = (dots[..., :3] < 200).any(axis=2).mean()
        assert 0.004 < inked < 0.7, f"{name}: {inked:.3f} of the picture is inked"


def test_no_words_leave_their_picture_and_no_titles_overlap(lang: str) -> None:
    for name, (picture, _) in every_picture(lang).items():
        frame = picture.bbox.padded(2)
        texts = [text for text in picture.findobj(mpl.text.Text) if not NUMBER.fullmatch(text.get_text().strip())]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
        for words, box in boxes:
            assert frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1), f"{name}: {words} is cut off"
        headings = {axes.get_title(loc="left") for axes in picture.axes} | {picture.get_suptitle()}
        titles = [box for words, box in boxes if words in headings]
        assert not any(a.overlaps(b) for a, b in combinations(titles, 2)), name


def test_words_stay_inside_their_boxes_of_the_service(lang: str) -> None:
    for name in ("where", "where many"):
        drawing, _ = every_picture(lang)[name]
        frames = [patch.get_window_extent().padded(1) for patch in drawing.findobj(FancyBboxPatch)]
        words = [text for text in drawing.findobj(mpl.text.Text) if text.get_text() and text.get_ha() == "left"]
        inside = [text for text in words if text.get_text() != drawing.get_suptitle()]
        assert len(inside) == 2 * len(frames) - 1  # the process's own words are the boxes in it
        for text in inside:
            box = text.get_window_extent()
            around = [frame for frame in frames if frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)]
            assert around and around == [frame for frame in frames if frame.overlaps(box)], text.get_text()


def test_the_way_of_a_recording_names_what_runs_and_what_is_never_kept(lang: str) -> None:
    drawn = where_things_run("http://127.0.0.1:4321", "a/model", ["a", "b", "c", "d"])
    for fact in ("http://127.0.0.1:4321", "a/model", str(ServiceSettings.decoders), message("chart.where.more", n=2)):
        assert fact in drawn.alt
    assert " ".join(message("chart.where.never").split()) in drawn.alt


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    training_curve(history(), 40).png()
    waveforms([row("我疼", "ok")]).png()
    assert dict(mpl.rcParams) == before


def test_pictures_of_the_practice_model_say_so(lang: str) -> None:
    note = message("chart.practice")
    for name in ("curve", "ten", "before and after", "bundle", "latency"):
        picture, _ = every_picture(lang)[name]
        assert note in picture.alt
        assert note in [text.get_text() for text in picture.findobj(mpl.text.Text)], name
    assert note not in training_curve(history(), 40).alt


def test_a_picture_shows_itself_in_a_notebook_with_its_words() -> None:
    shown = training_curve(history(), 40)._repr_mimebundle_()
    assert shown["image/png"].startswith(b"\x89PNG")
    assert "0.10" in shown["text/plain"]


# ── The font ─────────────────────────────────────────────────────────────────
def test_the_font_has_every_character_of_every_message() -> None:
    ours = TTFont(style.FONT_FILE).getBestCmap()
    used = {c for both in catalogue().values() for sentence in both.values() for c in sentence} - {"\n"}
    # colour marks and the like (category So) stand in HTML and in terminals; on plots ✗ comes from matplotlib's DejaVu
    assert {c for c in used if ord(c) not in ours and unicodedata.category(c) != "So"} == set()
    on_plots = {c for key, both in catalogue().items() if key.startswith("chart.") for c in "".join(both.values())}
    assert {c for c in on_plots if ord(c) not in ours} <= {"\n", "✗"}


def test_the_font_is_small_free_and_has_its_licence_beside_it() -> None:
    assert style.FONT_FILE.stat().st_size < 3_000_000
    assert "SIL OPEN FONT LICENSE Version 1.1" in style.FONT_FILE.with_name("OFL.txt").read_text(encoding="utf-8")
    font = TTFont(style.FONT_FILE)
    assert font["name"].getDebugName(1) == style.FONT_FAMILY
    assert "SIL Open Font License" in font["name"].getDebugName(13)
    assert len([c for c in font.getBestCmap() if 0x4E00 <= c <= 0x9FFF]) >= 6_763


# ── What is drawn is what was given ──────────────────────────────────────────
def test_recordings_that_need_a_look_come_first_and_are_counted() -> None:
    rows = [row(f"好{i}", "ok") for i in range(30)] + [row("再录", "again"), row("坏文件", "unusable")]
    picture = waveforms(rows, limit=8)
    titles = [axes.get_title(loc="left") for axes in picture.axes if axes.axison]
    assert len(titles) == 8
    assert "再录" in titles[0] and "坏文件" in titles[1] and "好0" in titles[2]
    assert "32" in picture.alt and "8" in picture.alt


def test_the_best_step_is_marked_and_the_last_one_is_not() -> None:
    cer_axes = training_curve(history(), best_step=40).axes[1]
    star = next(line for line in cer_axes.lines if line.get_marker() == "*")
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([40], [0.1])


@pytest.mark.parametrize(("right", "n"), [(8, 10), (10, 10), (0, 10), (32, 40), (999, 1000)])
def test_another_ten_covers_what_a_simulation_gives(right: int, n: int) -> None:
    low, high = another_ten(right, n)
    random = np.random.default_rng(1)
    rates = random.beta(right + 0.5, n - right + 0.5, 200_000)
    again = random.binomial(10, rates)
    assert ((again >= low) & (again <= high)).mean() >= 0.8
    if low < high:  # and no wider than it has to be at either end
        assert (again < low).mean() <= 0.1 + 0.005 and (again > high).mean() <= 0.1 + 0.005
    assert 0 <= low <= high <= 10


def test_few_clips_give_a_wider_range_than_many() -> None:
    few, many = another_ten(4, 5), another_ten(160, 200)
    assert few[0] < many[0]


def test_dots_do_not_say_all_of_ten_when_one_was_wrong() -> None:
    assert "10 句对 9 句" in eight_of_ten_words(replace(scores()[1], n=34, sentence_accuracy=33 / 34))


def test_dots_are_filled_for_the_sentences_that_came_out_right() -> None:
    axes = eight_of_ten(scores()[1]).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() != "white" for dot in dots] == [True] * 8 + [False] * 2


def test_bars_and_intervals_are_the_scores() -> None:
    exact_axes = before_after(report(new=False)).axes[0]
    assert [bar.get_height() for bar in exact_axes.patches] == [0.0, 0.8]
    after = scores()[1]
    segment = exact_axes.collections[1].get_segments()[0]
    assert segment[:, 1] == pytest.approx(after.sentence_accuracy_ci)


# ── Tables and text ──────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("reference", "heard", "marks"),
    [
        ("我想喝水", "我想喝水。", "我想喝水"),
        ("我不要", "我要", "我[-不]要"),
        ("我疼", "我不疼", "我[+不]疼"),
        ("帮我开灯", "幫我關燈", "帮我[开→关]灯"),
        ("停", "", "[-停]"),
    ],
)
def test_differences_carry_marks_as_well_as_colours(reference: str, heard: str, marks: str) -> None:
    shown = diff_html(reference, heard)
    assert shown.alt == marks
    assert re.sub(r"<[^>]+>", "", shown) == marks


def test_text_from_files_cannot_become_html() -> None:
    evil = "<img src=x onerror=alert(1)>"
    heard = Facts(audio=evil, split="known", reference=evil, before=evil, after="")
    tables = [
        table_html([evil], [[evil]], evil, [evil]),
        clips_table([heard]),
        polarity_table([(evil, evil, "number")]),
        guesses_table([Guess(1, evil, evil)]),
        bundle_table(Facts(files=((evil, 1, evil),))),
        offers_table([Facts(kind="merged", bytes=1, window_s=4.0, refused=evil)]),
        answered_table([TimedAnswer(evil, evil, 0.1)]),
        qr_card("", evil),
        memory_bars_svg([Need(evil, 8, 1.0)], 2.0),
        tunnel_svg(Facts(hostname=evil, is_server=True), evil, 1, 2),
    ]
    for table in tables:
        assert "<img" not in table


@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_kind_of_whole_model_says_its_size_place_and_window_or_why_not(
    lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    sizes = (296_000_000, 0, 81_000_000)
    offers = [Facts(kind=kind, bytes=size, window_s=30.0, refused="") for kind, size in zip(KINDS, sizes, strict=True)]
    shown = offers_table([*offers, Facts(kind="ct2-int8", bytes=81_000_000, window_s=4.0, refused="RZ-0806")])
    merged, unknown, small, refused = shown.alt.splitlines()[-4:]
    assert "merged" in merged and "296" in merged and "transformers" in merged and "30" in merged
    assert message("chart.offers.unknown") in unknown and "81" in small and "faster-whisper" in small
    assert "RZ-0806" in refused and "81" not in refused and "4" in refused


def test_guesses_of_clips_with_the_same_text_keep_their_own_rows() -> None:
    guesses = [Guess(20, "我疼", "我"), Guess(20, "我疼", ""), Guess(40, "我疼", "我疼"), Guess(40, "我疼", "疼")]
    body = guesses_table(guesses).alt.splitlines()[2:]
    assert body == ["我疼 | 我 | ✓ 我疼", f"我疼 | {message('chart.guesses.silence')} | 疼"]


def test_the_recipes_table_shows_every_setting_in_which_they_differ() -> None:
    rows = {row.split(" | ")[0]: row.split(" | ")[1:] for row in presets_table(PRESETS).alt.splitlines()[2:]}
    default, guide = (leaves(asdict(PRESETS[name])) for name in ("default", "guide"))
    for name, value in default.items():
        if value != guide[name]:
            title = message(f"chart.presets.{name.replace('lora.target_modules', 'lora')}")
            ours, theirs, reason = rows.pop(title)
            assert ours != theirs and reason and not reason.startswith("相同"), name
    assert all(ours == theirs and reason.startswith("相同") for ours, theirs, reason in rows.values()), rows
    assert presets_table(PRESETS).alt.count("500") == 1


def leaves(settings: dict[str, Any], under: str = "") -> dict[str, Any]:
    """Every setting by its dotted name, also those of settings within settings."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= leaves(value, f"{under}{name}.") if isinstance(value, dict) else {under + name: value}
    return found


def test_long_lists_say_how_much_is_left_out() -> None:
    rows = [Facts(audio=f"{i}.wav", split="new", reference="停", before="", after="停") for i in range(12)]
    assert clips_table(rows, limit=5).alt.count(".wav") == 5
    assert message("chart.clips.more", more=7) in clips_table(rows, limit=5).alt


# ── Lessons 01–03: before anything is installed ──────────────────────────────
def test_pictures_of_the_first_lessons_need_the_standard_library_only() -> None:
    script = """
import sys, types
from resonance_helpers.ui import cost_table, expected_effect_table, faq, timeline_table
from resonance_helpers.lessons.check_gpu import memory_bars_svg
from resonance_helpers.lessons.connect_server import tunnel_svg
from resonance_helpers.lessons.install_tools import requirements_table_html
memory_bars_svg([types.SimpleNamespace(model="whisper-small", batch_size=8, gb=4.8)], 24.0)
tunnel_svg(types.SimpleNamespace(hostname="h", is_server=True), "1.2.3.4", 8888, 8888)
requirements_table_html([])
expected_effect_table(), cost_table(), timeline_table(), faq()
import json; print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "matplotlib", "torch", "IPython", "scipy"} & set(json.loads(done.stdout))


@pytest.mark.parametrize("have", [None, 12.0, 80.0])
def test_memory_bars_say_what_fits(lang: str, have: float | None) -> None:
    picture = memory_bars_svg([Need("whisper-small", 8, 4.8), Need("whisper-large-v3", 8, 24.9)], have)
    ElementTree.fromstring(picture)
    small, large = picture.alt.splitlines()[2:4]
    fits, too_large = message("chart.memory.fits"), message("chart.memory.too_large")
    assert (fits in small, too_large in small) == (have is not None, False)
    assert (fits in large, too_large in large) == (have == 80.0, have == 12.0)


@pytest.mark.parametrize("is_server", [True, False])
def test_the_tunnel_marks_the_box_where_this_notebook_runs(lang: str, is_server: bool) -> None:
    place = Facts(hostname="gpu-7", is_server=is_server)
    picture = tunnel_svg(place, "connect.example.com", 8888, 6006, port=12345)
    texts = {t.text: float(t.get("x", 0)) for t in ElementTree.fromstring(picture).iter() if t.tag.endswith("text")}
    assert (texts["gpu-7"] > 400) == is_server
    assert {"http://localhost:8888", "127.0.0.1:6006", "connect.example.com:12345"} <= set(texts)


def test_a_long_host_name_stays_inside_its_box() -> None:
    host = "a-very-long-host-name-" * 6 + "end"
    picture = tunnel_svg(Facts(hostname=host, is_server=True), host, 8888, 8888)
    shown = [t.text or "" for t in ElementTree.fromstring(picture).iter() if t.tag.endswith("text")]
    assert host not in shown and host in picture.alt
    assert any(text.startswith("a-very") and text.endswith("end") and len(text) < 40 for text in shown)


# ── The guide's tables ───────────────────────────────────────────────────────
def test_the_guides_expectations_are_called_so_and_have_their_note(lang: str) -> None:
    shown = expected_effect_table().alt
    assert message("guide.effect.title") in shown and message("guide.effect.note") in shown
    assert all(value in shown for value in ("55%", "70%", "80%"))


def test_a_rented_price_is_the_readers_own_and_called_an_example(lang: str) -> None:
    assert message("guide.cost.rented") not in cost_table().alt
    shown = cost_table(yuan_per_hour=2.0, training_minutes=30).alt
    assert "1.0" in shown and "1440" in shown
    assert message("guide.cost.rented.note", price="2", minutes="30") in shown


def test_the_guides_faq_and_marks_of_success_are_all_there(lang: str) -> None:
    assert faq().alt.count("\n") == 7
    assert all(success_mark(lesson) for lesson in range(1, 11))
    assert closing()
