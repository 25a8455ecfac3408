"""The zip of lesson 08 as it comes from elsewhere: one patient's adapter and nothing that could run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from ..core.archives import UnpackLimits, unpack
from ..core.messages import ResonanceError
from . import adapter
from .manifest import ADAPTER_FILES, MANIFEST, Manifest

CHECKSUMS, README, CARD = "SHA256SUMS", "README.md", "MODEL_CARD.md"  # what lesson 08 adds for people
# whisper-small's adapter is 26 MB of weights, 5 MB of words, a dozen files; whisper-large's weights are four times that
LIMITS = UnpackLimits(files=40, file_bytes=256 * 1024 * 1024, all_bytes=320 * 1024 * 1024, ratio=50)
_PROCESSOR = (".json", ".txt")  # its files have other names in each version of transformers


def unpack_adapter(
    bundle: Path | BinaryIO, folder: Path, needed: tuple[str, ...] = ADAPTER_FILES, cache: Path | None = None
) -> tuple[Path, Manifest]:
    """Unpack a bundle into ``folder``, new or empty: the folder of the adapter in it, and its manifest.

    Checksums are compared where the bundle has them; ``needed`` may name their file, and ``cache`` is where fetched
    base models lie, if any do. Raises what ``archives.unpack``
    and ``verify`` raise, RZ-0941 (a file that has no place in an adapter), RZ-0942 (one that is missing), RZ-0943 (not
    as its checksum says).
    """
    files = unpack(bundle, folder, LIMITS)
    home = next((file.parent for file in sorted(files, key=lambda file: file.name != MANIFEST)), folder)
    for file in files:
        inside = file.relative_to(folder)
        if file.parent != home or len(inside.parts) > 2 or not belongs(file.name):
            raise ResonanceError("RZ-0941", file=inside.as_posix())
    for name in needed:
        if home / name not in files:
            raise ResonanceError("RZ-0942", file=name)
    _check_sums(home)
    return home, verify(home, cache)


def verify(folder: Path, cache: Path | None = None) -> Manifest:
    """The manifest of the adapter in ``folder``, which has passed ``adapter.verify``.

    Raises RZ-0002 (no pseudonym) and RZ-0944, which names no path.
    """
    try:
        return adapter.verify(folder, cache).manifest
    except ResonanceError as error:
        if error.code == "RZ-0002":
            raise
        detail = error.facts.get("detail", error.facts.get("found"))
        file = detail if error.code == "RZ-0614" else f"{MANIFEST} ({detail})"
        raise ResonanceError("RZ-0944", file=file) from error


def belongs(name: str) -> bool:
    """Whether a file of this name has a place in an adapter."""
    return name in (*ADAPTER_FILES, CHECKSUMS, README, CARD) or Path(name).suffix in _PROCESSOR


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
