"""Whole runs over several rooms: the lessons in order, the learning curve, cross-validation, the whole way of
one recording, forgetting a person.

Each is loaded when it is first asked for: a learning curve needs no papermill, a run of lessons no training.
"""

from ..lazy import lazy_names

_HOMES = {
    "lessons": ("LessonResult", "OnLesson", "Summary", "lesson_paths", "read_summary", "run_lessons"),
    "curve": ("LearningCurve", "learning_curve"),
    "once": ("whole_way",),
    "folds": ("CrossValidation", "cross_validate"),
    "forgetting": ("Forgetting", "Found", "Removed"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
