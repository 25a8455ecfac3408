"""What was meant: kept only with consent, only for a while, and found by the next training."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from serving import CONSENT, HTTP, KEY, TOKEN, Voices, make_adapter, post, refused, running, sound

from resonance_helpers import ResonanceError
from resonance_helpers.audio.decode import load, write_wav
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.core.workspace import Workspace
from resonance_helpers.dataset import index
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.labels import CORRECTIONS, Label, read_labels, write_labels
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.lessons.convert_audio import convert
from resonance_helpers.lessons.convert_audio import logic as conversion
from resonance_helpers.service import corrections as corrections_module
from resonance_helpers.service.app import ANSWER_HEADER, create_app
from resonance_helpers.service.corrections import Corrections
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.registry import AdapterRegistry


@pytest.fixture
def url(folder_of_two: Path, data: Path) -> Iterator[str]:
    app = create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN), corrections=data)
    with running(app) as address:
        yield address


def wav_of(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV")
    return file.getvalue()


def correct(url: str, answer: str, text: str = "我要喝水", headers: dict[str, str] = KEY) -> httpx.Response:
    return HTTP.post(f"{url}/corrections", data={"answer": answer, "text": text}, headers=headers)


def test_a_corrected_recording_is_trained_on_next_time(url: str, data: Path) -> None:
    content = sound(1.5)
    before = read_labels(data / "alice" / "labels.json")
    response = post(url, content)
    assert correct(url, response.headers[ANSWER_HEADER], f" {before[0].text} ").status_code == 204
    *same, added = read_labels(data / "alice" / "labels.json")
    assert same == before
    takes = [label.take for label in before if label.text == before[0].text]
    assert (added.text, added.take, added.session) == (before[0].text, max(takes) + 1, "corrections")
    workspace = Workspace(data / "alice", data / "alice" / "out", "alice")
    conversion.convert(workspace)
    (heard,) = [u for u in load_utterances(workspace) if u.audio == added.audio]
    assert heard.seconds == pytest.approx(1.5, abs=0.01)
    assert np.allclose(load(workspace.data_dir / added.audio, 10.0), load(content, 10.0), atol=1e-3)


def test_an_answer_is_put_right_once(url: str, data: Path) -> None:
    answer = post(url).headers[ANSWER_HEADER]
    assert correct(url, answer).status_code == 204
    written = (data / "alice" / "labels.json").read_bytes()
    for unknown in (answer, "made-up"):
        assert "15 minutes" in refused(correct(url, unknown), "RZ-0916")
    assert (data / "alice" / "labels.json").read_bytes() == written


@pytest.mark.parametrize("text", ["", "  ", "。！", "字" * 201])
def test_what_says_nothing_is_refused_and_may_be_said_again(url: str, text: str) -> None:
    answer = post(url).headers[ANSWER_HEADER]
    refused(correct(url, answer, text), "RZ-0903")
    assert correct(url, answer).status_code == 204


@pytest.mark.parametrize(
    ("text", "code"),
    [("<|endoftext|>水", "RZ-0481"), ("水\ue412", "RZ-0480"), ("水" * 61, "RZ-0482"), ("℃", "RZ-0416")],
)
def test_what_no_model_can_learn_is_refused_and_may_be_said_again(url: str, text: str, code: str) -> None:
    answer = post(url).headers[ANSWER_HEADER]
    refused(correct(url, answer, text), code)
    assert correct(url, answer).status_code == 204


def test_without_consent_nothing_is_kept(url: str, data: Path) -> None:
    assert ANSWER_HEADER not in post(url, data={"patient_id": "bob"}).headers
    (data / "bob" / "consent.json").unlink()
    assert ANSWER_HEADER not in post(url, data={"patient_id": "bob"}).headers


def test_a_consent_that_was_withdrawn_meanwhile_counts(url: str, data: Path) -> None:
    answer = post(url).headers[ANSWER_HEADER]
    before = sorted(path.name for path in (data / "alice").rglob("*"))
    (data / "alice" / "consent.json").write_text(json.dumps(CONSENT | {"person": "alice", "assent": False}))
    refused(correct(url, answer), "RZ-0916")
    assert sorted(path.name for path in (data / "alice").rglob("*")) == before


def test_a_key_corrects_its_own_patients_only(folder_of_two: Path, data: Path, tmp_path: Path) -> None:
    _, bobs = make_key(tmp_path / KEYS_FILE, ["bob"])
    keyring = Keyring(TOKEN, tmp_path / KEYS_FILE)
    with running(create_app(Voices, AdapterRegistry(folder_of_two), keyring, corrections=data)) as url:
        answer = post(url).headers[ANSWER_HEADER]
        refused(correct(url, answer, headers={"Authorization": f"Bearer {bobs}"}), "RZ-0916")
        assert correct(url, answer).status_code == 204


def test_a_removed_patients_recordings_are_forgotten(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resonance_helpers.service.app.LOOK_S", 0.05)
    for patient in ("alice", "bob"):
        make_adapter(tmp_path / "served" / patient / "adapter", patient)
    app = create_app(Voices, AdapterRegistry(tmp_path / "served"), Keyring(TOKEN), corrections=data)
    with running(app) as url:
        answer = post(url).headers[ANSWER_HEADER]
        shutil.rmtree(tmp_path / "served" / "alice" / "adapter")
        time.sleep(0.5)
        make_adapter(tmp_path / "served" / "alice" / "adapter", "alice")  # back, and it still knows nothing of before
        refused(correct(url, answer), "RZ-0916")


def test_an_answer_is_forgotten_after_a_while_and_after_many_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections_module, "KEPT", 2)
    first, *_ = (post(url).headers[ANSWER_HEADER] for _ in range(3))
    refused(correct(url, first), "RZ-0916")
    monkeypatch.setattr(corrections_module, "KEPT_S", -1)
    refused(correct(url, post(url).headers[ANSWER_HEADER]), "RZ-0916")


def test_switched_off_nothing_is_kept_and_it_says_how_to_switch_it_on(folder_of_two: Path) -> None:
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as url:
        assert ANSWER_HEADER not in post(url).headers
        assert "--corrections" in refused(correct(url, "x"), "RZ-0917")


def test_one_patients_folder_is_found_too(tmp_path: Path, data: Path) -> None:
    make_adapter(tmp_path / "out" / "adapter", "alice")
    app = create_app(Voices, AdapterRegistry(tmp_path / "out"), Keyring(TOKEN), corrections=data / "alice")
    with running(app) as url:
        assert correct(url, post(url).headers[ANSWER_HEADER]).status_code == 204


def test_openais_route_names_its_answer_too(url: str, data: Path) -> None:
    files: Any = {"file": ("a.wav", sound())}
    response = HTTP.post(f"{url}/v1/audio/transcriptions", files=files, data={"model": "alice"}, headers=KEY)
    assert correct(url, response.headers[ANSWER_HEADER]).status_code == 204


def test_a_sound_that_is_in_the_folder_already_is_not_kept_again(url: str, data: Path) -> None:
    """A test clip played to the service and put right would be learned, and the next score flattering."""
    alice = data / "alice"
    before = (alice / "labels.json").read_bytes()
    tested = next(label for label in read_labels(alice / "labels.json") if label.split == "test")
    (alice / tested.audio).chmod(0o644)
    samples = load(alice / tested.audio, 10.0)
    quieter = wav_of(np.concatenate([np.zeros(1600, np.float32), 0.4 * samples]))  # as a microphone would hear it
    said = refused(correct(url, post(url, quieter).headers[ANSWER_HEADER], tested.text), "RZ-0918")
    assert tested.audio in said
    assert (alice / "labels.json").read_bytes() == before

    (alice / tested.audio).write_bytes(b"no sound")  # nor does a broken recording keep anybody from being corrected
    other = next(label for label in read_labels(alice / "labels.json") if label.audio != tested.audio)
    refused(correct(url, post(url, wav_of(load(alice / other.audio, 10.0))).headers[ANSWER_HEADER]), "RZ-0918")
    assert correct(url, post(url, quieter).headers[ANSWER_HEADER], tested.text).status_code == 204


@pytest.mark.parametrize("wav", ["there", "missing", "junk", "another recording"])
def test_a_copy_is_refused_whatever_became_of_the_wav(
    url: str, data: Path, wav: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index spares the decoding, and is believed only where the source and its WAV are what it says."""
    workspace, real = Workspace(data / "alice", data / "alice" / "out", "alice"), time.time_ns
    monkeypatch.setattr(index.time, "time_ns", lambda: real() + 10_000_000_000)
    convert(workspace)
    first, second = [each for each in index.read_index(workspace).values() if each.wav != each.source][:2]
    samples, path = load(workspace.data_dir / first.source, 10.0), workspace.data_dir / first.wav
    if wav == "missing":
        path.unlink()
    if wav == "junk":
        path.write_bytes(b"no sound")
    if wav == "another recording":
        path.write_bytes((workspace.data_dir / second.wav).read_bytes())
    decoded: list[Path] = []
    monkeypatch.setattr(corrections_module, "load", lambda path, seconds: decoded.append(path) or load(path, seconds))
    answer = post(url, wav_of(samples)).headers[ANSWER_HEADER]
    assert first.source in refused(correct(url, answer), "RZ-0918")
    assert decoded == ([] if wav == "there" else [workspace.data_dir / first.source])


@pytest.mark.parametrize("marked", [False, True])
def test_a_correction_trains_and_never_judges_whatever_the_labels_say(data: Path, marked: bool) -> None:
    alice = Workspace(data / "alice", data / "alice" / "out", "alice")
    labels = [label if marked else replace(label, split=None) for label in read_labels(alice.labels)]
    write_labels(alice.labels, labels)
    conversion.convert(alice)
    before = split_utterances(load_utterances(alice), seed=17)
    for text in ("这句话从来没有录过", labels[0].text, before.seen[0].text):
        corrections_module.add_take(alice, load(sound(1.0), 10.0), text, CORRECTIONS)
    conversion.convert(alice)
    after = split_utterances(load_utterances(alice), seed=17)
    assert (after.seen, after.unseen, after.made_here) == (before.seen, before.unseen, not marked)
    assert [u.session for u in after.train if u not in before.train] == [CORRECTIONS] * 3
    # … and what is recorded next is still marked as the other labels are
    added = corrections_module.add_take(alice, load(sound(1.2), 10.0), "再来一句", "2026-12-01")
    assert added.split == ("train" if marked else None)


# ── Whose recordings they are ────────────────────────────────────────────────
PATIENTS = ("alice", "bob")


def recordings_of(folder: Path, person: object, text: str = "这是我的秘密") -> Path:
    """A DATA_DIR with one recording whose consent bears ``person``; None: there is no consent."""
    write_wav(folder / "audio_raw" / "001.wav", load(sound(0.5), 10.0))
    write_labels(folder / "labels.json", [Label("audio_raw/001.wav", text)])
    if person is not None:
        (folder / "consent.json").write_text(json.dumps(CONSENT | {"person": person}))
    return folder


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("person", ["alice", "bob", "carol", "sample", "Alice", "王小明", "alice2", "", 3, None])
@pytest.mark.parametrize("many", [False, True])
def test_recordings_open_to_the_patient_whose_id_the_consent_bears_and_to_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, person: object, many: bool
) -> None:
    data = tmp_path / "data"
    for patient in PATIENTS if many else ("",):
        recordings_of(data / patient, person)
    before = everything_in(data)
    recent = Corrections(data, PATIENTS)
    for patient in PATIENTS:
        if patient == person:
            assert recent.phrases(patient) == ["这是我的秘密"] and recent.keep(patient, load(sound(), 10.0))
            continue
        with pytest.raises(ResonanceError, match="RZ-0917") as refused_phrases:
            recent.phrases(patient)
        assert recent.keep(patient, load(sound(), 10.0)) is None
        with pytest.raises(ResonanceError, match="RZ-0916") as refused_write:
            recent.write(patient, load(sound(), 10.0), "不是我说的")
        assert not any(str(data) in str(each.value) for each in (refused_phrases, refused_write))
    assert everything_in(data) == before
    is_form = isinstance(person, str) and person != ""
    nobodys = [folder for folder in ((data / "alice", data / "bob") if many else (data,)) if is_form]
    told = [record.getMessage() for record in caplog.records if "RZ-0982" in record.getMessage()]
    open_to = {data / str(person)} if many else {data} if person in PATIENTS else set()
    assert len(told) == len(set(nobodys) - open_to)
    assert "王小明" not in "".join(told), "a log names nobody"


def test_the_key_of_one_patient_reads_and_writes_nothing_of_another(
    folder_of_two: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = recordings_of(tmp_path / "data", "bob")
    before = everything_in(data)
    alices, bobs = (make_key(tmp_path / KEYS_FILE, [patient])[1] for patient in PATIENTS)
    app = create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN, tmp_path / KEYS_FILE), corrections=data)
    with running(app) as url:

        def headers(key: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {key}", "Accept-Language": "en"}

        assert HTTP.get(f"{url}/phrases", headers=headers(bobs)).json() == {"phrases": ["这是我的秘密"]}
        said = refused(HTTP.get(f"{url}/phrases", headers=headers(alices)), "RZ-0917")
        answer = post(url, headers=headers(alices), data={})
        assert ANSWER_HEADER not in answer.headers
        assert "秘密" not in said + answer.text and str(data) not in said + answer.text
    assert everything_in(data) == before
    assert not [record for record in caplog.records if "RZ-0982" in record.getMessage()]


def test_the_same_correction_at_once_is_kept_once(tmp_path: Path) -> None:
    data = recordings_of(tmp_path / "data", "alice")
    recent = Corrections(data)
    samples = np.random.default_rng(17).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)

    def correct_once(_: int) -> str:
        try:
            recent.write("alice", samples, "我要喝水")
        except ResonanceError as error:
            return error.code
        return "kept"

    with ThreadPoolExecutor(4) as at_once:
        assert sorted(at_once.map(correct_once, range(4))) == ["RZ-0918"] * 3 + ["kept"]
    assert [label.text for label in read_labels(data / "labels.json")] == ["这是我的秘密", "我要喝水"]
