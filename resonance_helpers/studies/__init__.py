"""Whole runs over several lessons: the lessons in order, the learning curve, cross-validation, erasing a person.

Each is loaded when it is first asked for: a learning curve needs no papermill, a run of lessons no training."""

from ..core.lazy import lazy_names

_HOMES = {
    "charts": ("learning_curve_chart", "learning_curve_lines"),
    "cross_validation": ("CrossValidation", "cross_validate"),
    "curve": ("LearningCurve", "learning_curve"),
    "erase.forget": ("Erasure", "Found", "Removed"),
    "lessons": ("LessonResult", "OnLesson", "Summary", "lesson_paths", "read_summary", "run_lessons"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
