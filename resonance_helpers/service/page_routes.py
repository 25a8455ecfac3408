"""The phone page at ``/``: plain files of this package and its sentences in both languages. None of it needs a key.

The key never comes here with the page: it stands behind the # of the link, which a browser keeps to itself, and the
page sends it in a header with each recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ..core.messages import LANGUAGES, catalogue
from ..core.settings import PRACTICE_MODEL, ServiceSettings
from .registry import AdapterRegistry

ABOUT = "about.json"
PREFIX = "page."  # of the page's sentences
_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = {
    entry.name: (entry.read_bytes(), _TYPES[entry.name.rpartition(".")[2]])
    for entry in (resources.files(__package__) / "page").iterdir()
    if entry.is_file()
}
INDEX = "index.html"
PATHS = frozenset({"/", *(f"/page/{name}" for name in (*_FILES, ABOUT) if name != INDEX)})
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class About(BaseModel):
    """What the page knows before it asks anything with a key."""

    practice: bool  # whether the model is the one for rehearsal
    longest_s: float  # of a recording
    texts: dict[str, dict[str, str]]  # language → key without "page." → sentence; {facts} are filled in by the page


class Phrases(BaseModel):
    """What the patient has recorded so far."""

    phrases: list[str] = Field(description="Each phrase once, in the order of labels.json.")


def routes(
    registry: AdapterRegistry,
    phrases_of: Callable[[str], list[str]],
    settings: ServiceSettings,
    responses: dict[int | str, dict[str, Any]],
    dependencies: Sequence[Any],
) -> APIRouter:
    """``phrases_of`` a patient raises RZ-0917 where corrections are not allowed."""
    router = APIRouter()
    about = About(practice=registry.base_model == PRACTICE_MODEL, longest_s=settings.max_audio_s, texts=_texts())

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file(INDEX)

    @router.get(f"/page/{ABOUT}", include_in_schema=False)
    async def tell() -> About:
        return about

    @router.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if f"/page/{name}" not in PATHS:
            raise HTTPException(404)
        return _file(name)

    @router.get("/phrases", responses=responses, dependencies=dependencies)
    def phrases(request: Request) -> Phrases:
        """The phrases to choose from when an answer is put right. Only for a key of one patient, with their consent."""
        return Phrases(phrases=phrases_of(registry.choose(None, request.state.access)))

    return router


def _file(name: str) -> Response:
    content, kind = _FILES[name]
    return Response(content, media_type=kind, headers=HEADERS)


def _texts() -> dict[str, dict[str, str]]:
    ours = {key.removeprefix(PREFIX): both for key, both in catalogue().items() if key.startswith(PREFIX)}
    return {lang: {key: both[lang] for key, both in ours.items()} for lang in LANGUAGES}
