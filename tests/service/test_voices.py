"""The real voices on the practice model: silence stays silence, doubt is said, and whose adapter it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.asr import base_models, whisper
from resonance_helpers.asr.manifest import MANIFEST
from resonance_helpers.asr.whisper import Hypothesis, SpeechModel
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.settings import PRACTICE_MODEL, SAMPLE_RATE
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.service import voices as voices_module
from resonance_helpers.service.registry import AdapterRegistry
from resonance_helpers.service.voices import WhisperRecogniser


@pytest.fixture(scope="module")
def speech(practice_adapter: Workspace) -> SpeechModel:
    return whisper.load_speech_model(base_models.resolve(PRACTICE_MODEL, practice_adapter.cache))


@pytest.fixture(scope="module")
def spoken(converted_sample: Workspace) -> np.ndarray:
    return read_wav(load_utterances(converted_sample)[0].wav)


@pytest.fixture(scope="module")
def voices(speech: SpeechModel, practice_adapter: Workspace) -> WhisperRecogniser:
    return WhisperRecogniser(speech, AdapterRegistry(practice_adapter.output_dir))


def test_nothing_is_written_where_nobody_speaks(
    speech: SpeechModel, voices: WhisperRecogniser, spoken: np.ndarray
) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert speech.recognise([silence], 4.0) != [""]  # it would hear one of its phrases
    voice = voices.load("sample")
    heard = [each.text for each in voices.recognise([silence, spoken, silence], voice, 4.0)]
    assert heard == ["", voices.recognise([spoken], voice, 4.0)[0].text, ""] and heard[1]
    assert [each.text for each in voices.recognise([silence], voice, 4.0)] == [""]


@pytest.mark.parametrize(
    ("heard", "uncertain"),
    [
        (Hypothesis("我想喝水", truncated=False, confidence=0.99), False),
        (Hypothesis("我想喝水", truncated=False, confidence=0.5), True),
        (Hypothesis("我想喝水", truncated=True, confidence=0.99), True),
        (Hypothesis("喝水喝水喝水喝水喝水喝水喝水喝水", truncated=False, confidence=0.99), True),
    ],
    ids=["sure", "unlikely", "without an end", "again and again"],
)
def test_doubt_is_said(
    speech: SpeechModel,
    voices: WhisperRecogniser,
    spoken: np.ndarray,
    heard: Hypothesis,
    uncertain: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SpeechModel, "answers", lambda self, encoded, stop_repetition: [heard] * len(encoded))
    (said,) = voices.recognise([spoken], voices.load("sample"), 4.0)
    assert said.unsure == uncertain
    assert uncertain or said.text == heard.text  # what was unsure is heard once more


def test_silence_is_no_certain_answer() -> None:
    assert voices_module.NOTHING.unsure


def test_files_copied_under_a_running_service_are_not_somebody_elses_voice(
    speech: SpeechModel, practice_adapter: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(practice_adapter.adapter, tmp_path / "sample" / "adapter")
    registry = AdapterRegistry(tmp_path)
    voices, found = WhisperRecogniser(speech, registry), registry.find("sample")
    manifest = tmp_path / "sample" / "adapter" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"patient_id": "bob"}))
    assert registry.find("sample") == found, "a bad replacement is not used"
    with pytest.raises(ResonanceError, match="RZ-0904"):
        voices.load("sample")  # of which nothing is in memory
