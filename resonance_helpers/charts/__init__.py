"""Pictures of what the rooms returned; they compute nothing that a room should know.

Figures are matplotlib's; pictures for lessons 01–03 are SVG and HTML made with the standard library, because
matplotlib is not installed yet. So each name is loaded from its module when it is first asked for.
"""

from ..lazy import lazy_names

_HOMES = {
    "markup": ("Markup", "Svg", "table_html"),
    "svg": ("memory_bars_svg", "requirements_table_html", "tunnel_svg"),
    "guide": ("closing", "cost_table", "expected_effect_table", "faq", "success_mark", "timeline_table"),
    "style": ("Picture",),
    "data": ("close_up", "rates_and_spectra", "rates_table", "waveforms"),
    "training": ("guesses_table", "presets_table", "training_curve"),
    "testing": (
        "another_ten",
        "before_after",
        "before_after_table",
        "clips_table",
        "diff_html",
        "diff_legend",
        "eight_of_ten",
        "eight_of_ten_words",
        "flips_table",
    ),
    "reading_list": ("write_reading_list",),
    "sounds": ("sounds_covered",),
    "curves": ("learning_curve_chart", "learning_curve_lines"),
    "serving": (
        "Answer",
        "WholeWay",
        "answered_table",
        "bundle_sizes",
        "bundle_table",
        "latency",
        "offers_table",
        "qr_card",
        "requests_table",
        "where_things_run",
        "whole_way_stations",
    ),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
