"""The phone page in Chromium, with a microphone that plays a recording: the way to the text, and all that may fail.

``RESONANCE_PICTURES=docs pytest tests/service/test_page_browser.py`` makes the pictures of the documentation anew.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import CONSENT, TOKEN, Voices, make_adapter, running

from resonance_helpers import Workspace, open_workspace
from resonance_helpers.asr.whisper import Hypothesis
from resonance_helpers.audio.decode import load, write_wav
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE, TrainingSettings
from resonance_helpers.dataset.labels import read_labels, write_labels
from resonance_helpers.lessons import train_model as training
from resonance_helpers.scoring.text import normalise
from resonance_helpers.service import server as server_module
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring
from resonance_helpers.service.links import phone_link
from resonance_helpers.service.registry import AdapterRegistry

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
expect = playwright.expect
expect.set_options(timeout=15_000)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
PHRASE = "我想喝水"
HOST = "resonance.test"  # a name for this machine that is not localhost: no microphone without https
Open = Callable[..., Any]


def zh(key: str, **facts: object) -> str:
    return message(f"page.{key}", lang="zh", **facts)


# ── What runs ────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def trained(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An adapter of the sample's voice, briefly trained, and recordings of somebody who agreed to corrections.

    What the microphone plays is not among them: a sound that is there already is not kept again.
    """
    root = tmp_path_factory.mktemp("trained")
    shutil.copytree(converted_sample.data_dir, root / "data")
    labels = read_labels(root / "data" / "labels.json")
    write_labels(root / "data" / "labels.json", [one for one in labels if (one.text, one.take) != (PHRASE, 1)])
    (root / "data" / "consent.json").write_text(json.dumps(CONSENT | {"person": "alice"}))
    workspace = open_workspace(root / "data", root / "output", "alice")
    training.train(workspace, TrainingSettings(steps=20, eval_every=20, augment=()), base_model=PRACTICE_MODEL)
    return workspace


@pytest.fixture(scope="module")
def live(trained: Workspace) -> Iterator[tuple[str, str]]:
    """The service with that adapter and a real Whisper: its address, and the key in the link for the phone."""
    registry = AdapterRegistry(trained.output_dir)
    app = create_app(
        lambda: server_module._voices(registry, PRACTICE_MODEL, trained.output_dir),
        registry,
        Keyring(file=trained.output_dir / KEYS_FILE),
        corrections=trained.data_dir,
    )
    with running(app) as url:
        yield url, phone_link(trained, url).partition("#key=")[2]


class Doubting(Voices):
    """Never sure of what it heard."""

    def recognise(self, samples: Sequence[np.ndarray], voice: Any, window_s: float) -> list[Hypothesis]:
        return [replace(said, unsure=True) for said in super().recognise(samples, voice, window_s)]


@pytest.fixture(scope="module")
def doubting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    make_adapter(tmp_path_factory.mktemp("one") / "alice" / "adapter", "alice")
    root = next(tmp_path_factory.getbasetemp().glob("one*"))
    with running(create_app(Doubting, AdapterRegistry(root), Keyring(TOKEN))) as url:
        yield url


@pytest.fixture(scope="module")
def chromium(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser whose microphone plays one recording of the sample, then silence."""
    label = next(label for label in read_labels(converted_sample.labels) if label.text == PHRASE and label.take == 1)
    source = next(converted_sample.data_dir.glob(f"audio_raw/{Path(label.audio).stem}.*"))
    clip = tmp_path_factory.mktemp("clip") / "clip.wav"
    quiet = np.zeros(SAMPLE_RATE // 4, np.float32)
    write_wav(clip, np.concatenate([quiet, load(source, 10.0), np.zeros(SAMPLE_RATE * 8, np.float32)]))
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", f"--host-resolver-rules=MAP {HOST} 127.0.0.1"]
    with playwright.sync_playwright() as library:
        browser = library.chromium.launch(
            executable_path=CHROMIUM, args=[*flags, f"--use-file-for-fake-audio-capture={clip}%noloop"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """Opens the page; afterwards no script has failed and nobody but the service was asked for anything."""
    contexts, wrong = [], []

    def opened(url: str, key: str = TOKEN, microphone: bool = True, clock: bool = False, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": PHONE, "locale": "zh-CN"} | options)
        contexts.append(context)
        if microphone:
            context.grant_permissions(["microphone"], origin=url)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
        page.on("request", lambda request: None if request.url.startswith(url) else wrong.append(request.url))
        if clock:
            page.clock.install()
        page.goto(f"{url}/#key={key}" if key else url)
        expect(page.locator("#page")).to_be_visible()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def tap(page: Any) -> None:
    page.locator("#talk").click()


def say_it(page: Any, seconds: float = 2.5) -> None:
    """Tap, let the microphone play, tap."""
    tap(page)
    expect(page.locator("body")).to_have_attribute("data-phase", "listening")
    page.wait_for_timeout(1000 * seconds)  # two taps in a row would be one that trembled
    page.locator("#talk").click()


def expect_problem(page: Any, name: str, **facts: object) -> None:
    expect(page.locator("#text")).to_have_text(zh(f"problem.{name}", **facts))
    expect(page.locator("#said")).to_have_attribute("data-state", "problem")


def stored(page: Any) -> str:
    return page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")


# ── The way to the text ──────────────────────────────────────────────────────
def test_what_was_said_is_shown_and_put_right_and_kept_only_as_agreed(
    live: tuple[str, str], trained: Workspace, open_page: Open, pictures: Path
) -> None:
    url, key = live
    page = open_page(url, key)
    assert key not in page.url and key in stored(page)
    say_it(page)
    expect(page.locator("#text")).to_have_text(PHRASE)
    expect(page.locator("#said")).to_have_attribute("data-state", "sure")
    assert page.locator("#said").get_attribute("aria-live") == "polite"
    page.screenshot(path=pictures / "page-phone.png")
    page.set_viewport_size(DESKTOP)
    page.screenshot(path=pictures / "page-desktop.png")
    page.set_viewport_size(PHONE)

    before = read_labels(trained.labels)
    page.locator("#fix").click()
    expect(page.locator("#fix-note")).to_have_text(zh("fix.saved_note"))
    expect(page.locator("#fix-list button")).to_have_count(8)
    first = page.locator("#fix-list button").first.text_content()
    assert set(first) & set(PHRASE) and first != PHRASE, "the most alike come first"
    page.locator("#fix-list button").first.click()
    expect(page.locator("#text")).to_have_text(first)
    expect(page.locator("#note")).to_have_text(zh("fix.saved"))
    *same, added = read_labels(trained.labels)
    assert same == before and (added.text, added.session) == (first, "corrections")
    recorded = load(trained.data_dir / added.audio, 10.0)
    assert np.abs(recorded).max() > 0.05 and 2 < len(recorded) / SAMPLE_RATE < 5

    page.reload()
    page.locator("#open-history").click()
    assert [normalise(text) for text in page.locator("#history-list button").all_text_contents()] == [first]
    page.locator("#clear").click()
    expect(page.locator("#history-none")).to_have_text(zh("history.none"))
    assert first not in stored(page)
    page.locator("#history .close").click()
    page.locator("#open-settings").click()
    page.locator("#forget").click()
    page.locator("#forget").click()
    expect(page.locator("#text")).to_have_text(zh("forgotten"))
    assert stored(page) == "[{},{}]"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("RESONANCE_PICTURES") or tmp_path_factory.mktemp("pictures"))


def test_hands_free_ends_after_silence(doubting: str, open_page: Open) -> None:
    page = open_page(doubting)
    page.locator("#open-settings").click()
    page.locator("#set-silence").check()
    page.locator("#set-pause input").first.check()
    page.locator("#settings .close").click()
    expect(page.locator("#talk-hint")).to_have_text(zh("talk.hint.silence", seconds=1))
    tap(page)
    expect(page.locator("#text")).to_have_text(PHRASE)  # and nobody tapped again


def test_with_a_keyboard_alone_and_a_hand_that_trembles(doubting: str, open_page: Open) -> None:
    page = open_page(doubting)
    expect(page.locator("#talk")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    expect(page.locator("body")).to_have_attribute("data-phase", "listening")
    page.wait_for_timeout(1000)
    page.keyboard.press("Space")
    expect(page.locator("#text")).to_have_text(PHRASE)


def test_uncertain_is_asked_in_words_and_never_spoken_before_it_is_confirmed(doubting: str, open_page: Open) -> None:
    page = open_page(doubting)
    page.evaluate("() => { window.spoken = []; speechSynthesis.speak = (words) => spoken.push(words.text); }")
    page.evaluate("localStorage['resonance.settings'] = JSON.stringify({speak: true})")
    say_it(page, 1)
    expect(page.locator("#mark-text")).to_have_text(zh("uncertain"))
    expect(page.locator("#icon")).to_have_text("?")
    assert page.locator("#speak").is_hidden()
    assert page.evaluate("spoken.join('')") == ""
    page.locator("#yes").click()
    expect(page.locator("#mark-text")).to_have_text(zh("confirmed"))
    assert page.evaluate("spoken.join('')") == PHRASE


def test_without_consent_a_correction_stays_on_the_page(doubting: str, open_page: Open) -> None:
    page = open_page(doubting)
    asked: list[str] = []
    say_it(page, 1)
    expect(page.locator("#no")).to_be_visible()
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#no").click()
    expect(page.locator("#fix-note")).to_have_text(zh("fix.local_note"))
    page.locator("#fix-input").fill("我想回家")
    page.locator("#fix-form button").click()
    expect(page.locator("#text")).to_have_text("我想回家")
    expect(page.locator("#note")).to_have_text(zh("fix.local"))
    assert not [url for url in asked if "corrections" in url]


def test_only_a_voice_of_the_device_speaks(doubting: str, open_page: Open) -> None:
    page = open_page(doubting)
    page.evaluate("""() => {
        window.spoken = [];
        speechSynthesis.speak = (words) => spoken.push(words.text);
        speechSynthesis.getVoices = () => [{ lang: "zh-CN", localService: false }];
    }""")
    say_it(page, 1)
    page.locator("#yes").click()
    page.locator("#speak").click()
    expect(page.locator("#note")).to_have_text(zh("problem.no_voice"))
    assert page.evaluate("spoken") == []


def test_english_by_the_browser_and_by_choice(doubting: str, open_page: Open) -> None:
    page = open_page(doubting, locale="en-GB")
    expect(page.locator("#talk-text")).to_have_text(message("page.talk", lang="en"))
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.locator("#language").click()
    expect(page.locator("#talk-text")).to_have_text(zh("talk"))
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


# ── What may fail ────────────────────────────────────────────────────────────
def test_a_refused_microphone(doubting: str, open_page: Open) -> None:
    page = open_page(doubting, microphone=False)
    tap(page)
    expect_problem(page, "mic_refused")


@pytest.mark.parametrize(("error", "problem"), [("NotFoundError", "mic_none"), ("NotReadableError", "mic_busy")])
def test_no_microphone(doubting: str, open_page: Open, error: str, problem: str) -> None:
    page = open_page(doubting)
    page.evaluate(
        "name => navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name) }", error
    )
    tap(page)
    expect_problem(page, problem)


def test_no_https(doubting: str, open_page: Open) -> None:
    expect_problem(open_page(doubting.replace("127.0.0.1", HOST), microphone=False), "insecure")


def test_in_wechat_the_key_stays_in_the_address_for_the_real_browser(doubting: str, open_page: Open) -> None:
    page = open_page(doubting, user_agent="Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50")
    expect_problem(page, "wechat")
    assert page.url.endswith(f"#key={TOKEN}") and stored(page) == "[{},{}]"


def test_a_wrong_key_and_none_ask_for_the_code(doubting: str, open_page: Open) -> None:
    page = open_page(doubting, "wrong")
    expect_problem(page, "key")
    expect(page.locator("#talk-text")).to_have_text(zh("blocked"))
    page.evaluate("key => { location.hash = `key=${key}` }", TOKEN)  # the right code, scanned while the page is open
    expect(page.locator("#text")).to_have_text(zh("welcome"))
    assert TOKEN not in page.url
    expect_problem(open_page(doubting, ""), "no_key")


def test_while_the_server_is_gone_the_recording_waits(doubting: str, open_page: Open) -> None:
    page = open_page(doubting)
    page.context.set_offline(True)
    say_it(page, 1)
    expect_problem(page, "unreachable")
    page.context.set_offline(False)
    page.locator("#again").click()
    expect(page.locator("#text")).to_have_text(PHRASE)  # nobody had to say it twice


def test_a_server_that_is_gone_at_the_start(doubting: str, open_page: Open) -> None:
    page = open_page(doubting)
    page.route("**/readyz", lambda route: route.abort("connectionrefused"))
    page.reload()
    expect_problem(page, "offline")
    page.unroute("**/readyz")
    page.locator("#check").click()
    expect(page.locator("#text")).to_have_text(zh("welcome"))


def test_a_slow_network_is_said_and_can_be_cancelled_and_ends(doubting: str, open_page: Open) -> None:
    page = open_page(doubting, clock=True)
    held: list[Any] = []
    page.route("**/transcribe", lambda route: held.append(route))
    tap(page)
    expect(page.locator("body")).to_have_attribute("data-phase", "listening")
    page.clock.run_for(1000)
    page.locator("#talk").click()
    expect(page.locator("#text")).to_have_text(zh("working"))
    page.clock.run_for(7000)
    expect(page.locator("#text")).to_have_text(zh("slow"))
    page.locator("#talk").click()
    expect(page.locator("#text")).to_have_text(zh("cancelled"))
    page.locator("#again").click()
    page.clock.run_for(61_000)
    expect_problem(page, "timeout", seconds=60)
    assert len(held) == 2


def test_while_the_model_is_loading_it_asks_again_by_itself(
    doubting: str, open_page: Open, folder_of_two: Path
) -> None:
    loaded = threading.Event()

    def load() -> Voices:
        loaded.wait(30)
        return Voices()

    with running(create_app(load, AdapterRegistry(folder_of_two), Keyring(TOKEN)), until_ready=False) as url:
        page = open_page(url, clock=True)
        expect(page.locator("#text")).to_have_text(zh("loading", seconds=5))
        loaded.set()
        page.wait_for_timeout(300)
        page.clock.run_for(5000)
        expect(page.locator("#text")).to_have_text(zh("welcome"))


@pytest.mark.parametrize(
    ("status", "code", "problem"),
    [
        (413, "RZ-0504", "too_long"),
        (422, "RZ-0907", "silent"),
        (400, "RZ-0905", "whose"),
        (500, "RZ-0909", "failed"),
        (502, None, "unreachable"),
    ],
)
def test_what_the_service_refuses_is_said_plainly(
    doubting: str, open_page: Open, status: int, code: str | None, problem: str
) -> None:
    page = open_page(doubting)
    body = json.dumps({"code": code, "detail": "…"}) if code else "<html>"
    page.route("**/transcribe", lambda route: route.fulfill(status=status, body=body))
    say_it(page, 0.8)
    expect_problem(page, problem)
    assert page.locator("#again").is_visible() == (problem in ("whose", "failed", "unreachable"))


def test_too_many_at_once_is_tried_again_by_itself(doubting: str, open_page: Open) -> None:
    page = open_page(doubting, clock=True)
    busy = {"status": 429, "headers": {"Retry-After": "7"}, "body": json.dumps({"code": "RZ-0906", "detail": "…"})}
    page.route("**/transcribe", lambda route: route.fulfill(**busy), times=1)
    tap(page)
    expect(page.locator("body")).to_have_attribute("data-phase", "listening")
    page.wait_for_timeout(1000)
    page.locator("#talk").click()
    expect(page.locator("#text")).to_have_text(zh("queue", seconds=7))
    page.clock.run_for(7000)
    expect(page.locator("#text")).to_have_text(PHRASE)


# ── For everybody ────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(doubting: str, open_page: Open, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page = open_page(doubting, color_scheme=scheme, reduced_motion="reduce")

    def clean(name: str) -> None:
        rules = {"color-contrast-enhanced": {"enabled": True}}  # AAA, 7 : 1
        found = axe.run(page, options={"resultTypes": ["violations"], "rules": rules})
        assert not found.violations_count, f"{name}: {found.generate_report()}"

    clean("ready")
    tap(page)
    expect(page.locator("body")).to_have_attribute("data-phase", "listening")
    page.wait_for_timeout(700)
    clean("listening")
    page.locator("#talk").click()
    expect(page.locator("#yes")).to_be_visible()
    clean("uncertain")
    page.locator("#no").click()
    clean("fixing")
    page.locator("#fixing .close").click()
    for dialog in ("history", "settings"):
        page.locator(f"#open-{dialog}").click()
        clean(dialog)
        page.locator(f"#{dialog} .close").click()
    page.context.set_offline(True)
    say_it(page, 0.8)
    expect(page.locator("#again")).to_be_visible()
    clean("problem")


def test_targets_are_large_and_nothing_is_cut_off(doubting: str, open_page: Open) -> None:
    for width, height in ((320, 568), (390, 844), (844, 390), (1280, 800)):
        page = open_page(doubting, viewport={"width": width, "height": height})
        boxes = page.locator("button:visible").evaluate_all("all => all.map(b => b.getBoundingClientRect().toJSON())")
        assert all(box["height"] >= 48 and box["width"] >= 48 for box in boxes)
        assert all(box["left"] >= 0 and box["right"] <= width for box in boxes)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        talk = page.locator("#talk").bounding_box()
        assert talk["width"] * talk["height"] > 0.25 * width * height, "the large button is large"


def test_no_word_is_broken(doubting: str, open_page: Open) -> None:
    for width in (320, 390):
        page = open_page(doubting, viewport={"width": width, "height": 844}, locale="en-GB")
        say_it(page, 0.8)
        page.locator("#yes").click()
        words = page.locator("#choices button:visible span[data-text]")
        broken = words.evaluate_all("""spans => spans.flatMap(span => {
            const isBroken = (word) => {
                const range = document.createRange();
                range.setStart(span.firstChild, word.index);
                range.setEnd(span.firstChild, word.index + word[0].length);
                return range.getClientRects().length > 1;
            };
            return [...span.textContent.matchAll(/\\S+/g)].filter(isBroken).map(String);
        })""")
        assert words.count() == 2 and not broken


def test_the_pictures_in_the_documentation_are_small_and_shown() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs"
    for name in ("page-phone.png", "page-desktop.png"):
        assert 5_000 < (folder / name).stat().st_size <= 150_000
        for page in ("app-contract.md", "app-contract.zh.md"):
            assert f"]({name})" in (folder / page).read_text(encoding="utf-8")
