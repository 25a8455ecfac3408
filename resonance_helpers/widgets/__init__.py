"""What the notebooks show while they run. Everything has a plain form too, so that an executed notebook is readable.

Lessons 01–03 run before ipywidgets is installed, so each name is loaded from its module when it is first asked for;
only the forms and buttons need ipywidgets.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "errors": ("install_friendly_errors",),
    "lines": ("check", "html_table", "player", "say", "service_log"),
    "lesson": ("show_script", "show_workspace"),
    "setting_up": ("check_connection", "show_place", "show_ways"),
    "progress": ("progress",),
    "live_training": ("LiveTraining",),
    "recordings": ("show_recordings",),
    "consent_form": ("ConsentForm",),
    "try_it": ("TryIt",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
