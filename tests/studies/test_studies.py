"""Learning curve and cross-validation: retrainings that lose nothing, repeat nothing and touch nothing in use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Facts
from typing import Any

import matplotlib.pyplot as plt
import pytest
from serving import make_adapter
from sounds import snapshot
from typer.testing import CliRunner

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.cli import app
from resonance_helpers.core.guide_facts import EXPECTED_EFFECT
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import PRACTICE_MODEL, TrainingSettings
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.labels import read_labels, write_labels
from resonance_helpers.dataset.splits import read_split
from resonance_helpers.lessons import train_model as training
from resonance_helpers.scoring.error_rates import score
from resonance_helpers.scoring.learning_curve import WORTH, CurvePoint, Gain
from resonance_helpers.scoring.text import normalise, toneless
from resonance_helpers.studies.charts import learning_curve_chart, learning_curve_lines
from resonance_helpers.studies.cross_validation import cross_validate
from resonance_helpers.studies.curve import LearningCurve, answer, learning_curve
from resonance_helpers.studies.retraining import prepare, share_of

SIZES, SEEDS, STEPS = [10, 20], [1], 6


def texts(labels: Path, split: str) -> set[str]:
    return {normalise(label.text) for label in read_labels(labels) if label.split == split}


@pytest.fixture(scope="module")
def drawn(
    converted_sample: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, LearningCurve, Facts]:
    """A curve drawn beside an adapter in use, and what was seen while it was."""
    workspace = replace(converted_sample, output_dir=tmp_path_factory.mktemp("drawn"))
    make_adapter(workspace.adapter, workspace.patient_id)
    seen = Facts(before=snapshot(workspace.adapter), data=snapshot(workspace.data_dir), progress=[])
    curve = learning_curve(workspace, SIZES, SEEDS, STEPS, on_progress=lambda *facts: seen.progress.append(facts))
    return workspace, curve, seen


def runs_of(workspace: Workspace, study: str = "learning_curve") -> list[Path]:
    return sorted(path.parent for path in (workspace.output_dir / study).rglob("answers.json"))


# ── The learning curve ───────────────────────────────────────────────────────
@pytest.mark.slow
def test_the_adapter_in_use_and_the_recordings_stay_as_they_are(drawn: tuple[Workspace, LearningCurve, Facts]) -> None:
    workspace, _, seen = drawn
    assert snapshot(workspace.adapter) == seen.before and snapshot(workspace.data_dir) == seen.data
    assert not workspace.runs.exists() and not workspace.report_json.exists()
    assert not list((workspace.output_dir / "learning_curve").rglob("*.safetensors")), "no voice lies about"


@pytest.mark.slow
def test_subsets_are_nested_and_judged_on_the_same_clips(drawn: tuple[Workspace, LearningCurve, Facts]) -> None:
    workspace, curve, _ = drawn
    small, large = runs_of(workspace)
    assert (small.name, large.name) == ("phrases010_seed1", "phrases020_seed1")
    trained = [texts(run / "labels.json", "train") for run in (small, large)]
    assert [len(each) for each in trained] == SIZES and trained[0] < trained[1]
    judged = [{row["audio"] for row in json.loads((run / "answers.json").read_text())} for run in (small, large)]
    assert judged[0] == judged[1] == {u.audio for u in load_utterances(workspace) if u.split == "test"}
    for run, phrases in zip((small, large), trained, strict=True):
        sounds = {toneless(text) for text in phrases}
        rows = json.loads((run / "answers.json").read_text())
        assert all((toneless(row["reference"]) in sounds) == (row["split"] == "known") for row in rows)
    assert [point.phrases for point in curve.points] == SIZES
    assert curve.points[0].unseen is not None and curve.points[1].unseen is not None
    assert curve.points[0].unseen.n == curve.points[1].unseen.n


@pytest.mark.slow
def test_the_result_is_kept_as_figures_a_picture_and_words(drawn: tuple[Workspace, LearningCurve, Facts]) -> None:
    workspace, curve, seen = drawn
    kept = json.loads(curve.json.read_text(encoding="utf-8"))
    assert [point["phrases"] for point in kept["points"]] == SIZES and kept["steps"] == STEPS and kept["is_practice"]
    assert kept["by_seed"].keys() == {"1"} and kept["gain"]["known"]["n"] == 10
    assert kept["answer"] == curve.answer and message("curve.question", more=30) in curve.answer
    said = curve.json.read_text(encoding="utf-8")
    assert not any(u.text in said for u in load_utterances(workspace)), "what the person said is not in the file"
    assert "指南" not in curve.answer, "never beside figures of the practice model"
    assert curve.png.read_bytes().startswith(b"\x89PNG")
    shares = [done for done, _, _ in seen.progress]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 2 and any(0 < each < 1 for each in shares)
    assert {total for _, total, _ in seen.progress} == {2}


@pytest.mark.slow
def test_more_seeds_keep_what_was_trained(
    drawn: tuple[Workspace, LearningCurve, Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, curve, _ = drawn

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train", never)
    again = learning_curve(workspace, SIZES, SEEDS, STEPS)
    assert again == curve
    with pytest.raises(AssertionError, match="trained again"):
        learning_curve(workspace, SIZES, [*SEEDS, 2], STEPS)
    with pytest.raises(AssertionError, match="trained again"):
        learning_curve(workspace, SIZES, SEEDS, STEPS + 1)


@pytest.mark.slow
def test_killed_after_the_first_size_it_goes_on_to_the_same_curve(
    drawn: tuple[Workspace, LearningCurve, Facts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, whole = drawn[0].data_dir, drawn[1]
    workspace = replace(drawn[0], output_dir=tmp_path / "out")
    options = ["--data", str(data), "--output", str(workspace.output_dir), "--base-model", PRACTICE_MODEL]
    options += ["--sizes", "10,20", "--seeds", "1", "--steps", str(STEPS)]
    command = [sys.executable, "-c", "from resonance_helpers.cli import app; app()", "learning-curve", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not runs_of(workspace) and process.poll() is None:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        _, complaints = process.communicate()
    assert process.returncode == -signal.SIGKILL, complaints
    (finished,) = runs_of(workspace)
    assert (
        finished.name == "phrases010_seed1"
        and not (workspace.output_dir / "learning_curve/learning_curve.json").exists()
    )
    before = (finished / "answers.json").stat()
    trained: list[Path] = []
    train = training.train
    monkeypatch.setattr(
        training, "train", lambda space, *rest, **named: trained.append(space) or train(space, *rest, **named)
    )
    result = CliRunner().invoke(app, ["learning-curve", *options])
    assert result.exit_code == 0, result.output
    assert [space.output_dir.name for space in trained] == ["phrases020_seed1"]
    after = (finished / "answers.json").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    resumed = json.loads((workspace.output_dir / "learning_curve/learning_curve.json").read_text(encoding="utf-8"))
    assert resumed == json.loads(whole.json.read_text(encoding="utf-8")), "as if it had never been killed"
    assert message("curve.question", more=30) in result.stdout and str(whole.png.name) in result.stdout


def test_the_bar_never_goes_back() -> None:
    seen: list[float] = []
    tell = share_of(lambda done, total, words: seen.append(done), 2, 4, "words")
    for share in (0.5, 1.0, 0.7, 1.0):  # the second phase of a training has more steps than the first said
        tell(share)
    assert seen == [2.0, 2.5, 3.0, 3.0, 3.0]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_real_voice_gets_the_answer_with_its_rule_and_the_guides_expectation_named(
    lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    right, half = score(["我想喝水", "帮我开灯"], ["我想喝水", "帮我开灯"]), score(["不要", "停"], ["不要", "听"])
    worth = Gain(50, 100, 40, (0.2, 0.1), 0.1, (0.05, 0.15), 0.04, (0.02, 0.06), "probably")
    told = answer([CurvePoint(100, right, half)], worth, None, is_practice=False)
    assert message("curve.level.probably") in told and "+0.100" in told and "+0.020" in told and "+0.060" in told
    assert message("curve.gain.none", part=message("chart.split.new")) in told
    assert "50%" in told and "100%" in told, "what the newly recorded phrases themselves gain"
    assert f"{WORTH:.2f}" in told and message("curve.practice") not in told
    assert ("指南预期" if lang == "zh" else "The guide's expectation") in told.splitlines()[-1]
    assert all(f"{row.accuracy_percent}%" in told.splitlines()[-1] for row in EXPECTED_EFFECT)


def test_other_recordings_or_settings_have_another_folder(own_sample: Workspace) -> None:
    def folder(steps: int | None = None, language: str = "zh") -> Path:
        return prepare(own_sample, "learning_curve", steps, PRACTICE_MODEL, language).folder

    first = folder()
    assert folder() == first
    labels = read_labels(own_sample.labels)
    others = [folder(steps=7), folder(language="en")]
    write_labels(own_sample.labels, [replace(labels[0], text="我想吃饭"), *labels[1:]])
    others.append(folder())
    write_labels(own_sample.labels, [replace(labels[0], split="test"), *labels[1:]])
    others.append(folder())
    assert len({first, *others}) == 5


def test_a_retraining_is_the_training_of_lesson_six(own_sample: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the curve is that of another recipe than the one whose adapter the person gets."""
    used: list[TrainingSettings] = []

    def stop(workspace: Workspace, settings: TrainingSettings, *rest: Any, **named: Any) -> None:
        used.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        learning_curve(own_sample, seeds=[TrainingSettings().seed], base_model=PRACTICE_MODEL)
    assert used == [TrainingSettings()]


@pytest.mark.parametrize("sizes", [[10], [10, 10], [1, 20], [10, 35], []])
def test_sizes_that_make_no_curve_are_refused_before_anything_is_trained(
    own_sample: Workspace, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ResonanceError) as caught:
        learning_curve(own_sample, sizes, base_model=PRACTICE_MODEL)
    assert caught.value.code == "RZ-1602"
    for lang in LANGUAGES:
        sentence = message("RZ-1602", lang, **caught.value.facts)
        assert "34" in sentence and "--sizes" in sentence and all(str(size) in sentence for size in sizes)


def test_without_sizes_it_goes_as_far_as_there_are_phrases(
    own_sample: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    doing: list[str] = []

    def stop(workspace: Workspace, *rest: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    totals: set[int] = set()

    def show(done: float, total: int, words: str) -> None:
        totals.add(total)
        doing.append(words)

    with pytest.raises(KeyboardInterrupt):
        learning_curve(own_sample, base_model=PRACTICE_MODEL, on_progress=show)
    assert totals == {9} and doing == [message("curve.doing", size=10, seed=1)], "10, 30 and all 34, with three seeds"


def test_nothing_to_test_on_is_said_first(own_sample: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained"))
    labels = read_labels(own_sample.labels)
    write_labels(own_sample.labels, [replace(label, split="train") for label in labels])
    with pytest.raises(ResonanceError, match="RZ-0701"):
        learning_curve(own_sample, base_model=PRACTICE_MODEL)


@pytest.mark.parametrize("study", [learning_curve, cross_validate])
def test_own_recordings_need_consent(own_sample: Workspace, study: Any) -> None:
    own_sample.consent.unlink()
    with pytest.raises(ResonanceError, match="RZ-0411"):
        study(own_sample, base_model=PRACTICE_MODEL)


# ── Cross-validation ─────────────────────────────────────────────────────────
@pytest.mark.slow
def test_every_phrase_is_judged_once_by_an_adapter_that_never_heard_it(own_sample: Workspace) -> None:
    labels = [label for label in read_labels(own_sample.labels) if label.take == 1]
    once = {normalise(label.text): replace(label, split=None) for label in labels if label.split == "train"}
    kept = next(label for label in labels if label.split == "test")
    write_labels(own_sample.labels, [*once.values(), kept])
    make_adapter(own_sample.adapter, own_sample.patient_id)
    before = snapshot(own_sample.adapter)
    result = cross_validate(own_sample, folds=2, steps=1, base_model=PRACTICE_MODEL)
    assert snapshot(own_sample.adapter) == before and not own_sample.runs.exists()

    runs = runs_of(own_sample, "cross_validation")
    answers = [json.loads((run / "answers.json").read_text(encoding="utf-8")) for run in runs]
    rows = [row for fold in answers for row in fold]
    assert sorted(row["audio"] for row in rows) == sorted(label.audio for label in once.values())
    assert kept.audio not in {row["audio"] for row in rows}, "what is kept for lesson 07 takes no part"
    for run, fold in zip(runs, answers, strict=True):
        assert {row["split"] for row in fold} == {"new"}
        used = read_split(next((run / "runs").iterdir()))
        heard = {label.audio: toneless(label.text) for label in labels}
        trained = {heard[audio] for audio in used["train"]}
        assert len(used["train"]) + len(fold) == len(once)
        assert not trained & {toneless(row["reference"]) for row in fold}
    assert result.pooled == score([row["reference"] for row in rows], [row["heard"] for row in rows])
    assert [fold.n for fold in result.folds] == [17, 17] and result.phrases == 34
    saved = json.loads(result.json.read_text(encoding="utf-8"))
    assert saved["new_phrases"]["n"] == 34 and saved["sentence"] == result.sentence
    assert message("folds.meaning", share="50%") in result.sentence


def test_folds_that_cannot_be_made_are_refused_before_anything_is_trained(own_sample: Workspace) -> None:
    with pytest.raises(ResonanceError, match="RZ-1603"):
        cross_validate(own_sample, folds=100, base_model=PRACTICE_MODEL)
    assert not (own_sample.output_dir / "cross_validation").exists()


# ── The picture ──────────────────────────────────────────────────────────────
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_picture_shows_what_was_given_and_says_it(lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESONANCE_LANG", lang)
    said = ["我想喝水", "帮我开灯", "我不要"]
    good, poor = score(said, said), score(said, ["我想喝水", "错错错错错错错错", "我要"])
    points = [CurvePoint(10, poor, poor), CurvePoint(30, good, None), CurvePoint(50, good, poor)]
    figure = learning_curve_chart(points, practice=True)
    exact, cer = figure.axes
    drawn = [[list(map(float, line.get_xdata())) for line in box] for box in [[c[0] for c in exact.containers]]]
    assert [len(places) for places in drawn[0]] == [3, 2], "a size that was not scored has no point"
    assert [list(c[0].get_ydata()) for c in exact.containers] == [
        [poor.sentence_accuracy, 1, 1],
        [poor.sentence_accuracy, poor.sentence_accuracy],
    ]
    assert [list(c[0].get_ydata()) for c in cer.containers] == [[poor.cer, 0, 0], [poor.cer, poor.cer]]
    assert cer.get_ylim()[1] > poor.cer_ci[1] > 1, "a CER over 1 is not cut off"
    for line in learning_curve_lines(points):
        assert line in figure.alt
    assert message("chart.practice") in figure.alt and len(learning_curve_lines(points)) == 5
    words = [text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text"))]
    assert not any("指南" in each or "guide" in each for each in words)
    assert not plt.get_fignums()


# ── The command line ─────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("options", "words"),
    [(["--sizes", "10,many"], ("--sizes", "10,many")), (["--seeds", "1;2"], ("--seeds", "1;2"))],
)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_numbers_that_cannot_be_read(options: list[str], words: tuple[str, str], lang: str, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    result = CliRunner(env={**os.environ, "RESONANCE_LANG": lang}).invoke(
        app, ["learning-curve", "--output", output, *options]
    )
    assert result.exit_code == 1 and result.stderr.startswith("[RZ-1601]") and result.stdout == ""
    assert all(word in result.stderr for word in words)
    assert not Path(output).exists()


def test_chinese_commas_are_commas_and_options_arrive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[Any] = []

    def stand_in(workspace: Workspace, *rest: Any, **named: Any) -> Any:
        given.append((workspace.output_dir, *rest))
        return Facts(lines=["line"], answer="answer", json="a.json", png="a.png", sentence="sentence")

    monkeypatch.setattr("resonance_helpers.studies.curve.learning_curve", stand_in)
    monkeypatch.setattr("resonance_helpers.studies.cross_validation.cross_validate", stand_in)
    out = ["--output", str(tmp_path), "--base-model", "openai/whisper-tiny", "--steps", "9"]
    shown = CliRunner().invoke(app, ["learning-curve", *out, "--sizes", "10，30", "--seeds", "4"])
    assert shown.exit_code == 0 and "answer" in shown.stdout and "a.png" in shown.stdout
    shown = CliRunner().invoke(app, ["cross-validate", *out, "--folds", "4", "--seed", "8"])
    assert shown.exit_code == 0 and "sentence" in shown.stdout
    assert given == [(tmp_path, [10, 30], [4], 9, "openai/whisper-tiny"), (tmp_path, 4, 8, 9, "openai/whisper-tiny")]
