"""The command line: parsing, help, sentences instead of tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resonance_helpers import ResonanceError, __version__
from resonance_helpers.cli import app, parse_lessons, parse_setting
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.workspace import REPOSITORY

CLI = [sys.executable, "-c", "from resonance_helpers.cli import app; app()"]


@pytest.mark.parametrize(
    ("text", "lessons"),
    [
        ("6", [6]),
        ("4-8", [4, 5, 6, 7, 8]),
        ("1,3,5-7", [1, 3, 5, 6, 7]),
        ("5-7, 6，10", [5, 6, 7, 10]),
        ("1–2", [1, 2]),
    ],
)
def test_lessons_are_parsed_sorted_and_once(text: str, lessons: list[int]) -> None:
    assert parse_lessons(text) == lessons


@pytest.mark.parametrize("text", ["0", "11", "8-4", "six", "4-", "-", ",", "1,,2", "1-99999999999"])
def test_lessons_that_make_no_sense_are_refused_with_the_value_and_an_example(text: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        parse_lessons(text)
    assert caught.value.code == "RZ-1402"
    for lang in LANGUAGES:
        sentence = message("RZ-1402", lang, **caught.value.facts)
        assert text in sentence and "4-8" in sentence and "10" in sentence


def test_a_setting_is_split_at_its_first_equals_sign() -> None:
    assert parse_setting("NOTE=a=b") == ("NOTE", "a=b")
    assert parse_setting(" STEPS = 20 ") == ("STEPS", "20")


@pytest.mark.parametrize("text", ["STEPS", "=3", "two words=3", ""])
def test_a_setting_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        parse_setting(text)
    assert caught.value.code == "RZ-1404"
    for lang in LANGUAGES:
        assert "--set STEPS=200" in message("RZ-1404", lang, **caught.value.facts)


def test_an_error_is_one_sentence_on_stderr_and_exit_code_1() -> None:
    result = CliRunner().invoke(app, ["run", "--lessons", "twelve"])
    assert result.exit_code == 1
    assert result.stderr.startswith("[RZ-1402]") and "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_patient_id_that_is_a_name_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["run", "--patient", "王小明", "--output", output, "--lessons", "1"])
    assert result.exit_code == 1 and "[RZ-0002]" in result.stderr
    assert not (tmp_path / "out").exists()


def test_version() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout == f"resonance {__version__}\n"


def test_serve_hands_its_options_on_and_says_what_is_wrong_with_a_folder(tmp_path: Path, monkeypatch) -> None:
    result = CliRunner().invoke(app, ["serve", str(tmp_path)])
    assert result.exit_code == 1 and result.stderr.startswith("[RZ-0921]")
    given: list[object] = []
    monkeypatch.setattr("resonance_helpers.service.serve", lambda *options, **named: given.extend([*options, named]))
    CliRunner().invoke(app, ["serve", str(tmp_path), "--port", "6006", "--base-model", "openai/whisper-tiny"])
    plain = {"tls": False, "corrections": None}
    assert given == [tmp_path, "openai/whisper-tiny", "127.0.0.1", 6006, plain]
    CliRunner().invoke(app, ["serve", str(tmp_path), "--tls", "--corrections", "data"])
    assert given[-1] == {"tls": True, "corrections": Path("data")}


@pytest.mark.parametrize(("lang", "words"), [("zh", "数据文件夹"), ("en", "The data folder")])
def test_help_comes_within_a_second_in_either_language(lang: str, words: str) -> None:
    environment = {**os.environ, "RESONANCE_LANG": lang, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    started = time.monotonic()
    shown = subprocess.run([*CLI, "run", "--help"], env=environment, capture_output=True, text=True, check=True).stdout
    seconds = time.monotonic() - started
    assert words in shown and "--resume" in shown
    assert seconds < 3  # a busy test machine; alone it takes a third of a second


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom resonance_helpers.cli import app\n"
        "print([m for m in ('torch', 'papermill', 'transformers', 'matplotlib', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_console_that_cannot_print_an_emoji_is_no_crash() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "gbk"}
    done = subprocess.run([*CLI, "run", "--lessons", "0"], env=environment, capture_output=True, check=False)
    assert done.returncode == 1 and "RZ-1402" in done.stderr.decode("gbk")


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # a server on which nobody set a language
SERVICE = [sys.executable, "-m", "resonance_helpers.service"]
CHINESE = "我的训练数据"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ([*CLI, "run", "--data", CHINESE, "--output", CHINESE], 1),
        ([*CLI, "run", "--data", CHINESE, "--lessons", "99"], 1),
        ([*CLI, "run", "--set", CHINESE], 1),
        ([*CLI, "export", "--data", CHINESE], 1),
        ([*CLI, "serve", CHINESE], 1),
        ([*CLI, "keys", "make", CHINESE, "--everybody", "--note", CHINESE], 1),
        ([*CLI, "forget", "anna", "--data", CHINESE], 1),
        ([*CLI, "check-service", CHINESE], 1),
        ([*CLI, CHINESE], 2),
        ([*CLI, "--help"], 0),
        ([*CLI, "version"], 0),
        ([*SERVICE, CHINESE], 1),
        ([*SERVICE, "--help"], 0),
    ],
    ids=lambda given: " ".join(given[2:]).replace(CHINESE, "…")[-40:] if isinstance(given, list) else "",
)
def test_a_locale_without_chinese_is_a_sentence(command: list[str], status: int, tmp_path: Path) -> None:
    (tmp_path / CHINESE).mkdir()
    environment = {**os.environ, **ASCII, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONIOENCODING", None)
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode("utf-8")
    assert done.returncode == status and "Traceback" not in said and "\ufffd" not in said, said
    if status == 1:
        assert "[RZ-0011]" in said and "LC_ALL=C.UTF-8" in said and "终端" in said
    assert [each.name for each in tmp_path.iterdir()] == [CHINESE] and not any((tmp_path / CHINESE).iterdir())


def test_a_workspace_in_a_locale_without_chinese_is_a_sentence(tmp_path: Path) -> None:
    program = "import sys\nfrom resonance_helpers import open_workspace\nopen_workspace(sys.argv[1], sys.argv[1])"
    environment = {**os.environ, **ASCII, "PYTHONPATH": str(REPOSITORY)}
    (tmp_path / CHINESE).mkdir()
    call = [sys.executable, "-c", program, str(tmp_path / CHINESE)]
    done = subprocess.run(call, env=environment, capture_output=True, check=False)
    assert done.returncode == 1 and b"RZ-0011" in done.stderr.splitlines()[-1]


def test_a_path_that_is_no_text_is_shown_as_far_as_it_can_be() -> None:
    shown = str(ResonanceError("RZ-0003", path=os.fsdecode("数据".encode()[:4]) + "\ud83d"))
    assert "数\ufffd\ufffd" in shown.encode().decode()
