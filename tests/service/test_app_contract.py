"""docs/app-contract: what it promises is what the service does, and its snippets run against it as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from canned import service_that_says
from serving import SHOWN, TOKEN, Voices, post, running, sound

from resonance_helpers.client.calls import ANSWER_HEADER, LATER
from resonance_helpers.core.settings import AUDIO_SUFFIXES, ServiceSettings
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.service.app import Transcription, create_app
from resonance_helpers.service.corrections import KEPT_S, LONGEST
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.openai_routes import GRANULARITIES, PARAMETERS, TIMED, TRAINED
from resonance_helpers.service.openai_routes import _shown as shown_value
from resonance_helpers.service.problems import STATUS
from resonance_helpers.service.registry import AdapterRegistry

ENGLISH, CHINESE = (
    (REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("app-contract.md", "app-contract.zh.md")
)
both = pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["en", "zh"])
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
NODE = shutil.which("node")


def snippets(kind: str) -> list[str]:
    return [code for name, code in BLOCK.findall(ENGLISH) if name == kind]


@pytest.fixture(scope="module")
def url(folder_of_two: Path) -> Iterator[str]:
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as address:
        yield address


@pytest.fixture
def given(url: str, tmp_path: Path) -> dict[str, str]:
    """The environment that the snippets read."""
    recording = tmp_path / "clip.wav"
    recording.write_bytes(sound(0.5))
    ours = {"ADDRESS": f"{url}/transcribe", "TOKEN": TOKEN, "PATIENT": "alice", "RECORDING": str(recording)}
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**direct, **ours, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(REPOSITORY)}


def said(argv: list[str | None], given: dict[str, str]) -> str:
    done = subprocess.run(argv, env=given, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ── The snippets ─────────────────────────────────────────────────────────────
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_command_is_answered(given: dict[str, str]) -> None:
    (command,) = snippets("bash")
    assert json.loads(said(["bash", "-c", command], given))["text"] == SHOWN["alice"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_python_scripts_are_answered(given: dict[str, str], number: int) -> None:
    assert said([sys.executable, "-c", snippets("python")[number]], given) == SHOWN["alice"]
    assert len(snippets("python")) == 3


def javascript(tmp_path: Path, given: dict[str, str]) -> str:
    (snippet,) = snippets("javascript")
    call = """
import { readFileSync } from "node:fs";
const { ADDRESS, TOKEN, PATIENT, RECORDING } = process.env;
const said = await transcribe(ADDRESS, TOKEN, PATIENT, new Blob([readFileSync(RECORDING)])).catch((error) => error);
console.log(said.text ?? said.message);
"""
    script = tmp_path / "call.mjs"
    script.write_text(snippet + call, encoding="utf-8")
    return said([NODE, str(script)], given)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_javascript_is_answered_refused_and_asks_again(given: dict[str, str], tmp_path: Path) -> None:
    assert javascript(tmp_path, given) == SHOWN["alice"]
    assert javascript(tmp_path, given | {"PATIENT": "carol"}).startswith("RZ-0904: ")
    with service_that_says(503) as (address, got):
        assert javascript(tmp_path, given | {"ADDRESS": f"{address}/transcribe"}) == "好"
    assert len(got) == 2
    with service_that_says(500) as (address, got):
        assert javascript(tmp_path, given | {"ADDRESS": f"{address}/transcribe"}).startswith("x: ")
    assert len(got) == 1


# ── The promises ─────────────────────────────────────────────────────────────
@both
def test_every_code_stands_there_with_its_status_and_whether_to_try_again(page: str) -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(RZ-\d{4})` \| [^|]+ \| (yes|no|是|否) \|$", page, re.MULTILINE)
    assert {code: int(status) for status, code, _ in rows} == STATUS and len(rows) == len(STATUS)
    assert {code for _, code, again in rows if again in ("yes", "是")} == {
        code for code, status in STATUS.items() if status in LATER
    }


@both
def test_the_limits_are_those_of_the_settings(page: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+(?: MiB| s)?) \|", page, re.MULTILINE))
    settings = asdict(ServiceSettings())
    assert rows and rows == {
        name: f"{settings[name] / 2**20:g} MiB"
        if name.endswith("_bytes")
        else f"{settings[name]:g}" + (" s" if name.endswith("_s") else "")
        for name in rows
    }
    assert {"max_body_bytes", "max_audio_s", "deadline_s"} <= rows.keys()
    assert f"{KEPT_S // 60} " in page and f" {LONGEST} " in page and ANSWER_HEADER in page
    assert not [suffix for suffix in AUDIO_SUFFIXES if suffix.removeprefix(".") not in page]


@both
def test_the_answer_has_the_fields_that_the_page_names(url: str, page: str) -> None:
    (example, problem) = [json.loads(code) for kind, code in BLOCK.findall(page) if kind == "json"]
    assert example.keys() == Transcription.model_fields.keys() == post(url).json().keys()
    for field in Transcription.model_fields:
        assert f"| `{field}` |" in page
    refusal = post(url, sound(0.3, level=0), headers={"Authorization": f"Bearer {TOKEN}", "Accept-Language": "zh"})
    assert refusal.json().keys() == problem.keys() and refusal.json()["code"] == problem["code"]


@both
def test_every_parameter_of_openais_api_that_is_decided_stands_there(page: str) -> None:
    rows = [row.split("|")[1:3] for row in page.splitlines() if row.startswith("| `")]
    named = {name.removesuffix("[]"): allowed for names, allowed in rows for name in re.findall(r"`([^`]+)`", names)}
    assert PARAMETERS.keys() <= named.keys()
    for name, parameter in PARAMETERS.items():
        shown = set(re.findall(r"`([^`]+)`", named[name])) - (set(TIMED) if name == GRANULARITIES else set())
        allowed = {"zh" if value is TRAINED else shown_value(value) for value in parameter.allowed}
        assert allowed == shown - {"zh-CN", "Chinese"}, name


def test_both_languages_have_the_same_headings_and_snippets() -> None:
    assert BLOCK.findall(ENGLISH) == BLOCK.findall(CHINESE)
    headings = [re.findall(r"^(#+) ", BLOCK.sub("", page), re.MULTILINE) for page in (ENGLISH, CHINESE)]
    assert headings[0] == headings[1]
    for page in (ENGLISH, CHINESE):
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page):
            assert (REPOSITORY / "docs" / target).exists(), target
