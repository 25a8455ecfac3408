"""The plain scripts that lessons show under 看看里面: each is run as a learner would run it, and keeps to its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

SCRIPTS = Path(__file__).resolve().parent.parent / "benchmarks" / "lessons"
RATE = 44_100  # Hz of the recordings made here


def run(script: str, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one script by itself, outside the repository's package, with settings by environment."""
    settings = {name: str(value) for name, value in environment.items()}
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **settings},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def tone(path: Path, seconds: float = 1.0, channels: int = 2) -> Path:
    """A recording of a 440 Hz tone at half of full scale, in the format of the file's suffix."""
    time = np.arange(int(seconds * RATE)) / RATE
    samples = np.repeat(0.5 * np.sin(2 * np.pi * 440 * time)[:, None], channels, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, RATE)
    return path


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("step*.py")), ids=lambda path: path.stem)
def test_a_script_reads_on_one_page_and_needs_nothing_of_ours(script: Path) -> None:
    source = script.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 75
    assert "resonance_helpers" not in source  # the step without the package: that is the point
    assert source.startswith('"""第')


def test_every_step_has_its_script() -> None:
    assert [path.name[:6] for path in sorted(SCRIPTS.glob("step*.py"))] == [f"step{n:02d}" for n in range(1, 11)]


def test_step01_says_what_the_driver_and_torch_see() -> None:
    done = run("step01_check_gpu.py", PATH="", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert "nvidia-smi" in done.stdout and "PyTorch" in done.stdout


def test_step02_makes_commands_and_refuses_what_a_shell_would_run() -> None:
    done = run("step02_connect.py", HOST="connect.example.com", PORT="12345")
    assert done.returncode == 0, done.stderr
    assert "ssh -p 12345 root@connect.example.com" in done.stdout
    assert "-L 127.0.0.1:8888:127.0.0.1:8888" in done.stdout
    assert run("step02_connect.py", HOST="x; rm -rf ~").returncode == 1


def test_step03_names_versions_and_proves_the_installation() -> None:
    done = run("step03_check_install.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✅ 安装成功！" in done.stdout and "✅ peft 0." in done.stdout


def test_step04_finds_what_does_not_match(tmp_path: Path) -> None:
    for name in ("001_我想喝水.wav", "002_我想吃饭.wav"):
        tone(tmp_path / "audio" / name, seconds=0.1)
    labels = [{"audio": "audio/001_我想喝水.wav", "text": "我想喝水"}]
    (tmp_path / "labels.json").write_text(json.dumps([*labels, labels[0]]), encoding="utf-8")
    done = run("step04_check_data.py", DATA_DIR=tmp_path)
    assert done.returncode == 1
    assert "同一个录音写了 2 次" in done.stdout and "labels.json 没有写：002_我想吃饭.wav" in done.stdout

    labels.append({"audio": "audio/002_我想吃饭.wav", "text": "我想吃饭"})
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8-sig")  # Notepad's BOM is no fault
    done = run("step04_check_data.py", DATA_DIR=tmp_path)
    assert done.returncode == 0 and "2 条标注，2 个短语" in done.stdout

    (tmp_path / "labels.json").write_text('[\n  {"audio": "a.wav", "text": "好"},\n]', encoding="utf-8")
    done = run("step04_check_data.py", DATA_DIR=tmp_path)
    where = "第 2 行第 34 列" if sys.version_info >= (3, 13) else "第 3 行"  # Python 3.13 points at the comma itself
    assert done.returncode == 1 and where in done.stderr


def test_step05_converts_any_format_and_leaves_out_what_is_broken(tmp_path: Path) -> None:
    raw = tmp_path / "audio_raw"
    sources = [tone(raw / "001 我想喝水.mp3"), tone(raw / "002_我想吃饭.ogg"), tone(raw / "003_帮我开灯.flac")]
    (raw / "004_坏的.m4a").write_bytes(b"not audio at all")
    before = [path.read_bytes() for path in sources]
    done = run("step05_convert.py", DATA_DIR=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "跳过 1 个" in done.stdout and "004_坏的.m4a" in done.stdout
    names = sorted(path.name for path in (tmp_path / "audio").iterdir())
    assert names == ["001_我想喝水.wav", "002_我想吃饭.wav", "003_帮我开灯.wav"]
    for name in names:
        info = sf.info(tmp_path / "audio" / name)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.duration == pytest.approx(1.0, abs=0.08)  # mp3 and vorbis pad
        samples, _ = sf.read(tmp_path / "audio" / name)
        spectrum = np.abs(np.fft.rfft(samples))
        assert np.argmax(spectrum) / len(samples) * 16_000 == pytest.approx(440, abs=2)
        assert 0.4 < np.abs(samples).max() < 0.65
    assert [path.read_bytes() for path in sources] == before

    (tmp_path / "audio" / "001_我想喝水.wav").write_bytes(b"mine")
    assert run("step05_convert.py", DATA_DIR=tmp_path).returncode == 0
    assert (tmp_path / "audio" / "001_我想喝水.wav").read_bytes() == b"mine"  # nothing is ever overwritten
