"""Lesson 06: fine-tune Whisper with LoRA on the person's recordings."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("guesses_table", "presets_table", "training_curve"),
    "forecast": ("Outlook", "outlook"),
    "live_training": ("LiveTraining",),
    "logic": ("train",),
    "records": ("Event", "Guess", "Point", "TrainingResult", "latest_run", "read_run"),
    "view": ("check_training", "show_outlook", "show_training_facts"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
