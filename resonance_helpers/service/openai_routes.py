"""The routes of OpenAI's transcription API, for apps that were written for it: there ``model`` is the patient.

What their API can and ours cannot is refused by name, never ignored: an app that asked for the times of words should
not believe that it got them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from ..messages import ResonanceError
from ..text import show
from .engine import Answer
from .problems import PREFIX_OPENAI
from .registry import AdapterRegistry

Format = Literal["json", "text", "verbose_json", "srt", "vtt"]
FIELDS = ("file", "model", "language", "prompt", "response_format", "temperature")


class Model(BaseModel):
    """A patient, as OpenAI's API lists models."""

    id: str = Field(description="The patient id.")
    object: Literal["model"] = "model"
    created: int = Field(description="When the adapter was trained, in seconds since 1970.")
    owned_by: Literal["resonance"] = "resonance"


class Models(BaseModel):
    """The patients that the key speaks for."""

    object: Literal["list"] = "list"
    data: list[Model]


class Refusal(BaseModel):
    """Why there is no answer."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class Refused(BaseModel):
    """An error in OpenAI's form."""

    error: Refusal


def routes(
    registry: AdapterRegistry,
    answer: Callable[[Request, UploadFile, str], Awaitable[tuple[Answer, dict[str, str]]]],
    statuses: Iterable[int | str],
    **common: Any,
) -> APIRouter:
    """``GET /v1/models`` and ``POST /v1/audio/transcriptions``; ``answer`` recognises an upload of a patient and
    names headers of the response, and ``statuses`` are those of an error."""
    refusals: dict[int | str, dict[str, Any]] = {status: {"model": Refused} for status in statuses}
    router = APIRouter(prefix=PREFIX_OPENAI, responses=refusals, **common)

    @router.get("/models")
    async def models(request: Request) -> Models:
        mine = filter(request.state.access.covers, registry.patients)
        return Models(data=[Model(id=patient, created=round(registry.manifest(patient).timestamp)) for patient in mine])

    @router.post("/audio/transcriptions", response_model=None)
    async def transcriptions(
        request: Request,
        file: Annotated[UploadFile, File(description="A recording in any common format and rate.")],
        model: Annotated[str, Form(description="The patient id.")],
        language: Annotated[str | None, Form(description="The language of the training, or nothing.")] = None,
        prompt: Annotated[str, Form(description="Only empty.")] = "",
        response_format: Annotated[str, Form(description="json, text, verbose_json, srt or vtt.")] = "json",
        temperature: Annotated[float, Form(description="Only 0.")] = 0.0,
    ) -> Response:
        for field in (await request.form()).keys() - set(FIELDS):
            raise ResonanceError("RZ-0912", field=field[:64], value="…", allowed=", ".join(FIELDS))
        _only("language", language, (None, registry.language))
        _only("prompt", prompt, ("",))
        _only("response_format", response_format, Format.__args__)  # type: ignore[attr-defined]
        _only("temperature", temperature, (0.0,))
        heard, headers = await answer(request, file, registry.choose(model, request.state.access))
        said = _in_format(heard, response_format, registry.language)
        said.headers.update(headers)
        return said

    return router


def _only(field: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        choices = ", ".join(repr(choice) for choice in allowed if choice is not None)
        raise ResonanceError("RZ-0912", field=field, value=str(value)[:64], allowed=choices)


def _in_format(answer: Answer, response_format: str, language: str) -> Response:
    """A recording that was cut at pauses is as many segments as pieces; none where nobody speaks."""
    text = show([segment.text for segment in answer.segments])
    spoken = [(segment.start, segment.end, show([segment.text])) for segment in answer.segments]
    if response_format == "json":
        return JSONResponse({"text": text})
    if response_format == "verbose_json":
        segments = [{"id": i, "start": a, "end": b, "text": words} for i, (a, b, words) in enumerate(spoken)]
        facts = {"task": "transcribe", "language": language, "duration": answer.duration, "text": text}
        return JSONResponse(facts | {"segments": segments})
    if response_format == "text":
        return PlainTextResponse(f"{text}\n")
    if response_format == "srt":
        cues = (f"{i}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{words}\n\n" for i, (a, b, words) in enumerate(spoken, 1))
        return PlainTextResponse("".join(cues))
    cues = (f"{_clock(a, '.')} --> {_clock(b, '.')}\n{words}\n\n" for a, b, words in spoken)
    return PlainTextResponse("WEBVTT\n\n" + "".join(cues), media_type="text/vtt")


def _clock(seconds: float, point: str) -> str:
    """``00:00:01,500``, as subtitles write it."""
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{milliseconds:03d}"
