"""Lesson 08: one zip with everything that another machine needs apart from the base model, its import, and merged
models for programs that know no adapters."""

from ...core.lazy import lazy_names

_HOMES = {
    "bundle": ("Export", "export_adapter"),
    "charts": ("bundle_sizes", "bundle_table", "offers_table"),
    "importing": ("Imported", "import_bundle"),
    "merged": ("ExportedModel", "Offer", "export_model", "export_models", "offers"),
    "place": ("KINDS",),
    "view": ("check_bundle", "check_models", "show_bundle", "show_models"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
