"""The HTTP routes: the guide's ``/health`` and ``/transcribe``, ``/livez`` and ``/readyz``, OpenAI's under ``/v1``, the
phone page at ``/``.

A recording is medical data: it stays in memory, its answer is in no log, and nothing of either is on disk.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, File, Form, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect

from .. import __version__
from ..core.messages import ResonanceError
from ..core.settings import ServiceSettings
from ..core.workspace import megabytes
from ..dataset.transcript import check
from ..scoring.text import Script, normalise, show
from . import openai_routes, page_routes
from .corrections import LONGEST, Corrections
from .engine import LOADING_S, Answer, Engine, Recogniser
from .forms import LIMITS, FormRoute, unreadable, wordless, wrong_field
from .guard import Guard
from .keys import Keyring
from .metrics import Metrics
from .problems import STATUS, problem
from .registry import AdapterRegistry

ANSWER_HEADER = "Resonance-Answer"  # the id of an answer that may be put right
LOOK_S = 2.0  # between two looks for adapters that were removed, to free their memory


class Health(BaseModel):
    """Can a recording be sent now?"""

    status: Literal["ok"] = "ok"


class Transcription(BaseModel):
    """The answer to one recording."""

    text: str = Field(description="What was said; empty where nobody speaks.")
    uncertain: bool = Field(description="Whether a person should confirm the text before anything acts on it.")
    duration: float = Field(description="Length of the recording in seconds.")
    seconds: float = Field(description="Time from the whole upload to the answer.")
    model: str = Field(description="Name of the base model.")


class Problem(BaseModel):
    """Every error: a stable code and a sentence in the language of Accept-Language."""

    code: str
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 404, 408, 413, 422, 429, 500, 503)
}
UNREADY: dict[int | str, dict[str, Any]] = {503: {"model": Problem}}
NEEDS_KEY = [Depends(HTTPBearer(auto_error=False))]  # for the document; ``guard`` has looked at it before

Recognise = Callable[[Request, UploadFile, str], Awaitable[tuple[Answer, dict[str, str]]]]


def create_app(
    load: Callable[[], Recogniser],
    registry: AdapterRegistry,
    keyring: Keyring,
    settings: ServiceSettings | None = None,
    on_loaded: Callable[[BaseException | None], None] | None = None,
    corrections: Path | None = None,
) -> FastAPI:
    """The service as an ASGI application, which answers from the start and recognises when ``load`` has returned.

    ``on_loaded`` is told when that is, or why it never will be. ``corrections`` is where the recordings lie to which
    corrected ones are added (see ``corrections``); None keeps nothing of any request.
    """
    settings = settings or ServiceSettings()
    metrics = Metrics()
    engine = Engine(load, lambda patient_id: registry.find(patient_id).version, settings, metrics)
    recent = Corrections(corrections, registry.patients)
    app = FastAPI(
        title="Resonance",
        version=__version__,
        form_limits=LIMITS,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # ``guard`` has made all spellings of a path one
        lifespan=_lifespan(engine, on_loaded, lambda: drop_removed()),
    )
    app.router.route_class = FormRoute
    app.add_middleware(Guard, keyring=keyring, settings=settings, metrics=metrics)
    if settings.cors_origins:  # outermost: a browser asks for permission before it sends the key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization"],
        )
    _say_problems(app, engine, settings)
    MultiPartParser.spool_max_size = sys.maxsize  # by default an upload over 1 MB is written to disk

    async def recognise(request: Request, file: UploadFile, patient_id: str) -> tuple[Answer, dict[str, str]]:
        answer = await _unless_gone(request, engine.transcribe(await file.read(), patient_id))
        kept = recent.keep(patient_id, answer.samples)
        return answer, {ANSWER_HEADER: kept} if kept else {}

    async def drop_removed() -> None:
        """Free the memory of patients whose adapter is no longer on disk."""
        while True:
            await asyncio.sleep(LOOK_S)
            present = await asyncio.to_thread(lambda: registry.patients)
            engine.drop_absent(present)
            recent.drop_absent(present)

    _answer_whether_ready(app, engine)
    _count(app, metrics)
    _transcribe(app, registry, recognise)
    _correct(app, recent)
    app.include_router(openai_routes.routes(registry, recognise, PROBLEMS, dependencies=NEEDS_KEY))
    app.include_router(page_routes.routes(registry, recent.phrases, settings, PROBLEMS, NEEDS_KEY))
    return app


# ── The guide's routes and ours ──────────────────────────────────────────────
def _answer_whether_ready(app: FastAPI, engine: Engine) -> None:
    @app.get("/livez")
    async def livez() -> Health:
        """Whether the process answers at all. Needs no key."""
        return Health()

    @app.get("/readyz", responses=UNREADY | {401: {"model": Problem}}, dependencies=NEEDS_KEY)
    async def readyz() -> Health:
        """Whether recordings are answered: not while the model is loading and not while the service shuts down."""
        if not engine.ready:
            raise ResonanceError("RZ-0911", seconds=LOADING_S)
        return Health()

    @app.get("/health", responses=UNREADY)
    async def health() -> Health:
        """The guide's: as ``/readyz``, and needs no key."""
        return await readyz()


def _count(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", responses={401: {"model": Problem}}, dependencies=NEEDS_KEY, response_class=PlainTextResponse)
    async def count() -> PlainTextResponse:
        """What the operator counts, for Prometheus. It names no patient."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")


def _transcribe(app: FastAPI, registry: AdapterRegistry, recognise: Recognise) -> None:
    @app.post("/transcribe", responses=PROBLEMS, dependencies=NEEDS_KEY)
    async def transcribe(
        request: Request,
        response: Response,
        file: Annotated[UploadFile, File(description="A recording in any common format and rate.")],
        patient_id: Annotated[
            str | None, Form(description="Who speaks; a key for one patient says it already.")
        ] = None,
        script: Annotated[Script, Form(description="The characters of the text.")] = "simplified",
        punctuation: Annotated[bool, Form(description="Whether the text has punctuation.")] = True,
    ) -> Transcription:
        started = time.perf_counter()
        answer, headers = await recognise(request, file, registry.choose(patient_id, request.state.access))
        response.headers.update(headers)
        return Transcription(
            text=show([segment.text for segment in answer.segments], script, punctuation),
            uncertain=answer.uncertain,
            duration=answer.duration,
            seconds=round(time.perf_counter() - started, 3),
            model=registry.base_model,
        )


def _correct(app: FastAPI, recent: Corrections) -> None:
    @app.post("/corrections", status_code=204, responses=PROBLEMS, dependencies=NEEDS_KEY)
    async def correct(
        request: Request,
        answer: Annotated[str, Form(description=f"The id of the answer, from its header {ANSWER_HEADER}.")],
        text: Annotated[str, Form(description="What was meant.", min_length=1, max_length=LONGEST)],
    ) -> None:
        """Put an answer right: the recording becomes a take to train on. Only with the patient's consent."""
        if not normalise(text):
            raise wordless(request, "text")
        text = check(text)  # before the recording is taken out of what waits
        patient_id, samples = recent.take(answer, request.state.access)
        await run_in_threadpool(recent.write, patient_id, samples, text)


# ── What surrounds them ──────────────────────────────────────────────────────
async def _unless_gone(request: Request, answering: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer, given up when the client hangs up, because others wait."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        gone.cancel()
        answer.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _lifespan(
    engine: Engine,
    on_loaded: Callable[[BaseException | None], None] | None,
    look: Callable[[], Coroutine[Any, Any, None]],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(engine.load())
        if on_loaded:
            loading.add_done_callback(lambda task: None if task.cancelled() else on_loaded(task.exception()))
        looking = asyncio.create_task(look())
        yield
        looking.cancel()
        loading.cancel()
        await engine.close()

    return lifespan


def _say_problems(app: FastAPI, engine: Engine, settings: ServiceSettings) -> None:
    """Answer every error as ``Problem``, in the asker's language."""

    @app.exception_handler(ResonanceError)
    async def ours(request: Request, error: ResonanceError) -> JSONResponse:
        if error.code not in STATUS:
            raise error  # to the guard, which writes it into the log and says RZ-0909
        return problem(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def wrong_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(wrong_field(request, error), request.scope)

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        allowed = (error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD")  # see guard
        ours = {
            400: unreadable(request, error.detail),
            405: ResonanceError("RZ-0960", method=request.method, allowed=allowed),
            408: ResonanceError("RZ-0915", seconds=f"{settings.body_s:g}"),
            413: ResonanceError("RZ-0902", limit=megabytes(settings.max_body_bytes)),
            429: ResonanceError("RZ-0906", waiting=engine.inside, seconds=LOADING_S),
        }
        response = problem(ours.get(error.status_code, ResonanceError("RZ-0908")), request.scope)
        if allowed:
            response.headers["Allow"] = allowed
        return response
