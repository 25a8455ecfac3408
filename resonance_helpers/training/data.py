"""From utterances to the batches that the trainer eats.

The table is a ``datasets.Dataset`` of paths and texts (audio stays outside: ``Audio()`` would need torchcodec). Without
augmentation the features are computed once and kept in ``OUTPUT_DIR/cache``; with it they are new at every use.
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

IGNORED = -100  # the label that torch's cross entropy leaves out

disable_progress_bar()  # the lesson shows its own


def augmented_table(utterances: Sequence[Utterance], speech: SpeechModel, window_s: float) -> Dataset:
    """Features drawn anew at each use. The draws follow torch's seed, so that a run can be repeated."""
    augmentation = Augmentation()

    def draw(batch: dict[str, list[Any]]) -> dict[str, Any]:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,))))
        clips = [augmentation.apply(read_wav(Path(wav)), rng, window_s) for wav in batch["wav"]]
        return {
            "input_features": speech.features(clips, window_s),
            "labels": [speech.label_ids(text) for text in batch["text"]],
        }

    return _rows(utterances).with_transform(draw)


def feature_table(utterances: Sequence[Utterance], speech: SpeechModel, window_s: float, cache: Path) -> Dataset:
    """A table of features as recorded, computed once for the same recordings, texts, window and base model."""
    frames = speech.features([np.zeros(1, np.float32)], window_s).shape[1:]
    columns = {"input_features": List(List(Value("float32"), length=frames[1])), "labels": List(Value("int64"))}
    key = [data_hash(utterances), window_s, speech.base.name, speech.base.revision, speech.language]
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    cache.mkdir(parents=True, exist_ok=True)
    return (
        _rows(utterances)
        .map(
            lambda row: {
                "input_features": speech.features([read_wav(Path(row["wav"]))], window_s)[0].numpy(),
                "labels": speech.label_ids(row["text"]),
            },
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
    return {
        "input_features": torch.stack([torch.as_tensor(row["input_features"]) for row in rows]),
        "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def _rows(utterances: Sequence[Utterance]) -> Dataset:
    return Dataset.from_dict({"wav": [str(u.wav) for u in utterances], "text": [u.text for u in utterances]})
