"""Lesson 04: from nothing to a checked set of recordings with their texts and a consent."""

from ...core.lazy import lazy_names

_HOMES = {
    "charts": ("draw_clip_view", "waveforms"),
    "checking": ("Notice", "RecordingsCheck", "RecordingRow", "Totals", "check"),
    "clip_view": ("ClipView", "load_clip_view"),
    "consent_form": ("ConsentForm",),
    "forget_form": ("ForgetForm",),
    "hints": ("Hint", "hear"),
    "hints_form": ("SecondOpinion",),
    "intake_form": ("TakeIn",),
    "label_import": (),
    "label_import_form": ("ImportLabels",),
    "long_recording_form": ("LongRecordingForm",),
    "phrase_list_form": ("PhraseList", "show_phrases"),
    "reading_list": ("write_reading_list",),
    "recorder": ("Recorder",),
    "session": ("Session",),
    "sounds_chart": ("sounds_covered",),
    "view": ("LabelEditor", "check_recordings", "show_folder", "show_hints", "show_labels", "show_recordings"),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
