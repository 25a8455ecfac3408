"""Lesson 07: the base model and the adapter on takes and phrases held back from training."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": (
        "another_ten",
        "before_after",
        "before_after_table",
        "clips_table",
        "diff_html",
        "diff_legend",
        "eight_of_ten",
        "eight_of_ten_words",
        "polarity_table",
    ),
    "logic": (
        "BeforeAfter",
        "CAREFUL_FROM",
        "Forgetting",
        "Usability",
        "RealTimeFactor",
        "Report",
        "Silence",
        "TestRow",
        "USABLE_FROM",
        "Verdict",
        "evaluate",
        "hear_test",
        "judge",
        "read_report",
        "test_clips",
        "transcribe_one",
    ),
    "recording_again": ("Advice", "Reason", "record_again"),
    "takes": ("Left", "Take", "Takes", "examine"),
    "view": ("check_test", "show_one_recording", "show_ten", "show_verdict"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
