"""Lesson 05: every recording as 16 kHz mono WAV, and what a sample rate keeps."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("rates_and_spectra", "rates_table"),
    "logic": (
        "ConversionResult",
        "ConvertedRow",
        "OnProgress",
        "RateComparison",
        "RateVersion",
        "Status",
        "compare_rates",
        "convert",
        "example",
        "write_versions",
    ),
    "view": ("check_conversion", "show_conversion", "show_players"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
