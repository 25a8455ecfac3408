"""Lesson 04: from nothing to a checked set of recordings with their texts and a consent."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("close_up", "waveforms"),
    "checking": ("Notice", "RecordingsCheck", "Row", "Totals", "check"),
    "clip_view": ("CloseUp", "close_up"),
    "consent_form": ("ConsentForm",),
    "forget_form": ("ForgetForm",),
    "hints": ("Hint", "hear"),
    "hints_form": ("SecondOpinion",),
    "intake_form": ("TakeIn",),
    "label_import": (),
    "label_import_form": ("ImportLabels",),
    "long_recording_form": ("LongRecording",),
    "phrase_list_form": ("PhraseList", "show_phrases"),
    "reading_list": ("write_reading_list",),
    "recorder": ("Recorder",),
    "session": ("Session",),
    "sounds_chart": ("sounds_covered",),
    "view": ("LabelEditor", "check_recordings", "show_folder", "show_hints", "show_labels", "show_recordings"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
