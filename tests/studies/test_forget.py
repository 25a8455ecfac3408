"""Withdrawal: afterwards nothing of the person is left where we wrote, and nothing of others is gone."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from serving import HTTP, TOKEN, Voices, make_adapter, post, refused, running, until
from typer.testing import CliRunner, Result

from resonance_helpers import ResonanceError
from resonance_helpers.cli import app
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import PRACTICE_MODEL, TrainingSettings
from resonance_helpers.core.workspace import NOTEBOOKS_DIR, REPOSITORY, Workspace, replacing, write_json
from resonance_helpers.dataset.consent import Consent, write_consent
from resonance_helpers.dataset.labels import changing, read_labels, write_labels
from resonance_helpers.dataset.takes import add_take
from resonance_helpers.lessons import export_weights as export
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.convert_audio import logic as conversion
from resonance_helpers.lessons.test_model import logic as evaluation
from resonance_helpers.lessons.test_model import report
from resonance_helpers.lessons.upload_recordings.forget_form import ForgetForm
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key, read_keys
from resonance_helpers.service.registry import AdapterRegistry
from resonance_helpers.studies.erase import forget, lessons
from resonance_helpers.studies.erase.forget import Erasure, Removed

WORDS = "请把窗户关上"  # what only alice says
NEEDLES = {"pseudonym": b"alice", "words": WORDS.encode(), "words in JSON": json.dumps(WORDS)[1:-1].encode()}


@dataclass(frozen=True)
class House:
    """A disk with alice and bob on it: their folders, a folder that is served, the notebooks of the course."""

    root: Path
    alice: Workspace
    served: Path
    lessons: Path
    needles: dict[str, bytes]

    @property
    def forgetting(self) -> Erasure:
        return Erasure("alice", self.alice.data_dir, self.alice.output_dir, (self.served,), self.lessons)

    @property
    def bobs(self) -> dict[str, bytes]:
        """Every file of bob's, and his photos, byte for byte."""
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file() and "bob" in path.parts}

    def search(self) -> dict[str, set[str]]:
        """What still names alice, holds her words or her sound, by path below the root. The inside of zips, too."""
        found: dict[str, set[str]] = {}
        for path in sorted(self.root.rglob("*")):
            if "bob" in path.parts:
                continue
            texts = [str(path.relative_to(self.root)).encode(), *contents(path)]
            if names := {name for name, needle in self.needles.items() if any(needle in text for text in texts)}:
                found[path.relative_to(self.root).as_posix()] = names
        return found


def contents(path: Path) -> Iterator[bytes]:
    if path.is_file() and not path.is_symlink():
        yield path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from map(archive.read, archive.namelist())


def consent(person: str) -> Consent:
    return Consent("1", person, "妈妈", "母亲", True, ("training", "serving"), "我的电脑", "2026-11-23")


def touch(path: Path, content: str | bytes = "alice") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def saved_notebook(patient: str, data: Path) -> str:
    """Lesson 04 as a learner saves it after a run."""
    notebook = json.loads((NOTEBOOKS_DIR / "04_upload_recordings.ipynb").read_text(encoding="utf-8"))
    parameters = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    source = "".join(parameters["source"]).replace('"sample"', f'"{patient}"').replace('""', f'"{data}"', 1)
    said = {"output_type": "stream", "name": "stdout", "text": [f"{patient} {WORDS}\n"]}
    parameters |= {"source": source.splitlines(keepends=True), "outputs": [said], "execution_count": 3}
    notebook["metadata"]["widgets"] = {"state": {"text": WORDS}}
    return json.dumps(notebook, ensure_ascii=False)


@pytest.fixture(autouse=True)
def the_course_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may clear a notebook of the repository."""
    clear = lessons.clear

    def guarded(path: Path, mentioned: lessons.Mentioned) -> None:
        assert not path.is_relative_to(REPOSITORY), path
        clear(path, mentioned)

    monkeypatch.setattr(lessons, "clear", guarded)


@pytest.fixture
def house(converted_sample: Workspace, tmp_path: Path) -> House:
    """Written by the functions that write it, where they take no training; else as they would."""
    root = tmp_path / "disk"
    for name in ("alice", "bob"):
        data = root / "people" / name
        labels = read_labels(converted_sample.labels)[:4]
        for label in labels:
            touch(data / label.audio, (converted_sample.data_dir / label.audio).read_bytes())
        write_labels(data / "labels.json", labels)
        write_consent(data / "consent.json", consent(name))
        touch(data / "holiday" / "beach.jpg", b"\xff\xd8 sea")
    alice = Workspace(root / "people" / "alice", root / "served" / "alice", "alice")
    tone = np.sin(np.arange(24_000) / 16_000 * 440 * 2 * np.pi).astype(np.float32) * 0.3
    taken = add_take(alice, tone * np.linspace(0.2, 1, 24_000, dtype=np.float32), WORDS, "today")
    conversion.convert(alice)
    sound = (alice.data_dir / taken.audio).read_bytes()[20_000:20_256]
    needles = NEEDLES | {"sound": sound, "weights": bytes(range(7, 200))}

    data, output = alice.data_dir, alice.output_dir
    touch(data / "long_recordings" / "list.m4a", b"..." + sound)
    touch(data / "incoming" / "from_wechat.zip", b"PK" + sound)
    touch(data / "incoming" / "set" / "labels.json", WORDS)
    touch(output / "reading_list.html", WORDS)
    touch(data / "phrases.csv", f"text\n{WORDS}\n")
    touch(data / ".ipynb_checkpoints" / "labels-checkpoint.json", WORDS)
    touch(data / ".DS_Store", WORDS)
    touch(data / "audio_raw" / ".DS_Store", WORDS)
    touch(data / ".labels.json.x3c_9w2k.json", WORDS)  # as a crash leaves them
    touch(data / "audio" / f".007_{WORDS}.ab12cd34.wav", sound)
    touch(data / "from_the_phone" / "7.amr", sound)
    labels = json.loads((data / "labels.json").read_text(encoding="utf-8"))
    write_json(data / "labels.json", [*labels, {"audio": "from_the_phone/7.amr", "text": WORDS}])

    make_adapter(alice.adapter, "alice")
    touch(alice.adapter / "adapter_config.json", "{}")
    touch(alice.adapter / "adapter_model.safetensors", needles["weights"])
    touch(alice.adapter / "tokenizer.json", "{}")
    bundle = touch(alice.export / "alice-adapter.zip", "")
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(alice.adapter / "adapter_model.safetensors", "alice-adapter/adapter_model.safetensors")
    touch(output / ".adapter.k2j4h5g6" / "adapter_model.safetensors", needles["weights"])
    touch(output / ".adapter.k2j4h5g6.old" / "resonance.json")
    run = output / "runs" / "20261123-050000"
    touch(run / "checkpoints" / "checkpoint-20" / "adapter_model.safetensors", needles["weights"])
    touch(run / "guesses.jsonl", json.dumps({"text": WORDS}))
    touch(run / "split.json", json.dumps([taken.audio]))
    touch(output / "learning_curve" / "0123" / "phrases010_seed1" / "labels.json", WORDS)
    touch(output / "cross_validation" / "0123" / "folds5_seed1" / "fold1" / "answers.json", WORDS)
    touch(output / "cache" / "features" / "0a" / "data.arrow", sound)
    touch(output / "cache" / "rates" / f"001_{WORDS}_own.wav", sound)
    touch(output / "cache" / "ipython" / "profile_default" / "history.sqlite", WORDS)
    touch(output / "cache" / "base_models" / "whisper" / "config.json", "{}")
    touch(output / "notebooks" / "04_upload_recordings.ipynb", saved_notebook("alice", data))
    touch(output / "notebooks" / ".ipynb_checkpoints" / "04_upload_recordings-checkpoint.ipynb", WORDS)
    touch(output / "cache" / "whole-way-3kd2" / "data" / "audio_raw" / "001.wav", sound)  # as a kill leaves them
    touch(output / "cache" / "pieces" / "01.wav", sound)
    touch(output / "export" / ".alice-merged.x1y2z3w4" / "model.safetensors", needles["weights"])
    touch(output / "export" / "alice-ct2-int8" / "model.bin", needles["weights"])
    touch(output / "export" / "alice-merged" / "README.md")
    touch(output / "recorder_practice" / "audio_raw" / f"001_{WORDS}.wav", sound)
    touch(output / "report.json", WORDS)
    touch(output / "report.html", b"<audio src=data:" + sound)
    touch(output / ".report.html.q1w2e3r4.html", WORDS)
    parameters = {"PATIENT_ID": "alice", "DATA_DIR": str(data)}
    write_json(output / "summary.json", {"lessons": [], "headline": None, "parameters": parameters})

    served = root / "served"
    make_adapter(served / "bob" / "adapter", "bob")
    make_adapter(served / ".staging-a1" / "unpacked" / "alice-adapter", "alice")  # of a service that was killed
    touch(served / ".staging-a1" / "unpacked" / "alice-adapter" / "adapter_model.safetensors", needles["weights"])
    make_adapter(served / ".import-b2" / "unpacked" / "alice-adapter", "alice")
    course = root / "course"
    for patient in ("alice", "bob"):
        number = {"alice": "04", "bob": "05"}[patient]
        text = saved_notebook(patient, root / "people" / patient)
        text = text if patient == "alice" else text.replace(WORDS, "")
        touch(course / f"{number}_lesson.ipynb", text)
        touch(course / ".ipynb_checkpoints" / f"{number}_lesson-checkpoint.ipynb", text)
    touch(course / "06_train_model.ipynb", (NOTEBOOKS_DIR / "06_train_model.ipynb").read_bytes())
    return House(root, alice, served, course, needles)


# ── Nothing is left, nothing of others is gone ───────────────────────────────
def test_nothing_of_the_person_is_left_and_everything_of_the_others_is(house: House) -> None:
    before = house.search()
    assert {name for names in before.values() for name in names} == set(house.needles)  # the search finds each kind
    assert len(before) > 30
    bobs = house.bobs
    others = {path: path.read_bytes() for path in house.lessons.rglob("*") if "04" not in path.name and path.is_file()}

    removed = house.forgetting.remove()

    assert not removed.failed and removed.is_complete
    assert house.search() == {"people/alice": {"pseudonym"}, **{path: {"pseudonym"} for path in ALICES_OWN}}
    assert house.bobs == bobs and len(bobs) > 6
    assert all(path.read_bytes() == content for path, content in others.items())
    assert (house.alice.data_dir / "holiday" / "beach.jpg").read_bytes() == b"\xff\xd8 sea"


ALICES_OWN = (  # the photo is hers, the base model is nobody's; the names of the folders are the learner's
    "people/alice/holiday",
    "people/alice/holiday/beach.jpg",
    "served/alice",
    "served/alice/cache",
    "served/alice/cache/base_models",
    "served/alice/cache/base_models/whisper",
    "served/alice/cache/base_models/whisper/config.json",
)


@pytest.mark.parametrize("forgotten", ["labels.json", "adapter_model.safetensors", "phrases.csv", "data.arrow"])
def test_the_search_would_find_a_file_that_was_left_out(house: House, forgotten: str, monkeypatch) -> None:
    real = forget.unlink
    monkeypatch.setattr(forget, "unlink", lambda path: None if path.name == forgotten else real(path))
    house.forgetting.remove()
    assert any(path.endswith(forgotten) for path in house.search() if path not in ALICES_OWN)


def test_a_folder_goes_when_nothing_is_left_in_it(house: House) -> None:
    shutil.rmtree(house.alice.data_dir / "holiday")
    shutil.rmtree(house.alice.cache / "base_models")
    house.forgetting.remove()
    assert house.search() == {}
    assert not house.alice.data_dir.exists() and not house.alice.output_dir.exists()


def test_a_saved_lesson_keeps_its_text_and_loses_what_was_run(house: House) -> None:
    pristine = json.loads((NOTEBOOKS_DIR / "04_upload_recordings.ipynb").read_text(encoding="utf-8"))
    house.forgetting.remove()
    lesson = json.loads((house.lessons / "04_lesson.ipynb").read_text(encoding="utf-8"))
    assert not (house.lessons / ".ipynb_checkpoints" / "04_lesson-checkpoint.ipynb").exists()
    assert [cell["source"] for cell in lesson["cells"]] == [cell["source"] for cell in pristine["cells"]]
    assert not any(cell.get("outputs") for cell in lesson["cells"])


@pytest.mark.parametrize(
    "written",
    [
        'PATIENT_ID = "alice"  # 化名',
        "PATIENT_ID: str = 'alice'",
        'DATA_DIR = r"{data}"',
        "DATA_DIR = f'{data}'; OUTPUT_DIR = ''",
        'DATA_DIR = Path("{data}") / ""',
        '录音 = "王" ; DATA_DIR = (\n    "{data}"  # 这里\n)',
        'DATA_DIR = "{escaped}"',
    ],
)
def test_a_parameter_goes_however_it_was_written(house: House, written: str) -> None:
    """In a notebook somebody put into a folder of their own, too."""
    data = str(house.alice.data_dir)
    source = written.replace("{data}", data).replace("{escaped}", data.replace("alice", "\\x61lice"))
    notebook = json.loads(saved_notebook("bob", Path("/")).replace(WORDS, ""))
    notebook["cells"].insert(1, {"cell_type": "code", "metadata": {}, "source": source, "outputs": []})
    path = touch(house.lessons / "mine" / "again" / "04.ipynb", json.dumps(notebook, ensure_ascii=False))
    removed = house.forgetting.remove()
    assert path in removed.gone.lessons
    lesson = json.loads(path.read_text(encoding="utf-8"))
    code = "".join(lesson["cells"][1]["source"])
    assert not any(word in code for word in ("alice", "x61"))
    names: dict[str, object] = {"Path": Path}
    exec(code, names)
    assert names.get("PATIENT_ID", "sample") == "sample" and names.get("DATA_DIR", "") == ""
    assert names.get("录音", "王") == "王"


def test_the_receipt_counts_and_says_what_is_out_of_reach_without_a_phrase(house: House) -> None:
    sizes = sum(path.stat().st_size for path in house.alice.audio.glob("*"))
    removed = house.forgetting.remove()
    receipt = "\n".join(removed.lines)
    assert WORDS not in receipt and "001_" not in receipt
    assert str(house.alice.audio) in receipt and f"{sizes / 1e6:.1f} MB" in receipt
    assert "beach.jpg" in receipt or str(house.alice.data_dir / "holiday") in receipt
    for words in ("镜像", "下载", "回收站", "手机", "同意到此结束", "几秒内就会发现模型不在了"):
        assert words in receipt, words


def test_consent_goes_last(house: House, monkeypatch) -> None:
    order: list[Path] = []
    real = forget.unlink
    monkeypatch.setattr(forget, "unlink", lambda path: (order.append(path), real(path)))
    house.forgetting.remove()
    assert [path for path in order if path.name != ".forgetting.json"][-1] == house.alice.consent
    adapter = [path.name for path in order if path.parent == house.alice.adapter]
    assert adapter[0] == "resonance.json" and len(adapter) == 4


# ── Interrupted, and not allowed ─────────────────────────────────────────────
@pytest.mark.parametrize("at", [0, 1, 3, 9, 20, 40])
def test_who_is_interrupted_runs_it_again(house: House, at: int, monkeypatch) -> None:
    """Without the signs that went first: folders with other names, a summary and an adapter that are gone."""
    data, output = house.root / "people" / "recordings", house.root / "elsewhere"
    house.alice.data_dir.rename(data)
    house.alice.output_dir.rename(output)
    (output / "summary.json").unlink()
    asked = Erasure("alice", data, output, (house.served,), house.lessons)
    real, left = forget.unlink, iter(range(at))

    def killed(path: Path) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(path)

    monkeypatch.setattr(forget, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        asked.remove()
    monkeypatch.setattr(forget, "unlink", real)
    again = replace(asked).remove()
    assert again.is_complete
    assert set(house.search()) == set()
    assert replace(asked).remove().gone.is_empty  # and once more does no harm


def test_what_may_not_be_removed_is_named_and_the_rest_goes(house: House, monkeypatch) -> None:
    stuck = house.alice.data_dir / "from_the_phone" / "7.amr"
    real = forget.unlink

    def refusing(path: Path) -> None:
        if path == stuck:
            raise PermissionError(13, "Permission denied")
        real(path)

    monkeypatch.setattr(forget, "unlink", refusing)
    removed = house.forgetting.remove()
    assert removed.failed == ((stuck, "Permission denied"),) and not removed.is_complete
    assert not house.alice.labels.exists() and not house.alice.consent.exists()
    monkeypatch.setattr(forget, "unlink", real)
    assert house.forgetting.remove().is_complete  # no labels.json any more, and it is found nevertheless
    assert not stuck.exists()


# ── Whose folder it is ───────────────────────────────────────────────────────
def refusal(forgetting: Erasure, root: Path) -> str:
    """The code with which it is refused, after a look that nothing was touched."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(ResonanceError) as caught:
        forgetting.remove()
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    return caught.value.code


def test_somebody_elses_folders_are_refused(house: House) -> None:
    bob = house.root / "people" / "bob"
    assert refusal(Erasure("alice", data=bob), house.root) == "RZ-1802"
    assert refusal(Erasure("alice", output=house.served / "bob"), house.root) == "RZ-1802"
    assert refusal(Erasure("alice", house.alice.data_dir, house.served / "bob"), house.root) == "RZ-1802"
    assert refusal(Erasure("bob", adapters=(house.alice.output_dir,)), house.root) == "RZ-1802"


def test_a_folder_of_many_is_refused(house: House) -> None:
    assert refusal(Erasure("alice", data=house.root / "people"), house.root) == "RZ-1804"
    assert refusal(Erasure("alice", output=house.served), house.root) == "RZ-1804"
    touch(house.alice.data_dir / "carol" / "labels.json", "[]")
    assert refusal(house.forgetting, house.root) == "RZ-1804"


@pytest.mark.parametrize("folder", ["/", str(Path.home()), str(REPOSITORY), str(REPOSITORY.parent)])
@pytest.mark.parametrize("role", ["data", "output"])
def test_a_disk_a_home_and_the_repository_are_refused(folder: str, role: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        Erasure("alice", **{role: Path(folder)}).look()
    assert caught.value.code == "RZ-1801"


@pytest.mark.parametrize("part", ["data_sample", "notebooks", "resonance_helpers", ".git"])
def test_parts_of_the_repository_are_refused(part: str) -> None:
    with pytest.raises(ResonanceError) as caught:
        Erasure("sample", data=REPOSITORY / part).look()
    assert caught.value.code == "RZ-1801"


def test_a_folder_that_does_not_say_whose_it_is(house: House) -> None:
    data = house.root / "recordings"
    house.alice.data_dir.rename(data)
    write_consent(data / "consent.json", consent("王小明"))  # a name says neither yes nor no
    asked = Erasure("alice", data, lessons=house.lessons)
    assert refusal(asked, house.root) == "RZ-1803"
    with_output = replace(asked, output=house.alice.output_dir)
    summary = json.loads(house.alice.summary_json.read_text(encoding="utf-8"))
    write_json(house.alice.summary_json, summary | {"parameters": {"PATIENT_ID": "alice", "DATA_DIR": str(data)}})
    assert with_output.look().pieces  # the run of lessons knew
    data.rename(house.root / "alice")  # as the message advises
    assert replace(asked, data=house.root / "alice").look().pieces


def test_labels_that_cannot_be_read_go_nevertheless(house: House) -> None:
    house.alice.labels.write_bytes(b"\xff\xfe[{" + WORDS.encode("gbk"))
    assert house.forgetting.remove().is_complete
    assert not house.alice.labels.exists()


# ── Links ────────────────────────────────────────────────────────────────────
def test_links_go_and_where_they_lead_stays_and_is_named(house: House) -> None:
    outside = house.root / "elsewhere"
    file, folder = touch(outside / "song.wav", b"song"), touch(outside / "more" / "x.wav", b"x").parent
    shutil.move(house.alice.audio_raw, outside / "raw")
    house.alice.audio_raw.symlink_to(outside / "raw")
    (house.alice.audio / "song.wav").symlink_to(file)
    (house.alice.runs / "old").symlink_to(folder)
    (house.alice.data_dir / "nowhere.wav").symlink_to(outside / "nothing")
    kept = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    removed = house.forgetting.remove()
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == kept and len(kept) > 6
    assert removed.is_complete and not os.path.lexists(house.alice.audio_raw)
    assert not os.path.lexists(house.alice.data_dir / "nowhere.wav") and not house.alice.runs.exists()
    said = "\n".join(removed.lines)
    assert all(str(target) in said for target in (outside / "raw", file, folder, outside / "nothing"))


def test_labels_cannot_lead_out_of_the_folder(house: House) -> None:
    bobs = house.bobs
    (house.alice.data_dir / "door").symlink_to(house.root / "people" / "bob")
    entry = {"audio": "door/labels.json", "text": WORDS}
    write_json(house.alice.labels, [entry])
    removed = house.forgetting.remove()
    assert house.bobs == bobs and (house.alice.data_dir / "door") in removed.gone.left
    write_json(house.alice.labels, [{"audio": "../bob/labels.json", "text": WORDS}])
    write_consent(house.alice.consent, consent("alice"))
    house.forgetting.remove()
    assert house.bobs == bobs


# ── The service and its keys ─────────────────────────────────────────────────
def test_a_running_service_drops_the_person_and_the_keys(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resonance_helpers.service.app.LOOK_S", 0.05)
    file = house.served / KEYS_FILE
    make_key(file, None, note="everybody")
    _, hers = make_key(file, ["alice"], "address", note="alice's mother")
    _, theirs = make_key(file, ["alice", "bob"])
    make_key(file, ["bob"])
    shutil.rmtree(house.served / ".staging-a1")
    voices = Voices()
    with running(create_app(lambda: voices, AdapterRegistry(house.served), Keyring(TOKEN, file))) as url:
        assert post(url).status_code == 200 and voices.active == "alice"
        removed = house.forgetting.remove()
        assert removed.is_complete and message("forget.service") in removed.lines
        refused(post(url), "RZ-0904")
        assert post(f"{url}/k/{hers}", headers={}, data={}).status_code == 401
        with_theirs = {"headers": {"Authorization": f"Bearer {theirs}", "Accept-Language": "en"}}
        refused(post(url, **with_theirs), "RZ-0904")
        assert post(url, data={"patient_id": "bob"}, **with_theirs).status_code == 200
        metrics = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
        until(lambda: "resonance_adapters 1.0" in HTTP.get(f"{url}/metrics", **metrics).text)
        assert house.forgetting.remove().gone.is_empty
    assert [key.patients for key in read_keys(file)] == [None, ("bob",), ("bob",)]
    assert file.stat().st_mode & 0o077 == 0
    said = "\n".join(removed.lines)
    assert said.count(str(file)) == 2 and "吊销" in said
    assert not [path for path in house.search() if path not in ALICES_OWN and path != "people/alice"]


def test_the_last_keys_take_their_file_with_them(house: House) -> None:
    make_key(house.served / KEYS_FILE, ["alice"])
    make_key(house.alice.output_dir / KEYS_FILE, None)  # of a service for her alone
    house.forgetting.remove()
    assert not (house.served / KEYS_FILE).exists() and not (house.alice.output_dir / KEYS_FILE).exists()


@pytest.mark.parametrize("layout", ["output", "adapter", "another name", "link"])
def test_every_layout_that_a_service_reads(house: House, layout: str) -> None:
    own = house.root / "own"
    folder = {"output": own / "adapter", "adapter": own, "another name": own / "alice-old" / "adapter"}.get(layout)
    if folder:
        make_adapter(folder, "alice")
        touch(folder / "adapter_model.safetensors", house.needles["weights"])
        touch(folder / "mine.docx", "a note")
    else:
        make_adapter(house.root / "outside" / "adapter", "alice")
        make_adapter(own / "bob" / "adapter", "bob")
        (own / "alice").symlink_to(house.root / "outside")
    removed = Erasure("alice", adapters=(own,), lessons=house.root / "no lessons").remove()
    assert removed.is_complete and removed.gone.pieces
    assert not any("alice" in path.read_text() for path in own.rglob("resonance.json"))
    assert not os.path.lexists(own / "alice")
    assert not folder or layout != "adapter" or (own / "mine.docx").exists()
    assert folder or (house.root / "outside" / "adapter" / "resonance.json").exists()


# ── The command ──────────────────────────────────────────────────────────────
def command(house: House, *more: str) -> Result:
    folders = ["--data", house.alice.data_dir, "--output", house.alice.output_dir, "--adapters", house.served]
    return CliRunner().invoke(app, ["forget", "alice", *map(str, folders), *more])


@pytest.mark.parametrize(("options", "code"), [((), 1), (("--dry-run",), 0), (("--dry-run", "--yes"), 0)])
def test_without_yes_it_lists_and_removes_nothing(house: House, options: tuple[str, ...], code: int) -> None:
    before = {path: path.read_bytes() for path in house.root.rglob("*") if path.is_file()}
    result = command(house, *options)
    assert result.exit_code == code
    assert str(house.alice.audio) in result.stdout and str(house.alice.adapter) in result.stdout
    assert ("[RZ-1805]" in result.stderr and "--yes" in result.stderr) == (code == 1)
    assert {path: path.read_bytes() for path in house.root.rglob("*") if path.is_file()} == before


def test_with_yes_it_removes_and_says_so(house: House, monkeypatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", "en")
    result = command(house, "--yes")
    assert result.exit_code == 0, result.stderr
    assert "Removed of 'alice'" in result.stdout and "snapshots" in result.stdout
    assert not house.alice.consent.exists()
    again = command(house, "--yes")
    assert again.exit_code == 0 and "Nothing of 'alice' was found" in again.stdout


def test_recordings_that_nobody_named_are_pointed_out(house: House) -> None:
    asked = Erasure("alice", output=house.alice.output_dir, lessons=house.lessons)
    assert f"--data {house.alice.data_dir}" in "\n".join(asked.look().lines)
    removed = asked.remove()
    assert not removed.is_complete and f"--data {house.alice.data_dir}" in "\n".join(removed.lines)
    assert house.alice.labels.exists()


def test_recordings_that_only_a_saved_lesson_names_are_pointed_out(house: House) -> None:
    """Who worked in JupyterLab has no summary of a run."""
    house.alice.summary_json.unlink()
    asked = Erasure("alice", output=house.alice.output_dir, lessons=house.lessons)
    said = "\n".join(asked.look().lines)
    assert f"--data {house.alice.data_dir}" in said and message("forget.unseen") not in said
    assert not asked.remove().is_complete


def test_recordings_that_nobody_looked_for_are_not_called_gone(house: House, tmp_path: Path) -> None:
    house.alice.summary_json.unlink()
    asked = Erasure("alice", output=house.alice.output_dir, lessons=tmp_path / "none")
    removed = asked.remove()
    assert message("forget.unseen") in removed.lines and not removed.is_complete
    result = CliRunner().invoke(app, ["forget", "nobody-yet", "--output", str(tmp_path / "nothing"), "--yes"])
    assert result.exit_code == 0, "of whom nothing was kept, no recordings are missing"


def test_the_form_lists_first_and_removes_when_the_pseudonym_is_typed(house: House) -> None:
    form = ForgetForm(replace(house.forgetting, adapters=()))
    form.remove.click()  # nobody has looked yet
    assert house.alice.consent.exists() and form.confirm.layout.display == "none"
    form.look.click()
    assert str(house.alice.audio) in form.answer.value and form.confirm.layout.display == ""
    form.typed.value = "alicia"
    form.remove.click()
    assert "alice" in form.answer.value and house.alice.consent.exists()
    form.typed.value = " alice "
    form.remove.click()
    assert not house.alice.consent.exists() and "同意到此结束" in form.answer.value
    assert form.confirm.layout.display == "none"


def test_the_form_says_a_refusal_as_a_sentence(house: House) -> None:
    form = ForgetForm(Erasure("alice", data=house.root / "people" / "bob"))
    form.look.click()
    assert "[RZ-1802]" in form.answer.value and form.confirm.layout.display == "none"


def test_a_name_is_no_pseudonym(tmp_path: Path) -> None:
    with pytest.raises(ResonanceError) as caught:
        Erasure("王小明", tmp_path)
    assert caught.value.code == "RZ-0002"


# ── With what the rooms really write ─────────────────────────────────────────
@pytest.mark.slow
def test_nothing_is_left_of_a_real_training(own_sample: Workspace, tmp_path: Path) -> None:
    write_consent(own_sample.consent, consent("patient-a"))
    with changing(own_sample.labels) as labels:
        del labels[12:]
    training.train(own_sample, TrainingSettings(steps=1, eval_every=1), base_model=PRACTICE_MODEL)
    result = evaluation.evaluate(own_sample, base_model=PRACTICE_MODEL)
    report.write_html(own_sample, result, with_audio=True)
    export.export_adapter(own_sample)
    with replacing(own_sample.labels) as temporary:
        temporary.write_bytes(own_sample.labels.read_bytes())
    phrases = {label.text.encode() for label in read_labels(own_sample.labels)}
    clips = [own_sample.audio / path.name for path in own_sample.audio.glob("*.wav")]
    sounds = {clip.read_bytes()[8000:8200] for clip in clips}
    needles = {str(number): needle for number, needle in enumerate((*phrases, *sounds, b"patient-a"))}
    house = House(tmp_path, own_sample, tmp_path, tmp_path, needles)
    before = house.search()
    assert {name for names in before.values() for name in names} == set(needles) and len(before) > 30
    removed: Removed = Erasure("patient-a", own_sample.data_dir, own_sample.output_dir, lessons=tmp_path).remove()
    assert removed.is_complete
    assert house.search() == {}
    assert not list(tmp_path.rglob("*.safetensors")) and not list(own_sample.output_dir.glob("*.lock"))
