"""Lesson 08: one zip with everything that another machine needs, apart from the base model, and the way back in; and
whole models for programs that know nothing of adapters."""

from .bundle import Export, export_adapter
from .place import KINDS
from .taking_in import Imported, import_bundle
from .whole import ExportedModel, Offer, export_model, export_models, offers

__all__ = [
    "KINDS",
    "Export",
    "ExportedModel",
    "Imported",
    "Offer",
    "export_adapter",
    "export_model",
    "export_models",
    "import_bundle",
    "offers",
]
