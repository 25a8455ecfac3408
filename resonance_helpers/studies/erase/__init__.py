"""Erase a person: find what the project keeps of them, remove it, say what is out of reach."""

from ...core.lazy import lazy_names

_HOMES = {
    "folders": ("Piece",),
    "forget": ("Erasure", "Found", "Removed"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
