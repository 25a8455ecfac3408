"""The routes of an administrator: whose adapters are here, another one from a zip, look again, delete.

Each is an ordinary function, which FastAPI runs in a thread: files are unpacked and hashed while the event loop answers
others. No line of the log says whose adapter it was.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from ..core.messages import ResonanceError
from .registry import AdapterRegistry, Served


class Adapter(BaseModel):
    """One patient's adapter."""

    patient_id: str
    trained: str = Field(description="When, ISO 8601 in UTC.")
    recordings: int = Field(description="How many it was trained on.")
    window_s: float = Field(description="The window it was trained at, in seconds.")
    bytes: int = Field(description="Size of its files.")


class Adapters(BaseModel):
    """Everybody's."""

    adapters: list[Adapter]


class _AdminRoute(APIRoute):
    """Refuses before a body is read: FastAPI's own dependencies run after it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def only_for_admins(request: Request) -> Response:
            if not request.state.access.admin:
                raise ResonanceError("RZ-0940")
            return await answer(request)

        return only_for_admins


def routes(registry: AdapterRegistry, drop: Callable[[str], None], **common: Any) -> APIRouter:
    """``/adapters`` and what is below it; ``drop`` takes a patient's adapter out of memory, on the event loop, and
    ``common`` is what all routes of the service share."""
    router = APIRouter(prefix="/adapters", route_class=_AdminRoute, **common)

    @router.get("")
    def adapters() -> Adapters:
        """Whose adapters are here."""
        return Adapters(adapters=[_shown(served) for served in registry.served])

    @router.post("", status_code=201)
    def upload(file: Annotated[UploadFile, File(description="The zip of lesson 08.")]) -> Adapter:
        """Take a patient's adapter in, or another in the place of theirs. Requests meanwhile are answered with the one
        before."""
        return _shown(registry.install(file.file))

    @router.post("/{patient_id}/reload")
    def reload(patient_id: str) -> Adapter:
        """Look at a patient's adapter on disk again, after a training or after files were copied."""
        return _shown(registry.reload(patient_id))

    @router.delete("/{patient_id}", status_code=204)
    def delete(patient_id: str) -> None:
        """Forget a patient and delete their adapter; recordings and trainings on the server's disk stay."""
        registry.remove(patient_id)
        from_thread.run_sync(drop, patient_id)

    return router


def _shown(served: Served) -> Adapter:
    manifest = served.manifest
    return Adapter(
        patient_id=manifest.patient_id,
        trained=manifest.time,
        recordings=manifest.recordings,
        window_s=manifest.window_s,
        bytes=served.bytes,
    )
