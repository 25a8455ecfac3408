"""The routes of OpenAI's transcription API, for apps that were written for it: there ``model`` is the patient.

A parameter that asks for what happens anyway is accepted. What their API can and ours cannot is refused by name, never
ignored: an app that asked for the times of words should not believe that it got them. ``PARAMETERS`` decides.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field
from starlette.datastructures import FormData

from ..core.messages import ResonanceError
from ..scoring.text import show
from .engine import Answer
from .forms import RECORDING, FormRoute
from .keys import Access
from .problems import PREFIX_OPENAI
from .registry import AdapterRegistry


# ── What may be asked ────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Parameter:
    """``allowed``: the values that ask for what happens anyway, as JSON reads them; an empty one asks for nothing and
    always may be sent. ``why`` these and no other."""

    allowed: tuple[object, ...]
    why: str


FORMATS = ("json", "text", "verbose_json", "srt", "vtt")  # the first is the default
TIMED = ("verbose_json", "srt", "vtt")
GRANULARITIES = "timestamp_granularities"
LANGUAGES = ("language", "languages")
TRAINED = "<language>"  # stands for that of the training
NAMES = {"zh": ("chinese", "mandarin", "cmn"), "en": ("english",)}  # what else clients call a language
OTHER_CHARACTERS = {"hant", "tw", "hk", "mo"}
# Of OpenAI's transcriptions and of servers like theirs (speaches, LocalAI, whisper.cpp). What is not here is refused.
PARAMETERS = {
    "language": Parameter((TRAINED, "auto"), "The language of the training, which is always what is heard."),
    "languages": Parameter((TRAINED, "auto"), "As language."),
    "prompt": Parameter((), "Only empty: nothing but the training decides what is heard."),
    "hotwords": Parameter((), "As prompt."),
    "keywords": Parameter((), "As prompt."),
    "response_format": Parameter(FORMATS, "json, text, verbose_json, srt or vtt; json where it is left out."),
    "temperature": Parameter((0,), "Only 0: the likeliest words are taken, never others by chance."),
    GRANULARITIES: Parameter(("segment",), "Only segment: segments have times, in verbose_json, srt and vtt."),
    "word_timestamps": Parameter((False,), "Only false: words have no times."),
    "without_timestamps": Parameter((True, False), "Either: the format decides whether there are times."),
    "stream": Parameter((False,), "Only false: the answer comes as a whole."),
    "chunking_strategy": Parameter(("auto",), "Only auto: a long recording is cut at its pauses."),
    "vad_filter": Parameter((True, False), "Either: where nobody speaks nothing is heard."),
    "include": Parameter((), "Only empty: there are no probabilities of tokens."),
    "known_speaker_names": Parameter((), "Only empty: one person speaks."),
    "known_speaker_references": Parameter((), "As known_speaker_names."),
    "diarize": Parameter((False,), "Only false: one person speaks."),
    "task": Parameter(("transcribe",), "Only transcribe: nothing is translated."),
    "translate": Parameter((False,), "As task: only false."),
}
UNKNOWN = Parameter((), "Nobody can say what it would ask for.")


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
    router = APIRouter(prefix=PREFIX_OPENAI, responses=refusals, route_class=FormRoute, **common)

    @router.get("/models")
    async def models(request: Request) -> Models:
        mine = filter(request.state.access.covers, registry.patients)
        return Models(data=[Model(id=each, created=round(registry.find(each).manifest.timestamp)) for each in mine])

    @router.post("/audio/transcriptions", response_model=None)
    async def transcriptions(
        request: Request,
        file: Annotated[UploadFile, File(description="A recording in any common format and rate.")],
        model: Annotated[str, Form(description="The patient id.")],
        language: Annotated[str, _documented("language")] = "",
        prompt: Annotated[str, _documented("prompt")] = "",
        response_format: Annotated[str, _documented("response_format")] = "",
        temperature: Annotated[str, _documented("temperature")] = "",
        timestamp_granularities: Annotated[str, _documented(GRANULARITIES, f"{GRANULARITIES}[]")] = "",
        stream: Annotated[str, _documented("stream")] = "",
    ) -> Response:
        """The answer in the form that ``response_format`` names. Other parameters of OpenAI's are accepted where they
        ask for what happens anyway, and else refused by name."""
        wanted = _format(await request.form(), registry.language)
        heard, headers = await answer(request, file, _patient(model, registry, request.state.access))
        said = _in_format(heard, wanted, registry.language)
        said.headers.update(headers)
        return said

    return router


def _documented(name: str, alias: str | None = None) -> Any:
    return Form(alias=alias, description=PARAMETERS[name].why)


def _patient(model: str, registry: AdapterRegistry, access: Access) -> str:
    """The patient that ``model`` names. Raises RZ-0904, and RZ-0961 where the key leaves only one that it could be."""
    mine = [patient for patient in registry.patients if access.covers(patient)]
    if model in mine:
        return model
    if len(mine) == 1:
        raise ResonanceError("RZ-0961", field="model", value=model[:64], allowed=mine[0])
    raise ResonanceError("RZ-0904", field="model", patient=model[:64])


def _format(form: FormData, language: str) -> str:
    """The format of the answer, after a look at every parameter. Raises RZ-0912 for what can't be done."""
    wanted = FORMATS[0]
    for field, sent in form.multi_items():
        if field in (RECORDING, "model"):
            continue
        name, text = _name(field), str(sent)
        allowed = [language if value is TRAINED else value for value in PARAMETERS.get(name, UNKNOWN).allowed]
        for value in _values(text):
            if (_trained(value, language) if name in LANGUAGES else value) not in allowed:
                raise _refused(field, text, ", ".join(map(_shown, allowed)) or '""')
            wanted = value if name == "response_format" else wanted
    for field in form:
        if _name(field) == GRANULARITIES and wanted not in TIMED and _values(str(form[field])):
            only = f"segment (response_format = {', '.join(TIMED)})"
            raise _refused(field, f"{form[field]} (response_format = {wanted})", only)
    return wanted


def _name(field: str) -> str:
    """``include`` for ``include[]`` and ``include[0]``: clients write lists in several ways."""
    return field.partition("[")[0]


def _values(text: str) -> list[Any]:
    """What a field asks for, as JSON reads it, in small letters: all of a list, and nothing where it is empty."""
    text = text.strip().lower()
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = text
    return [value for value in (read if isinstance(read, list) else [read]) if value not in (None, "")]


def _trained(value: object, language: str) -> object:
    """``language`` for another spelling of it (``zh-CN``, ``Chinese``); what asks for other characters stays itself."""
    first, *rest = str(value).replace("_", "-").split("-")
    return language if first in (language, *NAMES.get(language, ())) and not OTHER_CHARACTERS & set(rest) else value


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _refused(field: str, value: str, allowed: str) -> ResonanceError:
    return ResonanceError("RZ-0912", field=field[:64], value=value[:64], allowed=allowed)


def _in_format(answer: Answer, response_format: str, language: str) -> Response:
    """A recording that was cut at pauses is as many segments as pieces; none where there is no speech."""
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
