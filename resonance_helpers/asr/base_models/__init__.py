"""Find the weights of a base model, or fetch them, and say which ones they are.

A run without a network must work, and a run behind a slow one must say what it tried: so a folder comes first, then
whatever this machine already keeps, and only then the sources one after the other. What is fetched is checked against
the publisher's hashes and kept with the revision it had.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.messages import ResonanceError, message
from ...core.settings import DEFAULT_BASE_MODEL, PRACTICE_MODEL
from ...core.workspace import PRACTICE_MODEL_DIR, Workspace, read_json
from .sources import Source, default_sources, fetch_from_any
from .weights import SOURCE_FILE, missing_files, needed_files, parameter_count, tensors_sha256

__all__ = ["BaseModel", "Source", "default_name", "default_sources", "parameter_count", "resolve", "tensors_sha256"]

OWN_FOLDER_REVISION = "local"  # the revision of a folder that does not say where it came from
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SIZES = re.compile(r"(?:whisper-)?(tiny|base|small|medium|large|large-v2|large-v3|large-v3-turbo)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class BaseModel:
    """Weights on this machine. A manifest keeps ``name`` and ``revision``; ``folder`` is never written anywhere."""

    name: str
    revision: str
    folder: Path
    is_practice: bool


def default_name(workspace: Workspace, base_model: str = "") -> str:
    """``base_model`` as given; where it is empty the practice model for the sample, the guide's model for own data."""
    return base_model or (PRACTICE_MODEL if workspace.is_sample else DEFAULT_BASE_MODEL)


def resolve(
    name_or_dir: str,
    cache_dir: Path,
    sources: Sequence[Source] | None = None,
    on_message: Callable[[str], None] | None = None,
) -> BaseModel:
    """The base model that ``name_or_dir`` means: the practice model, a folder, ``owner/name`` or a size (``small``).

    What has to be fetched goes to ``cache_dir``; ``sources`` are tried in order (default: :func:`default_sources`) and
    ``on_message`` hears what is tried and why it failed. Raises RZ-0650 (no source had it), RZ-0651 (a folder without a
    whole model), RZ-0652 (neither a folder nor a name), RZ-0004 (disk full).
    """
    if name_or_dir == PRACTICE_MODEL:
        return _from_folder(PRACTICE_MODEL_DIR)
    folder = Path(name_or_dir).expanduser()
    if name_or_dir and folder.is_dir():
        return _from_folder(folder.resolve())
    name = _full_name(name_or_dir)
    own = cache_dir / name.replace("/", "--")
    for candidate in (own, *_other_caches(name)):
        if not missing_files(candidate):
            return BaseModel(name, _identity(candidate)[1], candidate, is_practice=False)
    fetch_from_any(name, own, default_sources() if sources is None else sources, on_message or (lambda sentence: None))
    return BaseModel(name, _identity(own)[1], own, is_practice=False)


def _from_folder(folder: Path) -> BaseModel:
    missing = missing_files(folder)
    if missing:
        raise ResonanceError("RZ-0651", path=folder, missing=message("list.comma").join(missing))
    if folder == PRACTICE_MODEL_DIR.resolve():
        return BaseModel(PRACTICE_MODEL, _identity(folder)[1], folder, is_practice=True)
    return BaseModel(*_identity(folder), folder, is_practice=False)


def _full_name(given: str) -> str:
    if size := _SIZES.fullmatch(given):
        return f"openai/whisper-{size[1]}"
    if not _NAME.fullmatch(given):
        raise ResonanceError("RZ-0652", given=given)
    return given


def _identity(folder: Path) -> tuple[str, str]:
    """Name and revision of the weights in ``folder``, without its path: as recorded at fetching, as the hub's cache
    arranges its folders, as the config says, or only the folder's own name."""
    try:
        record = read_json(folder / SOURCE_FILE, "name", "revision")
        return record["name"], record["revision"]
    except FileNotFoundError:
        pass  # not fetched by us
    cached = folder.parent.parent.name  # …/models--owner--name/snapshots/<commit>
    if cached.startswith("models--") and _COMMIT.fullmatch(folder.name):
        return cached.removeprefix("models--").replace("--", "/", 1), folder.name
    said = read_json(folder / "config.json", an_object=True).get("_name_or_path", "")
    return (said if _NAME.fullmatch(said) else folder.name), OWN_FOLDER_REVISION


def _other_caches(name: str) -> list[Path]:
    """Where libraries keep ``name`` if they have fetched it: Hugging Face's cache, then ModelScope's three layouts."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folders = []
    try:
        patterns = list(needed_files())
        folders.append(
            Path(
                snapshot_download(
                    name, cache_dir=constants.HF_HUB_CACHE, local_files_only=True, allow_patterns=patterns
                )
            )
        )
    except LocalEntryNotFoundError:
        pass  # not in that cache: the usual case
    root = Path(os.environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope").expanduser()
    for theirs in dict.fromkeys((name, *(source.their_name(name) for source in default_sources()))):
        owner, model = theirs.split("/", 1)
        legacy = Path(owner, model.replace(".", "___"))
        folders += [
            root / "models" / theirs.replace("/", "--") / "snapshots" / "master",
            root / "models" / legacy,
            root / "hub" / "models" / legacy,
        ]
    return folders
