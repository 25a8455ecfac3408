"""The forms of requests: read leniently where the meaning is plain, and else refused with what is wrong with this one.

By itself FastAPI takes any body that is no form for an empty form, and Starlette takes a recording without a filename
for text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from ..core.messages import ResonanceError, message
from .problems import language_for

RECORDING = "file"  # the field that is a file, whatever its part of the form says
LIMITS: Any = {"max_files": 1, "max_fields": 64}  # the type of FastAPI's form_limits is private
MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
NO_FORM, CUT_SHORT = "No form", "Cut short"
_REASONS = {  # how the detail of a 400 begins, here or in Starlette → what we say
    NO_FORM: "service.form.kind",
    CUT_SHORT: "service.form.cut",
    "Missing boundary": "service.form.boundary",
    "Too many files": "service.form.files",
    "Too many fields": "service.form.fields",
    "Part exceeded": "service.form.large",
    "Field exceeded": "service.form.large",
    "The Content-Disposition": "service.form.name",
}
_NAME = re.compile(r"[\w.\[\]-]{1,32}")


# ── Reading ──────────────────────────────────────────────────────────────────
class FormRoute(APIRoute):
    """A route whose form is read here. Raises HTTPException 400 for one that can't be read: see ``unreadable``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def read_first(request: Request) -> Response:
            if self.body_field:
                request._form = await _read(request)  # what FastAPI's own request.form() then gives
            return await answer(request)

        return read_first


async def _read(request: Request) -> FormData:
    kind = _kind(request)
    if kind == URLENCODED:
        return await request.form(**LIMITS)
    if kind != MULTIPART:
        raise HTTPException(400, NO_FORM)
    async with aclosing(request.stream()) as stream:
        parts = _Parts(request.headers, stream, **LIMITS)
        try:
            form = await parts.parse()
        except MultiPartException as error:
            raise HTTPException(400, error.message) from error
    if not parts.is_whole:
        await form.close()
        raise HTTPException(400, CUT_SHORT)
    return form


class _Parts(MultiPartParser):
    """Starlette's parser, for which the recording is a file also where its part has no filename or only ``filename*``,
    and which knows whether the form ended."""

    is_whole = False

    def on_headers_finished(self) -> None:
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        if options.get(b"name") == RECORDING.encode() and not options.get(b"filename"):
            part.content_disposition = (part.content_disposition or b"") + b'; filename="recording"'
        super().on_headers_finished()

    def on_end(self) -> None:
        self.is_whole = True


# ── Refusing ─────────────────────────────────────────────────────────────────
def unreadable(request: Request, detail: str) -> ResonanceError:
    """RZ-0910 for a form that can't be read; ``detail`` is that of the HTTPException."""
    kind = _kind(request)
    if kind == URLENCODED:  # which is what curl calls a recording that it is to send as it is
        detail = NO_FORM
    key = next((key for start, key in _REASONS.items() if detail.startswith(start)), "service.form.broken")
    reason = _said(request, key, kind=kind[:64] or "–", most=LIMITS["max_fields"])
    return ResonanceError("RZ-0910", reason=reason, fields=_fields(request))


def wrong_field(request: Request, error: RequestValidationError) -> ResonanceError:
    """RZ-0903 for the first field that is missing or wrong."""
    first = error.errors()[0]
    field, value, about = str(first["loc"][-1]), first["input"], first.get("ctx", {})
    match first["type"]:
        case "missing":
            found = [name if _NAME.fullmatch(name) else "…" for name in list(error.body)[:8]]
            key = "service.field.no_file" if field == RECORDING else "service.field.missing"
            reason = _said(request, key, found=", ".join(found) or "–", kind=_kind(request))
        case "literal_error" | "bool_parsing":
            allowed = re.findall(r"'([^']+)'", about.get("expected", "'true', 'false'"))
            reason = _said(request, "service.field.value", value=str(value)[:64], allowed=", ".join(allowed))
        case "string_too_long":
            reason = _said(request, "service.field.long", most=about["max_length"])
        case _:
            reason = _said(request, "service.field.text" if isinstance(value, UploadFile) else "service.field.file")
    return ResonanceError("RZ-0903", field=field, reason=reason, fields=_fields(request))


def wordless(request: Request, field: str) -> ResonanceError:
    """RZ-0903 for a text in which nothing is said."""
    reason = _said(request, "service.field.wordless")
    return ResonanceError("RZ-0903", field=field, reason=reason, fields=_fields(request))


def _said(request: Request, key: str, **facts: Any) -> str:
    return message(key, lang=language_for(request.scope), **facts)


def _kind(request: Request) -> str:
    return parse_options_header(request.headers.get("content-type"))[0].decode("latin-1")


def _fields(request: Request) -> str:
    dependant = getattr(request.scope.get("route"), "dependant", None)
    return ", ".join(field.alias for field in dependant.body_params) if dependant else "–"
