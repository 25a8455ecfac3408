"""Lesson 10's QR codes: a key only when somebody asks for it, for one patient, and in no saved notebook."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.core.messages import message
from resonance_helpers.lessons.connect_app.phone_codes import PhoneCodes
from resonance_helpers.service.keys import KEYS_FILE, Keyring, read_keys

URL = "https://u12345-8000.proxy.example.com"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, tmp_path, "alice")


def plain(panel: PhoneCodes) -> str:
    InteractiveShell.instance()
    try:
        with capture_output() as captured:
            panel._ipython_display_()
    finally:
        InteractiveShell.clear_instance()  # other tests display as a plain script does
    return captured.outputs[0].data["text/plain"]


def test_nothing_is_made_or_shown_before_somebody_asks(workspace: Workspace) -> None:
    panel = PhoneCodes(workspace, URL)
    assert panel.shown.value == "" and not (workspace.output_dir / KEYS_FILE).exists()
    assert plain(panel) == message("widget.codes.plain", url=URL)


def test_each_code_has_a_key_of_its_own_for_this_patient_alone(workspace: Workspace) -> None:
    panel = PhoneCodes(workspace, f"{URL}/transcribe/")
    panel.buttons["page"].click()
    assert "<svg" in panel.shown.value and message("widget.codes.secret") in panel.shown.value
    page, app = panel.show("page"), panel.show("app")
    assert panel.show("page") == page, "looking twice makes no second key"
    assert page.startswith(f"{URL}/#key=") and not urlsplit(page).query and urlsplit(page).path == "/"
    assert app.startswith(f"{URL}/k/") and app.endswith("/transcribe")
    keyring = Keyring(file=workspace.output_dir / KEYS_FILE)
    keys = {"header": page.partition("#key=")[2], "address": app.split("/")[-2]}
    for place, key in keys.items():
        access = keyring.access(key, place)
        assert access and access.patients == {"alice"}
        assert key not in plain(panel)
    assert [key.note for key in read_keys(workspace.output_dir / KEYS_FILE)] == ["phone page", "app"]
    panel.buttons["hide"].click()
    assert panel.shown.value == ""


@pytest.mark.parametrize(
    ("url", "warning"),
    [
        ("http://127.0.0.1:8000", "loopback"),
        ("https://localhost", "loopback"),
        ("http://192.168.1.5", "http"),
        (URL, ""),
    ],
)
def test_what_a_phone_cannot_open_is_said(workspace: Workspace, url: str, warning: str) -> None:
    panel = PhoneCodes(workspace, url)
    panel.show("page")
    for name in ("loopback", "http"):
        assert (message(f"widget.codes.{name}") in panel.shown.value) == (name == warning)
    panel.show("app")
    assert message("widget.codes.http") not in panel.shown.value


def test_an_address_that_cannot_be_right_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ResonanceError, match="RZ-1001"):
        PhoneCodes(workspace, "u12345.proxy.example.com")


def test_a_broken_file_of_keys_is_a_sentence(workspace: Workspace) -> None:
    (workspace.output_dir / KEYS_FILE).write_text("{")
    panel = PhoneCodes(workspace, URL)
    panel.buttons["app"].click()
    assert "RZ-0928" in panel.shown.value
