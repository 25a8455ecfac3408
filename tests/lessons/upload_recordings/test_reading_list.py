"""The list on paper: every phrase in order, in the user's language, and nothing fetched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resonance_helpers import Workspace
from resonance_helpers.core.messages import message
from resonance_helpers.dataset.phrases.lists import Phrase
from resonance_helpers.lessons.upload_recordings.reading_list import write_reading_list


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


def test_the_list_is_one_file_with_every_phrase_in_order(workspace: Workspace) -> None:
    many = [Phrase(f"第{n}句<b>", "needs", "💧") for n in range(1, 36)]
    path = write_reading_list(workspace, many)
    page = path.read_text(encoding="utf-8")
    assert path == workspace.output_dir / "reading_list.html"
    found = re.findall(r'class="number">(\d+)<.*?class="text">第(\d+)句&lt;b&gt;<', page, re.DOTALL)
    assert found == [(str(n), str(n)) for n in range(1, 36)]
    assert page.count("<section>") == 1 + 3 and page.count('class="box"') == 35 and "💧" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_the_list_speaks_the_users_language(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", "en")
    page = write_reading_list(workspace, [Phrase("我" * 14), Phrase("我" * 60)]).read_text(encoding="utf-8")
    assert '<html lang="en">' in page and message("reading.title", n=2) in page
    assert 'class="text medium"' in page and 'class="text medium long"' in page
