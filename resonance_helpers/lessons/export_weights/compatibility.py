"""Files that other programs look for beside a Whisper model and that transformers 5 no longer writes.

It keeps the words in ``tokenizer.json`` and the sound settings in ``processor_config.json`` alone. The guide names
``vocab.json``, whisper.cpp's converter reads it and wants ``added_tokens.json`` beside it, and faster-whisper reads
``preprocessor_config.json``: without that file it assumes Whisper's 30 s and 80 mels for every model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

TOKENIZER, PROCESSOR = "tokenizer.json", "processor_config.json"


def for_other_programs(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of the files that ``files`` (name → content) lack and hold the facts for."""
    made: dict[str, Any] = {}
    if TOKENIZER in files:
        made |= _words(json.loads(files[TOKENIZER]))
    if PROCESSOR in files:
        processor = json.loads(files[PROCESSOR])
        sound = {key: value for key, value in processor.items() if not isinstance(value, dict)}
        made["preprocessor_config.json"] = dict(sorted((sound | processor["feature_extractor"]).items()))
    # ASCII: converters open these files in whatever encoding the system has, which on a Chinese Windows is GBK
    return {name: f"{json.dumps(content, indent=2)}\n".encode() for name, content in made.items() if name not in files}


def _words(tokenizer: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Token → id in order of the ids: the words of the model, and apart from them what was added (languages, tasks)."""
    words: dict[str, int] = tokenizer["model"]["vocab"]
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"] if token["content"] not in words}
    by_id = {"vocab.json": words, "added_tokens.json": added}
    return {name: dict(sorted(tokens.items(), key=lambda item: item[1])) for name, tokens in by_id.items()}
