"""A training run on the practice model: what it may touch, what it leaves behind, and why it ends."""

from __future__ import annotations

import itertools
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from resonance_helpers import Workspace, open_workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import load, write_wav
from resonance_helpers.core.messages import ResonanceError
from resonance_helpers.core.settings import MAX_NEW_TOKENS, PRACTICE_MODEL, PRESETS, TrainingSettings
from resonance_helpers.core.workspace import REPOSITORY
from resonance_helpers.dataset.consent import Consent, write_consent
from resonance_helpers.dataset.index import Utterance, load_utterances
from resonance_helpers.dataset.labels import read_labels, write_labels
from resonance_helpers.dataset.splits import read_split
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.test_model import logic as evaluation
from resonance_helpers.lessons.train_model.data import collate, feature_table
from resonance_helpers.lessons.train_model.records import Point, best_point

Trained = tuple[Workspace, training.TrainingResult, list[training.Event]]
SHORT = TrainingSettings(steps=12, eval_every=6, warmup_steps=2, augment=())


def tensors(workspace: Workspace) -> dict[str, torch.Tensor]:
    return load_file(workspace.adapter / adapter.WEIGHTS)


@pytest.fixture(scope="module")
def trained(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    workspace = replace(converted_sample, output_dir=tmp_path_factory.mktemp("trained"))
    events: list[training.Event] = []
    return workspace, training.train(workspace, SHORT, on_event=events.append), events


def test_the_run_is_told_and_kept(trained: Trained) -> None:
    workspace, result, events = trained
    assert training.read_run(training.latest_run(workspace)) == result
    assert [point.step for point in result.history if point.dev_cer is not None] == [6, 12]
    assert tuple(event.point for event in events) == result.history
    assert [event.step for event in events if event.guesses] == [6, 12]
    assert all(event.seconds_left >= 0 and event.total_steps == 18 for event in events)
    assert len(result.guesses) == 2 * 5 and len({guess.text for guess in result.guesses}) == 5
    assert result.steps == 18 and result.best_step in (6, 12) and result.stopped == "training.stopped.done"
    assert result.best_cer == min(p.dev_cer for p in result.history if p.dev_cer is not None)
    assert 0 < result.trainable < 0.1 * result.total_parameters
    assert result.dev_by == "takes" and result.finishing_steps == 6, "half as many on all recordings"
    assert not (result.run_dir / "checkpoints").exists(), (
        "checkpoints hold a person's voice and are not needed any more"
    )


def test_loss_falls(trained: Trained) -> None:
    losses = [point.loss for point in trained[1].history if point.loss is not None]
    assert losses[-1] < losses[0]


def test_parts_never_share_a_recording_and_train_is_whole(
    trained: Trained,
) -> None:
    workspace, result, _ = trained
    used = {name: set(part) for name, part in read_split(result.run_dir).items()}
    assert used["dev"] < used["train"]
    test = used["known"] | used["new"]
    assert not test & used["train"]
    assert test == {u.audio for u in load_utterances(workspace) if u.split == "test"}


def test_the_manifest_tells_what_was_done(trained: Trained) -> None:
    workspace, result, _ = trained
    manifest = adapter.read_manifest(workspace.adapter)
    assert manifest.base_model["name"] == PRACTICE_MODEL and manifest.patient_id == workspace.patient_id
    assert (manifest.steps, manifest.seed, manifest.window_s) == (18, SHORT.seed, result.window_s)
    assert (
        manifest.recordings == result.recordings == len([u for u in load_utterances(workspace) if u.split == "train"])
    )
    assert manifest.run == result.run_dir.name


@pytest.mark.slow
def test_the_same_seed_gives_the_same_adapter_and_another_one_does_not(trained: Trained, tmp_path: Path) -> None:
    workspace, _, _ = trained
    for name, seed, is_same in (("again", SHORT.seed, True), ("other", 99, False)):
        other = replace(workspace, output_dir=tmp_path / name)
        training.train(other, replace(SHORT, seed=seed))
        pairs = zip(tensors(workspace).values(), tensors(other).values(), strict=True)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs) is is_same


def test_augmented_training_can_be_repeated(converted_sample: Workspace, tmp_path: Path) -> None:
    settings = replace(SHORT, steps=2, eval_every=2, augment=TrainingSettings().augment)
    spaces = [replace(converted_sample, output_dir=tmp_path / name) for name in "ab"]
    for workspace in spaces:
        training.train(workspace, settings)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*(tensors(w).values() for w in spaces), strict=True))


def test_stopping_keeps_the_best_so_far(converted_sample: Workspace, tmp_path: Path) -> None:
    workspace = replace(converted_sample, output_dir=tmp_path)
    asked = itertools.chain([False] * 3, itertools.repeat(True))
    result = training.train(workspace, SHORT, should_stop=lambda: next(asked))
    assert result.stopped == "training.stopped.asked" and result.steps == 4 and result.finishing_steps == 0
    assert [point.step for point in result.history if point.dev_cer is not None] == [4], "what was learned is looked at"
    assert adapter.read_manifest(workspace.adapter).steps == 4


def test_a_stop_while_finishing_is_told(converted_sample: Workspace, tmp_path: Path) -> None:
    asked = itertools.chain([False] * 13, itertools.repeat(True))
    result = training.train(replace(converted_sample, output_dir=tmp_path), SHORT, should_stop=lambda: next(asked))
    assert (result.stopped, result.steps, result.finishing_steps) == ("training.stopped.asked", 14, 2)


def test_no_progress_stops_early(converted_sample: Workspace, tmp_path: Path) -> None:
    stuck = replace(SHORT, steps=40, eval_every=1, patience=2, learning_rate=1e-9)
    result = training.train(replace(converted_sample, output_dir=tmp_path), stuck)
    assert result.stopped == "training.stopped.early" and result.best_step == 1
    assert result.steps - result.finishing_steps == 3


def test_the_best_step_has_the_lowest_cer_and_what_one_clip_decides_is_left_to_the_loss() -> None:
    tests = ((20, 0.5, 0.1), (40, 0.0, 0.9), (60, 0.1, 0.4), (80, 0.1, 0.5), (100, 0.3, 0.2))
    points = [Point(step, float(step), dev_cer=cer, dev_loss=loss) for step, cer, loss in tests]
    chosen = {clips: best_point([Point(5, 5.0, loss=1.0), *points], clips) for clips in (8, 100)}
    assert chosen[8] and chosen[8].step == 60, "step 40 is better by less than one of eight clips"
    assert chosen[100] and chosen[100].step == 40
    assert best_point([Point(5, 5.0, loss=1.0)], 8) is None
    ripe = {step: best_point(points, 100, not_before=step) for step in (50, 101)}
    assert ripe[50] and ripe[50].step == 60, "known phrases are not learned before, whatever new ones say"
    assert ripe[101] and ripe[101].step == 40, "a short trial still has a best step"


def test_the_weights_of_the_best_step_are_kept_not_the_last_ones(
    converted_sample: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_module = sys.modules[
        "resonance_helpers.lessons.train_model.logic"
    ]  # the package shows its function by that name
    monkeypatch.setattr(train_module._Run, "refit_on_all", lambda self: {})
    worse_and_worse = itertools.count()
    monkeypatch.setattr(training.trainer, "cer", lambda *_: float(next(worse_and_worse)))
    wild = replace(SHORT, steps=6, eval_every=2, warmup_steps=1, learning_rate=0.5)
    spaces = [replace(converted_sample, output_dir=tmp_path / name) for name in "ab"]
    best, only = (training.train(space, r) for space, r in zip(spaces, (wild, replace(wild, steps=2)), strict=True))
    assert (best.best_step, best.steps, only.steps) == (2, 6, 2)  # with one step of warm-up both begin alike
    assert all(torch.allclose(a, b) for a, b in zip(*(tensors(space).values() for space in spaces), strict=True))


def test_with_one_take_each_dev_chooses_and_everything_is_trained(
    converted_sample: Workspace, own_sample: Workspace
) -> None:
    labels = [label for label in read_labels(own_sample.labels) if label.take == 1 and label.split == "train"]
    write_labels(own_sample.labels, [replace(label, split=None) for label in labels])
    result = training.train(own_sample, SHORT, base_model=PRACTICE_MODEL)
    assert result.dev_by == "phrases" and (result.steps, result.finishing_steps) == (18, 6)
    assert [p.dev_cer for p in result.history if p.step > 12] == [None] * sum(p.step > 12 for p in result.history)
    used = read_split(result.run_dir)
    assert set(used["dev"]) < set(used["train"])


def test_the_guides_recipe_is_kept_beside_ours() -> None:
    guide = PRESETS["guide"]
    assert (guide.steps, guide.batch_size, guide.learning_rate, guide.warmup_steps) == (500, 32, 1e-3, 50)
    assert (guide.lora.r, guide.lora.alpha, guide.lora.dropout) == (16, 32, 0.05)
    assert guide.lora.target_modules == ("q_proj", "v_proj")
    assert PRESETS["default"] == TrainingSettings()


# ── Before training ──────────────────────────────────────────────────────────
@pytest.mark.parametrize(("steps", "suits"), [(1, "few"), (37, "few"), (40, "fits"), (300, "fits"), (310, "many")])
def test_too_few_and_too_many_steps_are_known_before(converted_sample: Workspace, steps: int, suits: str) -> None:
    found = training.outlook(converted_sample, TrainingSettings(steps=steps))
    assert found.suits == suits and found.passes == pytest.approx(steps * 8 / found.recordings)
    usual = training.outlook(converted_sample, TrainingSettings(steps=found.usual_steps))
    assert usual.suits == "fits" and usual.passes == pytest.approx(12, abs=1.5)


def test_time_is_told_by_an_earlier_run_like_it(trained: Trained) -> None:
    workspace, result, _ = trained
    found = training.outlook(workspace, replace(SHORT, steps=120))
    assert found.seconds == pytest.approx(180 * result.wall_seconds / 18)
    assert training.outlook(workspace, replace(SHORT, batch_size=4)).seconds is None
    assert training.outlook(workspace, SHORT, "openai/whisper-small").seconds is None


def test_tensorboard_gets_the_figures_and_nothing_else(trained: Trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, result, _ = trained
    events = EventAccumulator(str(result.run_dir / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "dev_cer", "dev_loss", "learning_rate"}
    assert [(e.step, pytest.approx(e.value)) for e in events.Scalars("dev_cer")] == [
        (p.step, p.dev_cer) for p in result.history if p.dev_cer is not None
    ]
    assert not any(events.Tags()[kind] for kind in ("images", "audio", "tensors"))


# ── Bad input: nothing is trained, nothing is lost ───────────────────────────
def refused(workspace: Workspace, code: str) -> str:
    before = sorted(path for path in workspace.output_dir.rglob("*") if path.is_file() and "cache" not in path.parts)
    with pytest.raises(ResonanceError) as error:
        training.train(workspace, SHORT, base_model=PRACTICE_MODEL)
    assert error.value.code == code
    after = sorted(path for path in workspace.output_dir.rglob("*") if path.is_file() and "cache" not in path.parts)
    assert after == before
    return str(error.value)


def test_own_recordings_need_consent(own_sample: Workspace) -> None:
    own_sample.consent.unlink()
    assert "consent.json" in refused(own_sample, "RZ-0411")


def test_consent_without_training_is_not_enough(own_sample: Workspace) -> None:
    write_consent(
        own_sample.consent,
        Consent("1", "patient-a", "a parent", "mother", True, ("evaluation",), "this machine", "2026-01-01"),
    )
    assert "训练" in refused(own_sample, "RZ-0414"), "it says which purpose is missing"


def test_lesson_five_comes_first(own_sample: Workspace) -> None:
    own_sample.conversion_index.unlink()
    assert "第五课" in refused(own_sample, "RZ-0006")


def test_too_few_recordings(own_sample: Workspace) -> None:
    write_labels(own_sample.labels, read_labels(own_sample.labels)[:9])
    assert "9" in refused(own_sample, "RZ-0406")


def test_another_patients_adapter_stays(trained: Trained, own_sample: Workspace) -> None:
    workspace = replace(own_sample, output_dir=trained[0].output_dir)
    before = tensors(workspace)
    message = refused(workspace, "RZ-0005")
    assert "sample" in message and "patient-a" in message
    assert all(torch.equal(before[key], value) for key, value in tensors(workspace).items())


def test_a_recording_longer_than_the_model_hears(own_sample: Workspace) -> None:
    index = json.loads(own_sample.conversion_index.read_text(encoding="utf-8"))
    index["conversions"][0]["seconds"] = 9.0
    own_sample.conversion_index.write_text(json.dumps(index), encoding="utf-8")
    said = refused(own_sample, "RZ-0604")
    name = index["conversions"][0]["source"]
    assert "9.0 s" in said and name in said and said.count(" s)") == 1

    result = training.train(own_sample, replace(SHORT, leave_out_long=True), base_model=PRACTICE_MODEL)
    used = read_split(result.run_dir)
    assert result.left_out == 1 and used.pop("left_out") == [name]
    assert not any(name in part for part in used.values())
    assert name not in {clip.audio for clip in evaluation.test_clips(own_sample)}


def test_a_text_that_no_answer_can_hold_is_refused_before_anything_is_trained(own_sample: Workspace) -> None:
    first, second, *others = read_labels(own_sample.labels)
    write_labels(own_sample.labels, [replace(first, text="麟" * 60), replace(second, text="水" * 40), *others])
    said = refused(own_sample, "RZ-0484")
    assert f"{MAX_NEW_TOKENS} " in said and f"{first.audio} (121)" in said and second.audio not in said
    assert not own_sample.runs.exists()


def test_a_full_disk_leaves_the_previous_adapter(own_sample: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    training.train(own_sample, replace(SHORT, steps=1, eval_every=1), base_model=PRACTICE_MODEL)
    before = {path.name: path.read_bytes() for path in own_sample.adapter.iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapter, "save_file", full)
    with pytest.raises(ResonanceError, match="RZ-0004"):
        training.train(own_sample, replace(SHORT, steps=2, eval_every=1), base_model=PRACTICE_MODEL)
    assert {path.name: path.read_bytes() for path in own_sample.adapter.iterdir()} == before


def test_no_finished_run_names_lesson_six(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ResonanceError, match=r"RZ-0006.*第六课"):
        training.latest_run(open_workspace(tmp_path / "data", tmp_path / "out"))


# ── Against the guide ────────────────────────────────────────────────────────
@pytest.mark.real
def test_the_first_loss_is_that_of_the_guide(shared_speech: Path, whisper_base: Path, tmp_path: Path) -> None:
    """At 30 s and before the first step, both ask the same question about the same clips."""
    guide = runpy.run_path(str(REPOSITORY / "benchmarks" / "guide_train.py"))
    theirs, processor = guide["load"](str(whisper_base))
    speech = load_speech_model(resolve(str(whisper_base), tmp_path))
    ours = adapter.add_fresh(speech, PRESETS["default"].lora)
    clips = []
    for label in read_labels(shared_speech / "healthy_speaker" / "labels.json")[:4]:
        wav = tmp_path / f"{len(clips)}.wav"
        write_wav(wav, load(shared_speech / "healthy_speaker" / label.audio, 30.0))
        clips.append(Utterance(label.audio, wav, label.text, 1, None, None, 30.0))
    their_rows = [guide["prepare"](processor, clip.wav, clip.text) for clip in clips]
    our_rows = feature_table(clips, speech, 30.0, False, tmp_path / "cache")
    batches = (guide["collate"](their_rows), collate([our_rows[i] for i in range(len(clips))]))
    assert torch.equal(batches[0]["labels"], batches[1]["labels"])
    expected, found = (
        content_loss(model.eval(), batch, processor.tokenizer.eos_token_id)
        for model, batch in zip((theirs, ours), batches, strict=True)
    )
    assert found == pytest.approx(expected, abs=1e-4) and expected > 0.1


def content_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor], end: int) -> float:
    """Cross entropy over the tokens that spell the text: no language, no task, no end."""
    with torch.no_grad():
        logits = model(**batch).logits
    labels = batch["labels"].masked_fill(batch["labels"] >= end, -100)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item()
