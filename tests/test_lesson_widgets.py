"""What lessons 06–10 show: the checks say no when they should, and nothing shown gives a key or a sound away."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from lab import CHROMIUM, chromium, jupyter_lab, open_lesson

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.asr.manifest import ADAPTER_FILES
from resonance_helpers.client import CheckStep, Transcript
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.lessons.connect_app import view as connect_app_view
from resonance_helpers.lessons.export_weights import view as export_weights_view
from resonance_helpers.lessons.export_weights.bundle import Export
from resonance_helpers.lessons.export_weights.merged import ExportedModel
from resonance_helpers.lessons.serve_model import view as serve_model_view
from resonance_helpers.lessons.test_model import view as test_model_view
from resonance_helpers.lessons.test_model.logic import BeforeAfter, Report, TestRow, judge
from resonance_helpers.lessons.train_model import view as train_model_view
from resonance_helpers.lessons.train_model.forecast import Outlook
from resonance_helpers.lessons.train_model.records import Point, TrainingResult
from resonance_helpers.scoring.error_rates import score
from resonance_helpers.ui import output as lines

ANSWER = Transcript(text="我想喝水", uncertain=None, duration=2.0, seconds=0.12, model="resonance/practice-model")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "output", "p-01", is_sample=True)


@pytest.fixture(autouse=True)
def in_plain_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show everything as the plain text that a screen reader or a terminal gets."""
    monkeypatch.delenv("RESONANCE_LANG", raising=False)
    for module in (test_model_view, lines, serve_model_view, connect_app_view):
        monkeypatch.setattr(module, "display", lambda *things: print(*(thing.alt for thing in things), sep="\n"))


def adapter_files(workspace: Workspace) -> None:
    workspace.adapter.mkdir(parents=True)
    for name in ADAPTER_FILES:
        (workspace.adapter / name).write_bytes(b"x" * 1_200_000)


def result(workspace: Workspace, *cers: float) -> TrainingResult:
    history = tuple(Point(20 * n, 5.0 * n, dev_cer=cer) for n, cer in enumerate(cers, start=1))
    return TrainingResult(
        run_dir=workspace.runs / "now",
        adapter_dir=workspace.adapter,
        base_model="resonance/practice-model",
        is_practice=True,
        preset={"batch_size": 8},
        steps=20 * len(cers),
        best_step=20 * (1 + cers.index(min(cers))),
        best_cer=min(cers),
        stopped="training.stopped.done",
        dev_by="takes",
        finishing_steps=0,
        recordings=60,
        phrases=30,
        audio_seconds=101.4,
        window_s=4.0,
        device="CPU",
        precision="fp32",
        precision_reason="…",
        batch_size=8,
        trainable=98_304,
        total_parameters=3_652_800,
        wall_seconds=71.0,
        history=history,
    )


def report(before_drops: int, after_drops: int) -> Report:
    """Ten phrases of which so many leading characters were missed, before and after."""
    meant = [f"{first}想喝水" for first in "我你他她爸妈爷奶哥姐"]
    before, after = ([text[drops:] for text in meant] for drops in (before_drops, after_drops))
    both = BeforeAfter(len(meant), score(meant, before), score(meant, after))
    heard = zip(meant, before, after, strict=True)
    rows = tuple(TestRow("a.wav", Path("a.wav"), text, was, now, "known") for text, was, now in heard)
    return Report("resonance/practice-model", 4.0, {}, both, None, judge(both), rows)


# ── Lesson 06 ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("suits", "steps"), [("few", True), ("fits", False), ("many", True)])
def test_what_is_known_before_training(suits: str, steps: bool, capsys: pytest.CaptureFixture[str]) -> None:
    train_model_view.show_outlook(Outlook(60, 15.7, suits, 90, 1800.0), yuan_per_hour=2.0)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "60 条" in shown and "16 遍" in shown and "30 分" in shown and "1.00 元" in shown
    assert ("90" in shown) == steps == ("⚠" in shown)
    train_model_view.show_outlook(Outlook(60, 15.7, suits, 90, None), yuan_per_hour=2.0)  # type: ignore[arg-type]
    assert "元" not in capsys.readouterr().out


def test_training_passes_when_the_adapter_is_there_and_cer_fell(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter_files(workspace)
    train_model_view.check_training(workspace, result(workspace, 0.9, 0.1))
    shown = capsys.readouterr().out
    assert shown.count("✅") == 2 and "❌" not in shown
    assert "0.90" in shown and "第 40 步的 0.10" in shown and "1.2 MB" in shown


def test_training_that_hardly_learned_fails_with_advice(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter_files(workspace)
    train_model_view.check_training(workspace, result(workspace, 0.90, 0.88))
    shown = capsys.readouterr().out
    assert "❌" in shown and "怎么办" in shown and "STEPS" in shown


def test_a_perfect_first_exam_is_no_failure(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    adapter_files(workspace)
    train_model_view.check_training(workspace, result(workspace, 0.0, 0.0))
    assert "❌" not in capsys.readouterr().out


def test_twenty_steps_are_a_first_try_not_a_failure(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    adapter_files(workspace)
    train_model_view.check_training(workspace, result(workspace, 0.9))
    shown = capsys.readouterr().out
    assert "❌" not in shown and "只考了一次" in shown


def test_a_missing_manifest_fails_the_training_check(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    adapter_files(workspace)
    (workspace.adapter / "resonance.json").unlink()
    train_model_view.check_training(workspace, result(workspace, 0.9, 0.1))
    shown = capsys.readouterr().out
    assert "❌" in shown and "resonance.json" in shown and "✅" not in shown


def test_the_facts_give_the_share_of_weights_and_the_practice_note(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    train_model_view.show_training_facts(result(workspace, 0.9, 0.1))
    shown = capsys.readouterr().out
    assert "98,304" in shown and "3,652,800" in shown and "2.69%" in shown and "练习模型" in shown


# ── Lesson 07 ────────────────────────────────────────────────────────────────
def test_the_test_check_wants_both_files_and_a_gain(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.output_dir.mkdir(parents=True)
    test_model_view.check_test(workspace, report(2, 0))
    assert capsys.readouterr().out.count("❌") == 1  # nothing is written yet
    workspace.report_json.write_text("{}", encoding="utf-8")
    workspace.report_html.write_text("", encoding="utf-8")
    test_model_view.check_test(workspace, report(2, 0))
    shown = capsys.readouterr().out
    assert "❌" not in shown and "训练前 0.50，训练后 0.00" in shown
    test_model_view.check_test(workspace, report(0, 2))
    assert capsys.readouterr().out.count("❌") == 1


@pytest.mark.parametrize(("after", "word"), [(0, "小心用"), (1, "先别用")])
def test_the_verdict_stands_with_its_limits(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], after: int, word: str
) -> None:
    test_model_view.show_verdict(workspace, report(2, after))
    shown = capsys.readouterr().out
    assert word in shown and "紧急" in shown and "练习模型" in shown


# ── Lesson 08 ────────────────────────────────────────────────────────────────
def bundle(folder: Path, *names: str) -> Export:
    path = folder / "p-01-adapter.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(f"p-01-adapter/{name}", b"content")
    return Export(path, tuple((name, 7, "") for name in names), 7 * len(names))


def test_a_whole_bundle_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_weights_view.check_bundle(bundle(tmp_path, *ADAPTER_FILES))
    shown = capsys.readouterr().out
    assert "✅" in shown and "3 个文件" in shown


def test_a_bundle_that_lacks_the_weights_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_weights_view.check_bundle(bundle(tmp_path, *ADAPTER_FILES[1:]))
    shown = capsys.readouterr().out
    assert "❌" in shown and "adapter_model.safetensors" in shown


def test_a_damaged_bundle_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = bundle(tmp_path, *ADAPTER_FILES)
    content = export.zip.read_bytes()
    export.zip.write_bytes(content.replace(b"content", b"CONTENT", 1))
    export_weights_view.check_bundle(export)
    assert "❌" in capsys.readouterr().out


def whole_model(folder: Path) -> ExportedModel:
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"content")
    return ExportedModel(folder, "ct2-int8", 7, 30.0, (("model.bin", 7, ""),))


def test_whole_models_are_shown_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = whole_model(tmp_path / "p-01-ct2-int8")
    export_weights_view.show_models((model,))
    export_weights_view.check_models((model,))
    shown = capsys.readouterr().out
    assert "p-01-ct2-int8" in shown and "30 秒" in shown and shown.count("✅") == 1 and "❌" not in shown
    (model.folder / "model.bin").write_bytes(b"cut")
    export_weights_view.check_models((model,))
    shown = capsys.readouterr().out
    assert "❌" in shown and "model.bin" in shown
    shutil.rmtree(model.folder)
    export_weights_view.check_models((model,))
    assert "❌" in capsys.readouterr().out


def test_no_whole_model_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    export_weights_view.show_models(())
    assert "WHOLE_MODELS" in capsys.readouterr().out
    export_weights_view.check_models(())
    assert not capsys.readouterr().out


def test_the_shown_digest_is_that_of_the_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export = bundle(tmp_path, *ADAPTER_FILES)
    monkeypatch.chdir(tmp_path)
    export_weights_view.show_bundle(export)
    assert hashlib.sha256(export.zip.read_bytes()).hexdigest() in capsys.readouterr().out


SHOWS_ITS_BUNDLE = """
from pathlib import Path
from resonance_helpers.lessons import export_weights

export_weights.show_bundle(export_weights.Export(Path("p-01-adapter.zip").resolve(), (), 0))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
def test_a_click_on_the_link_of_lesson_08_downloads_the_zip(tmp_path: Path) -> None:
    """In the real JupyterLab, which opens what a link leads to in itself if it may; for a zip that is an error."""
    pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    made = bundle(tmp_path, *ADAPTER_FILES).zip
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHOWS_ITS_BUNDLE)])
    lesson.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(lesson, tmp_path / "lesson.ipynb")
    with jupyter_lab(tmp_path) as address, chromium(tmp_path / "no sound.wav") as browser:
        page = browser.new_page()
        open_lesson(page, address, "lesson")
        link = page.wait_for_selector(f".jp-OutputArea a[href*='/files/{made.name}']", timeout=90_000)
        with page.expect_download(timeout=30_000) as download:
            link.click()
        assert download.value.suggested_filename == made.name
        assert Path(download.value.path()).read_bytes() == made.read_bytes()


# ── Lessons 09 and 10 ────────────────────────────────────────────────────────
def test_a_refusal_is_the_success_and_an_answer_the_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise ResonanceError("RZ-1007", status=401)

    serve_model_view.expect_refusal(refuse)
    shown = capsys.readouterr().out
    assert "✅" in shown and "RZ-1007" in shown
    serve_model_view.expect_refusal(lambda: ANSWER)
    assert "❌" in capsys.readouterr().out


def test_another_error_than_a_refusal_is_not_taken_for_one() -> None:
    def break_down() -> None:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        serve_model_view.expect_refusal(break_down)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_beside_the_address_stands_which_key_fits_which_service(
    lang: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    connect_app_view.show_app_address("https://u12345-8000.proxy.example.com/transcribe")
    shown = capsys.readouterr().out
    assert message("widget.codes.app") in shown, "an app with one field needs the address with its own key"
    assert "server.token" in shown and "PUBLIC_URL" in shown, "the lesson's key opens no other service"


def test_the_request_that_is_shown_holds_no_key_and_quotes_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("/data/我的 录音.wav")
    connect_app_view.show_request("http://127.0.0.1:8000/transcribe", path, ANSWER, "p-01")
    shown = capsys.readouterr().out
    assert "Bearer $TOKEN" in shown and '"text": "我想喝水"' in shown
    assert "'file=@/data/我的 录音.wav;filename=recording'" in shown  # its name may hold what was said


def test_the_answers_id_is_no_part_of_what_comes_over_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    connect_app_view.show_request(
        "http://127.0.0.1:8000/transcribe", Path("a.wav"), replace(ANSWER, answer="the-id"), "p-01"
    )
    shown = capsys.readouterr().out
    assert "the-id" not in shown and '"answer"' not in shown


def test_the_steps_to_a_service_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    connect_app_view.show_service_check(
        [CheckStep("address", True, "http://a"), CheckStep("port", False, "[RZ-1002] closed")]
    )
    shown = capsys.readouterr().out
    assert "✅ 地址写得对吗" in shown and "❌ 那个端口有人应答吗" in shown and "[RZ-1002] closed" in shown


def test_an_answer_arrives_whether_right_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    connect_app_view.check_answer("我想喝水。", ANSWER)
    assert "和本来要说的一样" in capsys.readouterr().out
    connect_app_view.check_answer("我想吃饭", ANSWER)
    shown = capsys.readouterr().out
    assert "✅" in shown and "不完全一样" in shown
    connect_app_view.check_answer("我想吃饭", replace(ANSWER, text=""))
    assert "❌" in capsys.readouterr().out


def test_the_serving_commands_quote_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve_model_view.show_serving_commands(Workspace(tmp_path, Path("/data/my output"), "p-01"))
    shown = capsys.readouterr().out
    assert "resonance serve '/data/my output' --port 6006\n" in shown and "--base-model" not in shown
    serve_model_view.show_serving_commands(Workspace(tmp_path, Path("/data"), "p-01"), "/models/my base")
    assert "resonance serve /data --port 6006 --base-model '/models/my base'\n" in capsys.readouterr().out


def test_the_whole_way_marks_what_is_there(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    adapter_files(workspace)
    connect_app_view.show_files_made(workspace)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("第")]
    assert [row.endswith("✅") for row in rows] == [False, False, True, False, False]
