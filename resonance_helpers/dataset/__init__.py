"""A person's recordings as data: labels, consent, the index of utterances, phrases, splits, duplicates."""

from ..core.lazy import lazy_names

_HOMES = {"index": ("load_utterances",), "labels": ("read_labels",), "splits": ("split_utterances",)}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
