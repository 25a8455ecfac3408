"""Lesson 09: start the service, ask it, read its log."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("TimedAnswer", "latency", "requests_table", "where_things_run"),
    "service_panel": ("ServicePanel",),
    "try_it": ("TryIt",),
    "view": (
        "Asked",
        "check_service",
        "expect_refusal",
        "show_doors",
        "show_service",
        "show_serving_commands",
        "show_unit",
        "show_where_it_runs",
    ),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
