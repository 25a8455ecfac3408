"""Two scores, never pooled, on clips that the adapter has never heard; refusals where a score would flatter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from resonance_helpers import Workspace, evaluation, training
from resonance_helpers.labels import read_labels, write_labels
from resonance_helpers.messages import ResonanceError
from resonance_helpers.scoring import score
from resonance_helpers.settings import TrainingSettings
from resonance_helpers.text import toneless
from resonance_helpers.utterances import load_utterances

Tested = tuple[Workspace, evaluation.Report, list[tuple[int, int]]]


@pytest.fixture(scope="module")
def tested(converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Tested:
    workspace = replace(converted_sample, output_dir=tmp_path_factory.mktemp("tested"))
    training.train(workspace, TrainingSettings(steps=10, eval_every=10, augment=False))
    done: list[tuple[int, int]] = []
    return workspace, evaluation.evaluate(workspace, on_progress=lambda n, total: done.append((n, total))), done


def test_two_scores_from_the_rows_that_belong_to_them(tested: Tested) -> None:
    _, report, done = tested
    for part, found in (("known", report.known), ("new", report.new)):
        rows = [row for row in report.rows if row.split == part]
        assert found is not None and found.n == len(rows) > 5
        assert found.before == score([r.reference for r in rows], [r.before for r in rows])
        assert found.after == score([r.reference for r in rows], [r.after for r in rows])
    assert done[-1] == (2 * len(report.rows), 2 * len(report.rows)) and done == sorted(done)


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
    assert set(kept) == {"base_model", "window_s", "train", "splits", "forgetting", "verdict"}
    assert set(kept["train"]) == {"recordings", "phrases", "audio_seconds", "steps", "wall_seconds"}
    for part in ("known_phrases", "new_phrases"):
        assert {"cer", "cer_ci", "exact", "exact_ci", "n"} <= set(kept["splits"][part]["after"])
    assert kept["train"]["phrases"] == 34 and kept["train"]["recordings"] == 68
    said = workspace.report_json.read_text(encoding="utf-8")
    assert not any(row.reference in said for row in report.rows), "what the person said is not in the file"


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


def test_ten_right_of_ten_prove_little() -> None:
    assert evaluation.judge(scores(10, 10)).level == "careful"


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
