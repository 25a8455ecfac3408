"""The HTTP routes: the guide's ``/health`` and ``/transcribe``, ``/livez`` and ``/readyz``, OpenAI's under ``/v1``.

A recording is medical data: it stays in memory, its answer is in no log, and nothing of either is on disk.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from .. import __version__
from ..messages import ResonanceError
from ..settings import ServiceSettings
from ..workspace import megabytes
from . import openai_routes
from .engine import LOADING_S, Answer, Engine, Speaks
from .guard import Guard
from .keys import Keyring
from .problems import STATUS, problem
from .registry import AdapterRegistry


class Health(BaseModel):
    """Can a recording be sent now?"""

    status: Literal["ok"] = "ok"


class Transcription(BaseModel):
    """The answer to one recording."""

    text: str = Field(description="What was said, in simplified characters.")
    uncertain: bool | None = Field(default=None, description="Reserved: whether the text should be confirmed first.")
    duration: float = Field(description="Length of the recording in seconds.")
    seconds: float = Field(description="Time from the whole upload to the answer.")
    model: str = Field(description="Name of the base model.")


class Problem(BaseModel):
    """Every error: a stable code and a sentence in the language of Accept-Language."""

    code: str
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 404, 413, 422, 429, 500, 503)
}
UNREADY: dict[int | str, dict[str, Any]] = {503: {"model": Problem}}


def create_app(
    load: Callable[[], Speaks],
    registry: AdapterRegistry,
    keyring: Keyring,
    settings: ServiceSettings | None = None,
    on_loaded: Callable[[BaseException | None], None] | None = None,
) -> FastAPI:
    """The service as an ASGI application, which answers from the start and recognises when ``load`` has returned.

    ``on_loaded`` is told when that is, or why it never will be.
    """
    settings = settings or ServiceSettings()
    engine = Engine(load, settings)
    app = FastAPI(
        title="Resonance",
        version=__version__,
        form_limits={"max_files": 1, "max_fields": 8},
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan(engine, on_loaded),
    )
    app.add_middleware(Guard, keyring=keyring, max_body_bytes=settings.max_body_bytes)
    _say_problems(app, settings)
    needs_key = [Depends(HTTPBearer(auto_error=False))]  # for the document; ``guard`` has looked at it before
    MultiPartParser.spool_max_size = sys.maxsize  # by default an upload over 1 MB is written to disk

    async def recognise(file: UploadFile, patient_id: str) -> Answer:
        return await engine.transcribe(await file.read(), patient_id)

    _answer_whether_ready(app, engine, needs_key)

    @app.post("/transcribe", responses=PROBLEMS, dependencies=needs_key)
    async def transcribe(
        request: Request,
        file: Annotated[UploadFile, File(description="A recording in any common format and rate.")],
        patient_id: Annotated[
            str | None, Form(description="Who speaks; a key for one patient says it already.")
        ] = None,
    ) -> Transcription:
        started = time.perf_counter()
        answer = await recognise(file, registry.choose(patient_id, request.state.access))
        seconds = round(time.perf_counter() - started, 3)
        return Transcription(text=answer.text, duration=answer.duration, seconds=seconds, model=registry.base_model)

    app.include_router(openai_routes.routes(registry, recognise, responses=PROBLEMS, dependencies=needs_key))
    return app


def _answer_whether_ready(app: FastAPI, engine: Engine, needs_key: list[Any]) -> None:
    @app.get("/livez")
    async def livez() -> Health:
        """Whether the process answers at all. Needs no key."""
        return Health()

    @app.get("/readyz", responses=UNREADY | {401: {"model": Problem}}, dependencies=needs_key)
    async def readyz() -> Health:
        """Whether recordings are answered: not while the model is loading and not while the service shuts down."""
        if not engine.ready:
            raise ResonanceError("RZ-0911", seconds=LOADING_S)
        return Health()

    @app.get("/health", responses=UNREADY)
    async def health() -> Health:
        """The guide's: as ``/readyz``, and needs no key."""
        return await readyz()


def _lifespan(
    engine: Engine, on_loaded: Callable[[BaseException | None], None] | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(engine.load())
        if on_loaded:
            loading.add_done_callback(lambda task: None if task.cancelled() else on_loaded(task.exception()))
        yield
        engine.close()

    return lifespan


def _say_problems(app: FastAPI, settings: ServiceSettings) -> None:
    """Answer every error as ``Problem``, in the asker's language."""

    @app.exception_handler(ResonanceError)
    async def ours(request: Request, error: ResonanceError) -> JSONResponse:
        if error.code not in STATUS:
            raise error  # to the guard, which writes it into the log and says RZ-0909
        return problem(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def wrong_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        field = error.errors()[0]["loc"][-1]
        return problem(ResonanceError("RZ-0903", field=field), request.scope)

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 413:
            return problem(ResonanceError("RZ-0902", limit=megabytes(settings.max_body_bytes)), request.scope)
        if error.status_code == 400:
            return problem(ResonanceError("RZ-0910"), request.scope)
        response = problem(ResonanceError("RZ-0908"), request.scope, error.status_code)
        response.headers.update(error.headers or {})  # a 405 names the methods that are allowed
        return response
