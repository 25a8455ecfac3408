"""What several lessons' views share: HTML, plots, fonts, progress, errors, forms without a kernel."""

from ..core.lazy import lazy_names

_HOMES = {
    "errors": ("install_friendly_errors",),
    "guide": ("closing", "cost_table", "expected_effect_table", "faq", "success_mark", "timeline_table"),
    "html": ("Markup", "Svg", "table_html"),
    "lesson": ("show_in_terminal", "show_script", "show_workspace"),
    "output": ("check", "html_table", "player", "say", "service_log", "show_link"),
    "plots": ("Picture",),
    "progress_bar": ("progress",),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
