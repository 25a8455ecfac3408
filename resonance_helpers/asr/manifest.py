"""``resonance.json``: whose an adapter is, what it was made from and what it fits.

It may come from elsewhere, so every value is looked at when it is read: whatever uses a manifest later, a page, the
service's list of models or the model itself, may rely on all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from ..core.messages import ResonanceError
from ..core.settings import WINDOW_LADDER_S, LoraSettings

SCHEMA = 1
WEIGHTS = "adapter_model.safetensors"
MANIFEST = "resonance.json"
CONFIG = "adapter_config.json"
ADAPTER_FILES = (WEIGHTS, CONFIG, MANIFEST)
_MOST = 2**32 - 1  # of anything that is counted; the largest seed that numpy takes
_LONGEST = 200  # characters of a text
_LARGEST = 256 * 1024  # bytes of a JSON file; a real one has 2 kB
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_HASH = re.compile(r"[0-9a-f]{0,64}")
_RUN = re.compile(r"(?!\.)[\w.-]{0,100}")  # a folder's name in runs/, never a path


@dataclass(frozen=True)
class Manifest:
    """What an adapter was made from and what it fits. ``scores`` are those of the dev part, never of the test."""

    patient_id: str
    base_model: dict[str, str]  # name, revision, tensors_sha256
    language: str
    window_s: float
    lora: dict[str, Any]
    recordings: int
    phrases: int
    audio_seconds: float
    data_sha256: str
    run: str  # the folder in runs/ that knows which recordings were trained on
    steps: int
    seed: int
    wall_seconds: float
    scores: dict[str, float | None]
    versions: dict[str, str]
    time: str  # ISO 8601, UTC
    speech_bar: float = 0.0  # ``vad.speaker_threshold`` of the recordings; 0 in adapters from before it
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """ValueError, which names the field, for a value that no training can have written."""
        for field in fields(self):
            value = getattr(self, field.name)
            try:
                fits = _FITS[field.name](value)
            except (ValueError, TypeError, LookupError, OverflowError, ResonanceError):
                fits = False
            if not fits:
                raise ValueError(f"{field.name}: {repr(value)[:80]}")

    @property
    def lora_settings(self) -> LoraSettings:
        """``lora``, with the defaults for what an older version did not write."""
        return _lora_settings(self.lora)

    @property
    def timestamp(self) -> float:
        """``time`` in seconds since 1970."""
        return _timestamp(self.time)


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``. Raises RZ-0610 (missing or not ours) and RZ-0611 (another schema)."""
    path = folder / MANIFEST
    try:
        content = read_json_object(path)
        if repr(schema := content["schema"]) != repr(SCHEMA):
            raise ResonanceError("RZ-0611", path=path, found=repr(schema)[:80], allowed=SCHEMA)
        _check_names(content)
        return Manifest(**content)
    except (OSError, ValueError, KeyError) as error:
        raise ResonanceError("RZ-0610", path=path, detail=_reason(error)) from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a small JSON file from elsewhere. OSError, or ValueError for anything else, and for what JSON does
    not have: NaN, Infinity, a key twice."""
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("no file")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"> {_LARGEST} bytes")
    try:
        value = json.loads(content.decode(), parse_constant=_refuse, object_pairs_hook=_each_once)
    except RecursionError as error:
        raise ValueError("[[[[…") from error
    if not isinstance(value, dict):
        raise ValueError(repr(value)[:80])
    return value


def _check_names(content: Iterable[str]) -> None:
    names = set(content)
    known = {field.name for field in fields(Manifest)}
    needed = {field.name for field in fields(Manifest) if field.default is MISSING}
    if other := sorted((needed - names) | (names - known)):
        raise ValueError(", ".join(other)[:80])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError(", ".join(sorted(key for key, _ in pairs))[:80])
    return found


def _reason(error: Exception) -> str:
    """Without the path, which the sentence has already."""
    return str(getattr(error, "strerror", None) or error)


# ── What a value may be ──────────────────────────────────────────────────────
def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def _is_number(value: Any) -> bool:
    """Neither NaN nor infinite, and no truth value, which Python takes for 0 or 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MOST <= value <= _MOST


def _is_amount(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_amount(value)


def _lora_settings(lora: dict[str, Any]) -> LoraSettings:
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in lora.items()}
    return LoraSettings(**given)


def _is_base_model(value: Any) -> bool:
    """``revision`` may be missing; a name is no path from a root or a home."""
    if not isinstance(value, dict) or not all(map(_is_text, value.values())):
        return False
    known = value.keys() <= {"name", "revision", "tensors_sha256"}
    return known and value["name"][:1] not in ("", "/", "~") and _is_hash(value["tensors_sha256"] or "none")


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_record(is_value: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A dict of few such values."""
    return lambda given: (
        isinstance(given, dict) and len(given) <= 50 and all(_is_text(k) and is_value(v) for k, v in given.items())
    )


def _is_window(value: Any) -> bool:
    return _is_number(value) and 0 < value <= max(WINDOW_LADDER_S)


def _is_time(value: Any) -> bool:
    return _is_text(value) and 0 <= _timestamp(value) < _LATEST


def _timestamp(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@cache
def _languages() -> frozenset[str]:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return frozenset(LANGUAGES)


_FITS: dict[str, Callable[[Any], bool]] = {
    "patient_id": lambda value: isinstance(value, str),  # whose it has to be is asked by each reader
    "base_model": _is_base_model,
    "language": lambda value: value in _languages(),
    "window_s": _is_window,
    "lora": lambda value: isinstance(value, dict) and _lora_settings(value) is not None,
    "recordings": _is_count,
    "phrases": _is_count,
    "audio_seconds": _is_amount,
    "data_sha256": _is_hash,
    "run": lambda value: isinstance(value, str) and _RUN.fullmatch(value) is not None,
    "steps": _is_count,
    "seed": _is_count,
    "wall_seconds": _is_amount,
    "scores": _is_record(lambda value: value is None or _is_number(value)),
    "versions": _is_record(_is_text),
    "time": _is_time,
    "speech_bar": lambda value: _is_amount(value) and value <= 1,
    "schema": lambda value: repr(value) == repr(SCHEMA),
}
