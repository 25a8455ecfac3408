"""Lesson 09's panel and tables: the button, the log as it grows, who was answered, and nothing private on the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.client import Transcript
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.shell import resonance
from resonance_helpers.lessons.connect_app import view as connect_app_view
from resonance_helpers.lessons.serve_model import service_panel
from resonance_helpers.lessons.serve_model import view as serve_model_view
from resonance_helpers.lessons.serve_model.charts import requests_table
from resonance_helpers.lessons.serve_model.service_panel import ServicePanel
from resonance_helpers.lessons.serve_model.try_it import TryIt
from resonance_helpers.lessons.serve_model.view import Asked
from resonance_helpers.service import LoggedRequest
from resonance_helpers.ui import output as lines

TOKEN = "a-key-that-nobody-may-see"
free_ports = count(40_000)


class FakeService:
    """A service as ``service.start`` gives it."""

    def __init__(self, folder: Path, port: int = 0, token: str = "") -> None:
        self.url = f"http://127.0.0.1:{port or next(free_ports)}"
        self.token = token or f"{TOKEN}-{next(free_ports)}"
        self.log_path = folder / "service.log"
        self.log_path.write_text("ready\n", encoding="utf-8")
        self.running = True

    def stop(self) -> None:
        self.say("finished")
        self.running = False

    def say(self, line: str) -> None:
        with self.log_path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_panel, "REFRESH_S", 0.01)


def soon(true: Callable[[], bool]) -> bool:
    """Whether it becomes true."""
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


def all_of(panel: ServicePanel) -> str:
    """Everything that the panel shows and that a saved notebook may keep."""
    return " ".join([panel.status.value, panel.log.value, panel.button.description, panel._plain])


def described(panel: ServicePanel, key: str) -> bool:
    return panel.button.description == message(f"widget.service.{key}") and not panel.button.disabled


# ── The panel ────────────────────────────────────────────────────────────────
def test_the_button_starts_and_stops_without_holding_up_the_kernel(tmp_path: Path) -> None:
    may_start = threading.Event()

    def start(folder: Path, **options: Any) -> FakeService:
        assert may_start.wait(10)
        return FakeService(folder, **options)

    panel = ServicePanel(start, tmp_path)
    assert described(panel, "start") and message("widget.service.off") in panel.status.value
    panel.button.click()  # returns although the service is not there yet
    assert soon(lambda: panel.button.disabled) and message("widget.service.starting") in panel.status.value
    may_start.set()
    assert soon(lambda: described(panel, "stop"))
    assert panel.server and panel.server.running and panel.server.url in panel.status.value
    panel.button.click()
    assert soon(lambda: described(panel, "start"))
    assert not panel.server.running and message("widget.service.off") in panel.status.value
    assert "finished" in panel.log.value


def test_a_cell_starts_and_stops_it_too_for_a_run_without_clicks(tmp_path: Path) -> None:
    panel = ServicePanel(FakeService, tmp_path, port=5)
    server = panel.start()
    assert panel.start() is server and server.url.endswith(":5")
    assert described(panel, "stop")
    panel.stop()
    panel.stop()
    assert not server.running and described(panel, "start")


def test_it_starts_again_with_the_same_address_and_key(tmp_path: Path) -> None:
    panel = ServicePanel(FakeService, tmp_path, port=0)
    first = panel.start()
    panel.stop()
    again = panel.start()
    assert again is not first and (again.url, again.token) == (first.url, first.token)
    panel.stop()


def test_the_log_is_live_and_ends_with_the_service(tmp_path: Path) -> None:
    panel = ServicePanel(FakeService, tmp_path)
    server = panel.start()
    server.say("<b>POST</b> /transcribe 200 163 ms")
    assert soon(lambda: "163 ms" in panel.log.value) and "<b>" not in panel.log.value
    server.say("killed")
    server.running = False  # by itself
    assert soon(lambda: message("widget.service.ended") in panel.status.value.replace("&#x27;", "'"))
    assert "killed" in panel.log.value and described(panel, "start")


def test_a_service_that_stopped_by_the_button_did_not_end_by_itself(tmp_path: Path) -> None:
    panel = ServicePanel(FakeService, tmp_path)
    panel.start()
    panel.stop()
    time.sleep(0.1)
    assert panel._plain == message("widget.service.off")


def test_why_it_did_not_start_stands_in_the_panel(tmp_path: Path) -> None:
    def fail(**_: Any) -> FakeService:
        raise ResonanceError("RZ-0923", host="<h>", port=8000, reason="taken")

    panel = ServicePanel(fail)
    panel.button.click()
    assert soon(lambda: "RZ-0923" in panel.status.value) and described(panel, "start")
    assert "<h>" not in panel.status.value
    with pytest.raises(ResonanceError):
        panel.start()


def test_the_key_is_nowhere_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(service_panel, "display", lambda thing, **_: shown.append(thing))
    for module in (serve_model_view, connect_app_view, lines):
        monkeypatch.setattr(module, "display", lambda *things, **_: shown.extend(map(str, things)))
    panel = ServicePanel(FakeService, tmp_path)
    server = panel.start()
    panel._ipython_display_()
    serve_model_view.show_service(server)
    panel.stop()
    page = f"{shown} {all_of(panel)}"
    assert server.url in page and "server.token" in page
    assert TOKEN not in page
    assert shown[0]["text/plain"] == message("widget.service.running", url=server.url)
    assert "application/vnd.jupyter.widget-view+json" in shown[0]


# ── Who was answered ─────────────────────────────────────────────────────────
class Places:
    """Stands in for IPython's display: each place keeps what it shows now."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def display(self, thing: Any, display_id: bool = False) -> Any:
        self.shown.append(thing)
        index = len(self.shown) - 1
        return SimpleNamespace(update=lambda new: self.shown.__setitem__(index, new))


def test_the_asker_knows_who_was_answered_and_the_table_grows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def transcribe(recording: Path, patient_id: str) -> Transcript:
        return Transcript(recording.stem, False, 1.0, 0.01, "a/model")

    places = Places()
    monkeypatch.setattr(serve_model_view, "display", places.display)
    asked = Asked(SimpleNamespace(transcribe=transcribe), "alice")
    first = asked.each([tmp_path / "水.wav", tmp_path / "饭.wav"])
    assert [(each.patient, each.text) for each in first] == [("alice", "水"), ("alice", "饭")]
    asked._ipython_display_()
    assert "灯" not in places.shown[0].alt
    trial = TryIt(asked, [tmp_path / "灯.wav"])
    trial.button.click()
    assert "灯" in trial.answer.value and "alice | 灯" in places.shown[0].alt
    assert [each.text for each in asked.each([tmp_path / "疼.wav"])] == ["疼"] and len(asked.answers) == 4


def test_what_was_refused_is_no_answer(tmp_path: Path) -> None:
    def refuse(recording: Path, patient_id: str) -> Transcript:
        raise ResonanceError("RZ-1011", seconds=1)

    asked = Asked(SimpleNamespace(transcribe=refuse), "alice")
    trial = TryIt(asked, [tmp_path / "a.wav"])
    trial.button.click()
    assert "RZ-1011" in trial.answer.value and asked.answers == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_services_own_table_counts_and_names_nobody(monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    route = "POST /transcribe"
    asked = [(200, 100), (200, 120), (200, 900), (404, 1)]
    requests = [LoggedRequest("2026-11-23 10:00:00", route, status, ms) for status, ms in asked]
    shown = requests_table([*requests, LoggedRequest("2026-11-23 10:00:01", "POST -", 401, 0)]).alt
    assert f"{route} | 4 | 1 | 120 ms | 900 ms" in shown
    assert "POST - | 1 | 1 | – | –" in shown
    assert message("chart.requests.note", lang=lang) in shown


# ── Keeping it on ────────────────────────────────────────────────────────────
@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    plain: list[str] = []
    for module in (serve_model_view, connect_app_view, lines):
        monkeypatch.setattr(module, "display", lambda *things: plain.extend(thing.alt for thing in things))
    return plain


def test_the_unit_is_shown_with_its_commands_and_the_key_on_no_command_line(tmp_path: Path, shown: list[str]) -> None:
    serve_model_view.show_unit(Workspace(tmp_path, tmp_path / "my output", "p-01"), "/models/my base")
    commands, unit = shown
    assert f"s|/path/to/adapters|{tmp_path / 'my output'}|g" in commands and '"/models/my base"' in commands
    assert "umask 077" in commands and "/etc/resonance/resonance.env" in commands
    assert "[Service]" in unit and "RESONANCE_TOKEN" not in unit and "--token" not in commands + unit


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_way_in_says_who_can_read_along(
    tmp_path: Path, shown: list[str], lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    serve_model_view.show_doors(Workspace(tmp_path, Path("/data/my output"), "p-01"))
    header, *rows = shown[0].splitlines()
    assert len(rows) == 6 and all(row.count(" | ") == header.count(" | ") == 4 for row in rows)
    by_command = {row.rpartition(" | ")[2]: row for row in rows}
    assert (
        message("lesson09.door.cloudflare.sees", lang=lang)
        in by_command["cloudflared tunnel --url http://127.0.0.1:8000"]
    )
    assert resonance("serve", "/data/my output", "--tls", "--host", "0.0.0.0") in by_command
    assert resonance("serve", "/data/my output", "--port", "6006") in by_command
