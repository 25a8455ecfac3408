"""Which files make a Whisper model, and what its weights are, whatever file they are stored in."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from ...core.workspace import read_json

SOURCE_FILE = "resonance_source.json"  # written beside fetched weights: name, revision, source, hashes
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_FILE = "model.safetensors"
_HASH_CHUNK = 1 << 20  # numbers
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
# Other formats of the same weights (pickle, flax, tf, fp32 shards, onnx) would only double the download.
_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
# A whole model has one file set of each group.
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_PROCESSORS = (("preprocessor_config.json",), ("processor_config.json",))
# Whisper's output layer is the embedding again, and only some writers store it twice.
_TIED = {"proj_out.weight": "model.decoder.embed_tokens.weight"}


def needed_files() -> tuple[str, ...]:
    """Patterns of what is worth keeping of a model's repository."""
    return (*_SMALL_FILES, WEIGHTS_FILE, INDEX_FILE, "model-*-of-*.safetensors")


def choose_files(offered: Iterable[str]) -> tuple[str, ...]:
    """Of the file names a repository offers those to fetch, the weights first: a source that fails, fails early."""
    names = set(offered)
    shards = sorted(name for name in names if _SHARD.fullmatch(name) or name == INDEX_FILE)
    weights = [WEIGHTS_FILE] if WEIGHTS_FILE in names else shards
    return (*weights, *(name for name in _SMALL_FILES if name in names))


def missing_files(folder: Path) -> tuple[str, ...]:
    """What ``folder`` lacks to be a whole model; empty when nothing does."""
    return missing_names({path.name for path in folder.iterdir()} if folder.is_dir() else set(), _shards_named(folder))


def missing_names(names: set[str], shards: tuple[str, ...] = ()) -> tuple[str, ...]:
    """As :func:`missing_files`, for file names; ``shards`` are those that the weights' index names."""
    missing = [] if "config.json" in names else ["config.json"]
    if WEIGHTS_FILE not in names:
        missing += [name for name in shards if name not in names] if INDEX_FILE in names else [WEIGHTS_FILE]
    for group in (_TOKENIZERS, _PROCESSORS):
        if not any(names.issuperset(files) for files in group):
            missing.append(group[0][0])
    return tuple(missing)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights of the model in ``folder``."""
    single = folder / WEIGHTS_FILE
    return [single] if single.exists() else [folder / name for name in _shards_named(folder)]


def parameter_count(folder: Path) -> int:
    """How many numbers the weights in ``folder`` are, from the headers of the files alone; an output layer that repeats
    the embedding is not counted."""
    from safetensors import safe_open

    shapes: dict[str, list[int]] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            shapes |= {name: file.get_slice(name).get_shape() for name in names}
    return sum(math.prod(shape) for name, shape in shapes.items() if _TIED.get(name) not in shapes)


def tensors_sha256(folder: Path) -> str:
    """Hash of the weights in ``folder`` as numbers, not of a file.

    Every tensor's name, shape and values go in, in the order of the names, the values as little-endian float32. So the
    same numbers hash the same whether they are stored as float16 or float32, in one file or in shards, with or without
    the output layer that repeats the embedding; any changed value changes the hash. OpenAI published Whisper in
    float16, which makes float32 copies of it equal to the original. It is read piece by piece.
    """
    files = weight_files(folder)
    return _tensors_sha256(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=8)  # a service asks once for each adapter
def _tensors_sha256(stamped: tuple[tuple[Path, int, int], ...]) -> str:
    import torch
    from safetensors import safe_open

    digest = hashlib.sha256()
    buffer = torch.empty(_HASH_CHUNK, dtype=torch.float32)
    where = {name: path for path, _, _ in stamped for name in _tensor_names(path)}
    handles = {path: safe_open(path, framework="pt") for path, _, _ in stamped}
    for name in sorted(where):
        if _TIED.get(name) in where:
            continue
        tensor = handles[where[name]].get_tensor(name)
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        for part in tensor.flatten().split(len(buffer)):
            filled = buffer[: len(part)].copy_(part)  # the cast to float32, into memory that is used again
            digest.update(filled.numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()


def _tensor_names(path: Path) -> Iterator[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        yield from file.keys()


def _shards_named(folder: Path) -> tuple[str, ...]:
    try:
        index = read_json(folder / INDEX_FILE, "weight_map")
    except FileNotFoundError:
        return ()
    return tuple(sorted(set(index["weight_map"].values())))
