"""Lesson 04's form: who agrees to what. It writes only when the button is pressed, and never silently over another."""

from __future__ import annotations

from datetime import date

import ipywidgets as widgets
from IPython.display import display

from ...core.messages import ResonanceError, message
from ...core.workspace import Workspace, locked
from ...dataset.consent import PURPOSES, VERSION, Consent, write_consent
from ...ui.fallback import bundle
from ...ui.html import escape

WIDE = {"width": "560px"}  # each widget makes a layout of its own from it, which can be hidden alone
STYLE = {"description_width": "180px"}


class ConsentForm:
    """``ConsentForm(workspace)`` as the last line of a cell shows the form."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.person = _text("person", workspace.patient_id)
        self.person.disabled = True  # by it the recordings are known to be the patient's
        self.given_by = _text("given_by")
        self.relationship = _text("relationship")
        self.assent = _tick("assent")
        self.purposes = {name: _tick(f"purpose.{name}", message(f"consent.purpose.{name}")) for name in PURPOSES}
        self.processor = _text("processor")
        self.replace = _tick("replace")
        self.replace.layout.display = "none"  # appears when there is something to replace
        self.button = widgets.Button(description=message("widget.consent.save"), button_style="primary")
        self.answer = widgets.HTML()
        self.button.on_click(self._save)
        self.box = widgets.VBox(
            [
                _words("intro"),
                self.person,
                self.given_by,
                self.relationship,
                _words("assent.how"),
                self.assent,
                _words("purposes"),
                *self.purposes.values(),
                self.processor,
                _words("withdraw"),
                self.replace,
                self.button,
                self.answer,
            ]
        )

    def _ipython_display_(self) -> None:
        display(bundle(self.box), raw=True)

    def consent(self) -> Consent:
        """What the form says now. Raises RZ-0413 for a field that says nothing."""
        return Consent(
            version=VERSION,
            person=self.person.value.strip(),
            given_by=self.given_by.value.strip(),
            relationship=self.relationship.value.strip(),
            assent=self.assent.value,
            purposes=tuple(name for name, tick in self.purposes.items() if tick.value),
            processor=self.processor.value.strip(),
            date=date.today().isoformat(),
        )

    def _save(self, _: widgets.Button) -> None:
        path = self.workspace.consent
        try:
            with locked(path):
                if path.exists() and not self.replace.value:
                    self.replace.layout.display = ""
                    self._say("❌", message("widget.consent.exists", path=path))
                    return
                write_consent(path, self.consent())
        except ResonanceError as error:
            self._say("❌", str(error))
            return
        self.replace.value = False
        self._say("✅", message("widget.consent.saved", path=path))

    def _say(self, mark: str, text: str) -> None:
        self.answer.value = f"<p>{mark} {escape(text)}</p>"


def _text(name: str, value: str = "") -> widgets.Text:
    hint = message(f"widget.consent.{name}.hint")
    label = message(f"widget.consent.{name}")
    return widgets.Text(value=value, description=label, placeholder=hint, layout=WIDE, style=STYLE)


def _tick(name: str, label: str = "") -> widgets.Checkbox:
    return widgets.Checkbox(description=label or message(f"widget.consent.{name}"), indent=False, layout=WIDE)


def _words(name: str) -> widgets.HTML:
    return widgets.HTML(f"<p>{escape(message(f'widget.consent.{name}'))}</p>")
