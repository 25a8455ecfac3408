"""Widgets: what a learner presses does what it says, and an executed notebook can be read without a browser."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace as Facts
from typing import Any

import nbformat
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from resonance_helpers import ResonanceError, studies, ui
from resonance_helpers.core.messages import message
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.dataset.consent import read_consent, require_consent
from resonance_helpers.lessons import (
    check_gpu,
    connect_app,
    connect_server,
    convert_audio,
    export_weights,
    install_tools,
    serve_model,
    test_model,
    train_model,
    upload_recordings,
)
from resonance_helpers.lessons.serve_model.try_it import TryIt
from resonance_helpers.lessons.train_model import live_training
from resonance_helpers.lessons.train_model.live_training import LiveTraining
from resonance_helpers.lessons.train_model.records import Event, Guess, Point
from resonance_helpers.lessons.upload_recordings.checking import RecordingRow, RecordingsCheck, Totals
from resonance_helpers.lessons.upload_recordings.consent_form import ConsentForm
from resonance_helpers.lessons.upload_recordings.view import show_recordings
from resonance_helpers.ui import output, progress_bar
from resonance_helpers.ui.errors import install_friendly_errors
from resonance_helpers.ui.html import Markup
from resonance_helpers.ui.output import player, service_log, show_link
from resonance_helpers.ui.progress_bar import progress


class Screen:
    """Stands where IPython's display is: keeps what was shown, and what took its place."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def display(self, *things: Any, display_id: bool = False) -> Any:
        self.shown += things
        place = len(self.shown) - 1
        return Facts(update=lambda thing: self.shown.__setitem__(place, thing)) if display_id else None

    def words(self) -> str:
        return "\n".join(getattr(thing, "alt", "") for thing in self.shown)


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RESONANCE_LANG", request.param)
    return str(request.param)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    shown = Screen()
    for module in (
        "ui.output",
        "ui.progress_bar",
        "ui.errors",
        "lessons.train_model.live_training",
        "lessons.upload_recordings.view",
        "lessons.upload_recordings.consent_form",
        "lessons.serve_model.try_it",
    ):
        monkeypatch.setattr(f"resonance_helpers.{module}.display", shown.display)
    return shown


# ── Errors and lines, in a real kernel ───────────────────────────────────────
CELLS = [
    "from resonance_helpers import ResonanceError, open_workspace, ui\nui.install_friendly_errors()",
    "ui.check(True, '显存够用')\nui.check(False, '没有 labels.json', '回到第四课')",
    "bar = ui.progress('转换录音')\nfor done in range(1, 4):\n    bar(done, 3)",
    "open_workspace(patient_id='Real Name')",
    "1 / 0",
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    NotebookClient(notebook, kernel_name="python3", allow_errors=True, resources=resources).execute()
    return notebook


def plain(cell: nbformat.NotebookNode) -> str:
    return "\n".join(output.data["text/plain"] for output in cell.outputs if "data" in output)


def error_of(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return next(output for output in cell.outputs if output.output_type == "error")


def test_an_error_of_ours_shows_its_sentence_and_folds_the_rest(executed: nbformat.NotebookNode) -> None:
    cell = executed.cells[3]
    error = error_of(cell)
    assert error.ename == "ResonanceError"
    assert error.evalue.startswith("[RZ-0002]") and "Real Name" in error.evalue
    assert error.traceback == [error.evalue]
    folded = next(output.data["text/html"] for output in cell.outputs if "data" in output)
    assert folded.startswith("<details>") and "Traceback" in folded


def test_other_errors_keep_their_traceback(executed: nbformat.NotebookNode) -> None:
    error = error_of(executed.cells[4])
    assert error.ename == "ZeroDivisionError" and len(error.traceback) > 1


def test_the_cell_still_fails_for_whoever_runs_the_notebook(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (CELLS[0], CELLS[3])])
    with pytest.raises(CellExecutionError) as caught:
        NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert caught.value.ename == "ResonanceError" and "RZ-0002" in caught.value.evalue


def test_checks_and_progress_are_readable_in_an_executed_notebook(executed: nbformat.NotebookNode) -> None:
    assert plain(executed.cells[1]) == "✅ 显存够用\n❌ 没有 labels.json" + message(
        "widget.check.fix", fix="回到第四课"
    )
    bar = plain(executed.cells[2])
    assert bar.startswith("转换录音 3/3") and bar.count("转换录音") == 1


def test_outside_ipython_nothing_happens() -> None:
    before = sys.excepthook
    install_friendly_errors()
    assert sys.excepthook is before


# ── Progress ─────────────────────────────────────────────────────────────────
def test_progress_tells_the_time_left(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 30.0, 30.0, 60.0, 60.0]).__next__
    monkeypatch.setattr(progress_bar.time, "monotonic", clock)
    bar = progress("训练")
    bar(1, 4)
    assert message("widget.progress.left", time=progress_bar.duration(90)) in screen.words()
    bar(4, 4)
    assert message("widget.progress.done", time=progress_bar.duration(60)) in screen.words()
    assert len(screen.shown) == 1


@pytest.mark.parametrize(("seconds", "zh"), [(0.4, "0 秒"), (59.6, "1 分 0 秒"), (200, "3 分 20 秒")])
def test_durations_are_said_as_people_say_them(seconds: float, zh: str) -> None:
    assert progress_bar.duration(seconds) == zh


# ── Training ─────────────────────────────────────────────────────────────────
def event(step: int, cer: float | None = None, loss: float | None = None) -> Event:
    guesses = (Guess(step, "我疼", "疼"),) if cer is not None else ()
    return Event(Point(step, float(step), loss=loss, dev_cer=cer), 60, 42.0, guesses)


def result(**changes: Any) -> Any:
    points = tuple(event(step, cer).point for step, cer in ((20, 0.5), (40, 0.1), (60, 0.2)))
    guesses = (Guess(40, "我疼", "我疼"),)
    facts = {"stopped": "training.stopped.early", "best_step": 40, "finishing_steps": 0}
    facts |= {"wall_seconds": 65.0, "is_practice": True, "resumed_from": 0}
    facts |= {"batch_size": 8, "accumulation": 1, "preset": {"batch_size": 8}}
    return Facts(**{**facts, "history": points, "guesses": guesses, **changes})


def test_live_training_grows_in_place_and_stops_when_asked(screen: Screen, lang: str) -> None:
    live = LiveTraining(60)
    places = len(screen.shown)
    live.on_event(event(5, loss=2.0))
    live.on_event(event(20, cer=0.5))
    assert len(screen.shown) == places
    assert message("chart.curve.alt", step=20, cer="0.50") in screen.words() and "我疼 | 疼" in screen.words()
    assert progress_bar.duration(42) in screen.words()
    assert not live.should_stop()
    signal.raise_signal(signal.SIGINT)
    assert live.should_stop()
    live.on_event(event(25, loss=1.0))
    assert message("widget.training.stopping") in screen.words()


def test_what_is_measured_again_takes_the_place_of_what_was_lost(screen: Screen) -> None:
    live = LiveTraining(60)
    for step, cer in ((5, None), (20, 0.5), (25, None), (40, 0.3), (25, None)):  # memory ran out after step 40
        live.on_event(event(step, cer, loss=float(step)))
    live._stop_listening()
    assert [point.step for point in live.history] == [5, 20, 25] and [guess.step for guess in live.guesses] == [20]


@pytest.mark.parametrize(("price", "said"), [(0.0, False), (2.4, True)])
def test_what_a_rented_machine_costs_is_said_once_its_speed_is_known(screen: Screen, price: float, said: bool) -> None:
    live = LiveTraining(60, yuan_per_hour=price)
    live.on_event(event(5, loss=2.0))
    live._stop_listening()
    assert (message("widget.training.cost", yuan="0.03") in screen.words()) == said  # (5 + 42) s at 2.4 yuan an hour


def test_only_the_first_interrupt_is_taken_and_only_while_training(screen: Screen) -> None:
    usual = signal.getsignal(signal.SIGINT)
    live = LiveTraining(60)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    LiveTraining(60).finish(result())
    assert signal.getsignal(signal.SIGINT) is usual and live.should_stop()


STOPPABLE = """
import time
from resonance_helpers.lessons.train_model import LiveTraining
live = LiveTraining(1000)
print("ready", flush=True)
end = time.monotonic() + 30
while not live.should_stop() and time.monotonic() < end:
    time.sleep(0.05)
print("stopped" if live.should_stop() else "ran on", flush=True)
"""  # a KeyboardInterrupt would end the cell before its last line


def test_the_notebooks_interrupt_stops_training_and_the_cell_ends_well() -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute(STOPPABLE)
        said = []
        while "stopped\n" not in said and "ran on\n" not in said:
            news = client.get_iopub_msg(timeout=60)
            if news["msg_type"] == "stream" and news["content"]["name"] == "stdout":
                said.append(news["content"]["text"])
                if said == ["ready\n"]:
                    manager.interrupt_kernel()
        assert said[-1] == "stopped\n"
        # a cell that fails gives the interrupt back
        # (stop_on_error would abort the next request if it came within the same moment)
        fails = "live = LiveTraining(1)\n1 / 0"
        failed = client.execute(fails, reply=True, timeout=60, stop_on_error=False)
        assert failed["content"]["status"] == "error"
        check = "import signal\nassert signal.getsignal(signal.SIGINT) != live._stop"
        assert client.execute(check, reply=True, timeout=60)["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_finished_run_looks_the_same_live_and_from_its_folder(screen: Screen) -> None:
    live = LiveTraining(60)
    live.finish(result())
    seen_live = screen.words()
    screen.shown.clear()
    LiveTraining.redraw(result())
    assert screen.words() in seen_live
    assert message("chart.practice") in seen_live and message("training.stopped.early") in seen_live
    assert message("chart.curve.best", step=40, cer="0.10") in seen_live


def test_the_ending_says_whether_the_run_went_on_with_all_recordings() -> None:
    assert message("widget.training.kept", step=40, time=progress_bar.duration(65)) in live_training.ended(result())
    finished = live_training.ended(result(finishing_steps=60))
    assert message("widget.training.finished_on_all", step=40, finishing=60, time=progress_bar.duration(65)) in finished
    unusual = live_training.ended(result(resumed_from=20, batch_size=4, accumulation=2))
    assert message("widget.training.resumed", step=20) in unusual
    assert message("widget.training.smaller_batches", batch=4, accumulation=2) in unusual


# ── Recordings ───────────────────────────────────────────────────────────────
def recording(text: str, level: str, reasons: tuple[str, ...] = ()) -> RecordingRow:
    return RecordingRow(f"{text}.wav", text, 1, None, None, 1.0, np.ones(200, np.float32), None, level, (), reasons)


def test_recordings_that_need_a_look_are_listed_with_the_reason(screen: Screen) -> None:
    rows = (recording("我疼", "ok"), recording("停", "again", ("声音太小，靠近一点再录。",)))
    show_recordings(RecordingsCheck(rows, (), (), (), (), Totals(2, 2, 1, 2.0)))
    table = screen.shown[-1].alt
    assert "停.wav" in table and "声音太小" in table and "我疼.wav" not in table
    assert message("widget.recordings.counted", shown=1, total=2) in table


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a JupyterLab that started this kernel, whose notebook lies in ``notebooks``."""
    runtime, folder = tmp_path / "runtime", tmp_path / "lab"
    runtime.mkdir(), (folder / "notebooks").mkdir(parents=True)
    server = os.getppid()
    (runtime / f"jpserver-{server}.json").write_text(json.dumps({"root_dir": str(folder), "pid": server}))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("JPY_PARENT_PID", "1348")  # on Windows the number of a handle, and no process at all
    monkeypatch.chdir(folder / "notebooks")
    return folder


@pytest.mark.parametrize(
    ("where", "link"),
    [
        ("lab/data/a.wav", "../data/a.wav"),
        ("lab/notebooks/a.wav", "a.wav"),
        ("data/a.wav", None),  # ../../data/a.wav would be taken for data/a.wav in the folder, another recording
        ("lab-2/data/a.wav", None),
        ("lab/.cache/a.wav", None),
        ("lab/data/a.amr", None),
    ],
)
def test_a_player_plays_this_very_file_or_says_that_it_cannot(
    lab: Path, tmp_path: Path, where: str, link: str | None
) -> None:
    shown = player(tmp_path / where)._repr_mimebundle_()
    found = re.search(r'src="([^"]+)"', shown["text/html"])
    assert (found and found[1]) == link
    if link is None:
        assert "🔇" in shown["text/html"] and str(tmp_path / where) in shown["text/plain"]


def test_a_link_in_the_folder_of_jupyterlab_may_lead_out_of_it(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (lab / "data").symlink_to(tmp_path / "disk")
    assert 'src="../data/a.wav"' in player(lab / "data" / "a.wav")._repr_mimebundle_()["text/html"]


def test_what_jupyterlab_cannot_reach_is_named_without_a_link(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[Any] = []
    monkeypatch.setattr(output, "display", pieces.append)
    for path in (tmp_path / "report.html", lab / "report.html"):
        show_link(path, "报告")
    outside, inside = (piece._repr_mimebundle_()["text/html"] for piece in pieces)
    assert "href" not in outside and str(tmp_path / "report.html") in outside and 'href="../report.html"' in inside


def test_a_player_links_to_the_file_and_holds_no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebooks, data = tmp_path / "notebooks", tmp_path / "数据 <1>"
    notebooks.mkdir()
    data.mkdir()
    monkeypatch.chdir(notebooks)
    played = player(data / "我想 喝水.wav")
    assert 'src="../%E6%95%B0' in played and "data:" not in played
    assert "<1>" not in played and "我想 喝水.wav" in played.alt


# ── Consent ──────────────────────────────────────────────────────────────────
@pytest.fixture
def form(tmp_path: Path) -> Iterator[tuple[Workspace, Any]]:
    workspace = Workspace(tmp_path, tmp_path / "out", "someone")
    yield workspace, ConsentForm(workspace)


def fill(form: Any) -> None:
    form.given_by.value, form.relationship.value, form.processor.value = "妈妈", "母亲", "我，在自己的电脑上"
    form.assent.value = form.purposes["training"].value = True


def test_only_the_tick_for_replacing_is_hidden(form: tuple[Workspace, Any]) -> None:
    _, fields = form
    assert [child for child in fields.box.children if child.layout.display == "none"] == [fields.replace]


def test_nothing_is_written_or_granted_before_the_button_is_pressed(form: tuple[Workspace, Any]) -> None:
    workspace, fields = form
    assert not fields.assent.value and not any(tick.value for tick in fields.purposes.values())
    fill(fields)
    assert not workspace.consent.exists()
    fields.button.click()
    consent = require_consent(workspace, "training")
    assert consent and consent.purposes == ("training",) and consent.person == "someone"
    assert "✅" in fields.answer.value


def test_an_empty_field_is_named_and_nothing_is_written(form: tuple[Workspace, Any], lang: str) -> None:
    workspace, fields = form
    fill(fields)
    fields.given_by.value = "  "
    fields.button.click()
    assert not workspace.consent.exists()
    assert "RZ-0413" in fields.answer.value and "given_by" in fields.answer.value


def test_an_earlier_consent_is_replaced_only_when_that_is_ticked(form: tuple[Workspace, Any]) -> None:
    workspace, fields = form
    fill(fields)
    fields.button.click()
    before = workspace.consent.read_bytes()
    fields.given_by.value = "爸爸"
    fields.button.click()
    assert workspace.consent.read_bytes() == before
    assert "❌" in fields.answer.value and fields.replace.layout.display == ""
    fields.replace.value = True
    fields.button.click()
    assert read_consent(workspace.consent).given_by == "爸爸"
    assert not fields.replace.value  # the next change asks again


# ── Trying the service ───────────────────────────────────────────────────────
def test_trying_a_recording_shows_the_answer_and_its_limits(tmp_path: Path) -> None:
    asked: list[Path] = []

    def transcribe(path: Path) -> Facts:
        asked.append(path)
        return Facts(text="<我疼>" if path.name == "a.wav" else "")

    trial = TryIt(transcribe, [tmp_path / "a.wav", tmp_path / "b.wav"])
    trial.button.click()
    assert asked == [tmp_path / "a.wav"]
    assert "&lt;我疼&gt;" in trial.answer.value and message("widget.try.limits") in trial.answer.value
    trial.choice.value = tmp_path / "b.wav"
    trial.button.click()
    assert message("widget.try.silence") in trial.answer.value


def test_a_service_that_is_down_answers_with_its_sentence(tmp_path: Path) -> None:
    def fail(_: Path) -> Facts:
        raise ResonanceError("RZ-0003", path="x")

    trial = TryIt(fail, [tmp_path / "a.wav"])
    trial.button.click()
    assert "RZ-0003" in trial.answer.value


def test_the_log_shows_its_end(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    assert service_log(log).alt == message("widget.log.empty")
    log.write_text("\n".join(f"line {i} <b>" for i in range(50)), encoding="utf-8")
    shown = service_log(log, lines=3)
    assert shown.alt.splitlines() == ["line 47 <b>", "line 48 <b>", "line 49 <b>"]
    assert "<b>" not in shown


PACKAGES = (
    ui,
    studies,
    check_gpu,
    connect_server,
    install_tools,
    upload_recordings,
    convert_audio,
    train_model,
    test_model,
    export_weights,
    serve_model,
    connect_app,
)


# ── The public surface ───────────────────────────────────────────────────────
def test_every_public_name_is_there() -> None:
    for package in PACKAGES:
        for name in package.__all__:
            assert getattr(package, name) is getattr(package, name), name  # the same when asked again
        modules = {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")}
        assert not modules & set(package.__all__), "a module of that name would take the function's place"
    with pytest.raises(AttributeError):
        ui.no_such_widget  # noqa: B018


def test_the_first_lessons_need_no_ipywidgets() -> None:
    script = """
import json, sys
from resonance_helpers import ui
ui.install_friendly_errors(), ui.check(True, "x"), ui.html_table(["a"], [["b"]]), ui.progress("x")
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert not {"ipywidgets", "matplotlib", "torch", "numpy"} & set(loaded)


def test_markup_reaches_a_notebook_as_html_and_as_words() -> None:
    assert Markup("<p>我疼</p>", "我疼")._repr_mimebundle_() == {"text/html": "<p>我疼</p>", "text/plain": "我疼"}
