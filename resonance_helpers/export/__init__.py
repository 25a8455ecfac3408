"""Lesson 08: one zip with everything that another machine needs, apart from the base model, and the way back in."""

from .bundle import Export, export_adapter
from .taking_in import Imported, import_bundle

__all__ = ["Export", "Imported", "export_adapter", "import_bundle"]
