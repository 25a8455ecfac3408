"""Two scores, never pooled, on clips that the adapter has never heard; refusals where a score would flatter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers import Workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.whisper import Hypothesis
from resonance_helpers.audio import decode as audio
from resonance_helpers.core.messages import ResonanceError
from resonance_helpers.core.settings import REFUSED_SOUNDS, SAMPLE_RATE, SPEECH_THRESHOLD, TrainingSettings
from resonance_helpers.dataset.index import Utterance, load_utterances
from resonance_helpers.dataset.labels import Label, read_labels, write_labels
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.test_model import logic as evaluation
from resonance_helpers.scoring.error_rates import difference, score
from resonance_helpers.scoring.intervals import wilson
from resonance_helpers.scoring.text import toneless

OTHER, HEALTHY = 20, 6  # clips without speech; healthy recordings that fit into the window

Tested = tuple[Workspace, evaluation.Report, list[tuple[int, int]]]


@pytest.fixture(scope="module")
def tested(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Tested:
    workspace = replace(converted_sample, output_dir=tmp_path_factory.mktemp("tested"))
    training.train(workspace, TrainingSettings(steps=10, eval_every=10, augment=()))
    done: list[tuple[int, int]] = []
    report = evaluation.evaluate(
        workspace,
        on_progress=lambda n, total: done.append((n, total)),
        healthy=healthy_folder(workspace, tmp_path_factory.mktemp("healthy")),
        other_sounds=OTHER,
    )
    return workspace, report, done


def healthy_folder(workspace: Workspace, folder: Path) -> Path:
    """Six recordings and one that is longer than the window, as somebody would lay them out."""
    chosen = load_utterances(workspace)[:6]
    for each in chosen:
        shutil.copy(each.wav, folder / each.wav.name)
    audio.write_wav(folder / "long.wav", np.tile(audio.read_wav(chosen[0].wav), 8)[: 5 * SAMPLE_RATE])
    labels = [Label(each.wav.name, each.text) for each in chosen]
    write_labels(folder / "labels.json", [*labels, Label("long.wav", "很长的一句话")])
    return folder


def test_two_scores_from_the_rows_that_belong_to_them(tested: Tested) -> None:
    _, report, done = tested
    for part, found in (("known", report.seen), ("new", report.unseen)):
        rows = [row for row in report.rows if row.split == part]
        assert found is not None and found.n == len(rows) > 5
        assert found.before == score([r.reference for r in rows], [r.before for r in rows])
        assert found.after == score([r.reference for r in rows], [r.after for r in rows])
        assert found.difference == difference(
            [r.reference for r in rows], [r.before for r in rows], [r.after for r in rows]
        )
    everything = 2 * len(report.rows) + 2 * HEALTHY + OTHER
    assert done[-1] == (everything, everything) and done == sorted(done)


def test_nothing_that_was_trained_on_is_tested_on(tested: Tested) -> None:
    workspace, report, _ = tested
    utterances = load_utterances(workspace)
    trained = {u.audio for u in utterances if u.split == "train"}
    assert not trained & {row.audio for row in report.rows}
    sounds = {toneless(u.text) for u in utterances if u.audio in trained}
    assert all((toneless(row.reference) in sounds) == (row.split == "known") for row in report.rows)


def test_report_json_is_as_the_design_says(tested: Tested) -> None:
    workspace, report, _ = tested
    kept = evaluation.read_report(workspace)
    assert kept == json.loads(json.dumps(report.as_json()))
    parts = {"base_model", "window_s", "train", "splits", "forgetting", "verdict"}
    assert set(kept) == parts | {"silence", "real_time_factor"}
    assert set(kept["train"]) == {"recordings", "phrases", "audio_seconds", "steps", "wall_seconds"}
    for part in ("known_phrases", "new_phrases"):
        assert set(kept["splits"][part]) == {"n", "before", "after", "difference"}
        assert {"cer", "cer_ci", "exact", "exact_ci", "n"} <= set(kept["splits"][part]["after"])
        assert {"ser_toned", "ser_toneless", "endless", "raw"} <= set(kept["splits"][part]["before"])
    assert kept["train"]["phrases"] == 34 and kept["train"]["recordings"] == 68
    said = workspace.report_json.read_text(encoding="utf-8")
    assert not any(row.reference in said for row in report.rows), "what the person said is not in the file"


def test_forgetting_is_the_paired_score_of_healthy_speech(tested: Tested) -> None:
    forgetting = tested[1].forgetting
    assert forgetting is not None and forgetting.difference is not None
    assert (forgetting.n, forgetting.left_out) == (HEALTHY, 1)
    assert forgetting.difference.cer == pytest.approx(forgetting.after.cer - forgetting.before.cer)
    assert forgetting.difference.cer_ci[0] <= forgetting.difference.cer <= forgetting.difference.cer_ci[1]


def test_healthy_recordings_are_read_and_nothing_is_written_beside_them(tested: Tested, tmp_path: Path) -> None:
    folder = healthy_folder(tested[0], tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    heard = evaluation._healthy_speech(folder, window_s=4.0)
    assert list(heard.texts) == [each.text for each in load_utterances(tested[0])[:HEALTHY]]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_healthy_recordings_that_are_all_too_long_are_said(
    tested: Tested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    folder = healthy_folder(tested[0], tmp_path)
    write_labels(folder / "labels.json", [Label("long.wav", "很长的一句话")])
    kept = tested[0].report_json.read_bytes()
    with pytest.raises(ResonanceError, match=r"RZ-0703.* 1 .*4") as caught:
        evaluation.evaluate(tested[0], healthy=folder)
    assert str(folder) in str(caught.value)
    with pytest.raises(ResonanceError, match="RZ-0401"):
        evaluation.evaluate(tested[0], healthy=tmp_path / "nowhere")
    assert tested[0].report_json.read_bytes() == kept


def test_silence_counts_phrases_with_and_without_the_gate(tested: Tested) -> None:
    silence = tested[1].silence
    assert silence is not None and silence.n == silence.decoded == OTHER
    assert 0 <= silence.gated <= min(silence.phrases, silence.let_through)
    assert silence.phrases_ci[0] <= silence.phrases <= silence.phrases_ci[1]
    assert sum(silence.kinds.values()) == round(silence.phrases * silence.n)
    assert (silence.own_clips, silence.own_refused) == (len(tested[1].rows), 0)


class Parrot:
    """An ear that hears one phrase of the patient in all that is heard twice, and in every other sound heard once."""

    manifest = type("Manifest", (), {"window_s": 4.0, "speech_bar": SPEECH_THRESHOLD})

    def __init__(self) -> None:
        self.twice = self.once = self.skipped = 0

    def transcribe(self, samples: Sequence[np.ndarray], adapted: bool, rescore: bool = True) -> list[Hypothesis]:
        assert adapted, "the base model has never learnt the patient's phrases"
        self.once, self.twice = self.once + (not rescore) * len(samples), self.twice + rescore * len(samples)
        return [Hypothesis("" if not rescore and i % 2 else "我想喝水！", truncated=False) for i in range(len(samples))]

    def skip(self, clips: int) -> None:
        self.skipped += clips


def test_a_parrot_is_found_out_and_the_gate_helps() -> None:
    """Half of what the gate holds back is a phrase: a sample of it stands for all of it, and is worth less."""
    own, parrot = [np.zeros(SAMPLE_RATE, np.float32)], Parrot()
    silence = evaluation._silence(parrot, 100, frozenset({"我想喝水", ""}), own)  # type: ignore[arg-type]
    assert 0 < silence.gated == silence.let_through < 0.3 and silence.own_refused == 1
    passed = round(100 * silence.let_through)
    assert (parrot.twice, parrot.once, parrot.skipped) == (passed, REFUSED_SOUNDS, 100 - passed - REFUSED_SOUNDS)
    assert silence.decoded == parrot.twice + parrot.once and parrot.skipped > 0
    assert silence.phrases == pytest.approx(silence.let_through + 0.5 * (1 - silence.let_through))
    assert sum(silence.kinds.values()) == parrot.twice + parrot.once // 2
    narrow = wilson(silence.phrases, 100)
    assert silence.phrases_ci[0] < narrow[0] and silence.phrases_ci[1] > narrow[1]
    assert evaluation._silence(Parrot(), 100, frozenset({"我想吃饭"}), own).phrases == 0  # type: ignore[arg-type]


def test_time_is_counted_for_each_second_of_sound(tested: Tested) -> None:
    factor = tested[1].real_time_factor
    assert factor is not None and 0 < factor.before < 20 and 0 < factor.after < 20


def test_what_was_not_measured_is_null() -> None:
    report = evaluation.Report("base", 4.0, {}, None, None, evaluation.judge(None), ())
    kept = report.as_json()
    assert kept["forgetting"] is kept["silence"] is kept["real_time_factor"] is None


def test_one_recording_gives_what_the_whole_test_gave(tested: Tested) -> None:
    workspace, report, _ = tested
    row = report.rows[0]
    assert evaluation.transcribe_one(workspace, row.wav) == (row.before, row.after)


def scores(right: int, n: int) -> evaluation.BeforeAfter:
    texts = [f"第{'一二三四五六七八九十'[i % 10]}{'天地人你我他好坏高低'[i // 10]}" for i in range(n)]
    after = score(texts, [*texts[:right], *("错" for _ in texts[right:])])
    return evaluation.BeforeAfter(n, after, after)


@pytest.mark.parametrize(
    ("known", "level"),
    [(scores(98, 100), "usable"), (scores(70, 100), "careful"), (scores(30, 100), "not_yet"), (None, "not_yet")],
)
def test_the_verdict_follows_its_rule(known: evaluation.BeforeAfter | None, level: str) -> None:
    assert evaluation.judge(known).level == level


def test_an_answer_that_turns_the_meaning_round_wants_care_however_good_the_rest() -> None:
    good = scores(98, 100)
    verdict = evaluation.judge(good, flips=1)
    assert (evaluation.judge(good).level, verdict.level) == ("usable", "careful") and "1" in verdict.rule
    assert evaluation.judge(scores(30, 100), flips=1) == evaluation.judge(scores(30, 100))


def test_ten_right_of_ten_prove_little() -> None:
    assert evaluation.judge(scores(10, 10)).level == "careful"


# ── Nothing leaks, whatever labels.json says by now ──────────────────────────
ALIKE = ["买", "卖", "买。", "是", "事", "20", "二十", "我想喝水", "疼"]


@given(st.lists(st.tuples(st.sampled_from(ALIKE), st.booleans(), st.sampled_from([None, "train", "test"])), min_size=2))
def test_no_homophone_of_a_new_phrase_was_trained_on(
    tested: Tested, now: list[tuple[str, bool, Literal["train", "test"] | None]]
) -> None:
    """The run decides what was trained on; labels may have been rewritten since."""
    workspace, manifest = tested[0], adapter.read_manifest(tested[0].adapter)
    utterances = [
        Utterance(f"{i}.wav", Path(f"{i}.wav"), text, 1, None, split, 1.0) for i, (text, _, split) in enumerate(now)
    ]
    trained = {each.audio for each, (_, was_trained, _) in zip(utterances, now, strict=True) if was_trained}
    run = {"train": sorted(trained), "known": [], "new": []}
    with patch.object(evaluation, "load_utterances", lambda _: tuple(utterances)), patch("json.loads", lambda _: run):
        try:
            parts = evaluation._parts(workspace, manifest)
        except ResonanceError as error:
            assert error.code == "RZ-0701"
            return
    sounding = {toneless(each.text) for each in utterances if each.audio in trained}
    assert not sounding & {toneless(each.text) for each in parts.unseen}
    assert {toneless(each.text) for each in parts.seen} <= sounding
    assert not trained & {each.audio for each in parts.seen + parts.unseen}
    assert {each.audio for each in utterances if each.split == "test"} - trained == {
        each.audio for each in parts.seen + parts.unseen
    }


# ── Bad input ────────────────────────────────────────────────────────────────
def test_lesson_six_comes_first(converted_sample: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ResonanceError, match=r"RZ-0006.*第六课"):
        evaluation.evaluate(replace(converted_sample, output_dir=tmp_path))


def test_another_patients_adapter_is_not_tested(tested: Tested) -> None:
    with pytest.raises(ResonanceError, match="RZ-0005"):
        evaluation.evaluate(replace(tested[0], patient_id="patient-b"))


def test_without_the_run_nobody_knows_what_was_trained_on(tested: Tested) -> None:
    workspace = tested[0]
    split = training.latest_run(workspace) / "split.json"
    hidden = split.rename(split.with_suffix(".hidden"))
    try:
        with pytest.raises(ResonanceError, match="RZ-0702"):
            evaluation.test_clips(workspace)
    finally:
        hidden.rename(split)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_test_recordings_is_said_and_training_ones_are_not_used(
    own_sample: Workspace, tested: Tested, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    workspace = replace(own_sample, output_dir=tested[0].output_dir, patient_id=tested[0].patient_id)
    write_labels(workspace.labels, [label for label in read_labels(workspace.labels) if label.split == "train"])
    with pytest.raises(ResonanceError, match=r"RZ-0701.*split.*test"):
        evaluation.test_clips(workspace)


def test_a_take_recorded_after_training_is_tested_as_what_it_is(own_sample: Workspace, tested: Tested) -> None:
    workspace = replace(own_sample, output_dir=tested[0].output_dir, patient_id=tested[0].patient_id)
    labels = read_labels(workspace.labels)
    first = next(label for label in labels if label.split == "train")
    relabelled = [replace(label, split="test") if label is first else label for label in labels]
    write_labels(workspace.labels, relabelled)
    assert first.audio not in {clip.audio for clip in evaluation.test_clips(workspace)}, "it was trained on"
