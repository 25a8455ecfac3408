"""What should an adapter move, and how? The same recordings, steps and seeds with one thing changed at a time.

    python benchmarks/ablation.py --data DATA_DIR --healthy FOLDER --base-model FOLDER --work DIR [--only NAME ...]
    python benchmarks/ablation.py --work DIR --table

Every run is the package's own ``training.train`` and is kept in ``--work`` as a JSON file, so that a run that was
stopped goes on with what is missing. The test recordings are halved by phrase: a configuration is *chosen* on one half
and *reported* on the other, known and new phrases apart, beside what healthy speech has lost. Those halves are not the
dev part inside ``train``: with one take of each phrase that one knows nothing about known phrases.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resonance_helpers import open_workspace
from resonance_helpers.asr import adapter
from resonance_helpers.asr.base_models import resolve
from resonance_helpers.asr.whisper import load_speech_model
from resonance_helpers.audio.decode import load, read_wav
from resonance_helpers.core.settings import ALL_LINEAR, PRESETS, TrainingSettings
from resonance_helpers.core.workspace import Workspace, write_json
from resonance_helpers.dataset.index import Utterance, load_utterances
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.splits import split_utterances
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.convert_audio import logic as conversion
from resonance_helpers.scoring.error_rates import score
from resonance_helpers.scoring.text import normalise

BASE = TrainingSettings(steps=60)  # 90 with the finishing part
GUIDE = replace(BASE, lora=PRESETS["guide"].lora)
ALL = replace(GUIDE, lora=replace(GUIDE.lora, target_modules=ALL_LINEAR))
CONFIGURATIONS: dict[str, TrainingSettings] = {
    "both, q v": GUIDE,
    "encoder, q v": replace(GUIDE, lora=replace(GUIDE.lora, parts=("encoder",))),
    "decoder, q v": replace(GUIDE, lora=replace(GUIDE.lora, parts=("decoder",))),
    "both, all linear": ALL,
    "encoder, all linear": replace(ALL, lora=replace(ALL.lora, parts=("encoder",))),
    "both, all linear, r 8": replace(ALL, lora=replace(ALL.lora, r=8, alpha=16)),
    "both, all linear, α/r 1": replace(ALL, lora=replace(ALL.lora, alpha=16)),
    "both, all linear, rate 5e-4": replace(ALL, learning_rate=5e-4),
    "both, all linear, no augmentation": replace(ALL, augment=()),
    "both, all linear, and spectrum": replace(ALL, augment=(*BASE.augment, "spectrum")),
}
PARTS = ("chosen_on", "reported_on")


def run(data: Path, healthy: Path, base_model: str, work: Path, name: str, seed: int) -> dict[str, Any]:
    """Train one configuration with one seed; the scores of both halves, of healthy speech, and what it cost."""
    workspace = open_workspace(data, work / "runs" / f"{_key(name)}-{seed}", "ablation")
    conversion.convert(workspace)
    settings = replace(CONFIGURATIONS[name], seed=seed)
    result = training.train(workspace, settings, base_model)
    found = judged(workspace, healthy, base_model, result.window_s)
    megabytes = (workspace.adapter / adapter.WEIGHTS).stat().st_size / 1e6
    shutil.rmtree(workspace.output_dir)
    return {
        "configuration": name,
        "seed": seed,
        "settings": result.preset,
        "dev_cer": result.best_cer,
        "best_step": result.best_step,
        "seconds": result.wall_seconds,
        "trainable": result.trainable / result.total_parameters,
        "megabytes": megabytes,
        **found,
    }


def judged(workspace: Workspace, healthy: Path, base_model: str, window_s: float) -> dict[str, Any]:
    """CER and exact share: known and new phrases, each half; and the CER of healthy speech."""
    speech = load_speech_model(resolve(base_model, workspace.cache))
    adapter.attach(speech, workspace.adapter)
    split = split_utterances(load_utterances(workspace), BASE.seed)
    found: dict[str, Any] = {}
    with adapter.using(speech, "default"):
        for kind, clips in (("known", split.seen), ("new", split.unseen)):
            heard = speech.recognise([read_wav(u.wav) for u in clips], window_s)
            halves = [half(u) for u in clips]
            for part in PARTS:
                pairs = [(u.text, text) for u, text, side in zip(clips, heard, halves, strict=True) if side == part]
                found[f"{kind}_{part}"] = rates(*zip(*pairs, strict=True))
        labels = read_labels(healthy / "labels.json")
        clips = [load(healthy / label.audio, window_s) for label in labels]
        found["healthy"] = rates([label.text for label in labels], speech.recognise(clips, window_s))
    return found


def half(utterance: Utterance) -> str:
    """Which half of the test recordings a phrase belongs to: by its text, the same for every run."""
    return PARTS[hashlib.sha256(normalise(utterance.text).encode()).digest()[0] % 2]


def rates(references: Sequence[str], heard: Sequence[str]) -> dict[str, float]:
    found = score(references, heard, resamples=10)
    return {"n": found.n, "cer": found.cer, "exact": found.sentence_accuracy}


def table(work: Path) -> str:
    """All finished runs as Markdown: means over seeds, and the range between seeds."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("*.json"))]
    lines = [
        "| configuration | seeds | chosen on: known exact · new CER | reported on: known exact · known CER · new CER "
        "| healthy CER | weights moved | MB | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in CONFIGURATIONS:
        mine = [r for r in runs if r["configuration"] == name]
        if mine:
            chosen = f"{_mean(mine, 'known_chosen_on', 'exact')} · {_mean(mine, 'new_chosen_on', 'cer')}"
            reported = (
                f"{_mean(mine, 'known_reported_on', 'exact')} · {_mean(mine, 'known_reported_on', 'cer')}"
                f" · {_mean(mine, 'new_reported_on', 'cer')}"
            )
            first = mine[0]
            lines.append(
                f"| {name} | {len(mine)} | {chosen} | {reported} | {_mean(mine, 'healthy', 'cer')} "
                f"| {first['trainable']:.2%} | {first['megabytes']:.1f} "
                f"| {statistics.mean(r['seconds'] for r in mine):.0f} |"
            )
    return "\n".join(lines)


def _mean(runs: Sequence[dict[str, Any]], part: str, measure: str) -> str:
    values = [run[part][measure] for run in runs]
    return f"{statistics.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def _key(name: str) -> str:
    return name.translate(str.maketrans(" /", "--", ","))


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description="An ablation of what an adapter moves.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--healthy", type=Path)
    parser.add_argument("--base-model")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[17, 1, 2])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        for seed in options.seeds:
            for name in options.only:
                path = options.work / f"{_key(name)}-{seed}.json"
                if not path.exists():
                    found = run(options.data, options.healthy, options.base_model, options.work, name, seed)
                    write_json(path, found)
    print(table(options.work))


if __name__ == "__main__":
    main()
