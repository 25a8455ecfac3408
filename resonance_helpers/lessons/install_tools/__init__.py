"""Lesson 03: the packages that the course needs, checked and proved by importing them."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("requirements_table_html",),
    "logic": (
        "EXTRAS",
        "Find",
        "PROVEN",
        "Proof",
        "Requirement",
        "Status",
        "TorchAdvice",
        "TorchBuild",
        "WIDGETS_EXTENSION",
        "WIDGETS_EXTENSION_NEEDED",
        "all_ok",
        "check",
        "direct_dependencies",
        "find_widgets_extension",
        "installed",
        "kernel_command",
        "prove",
        "read_constraints",
        "recommend_torch",
        "satisfies",
        "server_python",
        "setup_command",
        "summary",
        "torch_builds",
    ),
    "view": ("check_environment", "show_torch_builds"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
