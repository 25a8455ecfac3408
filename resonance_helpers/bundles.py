"""The zip of lesson 08 as it comes from elsewhere: one patient's adapter and nothing that could run.

Read from its files alone: whether the weights fit the model is seen when they are loaded (``adapter.load``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError, safe_open

from .adapter import CONFIG, MANIFEST, WEIGHTS, Manifest, read_manifest
from .archives import UnpackLimits, unpack
from .messages import ResonanceError
from .settings import WINDOW_LADDER_S
from .workspace import check_patient_id

NEEDED = (WEIGHTS, CONFIG, MANIFEST)
CHECKSUMS, README, CARD = "SHA256SUMS", "README.md", "MODEL_CARD.md"  # what lesson 08 adds for people
# whisper-small's adapter is 26 MB of weights, 5 MB of words, a dozen files; whisper-large's weights are four times that
LIMITS = UnpackLimits(files=40, file_bytes=256 * 1024 * 1024, all_bytes=320 * 1024 * 1024, ratio=50)
_PROCESSOR = (".json", ".txt")  # its files have other names in each version of transformers
_BASE = ("name", "tensors_sha256")  # what a base model is known by


def unpack_adapter(bundle: Path | BinaryIO, folder: Path, needed: tuple[str, ...] = NEEDED) -> tuple[Path, Manifest]:
    """Unpack a bundle into ``folder``, new or empty: the folder of the adapter in it, and its manifest.

    Checksums are compared where the bundle has them; ``needed`` may name their file. Raises what ``archives.unpack``
    and ``verify`` raise, RZ-0941 (a file that has no place in an adapter), RZ-0942 (one that is missing), RZ-0943 (not
    as its checksum says).
    """
    files = unpack(bundle, folder, LIMITS)
    adapter = next((file.parent for file in sorted(files, key=lambda file: file.name != MANIFEST)), folder)
    for file in files:
        inside = file.relative_to(folder)
        if file.parent != adapter or len(inside.parts) > 2 or not belongs(file.name):
            raise ResonanceError("RZ-0941", file=inside.as_posix())
    for name in needed:
        if adapter / name not in files:
            raise ResonanceError("RZ-0942", file=name)
    _check_sums(adapter)
    return adapter, verify(adapter)


def verify(folder: Path) -> Manifest:
    """The manifest in ``folder``, looked at as closely as what a stranger sends.

    Raises RZ-0002 (no pseudonym), RZ-0944 (a manifest that isn't one, weights that are no safetensors).
    """
    try:
        manifest = read_manifest(folder)
        base = [manifest.base_model.get(key) for key in _BASE]
        if not (all(isinstance(value, str) for value in base) and 0 < manifest.window_s <= max(WINDOW_LADDER_S)):
            raise ValueError(manifest)
    except (ResonanceError, ValueError, RecursionError) as error:
        raise ResonanceError("RZ-0944", file=MANIFEST) from error
    check_patient_id(manifest.patient_id)
    try:
        with safe_open(folder / WEIGHTS, "numpy") as weights:
            if not weights.keys():
                raise ValueError(WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ResonanceError("RZ-0944", file=WEIGHTS) from error
    return manifest


def belongs(name: str) -> bool:
    """Whether a file of this name has a place in an adapter."""
    return name in (*NEEDED, CHECKSUMS, README, CARD) or Path(name).suffix in _PROCESSOR


def _check_sums(folder: Path) -> None:
    if not (folder / CHECKSUMS).exists():
        return
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    said = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {file.name: _sha256(file) for file in folder.iterdir() if file.name != CHECKSUMS}
    for name in sorted(said.keys() | found.keys()):
        if said.get(name) != found.get(name):
            raise ResonanceError("RZ-0943", file=name[:100])


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
