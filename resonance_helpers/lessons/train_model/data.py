"""From utterances to the batches that the trainer eats.

The table is a ``datasets.Dataset`` of paths and texts (audio stays outside: ``Audio()`` would need torchcodec). Where
nothing is drawn the features are computed once and kept in ``OUTPUT_DIR/cache``; else they are new at every use.

A row that says how many ``frames`` it needs lets its batch be cut to the longest of them: silence behind every clip of
a batch teaches nothing and costs as much as speech.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from datasets.utils.logging import disable_progress_bar
from torch.utils.data import Sampler

from ...asr.adapter import identity
from ...asr.augmentation import Augmentation
from ...asr.whisper import SpeechModel
from ...asr.windows import frames_for
from ...audio.decode import read_wav
from ...core.workspace import make_folder
from ...dataset.index import Utterance, data_hash

LENGTH_JITTER = 0.1  # share of a clip's length
BARE_SHARE = 0.25  # of the clips; an adapter that never saw the bare prompt repeats itself without end behind it
NATIVE_CLIPS = 2  # of a batch at the native window: 30 s of a clip cost as much as five windows
IGNORED = -100  # the label that torch's cross entropy leaves out

disable_progress_bar()  # the lesson shows its own


@dataclass(frozen=True)
class Draws:
    """What is drawn for a batch. It depends on ``seed`` and on the batch's number in the run and on nothing else: a run
    can be repeated, and taken up in the middle."""

    augmentation: Augmentation
    seed: int
    before: int = 0  # batches of the run that came before this table
    native_every: int = 0  # every so many batches the model hears some clips at its native window; 0 is never


def augmented_table(
    utterances: Sequence[Utterance], speech: SpeechModel, window_s: float, cut: bool, draws: Draws
) -> Dataset:
    """Features drawn anew at each use."""
    return _rows(utterances).with_transform(_AtEachUse(speech, window_s, cut, draws))


class _AtEachUse:
    """A batch of paths and texts → features that the next draw gives."""

    def __init__(self, speech: SpeechModel, window_s: float, cut: bool, draws: Draws) -> None:
        self.speech, self.window_s, self.cut, self.draws = speech, window_s, cut, draws
        self.number = draws.before

    def __getstate__(self) -> Draws:
        return self.draws  # datasets hashes a transform by its pickle: with the model in it that takes seconds

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, Any]:
        draws, speech, heard_s = self.draws, self.speech, self.window_s
        rng = np.random.default_rng([draws.seed, self.number])
        self.number += 1
        wavs, texts = batch["wav"], batch["text"]
        if draws.native_every and self.number % draws.native_every == 0:
            wavs, texts, heard_s = wavs[:NATIVE_CLIPS], texts[:NATIVE_CLIPS], speech.native_window_s
        clips = [draws.augmentation.apply(read_wav(Path(wav)), rng, self.window_s) for wav in wavs]
        features = speech.features(clips, heard_s)
        is_bare = rng.random(len(texts)) < BARE_SHARE
        whole = features.shape[2] if heard_s > self.window_s else 0  # at the native window nothing is cut
        return {
            "input_features": features,
            "labels": [speech.label_ids(text, bare) for text, bare in zip(texts, is_bare, strict=True)],
        } | ({"frames": [max(whole, frames_for(len(clip))) for clip in clips]} if self.cut else {})


def feature_table(
    utterances: Sequence[Utterance], speech: SpeechModel, window_s: float, cut: bool, cache: Path
) -> Dataset:
    """A table of features as recorded, computed once for the same recordings, texts, window and base model."""
    frames = speech.features([np.zeros(1, np.float32)], window_s).shape[2]
    columns = {"input_features": List(List(Value("float32"), length=frames)), "labels": List(Value("int64"))}
    if cut:
        columns["frames"] = Value("int64")
    key = [data_hash(utterances), window_s, cut, identity(speech), speech.language]
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    make_folder(cache)

    def compute(batch: dict[str, list[Any]]) -> dict[str, Any]:
        clips = [read_wav(Path(wav)) for wav in batch["wav"]]
        features = {
            "input_features": speech.features(clips, window_s).numpy(),  # torch shares the clips among the cores
            "labels": [speech.label_ids(text) for text in batch["text"]],
        }
        return features | ({"frames": [frames_for(len(clip)) for clip in clips]} if cut else {})

    return (
        _rows(utterances)
        .map(
            compute,
            batched=True,
            batch_size=16,
            remove_columns=["wav", "text"],
            features=Features(columns),
            cache_file_name=str(cache / f"{fingerprint}.arrow"),
            new_fingerprint=fingerprint,
            writer_batch_size=16,  # rows kept in memory before they go to disk
        )
        .with_format("torch")
    )


class SimilarLengths(Sampler[int]):
    """All clips once in each pass, those of similar length in one batch, the batches in any order.

    A batch costs as much as its longest clip. The lengths are jittered anew in each pass, so that neighbours change.
    The order depends on ``seed`` and on the pass alone: a run can be taken up in the middle of one.
    """

    def __init__(self, seconds: Sequence[float], batch_size: int, seed: int) -> None:
        self.seconds, self.batch_size, self.seed, self.epoch = np.array(seconds), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Which pass begins; the trainer says so."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.seconds)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self))
        rest = len(self) % self.batch_size  # the small batch comes last, so any clip may be in it
        whole, rest_of_it = order[: len(self) - rest], order[len(self) - rest :]
        jittered = self.seconds[whole] * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(whole))
        batches = whole[np.argsort(jittered)].reshape(-1, self.batch_size)
        yield from rng.permutation(batches).ravel().tolist()
        yield from rest_of_it.tolist()


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
