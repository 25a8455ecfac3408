"""JSON that somebody broke: every reader says so in a sentence, and none changes the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.asr import adapter
from resonance_helpers.core.workspace import NotJson, read_json
from resonance_helpers.dataset.consent import read_consent
from resonance_helpers.dataset.index import read_index
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.splits import read_split
from resonance_helpers.lessons.test_model import logic as evaluation
from resonance_helpers.lessons.train_model.records import read_run
from resonance_helpers.service.keys import read_keys

DEEP = 100_000
BROKEN = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and cut off": b"[" * DEEP,
    "deep in an object": b'{"splits": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a long number": b'{"a": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"a": "\xff"}',
    "empty": b"",
    "cut off": b'{"a": 1',
    "a number": b"1",
    "null": b"null",
    "a list": b"[1]",
    "an object without anything": b"{}",
}
READERS: dict[str, tuple[str, Callable[[Workspace], object]]] = {
    "labels.json": ("labels.json", lambda workspace: read_labels(workspace.labels)),
    "consent.json": ("consent.json", lambda workspace: read_consent(workspace.consent)),
    "report.json": ("report.json", evaluation.read_report),
    "conversion.json": ("audio/conversion.json", read_index),
    "split.json": ("split.json", lambda workspace: read_split(workspace.data_dir)),
    "run": ("run.json", lambda workspace: read_run(workspace.data_dir)),
    "manifest": ("resonance.json", lambda workspace: adapter.read_manifest(workspace.data_dir)),
    "keys": ("keys.json", lambda workspace: read_keys(workspace.data_dir / "keys.json")),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("reader", READERS)
def test_broken_json_is_a_sentence_of_ours(tmp_path: Path, reader: str, broken: str) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(BROKEN[broken])
    if (reader, broken) == ("labels.json", "a list"):
        pytest.skip("an entry that is a number has its own test")
    with pytest.raises(ResonanceError) as caught:
        read(Workspace(tmp_path, tmp_path, "anna"))
    assert len(str(caught.value)) < 1000 and path.read_bytes() == BROKEN[broken]


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_json_or_not(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    try:
        read_json(path)
    except NotJson as error:
        assert error.code == "RZ-0010" and str(path) in str(error)


def test_what_is_missing_is_named_and_a_byte_order_mark_is_none_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, "a") == {"a": 1}
    with pytest.raises(NotJson, match='"b"'):
        read_json(path, "a", "b")
