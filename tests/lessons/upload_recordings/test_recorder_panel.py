"""The recorder's screen alone, where time, voices, the microphone and the kernel do what a test says: what may go wrong
between a press and a take.

The page is bare, without JupyterLab; the kernel's side is the real one, and it answers when it is let.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from lab import CHROMIUM, Person, chromium

from resonance_helpers import Workspace
from resonance_helpers.audio.decode import load, to_pcm16
from resonance_helpers.core.messages import message
from resonance_helpers.core.workspace import SAMPLE_DIR
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.phrases.lists import Phrase
from resonance_helpers.lessons import upload_recordings
from resonance_helpers.lessons.upload_recordings import session
from resonance_helpers.lessons.upload_recordings.recorder import Recorder

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
expect = playwright.expect
expect.set_options(timeout=15_000)
LIST = (Phrase("我很疼"), Phrase("不要"))
ADDRESS = "http://localhost"  # never asked: its files are given here. Only here a microphone needs no https
CLIP = SAMPLE_DIR / "audio_raw" / "004_我很疼.wav"  # what the microphone plays again and again
GOOD = to_pcm16(load(CLIP, 30.0))
WIDGETS = Path(upload_recordings.__file__).parent
OWN = {"name": "own", "lang": "zh-CN", "localService": True}
REMOTE = {"name": "remote", "lang": "zh-CN", "localService": False}
GERMAN = {"name": "german", "lang": "de-DE", "localService": True}

# What the browser and JupyterLab are to the recorder. ``spoken`` says in which mode a prompt began, ended or was cut.
AROUND = """
const spoken = [], sent = [], streams = [], contexts = [], listeners = {};
let values, voices, words, allowed = Promise.resolve();
const note = (what) => spoken.push(`${document.querySelector(".rz-recorder").dataset.mode}: ${what}`);

class Speech extends EventTarget {
  getVoices() { return voices; }
  speak(next) { words = next; note(`${words.voice.name} says ${words.text}`); }
  finish() { note("end"); this.silence("onend"); }
  cancel() { if (words) { note("cut"); this.silence("onerror"); } }
  silence(how) { const said = words; words = undefined; said[how](); }
}
Object.defineProperty(window, "speechSynthesis", { value: new Speech() });
window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };

const open = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
if (open) navigator.mediaDevices.getUserMedia = async (wanted) => {
  await allowed;
  streams.push(await open(wanted));
  return streams.at(-1);
};
function unplug() {
  const [track] = streams.at(-1).getTracks();
  track.stop();
  track.dispatchEvent(new Event("ended"));
}

window.AudioContext = class extends AudioContext {
  constructor(...options) { super(...options); contexts.push(this); }
};

const emit = (name, ...facts) => (listeners[name] ?? []).forEach((act) => act(...facts));
const model = {
  get: (name) => values[name],
  set(name, value) {
    if (JSON.stringify(values[name]) === JSON.stringify(value)) return;
    values[name] = value;
    emit(`change:${name}`);
  },
  save_changes() {},
  on(names, act) { for (const name of names.split(" ")) (listeners[name] ??= []).push(act); },
  send: (content) => sent.push(content),
};
"""
HTML = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="recorder.css"><main></main>
<script src="around.js"></script>
<script type="module">
import recorder from "./recorder.js";
window.show = () => { window.leave = recorder.render({ model, el: document.querySelector("main") }); };
</script>"""
AGAIN = "news => new MutationObserver(() => spoken.push('again')).observe(news, { childList: true })"  # a screen reader
FILES = {
    "/": HTML,
    "/around.js": AROUND,
    **{f"/{name}": (WIDGETS / name).read_text(encoding="utf-8") for name in ("recorder.js", "recorder.css")},
}


class Panel(Person):
    """Somebody in front of the recorder, and what happens around it."""

    def __init__(
        self, page: Any, workspace: Workspace, voices: list[dict[str, Any]], settings: dict[str, bool]
    ) -> None:
        self.workspace = workspace
        self.kernel: Any = Recorder(workspace, LIST, "2026-11-23")
        self.kernel.send = lambda content, sounds: page.evaluate(
            "([content, sound]) => emit('msg:custom', content, [new DataView(Int16Array.from(sound).buffer)])",
            [content, np.frombuffer(sounds[0], "<i2").tolist()],
        )
        values = {name: getattr(self.kernel, name) for name in ("texts", "state", "hands_free", "spoken", "silence_s")}
        page.evaluate("all => { [values, voices] = all; show(); }", [values | settings, voices])
        super().__init__(page)
        self.panel.focus()

    def answers(self) -> None:
        """The kernel gets what the page has sent until now; a take is a good one, whatever the microphone played."""
        for content in self.page.evaluate("sent.splice(0)"):
            sounds = [memoryview(GOOD.tobytes())] if content["type"] == "take" else []
            self.kernel._receive(self.kernel, content, sounds)
        self.page.evaluate("state => model.set('state', state)", self.kernel.state)

    def is_shown(self, **news: Any) -> None:
        """The kernel says ``news`` of its own accord, because of another page, say."""
        state = "{ ...values.state, turn: values.state.turn + 1, ...news }"
        self.page.evaluate(f"news => model.set('state', {state})", news)

    def spends(self, seconds: float) -> None:
        """Every timer of the page that is due by then has run."""
        self.page.clock.run_for(1000 * seconds)

    def knows(self, variable: str) -> Any:
        return self.page.evaluate(variable)

    def is_heard(self) -> bool:
        return bool(self.knows("streams.some((stream) => stream.active)"))

    def kept(self) -> list[str]:
        """What is recorded in DATA_DIR."""
        labels = read_labels(self.workspace.labels) if self.workspace.labels.exists() else []
        return [label.text for label in labels]

    def reads(self, part: str, sentence: str) -> None:
        expect(self.root.locator(f".rz-{part}")).to_have_text(sentence)

    def says_until_saving(self) -> None:
        self.waits_for(mode="recording")
        self.presses()
        self.waits_for(mode="saving")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(CLIP) as one:
        yield one


@pytest.fixture
def open_panel(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens the recorder with these voices and settings; afterwards no script of it has failed."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.grant_permissions(["microphone"], origin=ADDRESS)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    kinds = {"js": "text/javascript", "css": "text/css", "/": "text/html"}

    def give(route: Any) -> None:
        path = urlsplit(route.request.url).path
        route.fulfill(body=FILES.get(path, ""), content_type=kinds.get(path.rpartition(".")[2]))

    def opened(*voices: dict[str, Any], address: str = ADDRESS, **settings: bool) -> Panel:
        page.route("**/*", give)
        page.clock.install()
        page.goto(address)
        page.wait_for_function("() => window.show")
        return Panel(page, Workspace(tmp_path / "data", tmp_path / "out", "anna"), list(voices), settings)

    yield opened
    context.close()
    assert not wrong


# ── The prompt ───────────────────────────────────────────────────────────────
def test_only_a_voice_of_this_computer_says_the_phrase_and_the_take_begins_after_it(open_panel: Any) -> None:
    panel = open_panel(REMOTE, GERMAN, OWN, spoken=True)
    panel.presses()
    panel.waits_for(mode="prompting")
    panel.spends(5)
    panel.waits_for(mode="prompting")
    panel.knows("speechSynthesis.finish()")
    panel.waits_for(mode="recording")
    assert panel.knows("spoken") == ["prompting: own says 我很疼", "prompting: end"]


def test_a_prompt_that_never_ends_is_cut_before_the_take(open_panel: Any) -> None:
    panel = open_panel(OWN, spoken=True)
    panel.presses()
    panel.waits_for(mode="prompting")
    panel.spends(8)
    panel.waits_for(mode="recording")
    assert panel.knows("spoken") == ["prompting: own says 我很疼", "prompting: cut"]


def test_a_prompt_is_not_cut_by_the_one_before_it(open_panel: Any) -> None:
    panel = open_panel(OWN, spoken=True, hands_free=True)
    panel.presses()
    panel.waits_for(mode="prompting")
    panel.knows("speechSynthesis.finish()")
    panel.waits_for(mode="recording")
    panel.says_until_saving()
    panel.answers()
    panel.waits_for(mode="saving", mark="saved")  # hands-free: it asks for the next phrase
    panel.answers()
    panel.waits_for(mode="prompting")
    panel.spends(6)  # more than eight since the first one began
    assert panel.knows("spoken.at(-1)") == "prompting: own says 不要"
    panel.knows("speechSynthesis.finish()")
    panel.waits_for(mode="recording")
    says = ["prompting: own says 我很疼", "prompting: end", "prompting: own says 不要", "prompting: end"]
    assert panel.knows("spoken") == says


def test_without_a_voice_the_reason_stays_on_the_screen_and_nothing_is_spoken(open_panel: Any) -> None:
    panel = open_panel(REMOTE, GERMAN, spoken=True)
    panel.presses()
    panel.waits_for(mode="recording")
    panel.reads("news", message("recorder.no_voice"))
    panel.root.locator(".rz-news").evaluate(AGAIN)
    panel.says_until_saving()
    panel.answers()
    panel.waits_for(mode="idle", mark="saved")
    panel.reads("news", message("recorder.no_voice"))
    assert panel.knows("spoken") == []  # neither by a voice nor by a screen reader, into the take


def test_a_voice_that_the_browser_finds_later_takes_the_reason_away(open_panel: Any) -> None:
    panel = open_panel(spoken=True)
    panel.reads("news", message("recorder.no_voice"))
    panel.knows(f"voices = [{json.dumps(OWN)}]; speechSynthesis.dispatchEvent(new Event('voiceschanged'))")
    panel.reads("news", "")


def test_the_same_verdict_twice_is_read_aloud_twice(open_panel: Any) -> None:
    panel = open_panel()
    for nth in (1, 2):
        panel.is_shown(mark="retry", news=["太轻"])
        if nth == 1:
            panel.root.locator(".rz-news").evaluate(AGAIN)
    panel.reads("news", "太轻")
    assert panel.knows("spoken") == ["again"]


# ── A kernel that answers late ───────────────────────────────────────────────
def test_presses_while_a_take_is_being_saved_neither_lose_nor_double_it(open_panel: Any) -> None:
    panel = open_panel()
    panel.presses()
    panel.says_until_saving()
    for key in ("Space", "Enter", "Escape"):
        panel.presses(key)
    panel.reads("hint", message("recorder.saving"))
    assert panel.knows("sent.map(({ type }) => type)") == ["take"] and panel.kept() == []
    panel.answers()
    panel.waits_for(mode="idle", mark="saved")
    assert panel.kept() == ["我很疼"]
    panel.presses()
    panel.answers()
    panel.reads("phrase", "不要")


def test_who_waits_too_long_is_told_so_unheard_and_goes_on_when_the_answer_comes(open_panel: Any) -> None:
    panel = open_panel(hands_free=True)
    panel.presses()
    panel.says_until_saving()
    panel.spends(20)
    panel.waits_for(mode="lost")
    for key in ("Space", "Escape"):
        panel.presses(key)
    panel.reads("news", message("recorder.lost"))
    assert not panel.is_heard()
    panel.answers()
    panel.reads("hint", message("recorder.saved_free"))
    panel.spends(2)
    panel.answers()
    panel.waits_for(mode="recording")
    panel.reads("phrase", "不要")
    assert panel.kept() == ["我很疼"]


def test_a_sound_that_comes_late_is_played_unless_somebody_stopped(open_panel: Any) -> None:
    panel = open_panel()
    panel.presses()
    panel.says_until_saving()
    panel.answers()
    panel.clicks("play")
    panel.clicks("stop")
    panel.answers()
    panel.waits_for(mode="stopped")
    assert panel.root.get_attribute("data-played") is None
    panel.presses()
    panel.clicks("play")
    panel.spends(20)
    panel.waits_for(mode="lost")
    panel.answers()
    panel.waits_for(mode="idle")
    assert float(panel.root.get_attribute("data-played")) > 1


# ── A rest ───────────────────────────────────────────────────────────────────
def rests_after_one(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "REST_AFTER", 1)
    panel.presses()
    panel.says_until_saving()
    panel.answers()
    if panel.knows("values.hands_free"):
        panel.spends(2)
    else:
        panel.presses()
    panel.answers()
    panel.waits_for(mode="idle", stage="rest")
    panel.reads("phrase", "")
    panel.reads("hint", message("recorder.rest", today=1))


def test_after_a_rest_the_phrase_is_shown_before_its_take(open_panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = open_panel()
    rests_after_one(panel, monkeypatch)
    panel.presses()
    panel.answers()
    panel.waits_for(mode="idle", stage="phrase")
    panel.reads("phrase", "不要")
    panel.reads("hint", message("recorder.ready"))
    panel.presses()
    panel.says_until_saving()
    panel.answers()
    assert panel.kept() == ["我很疼", "不要"]


def test_hands_free_rests_until_somebody_goes_on(open_panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = open_panel(OWN, hands_free=True, spoken=True)
    panel.knows("() => { speechSynthesis.speak = (next) => { note(next.text); next.onend(); }; }")
    rests_after_one(panel, monkeypatch)
    panel.spends(600), panel.page.wait_for_timeout(500)
    panel.waits_for(mode="idle", stage="rest")
    assert panel.knows("spoken") == ["prompting: 我很疼"] and panel.knows("sent.length") == 0
    panel.presses()
    panel.answers()
    panel.waits_for(mode="idle", stage="phrase")
    panel.reads("phrase", "不要")
    panel.spends(1)
    panel.waits_for(mode="recording")
    panel.reads("phrase", "不要")
    assert panel.knows("spoken") == ["prompting: 我很疼", "prompting: 不要"]


# ── What is over acts no more ────────────────────────────────────────────────
SILENT = "speechSynthesis.cancel = () => { words = undefined; }"  # some browsers say nothing of a prompt that is cut


def test_a_prompt_that_was_stopped_neither_cuts_the_next_one_nor_begins_its_take(open_panel: Any) -> None:
    panel = open_panel(OWN, spoken=True)
    panel.knows(SILENT)
    panel.presses()
    panel.waits_for(mode="prompting")
    panel.clicks("stop")
    panel.presses(), panel.presses()
    panel.waits_for(mode="prompting")
    panel.spends(6.3), panel.spends(0.5)  # more than eight since the first one began
    assert panel.knows("words.text") == "我很疼" and panel.root.get_attribute("data-mode") == "prompting"
    panel.knows("speechSynthesis.finish()")
    panel.waits_for(mode="recording")


def test_a_prompt_ends_when_it_is_another_phrases_turn(open_panel: Any) -> None:
    panel = open_panel(OWN, spoken=True)
    panel.presses()
    panel.waits_for(mode="prompting")
    panel.is_shown(phrase="不要")
    panel.waits_for(mode="idle")
    panel.presses()
    panel.waits_for(mode="prompting")
    says = ["prompting: own says 我很疼", "prompting: cut", "prompting: own says 不要"]
    assert panel.knows("spoken") == says


@pytest.mark.parametrize("ends", ["stop", "gone"])
def test_who_stopped_before_the_next_take_begins_it_with_a_press(open_panel: Any, ends: str) -> None:
    panel = open_panel(hands_free=True)
    panel.presses()
    panel.says_until_saving()
    panel.is_shown(mark="retry", news=["太轻"])  # in four seconds it would record again
    if ends == "gone":
        panel.knows("leave()")
    else:
        panel.clicks("stop")
        panel.presses()
        panel.waits_for(mode="idle")
    panel.spends(5), panel.page.wait_for_timeout(500)
    assert not panel.is_heard() and panel.knows("sent.length") == 1
    if ends == "stop":
        panel.presses()
        panel.waits_for(mode="recording")


def test_the_hint_promises_the_next_phrase_only_while_it_comes_by_itself(open_panel: Any) -> None:
    panel = open_panel(hands_free=True)
    panel.presses()
    panel.says_until_saving()
    panel.is_shown(mark="saved", sound=True)
    panel.reads("hint", message("recorder.saved_free"))
    panel.clicks("stop")
    panel.presses()
    panel.reads("hint", message("recorder.saved"))


def test_a_sound_ends_with_its_page_or_press_and_is_in_no_take(open_panel: Any) -> None:
    panel = open_panel()
    panel.presses()
    panel.says_until_saving()
    panel.answers()
    before = panel.knows("contexts.length")
    panel.clicks("play")
    panel.clicks("stop")
    panel.presses()
    panel.clicks("play")
    panel.answers()  # both sounds
    panel.waits_for(mode="playing")
    assert panel.knows(f"contexts.slice({before}).map(({{ state }}) => state)") == ["closed", "running"]
    panel.clicks("stop")
    panel.page.wait_for_function(f"() => contexts.slice({before}).every(({{ state }}) => state === 'closed')")


def test_an_unplugged_microphone_ends_what_is_played_too(open_panel: Any) -> None:
    panel = open_panel()
    panel.presses()
    panel.says_until_saving()
    panel.answers()
    panel.clicks("play")
    panel.answers()
    panel.waits_for(mode="playing")
    panel.knows("unplug()")
    panel.waits_for(mode="idle")
    panel.reads("news", message("recorder.missing"))


# ── A microphone that comes late, or goes ────────────────────────────────────
@pytest.mark.parametrize("ends", ["stop", "refused", "gone"])
def test_who_stopped_while_the_browser_asked_is_not_recorded(open_panel: Any, ends: str) -> None:
    panel = open_panel(OWN, spoken=True)
    panel.knows("() => { allowed = new Promise((yes, no) => Object.assign(window, { yes, no })); }")
    panel.presses()
    panel.waits_for(mode="asking")
    if ends == "gone":  # the cell was run again
        panel.knows("leave()")
    else:
        panel.clicks("stop")
    panel.knows("no(new DOMException('', 'NotAllowedError'))" if ends == "refused" else "yes()")
    panel.page.wait_for_timeout(1000)
    assert panel.knows("streams.length") == (ends != "refused") and not panel.is_heard()
    assert panel.knows("spoken.length") == panel.knows("sent.length") == 0
    if ends != "gone":
        panel.reads("hint", message("recorder.stopped"))
        panel.reads("news", "")


def test_who_stopped_while_the_browser_asked_and_goes_on_is_recorded_once(open_panel: Any) -> None:
    panel = open_panel()
    panel.knows("() => { allowed = new Promise((yes) => Object.assign(window, { yes })); }")
    panel.presses()
    panel.clicks("stop")
    panel.presses()
    panel.reads("hint", message("recorder.asking"))
    panel.presses()
    panel.knows("yes()")
    panel.says_until_saving()
    assert panel.knows("streams.length") == panel.knows("sent.length") == 1


def test_a_browser_that_still_asks_is_not_asked_again_for_the_next_phrase(open_panel: Any) -> None:
    panel = open_panel()
    panel.knows("() => { allowed = new Promise((yes) => Object.assign(window, { yes })); }")
    panel.presses()
    panel.waits_for(mode="asking")
    panel.is_shown(phrase="不要")
    panel.waits_for(mode="idle")
    panel.presses()
    panel.knows("yes()")
    panel.waits_for(mode="recording")
    panel.page.wait_for_timeout(300)
    assert panel.knows("streams.length") == 1 and panel.is_heard()


def test_a_microphone_that_closes_slowly_takes_no_new_one_along(open_panel: Any) -> None:
    panel = open_panel()
    panel.presses()
    panel.waits_for(mode="recording")
    panel.knows("() => { contexts.at(-1).close = () => new Promise((done) => Object.assign(window, { done })); }")
    panel.clicks("stop")
    panel.presses(), panel.presses()
    panel.waits_for(mode="recording")
    panel.knows("done()")
    panel.clicks("stop")
    assert not panel.is_heard()


@pytest.mark.parametrize("hands_free", [False, True])
def test_a_page_that_browsers_give_no_microphone_says_why_and_asks_nobody(open_panel: Any, hands_free: bool) -> None:
    panel = open_panel(OWN, address="http://rented.example", hands_free=hands_free, spoken=True)
    panel.presses()
    panel.reads("news", message("recorder.insecure"))
    panel.waits_for(mode="idle", mark="error")
    assert panel.knows("[spoken, sent, streams, contexts].every((all) => all.length === 0)")


@pytest.mark.parametrize("mode", ["prompting", "recording"])
def test_an_unplugged_microphone_is_said_and_nothing_half_is_saved(open_panel: Any, mode: str) -> None:
    panel = open_panel(OWN, spoken=True)
    panel.presses()
    panel.waits_for(mode="prompting")
    if mode == "recording":
        panel.knows("speechSynthesis.finish()")
        panel.waits_for(mode="recording")
    panel.knows("unplug()")
    panel.waits_for(mode="idle")
    panel.reads("news", message("recorder.missing"))
    assert panel.knows("sent.length") == 0 and not panel.knows("words")
    panel.presses()
    panel.waits_for(mode="prompting")
    panel.reads("news", "")
    panel.knows("speechSynthesis.finish()")
    panel.says_until_saving()
    panel.answers()
    assert panel.kept() == ["我很疼"]
