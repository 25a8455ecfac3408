"""How an error leaves the service: a status, and ``{"code", "detail"}`` in the language of who asked.

Below ``/v1`` it is in OpenAI's form, ``{"error": {"message", "type", "param", "code"}}``, which their clients read.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Scope

from ..core.messages import LANGUAGES, Language, ResonanceError, language, message

log = logging.getLogger("resonance.service")

# What a client may read, and the status it comes with. Every other code is for the operator alone: it may name paths.
STATUS = {
    "RZ-0416": 422,  # what was meant: nothing that can be said
    "RZ-0480": 422,  # a broken character
    "RZ-0481": 422,  # a command of the model
    "RZ-0482": 422,  # too long
    "RZ-0501": 422,  # empty
    "RZ-0502": 422,  # not audio
    "RZ-0503": 422,  # cut short
    "RZ-0504": 413,  # too long for the service
    "RZ-0506": 422,  # a header that no microphone wrote
    "RZ-0509": 413,  # more samples than a recording may hold
    "RZ-0530": 422,  # a voice message of WeChat
    "RZ-0531": 422,  # encrypted
    "RZ-0532": 422,  # too short for a syllable
    "RZ-0602": 413,  # too long for the model
    "RZ-0901": 401,
    "RZ-0902": 413,
    "RZ-0903": 400,
    "RZ-0904": 404,
    "RZ-0905": 400,
    "RZ-0906": 429,
    "RZ-0907": 422,
    "RZ-0908": 404,
    "RZ-0909": 500,
    "RZ-0910": 400,
    "RZ-0911": 503,
    "RZ-0912": 400,
    "RZ-0913": 422,
    "RZ-0914": 503,
    "RZ-0915": 408,
    "RZ-0916": 404,
    "RZ-0917": 404,
    "RZ-0918": 409,
    "RZ-0960": 405,
    "RZ-0961": 404,
    "RZ-0970": 422,  # a recording at which decoding fails in an unforeseen way
}
PREFIX_OPENAI = "/v1"


def problem(error: ResonanceError, scope: Scope) -> JSONResponse:
    """The response that says ``error``, one of ``STATUS``, to the request of ``scope``."""
    detail = message(error.code, lang=language_for(scope), **error.facts)
    status = STATUS[error.code]
    extra = {"Cache-Control": "no-store"}
    if error.code == "RZ-0901":
        extra["WWW-Authenticate"] = "Bearer"
    if error.code in ("RZ-0906", "RZ-0911", "RZ-0914"):
        extra["Retry-After"] = str(error.facts["seconds"])
    content: dict[str, Any] = {"code": error.code, "detail": detail}
    if scope["path"].startswith(f"{PREFIX_OPENAI}/"):
        kind = "server_error" if status >= 500 else "invalid_request_error"
        field = error.facts.get("field")
        content = {"error": {"message": detail, "type": kind, "param": field, "code": error.code}}
    return JSONResponse(content, status, extra)


def log_failure(error: Exception) -> None:
    """Where ``error`` happened, without its words: they may quote what was said. Our own sentences never do."""
    what = str(error) if isinstance(error, ResonanceError) else type(error).__name__
    log.error("%s\n%s", what, "".join(traceback.format_tb(error.__traceback__)))


def language_for(scope: Scope) -> Language:
    """The language in which the request of ``scope`` wants to be answered."""
    return language_of(Headers(scope=scope).get("accept-language", ""))


def language_of(accept_language: str) -> Language:
    """The first of our languages in an ``Accept-Language`` header by its weights; the server's own where none is."""
    wishes = sorted(_wishes(accept_language), key=lambda wish: -wish[1])
    return next((lang for tag, weight in wishes if weight > 0 for lang in LANGUAGES if tag == lang), language())


def _wishes(accept_language: str) -> Iterable[tuple[str, float]]:
    for part in accept_language.lower().split(","):
        tag, _, weight = part.partition(";")
        try:
            yield tag.strip().split("-")[0], float(weight.strip().removeprefix("q=") or 1)
        except ValueError:  # a weight that is no number: not a wish that we can read
            continue
