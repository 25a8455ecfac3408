"""From utterances to the batches that the trainer eats.

The table is a ``datasets.Dataset`` of paths and texts (audio stays outside: ``Audio()`` would need torchcodec). Without
augmentation the features are computed once and kept in ``OUTPUT_DIR/cache``; with it they are new at every use.

A row that says how many ``frames`` it needs lets its batch be cut to the longest of them: silence behind every clip of
a batch teaches nothing and costs as much as speech.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from datasets.utils.logging import disable_progress_bar

from ..audio import read_wav
from ..augmentation import Augmentation
from ..utterances import Utterance, data_hash
from ..whisper import SpeechModel
from ..windows import frames_for

IGNORED = -100  # the label that torch's cross entropy leaves out

disable_progress_bar()  # the lesson shows its own


def augmented_table(
    utterances: Sequence[Utterance],
    speech: SpeechModel,
    window_s: float,
    cut: bool,
    augmentation: Augmentation,
    seed: int,
    drawn: int = 0,
) -> Dataset:
    """Features drawn anew at each use. Draws depend on ``seed`` and on how many batches were ``drawn`` before, on
    nothing else: a run can be repeated, and taken up in the middle."""

    def draw(batch: dict[str, list[Any]]) -> dict[str, Any]:
        nonlocal drawn
        rng = np.random.default_rng([seed, drawn])
        drawn += 1
        clips = [augmentation.apply(read_wav(Path(wav)), rng, window_s) for wav in batch["wav"]]
        return {
            "input_features": speech.features(clips, window_s),
            "labels": [speech.label_ids(text) for text in batch["text"]],
        } | ({"frames": [frames_for(len(clip)) for clip in clips]} if cut else {})

    return _rows(utterances).with_transform(draw)


def feature_table(
    utterances: Sequence[Utterance], speech: SpeechModel, window_s: float, cut: bool, cache: Path
) -> Dataset:
    """A table of features as recorded, computed once for the same recordings, texts, window and base model."""
    frames = speech.features([np.zeros(1, np.float32)], window_s).shape[2]
    columns = {"input_features": List(List(Value("float32"), length=frames)), "labels": List(Value("int64"))}
    if cut:
        columns["frames"] = Value("int64")
    key = [data_hash(utterances), window_s, cut, speech.base.name, speech.base.revision, speech.language]
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    cache.mkdir(parents=True, exist_ok=True)

    def compute(row: dict[str, Any]) -> dict[str, Any]:
        clip = read_wav(Path(row["wav"]))
        features = {
            "input_features": speech.features([clip], window_s)[0].numpy(),
            "labels": speech.label_ids(row["text"]),
        }
        return features | ({"frames": frames_for(len(clip))} if cut else {})

    return (
        _rows(utterances)
        .map(
            compute,
            remove_columns=["wav", "text"],
            features=Features(columns),
            cache_file_name=str(cache / f"{fingerprint}.arrow"),
            new_fingerprint=fingerprint,
            writer_batch_size=16,  # rows kept in memory before they go to disk
        )
        .with_format("torch")
    )


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Rows → {"input_features": [batch, mels, frames], "labels": [batch, longest], padded with −100}."""
    labels = [torch.as_tensor(row["labels"]) for row in rows]
    features = torch.stack([torch.as_tensor(row["input_features"]) for row in rows])
    if "frames" in rows[0]:
        features = features[..., : max(int(row["frames"]) for row in rows)]
    return {
        "input_features": features,
        "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def _rows(utterances: Sequence[Utterance]) -> Dataset:
    return Dataset.from_dict({"wav": [str(u.wav) for u in utterances], "text": [u.text for u in utterances]})
