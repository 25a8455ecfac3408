"""What the notebooks show while they run. Everything has a plain form too, so that an executed notebook is readable.

Lessons 01–03 run before ipywidgets is installed, so each name is loaded from its module when it is first asked for;
only the forms and buttons need ipywidgets.
"""

from ..lazy import lazy_names

_HOMES = {
    "errors": ("install_friendly_errors",),
    "lines": ("check", "html_table", "player", "say", "service_log"),
    "lesson": ("show_in_terminal", "show_script", "show_workspace"),
    "setting_up": (
        "check_connection",
        "check_environment",
        "check_gpu",
        "show_gpu_verdict",
        "show_machine",
        "show_place",
        "show_torch_builds",
        "show_ways",
    ),
    "collecting": (
        "LabelEditor",
        "check_conversion",
        "check_recordings",
        "show_conversion",
        "show_folder",
        "show_labels",
        "show_players",
    ),
    "learning": (
        "check_test",
        "check_training",
        "show_link",
        "show_one_recording",
        "show_outlook",
        "show_ten",
        "show_training_facts",
        "show_verdict",
    ),
    "serving": (
        "Asked",
        "check_answer",
        "check_bundle",
        "check_models",
        "check_service",
        "check_whole_way",
        "expect_refusal",
        "show_answer",
        "show_app_address",
        "show_bundle",
        "show_doors",
        "show_models",
        "show_request",
        "show_service",
        "show_service_check",
        "show_serving_commands",
        "show_unit",
        "show_where_it_runs",
        "show_whole_way",
    ),
    "progress_bar": ("progress",),  # not progress.py: once imported it would stand in front of the function
    "live_training": ("LiveTraining",),
    "recordings": ("show_hints", "show_recordings"),
    "long_recording": ("LongRecording",),
    "import_labels": ("ImportLabels",),
    "take_in": ("TakeIn",),
    "recorder": ("Recorder",),
    "second_opinion": ("SecondOpinion",),
    "phrase_list": ("PhraseList", "show_phrases"),
    "codes": ("PhoneCodes",),
    "consent_form": ("ConsentForm",),
    "forgetting": ("ForgetForm",),
    "try_it": ("TryIt",),
    "service_panel": ("ServicePanel",),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
