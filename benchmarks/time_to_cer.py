"""Wall time to understand known phrases in another take: the package's default beside the repaired guide.

    python benchmarks/time_to_cer.py --data DATA_DIR --base-model FOLDER

Both learn from the same first takes and are asked about the same second takes (marked ``test`` in labels.json) of
phrases that they learn. The package trains until it gets a CER of 0.05 there, by its own clock with everything that it
does on the way. The guide then gets five times as long, in steps alone, and is asked at 30 s with the language given
and the answer bounded, which is kinder than its own step seven. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from resonance_helpers import open_workspace
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.core.settings import PRESETS
from resonance_helpers.core.workspace import Workspace, write_json
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.splits import DevSplit, hold_out_dev, split_utterances
from resonance_helpers.lessons import train_model as training
from resonance_helpers.lessons.convert_audio import logic as conversion
from resonance_helpers.lessons.train_model.records import Event
from resonance_helpers.scoring.error_rates import score

HERE = Path(__file__).resolve().parent
TARGET_CER, TIMES_LONGER, DEV_CLIPS = 0.05, 5, 24
SETTINGS = replace(PRESETS["default"], eval_every=10, patience=99, dev_fraction=0.5, dev_max_clips=DEV_CLIPS)


def prepare(data: Path, folder: Path) -> Workspace:
    """A copy of the recordings in which some second takes of known phrases are there to choose the step by."""
    shutil.copytree(data, folder / "data", copy_function=shutil.copyfile)
    path = folder / "data" / "labels.json"
    records = json.loads(path.read_text(encoding="utf-8-sig"))
    trained = {record["text"] for record in records if record["split"] == "train"}
    second = [record for record in records if record["split"] == "test" and record["text"] in trained]
    kept = [record for record in records if record["split"] == "train"] + second[:DEV_CLIPS]
    write_json(path, [record | {"split": "train"} for record in kept])
    workspace = open_workspace(folder / "data", folder / "ours", "bench")
    assert len(read_labels(workspace.labels)) == len(kept)
    conversion.convert(workspace)
    return workspace


def ours(workspace: Workspace, base_model: str) -> dict[str, Any]:
    """Train until the CER is reached or the preset's steps are done; the looks on the way."""
    looks: list[dict[str, float]] = []

    def hear(event: Event) -> None:
        if event.point.dev_cer is not None:
            looks.append({"step": event.step, "seconds": event.point.seconds, "cer": round(event.point.dev_cer, 3)})

    def reached() -> list[float]:
        return [look["seconds"] for look in looks if look["cer"] <= TARGET_CER]

    result = training.train(workspace, SETTINGS, base_model, on_event=hear, should_stop=lambda: bool(reached()))
    assert result.dev_by == "takes"
    return {"looks": looks, "seconds": min(reached(), default=None), "precision": result.precision}


def guide(dev: DevSplit, folder: Path, base_model: str, seconds: float) -> dict[str, Any]:
    """The repaired guide after ``seconds`` of steps, with the schedule of its 500."""
    write_json(folder / "labels.json", [{"audio": str(u.wav), "text": u.text} for u in dev.fit])
    command = [sys.executable, str(HERE / "guide_train.py"), "--data", str(folder), "--output", str(folder / "out")]
    command += ["--base-model", base_model, "--steps", "500", "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took = json.loads(done.stdout.strip().splitlines()[-1])["step_seconds"]

    processor = WhisperProcessor.from_pretrained(folder / "out")
    base = WhisperForConditionalGeneration.from_pretrained(base_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder / "out").eval()
    heard = []
    for clip in dev.dev:
        inputs = processor(read_wav(clip.wav), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(**inputs, language="zh", task="transcribe", max_new_tokens=48)
        heard += processor.batch_decode(ids, skip_special_tokens=True)
    figures = score([clip.text for clip in dev.dev], heard)
    return {"steps": len(took), "seconds": round(sum(took)), "cer": round(figures.cer, 3), "n": figures.n}


def main() -> None:
    """Read the command line, run both sides, print one JSON object."""
    parser = argparse.ArgumentParser(description="Wall time to a CER on known phrases: the guide and this package.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base-model", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        workspace = prepare(options.data, Path(name))
        found: dict[str, Any] = {"ours": ours(workspace, options.base_model)}
        train = split_utterances(load_utterances(workspace), SETTINGS.seed).train
        dev = hold_out_dev(train, SETTINGS.dev_fraction, SETTINGS.dev_max_clips, SETTINGS.seed)
        if found["ours"]["seconds"]:
            budget = TIMES_LONGER * found["ours"]["seconds"]
            found["guide"] = guide(dev, Path(name) / "guide", options.base_model, budget)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
