"""What lessons 01–05 show: verdicts, steps to follow, the folder and its labels, an editor of texts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sounds import put, voice, wav

from resonance_helpers import Workspace
from resonance_helpers.dataset.consent import Consent, write_consent
from resonance_helpers.lessons import check_gpu, upload_recordings
from resonance_helpers.lessons.check_gpu import view as check_gpu_view
from resonance_helpers.lessons.connect_server import logic as server_access
from resonance_helpers.lessons.connect_server import view as connect_server_view
from resonance_helpers.lessons.convert_audio import logic as conversion
from resonance_helpers.lessons.convert_audio import view as convert_audio_view
from resonance_helpers.lessons.install_tools import logic as environment
from resonance_helpers.lessons.install_tools import view as install_tools_view
from resonance_helpers.lessons.upload_recordings import view as upload_recordings_view
from resonance_helpers.lessons.upload_recordings.view import LabelEditor
from resonance_helpers.ui import lesson
from resonance_helpers.ui import output as lines

PHRASES = ("我想喝水", "我想吃饭", "帮我开灯", "我很疼", "不要", "停一下", "打开窗户", "我冷了", "想睡觉", "叫妈妈来")
SOUND = wav(voice(1.5, 16_000))
PLACE = server_access.Place("my-laptop", "Windows 11", "li", "/usr/bin/python", False, False, False, None)


@pytest.fixture(autouse=True)
def as_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show everything as the plain text that a screen reader or a terminal gets."""
    for module in (lesson, lines, connect_server_view, upload_recordings_view, convert_audio_view):
        monkeypatch.setattr(module, "display", lambda *things: print(*(thing.alt for thing in things), sep="\n"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Ten recordings of a tone with their labels."""
    names = {f"audio_raw/{number:03d}_{phrase}.wav": phrase for number, phrase in enumerate(PHRASES, start=1)}
    labels = [{"audio": name, "text": phrase, "speaker": "mine"} for name, phrase in names.items()]
    put(tmp_path / "data", dict.fromkeys(names, SOUND), labels)
    return Workspace(tmp_path / "data", tmp_path / "out", "p-01")


# ── Lessons 01–03 ────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("machine", "mark", "words"),
    [
        (
            check_gpu.Machine((check_gpu.Gpu("RTX 4090", 23.99, (8, 9)),), "580", (13, 0), free_disk_gb=99),
            "✅",
            "24 GB",
        ),
        (
            check_gpu.Machine((check_gpu.Gpu("RTX 3060", 12.0, (8, 6)),), "550", (12, 4), free_disk_gb=99),
            "❌",
            "照样能训练",
        ),
        (check_gpu.Machine(ram_gb=16, free_disk_gb=99), "❌", "排练"),
        (check_gpu.Machine(driver_problem="no answer", ram_gb=16, free_disk_gb=99), "❌", "用不上"),
    ],
    ids=["ready", "small", "none", "unusable"],
)
def test_the_check_of_lesson_01_says_what_to_do(machine: check_gpu.Machine, mark: str, words: str, capsys) -> None:
    verdict = check_gpu.judge(machine)
    check_gpu_view.show_gpu_verdict(verdict)
    check_gpu_view.check_gpu(verdict)
    shown = capsys.readouterr().out
    assert verdict.model in shown and verdict.precision in shown
    last = shown.strip().splitlines()[-1]
    assert last.startswith(mark) and words in last


def test_steps_are_numbered_and_their_commands_can_be_copied(capsys) -> None:
    connect_server_view.show_ways(server_access.ways_to_connect("connect.example.com", 12345))
    shown = capsys.readouterr().out
    assert "MobaXterm" in shown and "1. " in shown and "ssh -p 12345 root@connect.example.com" in shown


def test_the_example_address_is_not_taken_for_a_server(capsys) -> None:
    connect_server_view.check_connection(server_access.Server("connect.example.com", 12345), PLACE)
    example = capsys.readouterr().out
    assert example.count("❌") == 2 and "connect.example.com" in example
    connect_server_view.check_connection(server_access.Server("10.1.2.3", 22), replace(PLACE, is_ssh=True))
    assert capsys.readouterr().out.count("✅") == 2


def test_a_package_that_cannot_be_imported_fails_lesson_03(capsys) -> None:
    fine = environment.Requirement("torch", ">=2", "2.13", "2.13", "ok", "")
    install_tools_view.check_environment([fine], environment.prove(["json"]), "✅ all there")
    assert capsys.readouterr().out.count("✅") == 2
    install_tools_view.check_environment(
        [replace(fine, status="missing")], environment.prove(["no_such_package"]), "missing"
    )
    shown = capsys.readouterr().out
    assert shown.count("❌") == 2 and "no_such_package" in shown


def test_builds_of_torch_are_shown_with_their_size_and_command(capsys) -> None:
    install_tools_view.show_torch_builds(
        environment.torch_builds(), environment.recommend_torch((12, 4), find=lambda _: None)
    )
    shown = capsys.readouterr().out
    assert "GB" in shown and shown.count("download.pytorch.org/whl/cu126") == 2  # in the table, and as what to run


def test_the_first_three_lessons_load_nothing_that_is_installed_later() -> None:
    program = (
        "import sys\nfrom resonance_helpers import ui\nfrom resonance_helpers.lessons import check_gpu\n"
        "from resonance_helpers.lessons import connect_server, install_tools\n"
        "ui.cost_table, check_gpu.memory_bars_svg, install_tools.requirements_table_html, connect_server.tunnel_svg\n"
        "connect_server.show_ways, ui.show_script, check_gpu.check_gpu, ui.install_friendly_errors\n"
        "print([m for m in ('torch', 'numpy', 'matplotlib', 'ipywidgets', 'transformers', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ── Every lesson ─────────────────────────────────────────────────────────────
def test_the_script_that_is_shown_is_the_file(capsys) -> None:
    lesson.show_script("step05_convert.py")
    assert (lesson.SCRIPTS / "step05_convert.py").read_text(encoding="utf-8") in capsys.readouterr().out


def test_the_sample_is_said_to_be_nobodys_voice_and_real_recordings_to_be_medical(workspace: Workspace, capsys) -> None:
    lesson.show_workspace(workspace)
    own = capsys.readouterr().out
    assert "p-01" in own and str(workspace.data_dir) in own and "医疗数据" in own
    lesson.show_workspace(replace(workspace, is_sample=True))
    assert "不是任何真人" in capsys.readouterr().out


# ── Lesson 04 ────────────────────────────────────────────────────────────────
def test_the_folder_is_drawn_as_a_tree(workspace: Workspace, capsys) -> None:
    upload_recordings_view.show_folder(workspace, limit=2)
    assert capsys.readouterr().out.splitlines() == [
        "data/",
        "├── audio_raw/",
        "│   ├── 001_我想喝水.wav",
        "│   ├── 002_我想吃饭.wav",
        "│   └── ……（还有 8 个文件）",
        "└── labels.json",
    ]


def test_the_labels_that_are_shown_are_valid_json(workspace: Workspace, capsys) -> None:
    upload_recordings_view.show_labels(workspace, limit=2)
    title, _, entries = capsys.readouterr().out.partition("\n")
    assert "10" in title and [entry["text"] for entry in json.loads(entries)] == ["我想喝水", "我想吃饭"]


def test_the_editor_changes_one_text_and_nothing_else(workspace: Workspace) -> None:
    before = json.loads(workspace.labels.read_text(encoding="utf-8"))
    editor = LabelEditor(workspace, upload_recordings.check(workspace))
    editor.chosen.value = before[3]["audio"]
    assert (
        editor.text.value == "我很疼"
        and "audio_raw" in str(editor.sound.outputs)
        and "data:" not in str(editor.sound.outputs)
    )
    editor.text.value = " 我不疼 "
    editor.button.click()
    assert "✅" in editor.answer.value
    after = json.loads(workspace.labels.read_text(encoding="utf-8"))
    assert after[3] == {**before[3], "text": "我不疼"}
    assert after[:3] + after[4:] == before[:3] + before[4:]
    editor.chosen.value = before[0]["audio"]
    editor.chosen.value = before[3]["audio"]
    assert editor.text.value == "我不疼"  # as the file says now


def test_the_editor_writes_no_empty_text(workspace: Workspace) -> None:
    before = workspace.labels.read_bytes()
    editor = LabelEditor(workspace, upload_recordings.check(workspace))
    editor.text.value = "   "
    editor.button.click()
    assert "❌" in editor.answer.value and workspace.labels.read_bytes() == before


def test_the_editor_takes_no_text_that_cannot_be_learned(workspace: Workspace) -> None:
    before = workspace.labels.read_bytes()
    editor = LabelEditor(workspace, upload_recordings.check(workspace))
    for text, code in (("<|endoftext|>", "RZ-0481"), ("水" * 600, "RZ-0482"), ("……", "RZ-0416")):
        editor.text.value = text
        editor.button.click()
        assert code in editor.answer.value and workspace.labels.read_bytes() == before


def test_the_editor_removes_invisible_characters_when_it_is_told_to(workspace: Workspace) -> None:
    assert LabelEditor(workspace, upload_recordings.check(workspace)).clean.layout.display == "none"
    clean = workspace.labels.read_text(encoding="utf-8")
    workspace.labels.write_text(clean.replace('"我很疼"', '"我\u200b很疼"'), encoding="utf-8")
    editor = LabelEditor(workspace, upload_recordings.check(workspace))
    assert editor.clean.layout.display == "" and "\u200b" in workspace.labels.read_text(encoding="utf-8")
    editor.clean.click()
    assert "✅" in editor.answer.value and editor.clean.layout.display == "none"
    assert json.loads(workspace.labels.read_text(encoding="utf-8")) == json.loads(clean)


def test_the_editor_says_when_labels_were_broken_meanwhile(workspace: Workspace) -> None:
    editor = LabelEditor(workspace, upload_recordings.check(workspace))
    workspace.labels.write_text("[{]", encoding="utf-8")
    editor.text.value = "不要"
    editor.button.click()
    assert "RZ-0402" in editor.answer.value and workspace.labels.read_text(encoding="utf-8") == "[{]"


def test_the_check_of_lesson_04_counts_and_asks_for_consent(workspace: Workspace, capsys) -> None:
    checked = upload_recordings.check(workspace)
    upload_recordings_view.check_recordings(workspace, checked)
    shown = capsys.readouterr().out
    assert "✅ 10 条录音可以用" in shown and "RZ-0411" in shown
    today = "2025-03-01"
    write_consent(workspace.consent, Consent(1, "p-01", "妈妈", "母亲", True, ("training",), "我，自己的电脑", today))
    upload_recordings_view.check_recordings(workspace, checked)
    assert "❌" not in capsys.readouterr().out
    upload_recordings_view.check_recordings(replace(workspace, is_sample=True), checked)
    assert "合成" in capsys.readouterr().out


def test_what_does_not_match_and_what_is_too_few_fails_lesson_04(workspace: Workspace, capsys) -> None:
    (workspace.data_dir / "audio_raw" / "001_我想喝水.wav").unlink()
    (workspace.data_dir / "audio_raw" / "099_没有写.wav").write_bytes(SOUND)
    upload_recordings_view.check_recordings(workspace, upload_recordings.check(workspace))
    shown = capsys.readouterr().out
    assert "1 条文字没有录音，1 个录音没有文字" in shown
    assert "❌ 可用的录音只有 9 条" in shown and "✅" not in shown


# ── Lesson 05 ────────────────────────────────────────────────────────────────
def test_the_conversion_names_what_was_left_out_first(workspace: Workspace, capsys) -> None:
    (workspace.data_dir / "audio_raw" / "010_叫妈妈来.wav").write_bytes(b"no sound")
    result = conversion.convert(workspace)
    convert_audio_view.show_conversion(result, limit=2)
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("audio_raw/010_叫妈妈来.wav") and "RZ-050" in rows[2]
    assert len(rows) == 5
    convert_audio_view.check_conversion(result)
    shown = capsys.readouterr().out
    assert "✅ 10 条里有 9 条" in shown and "❌ 1 条没有用上" in shown and "010_叫妈妈来" in shown


def test_when_nothing_can_be_used_lesson_05_fails(workspace: Workspace, capsys) -> None:
    for path in (workspace.data_dir / "audio_raw").iterdir():
        path.write_bytes(b"")
    convert_audio_view.check_conversion(conversion.convert(workspace))
    assert "✅" not in capsys.readouterr().out


def test_players_link_to_files_and_embed_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(convert_audio_view, "display", shown.append)
    source = workspace.data_dir / "audio_raw" / "001_我想喝水.wav"
    paths = conversion.write_versions(conversion.compare_rates(source), workspace.cache / "rates")
    convert_audio_view.show_players(paths)
    assert shown[0].count("<audio") == 3 and "base64" not in shown[0]
