"""Lesson 10: an app is a POST with a file; connect one by code, phone page or tunnel."""

from ...core.lazy import lazy_names

_HOMES = {
    "logic": ("copy_without", "correct"),
    "charts": ("qr_card",),
    "phone_codes": ("PhoneCodes",),
    "view": (
        "check_answer",
        "check_correction",
        "show_answer",
        "show_app_address",
        "show_request",
        "show_service_check",
        "show_files_made",
    ),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
