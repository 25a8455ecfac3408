"""One address, looked at step by step: is it readable, is anybody there, is it the service, does it answer?"""

from __future__ import annotations

import io
import math
import socket
import struct
import wave
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from ssl import cert_time_to_seconds
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from ..core.messages import ResonanceError, message
from ..core.settings import SAMPLE_RATE
from ..core.workspace import SAMPLE_DIR
from .address import ROUTE, app_address, holds_key, is_this_machine, shown, without_key
from .calls import ResonanceClient, authorization, connection
from .explain import NOT_READY, content_of, fields, not_ours, on_the_way, refusal

TIMEOUT_S = 15.0  # for each step; only the recording may take longer


@dataclass(frozen=True)
class CheckStep:
    """One question about a service. ``words`` say what was found and, where it is not ``ok``, what to do."""

    name: str  # address, name, port, tls, service, ready, key or recording; check.step.<name> in words
    ok: bool
    words: str


@dataclass(frozen=True)
class _Visit:
    """What a step may use. ``http`` knows no key."""

    address: str
    key: str
    patient_id: str | None
    recording: Path | str | bytes | None
    ca_file: Path | str | None
    http: httpx.Client

    def get(self, path: str, address: str = "", **headers: str) -> httpx.Response:
        """The answer to a question; RZ-10xx where there is none."""
        try:
            return self.http.get((address or without_key(self.address)).removesuffix(ROUTE) + path, headers=headers)
        except httpx.RequestError as error:
            raise on_the_way(error, TIMEOUT_S) from error


def check_service(
    url: str,
    key: str = "",
    patient_id: str | None = None,
    recording: Path | str | bytes | None = None,
    ca_file: Path | str | None = None,
) -> tuple[CheckStep, ...]:
    """Go through ``url`` from its spelling to the answer to a recording, and stop where the rest would be pointless.

    ``recording`` is sent for ``patient_id``; without one the bundled sample's, or a tone. Never raises for what it is
    there to find; RZ-0950 for a ``ca_file`` without a certificate. No step's words hold the key.
    """
    try:
        address = app_address(url)
    except ResonanceError as error:
        return (CheckStep("address", False, str(error)),)
    steps = [CheckStep("address", True, message("check.address", url=shown(address)))]
    with httpx.Client(**connection(address, {}, TIMEOUT_S, ca_file)) as http:
        visit = _Visit(address, key.strip(), patient_id, recording, ca_file, http)
        for name, look in _STEPS.items():
            if name == "recording" and not all(step.ok for step in steps):
                break
            try:
                steps.append(CheckStep(name, True, look(visit)))
            except ResonanceError as error:
                steps.append(CheckStep(name, False, str(error)))
                if name != "ready":  # whether the key is right is known before the model is loaded
                    break
    return tuple(steps)


# ── Is anybody there? ────────────────────────────────────────────────────────
def _resolves(visit: _Visit) -> str:
    host, port = _place(visit.address)
    if _goes_by_proxy(visit.address):
        return message("check.by_proxy")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ResonanceError("RZ-1003", host=host) from error
    numbers = dict.fromkeys(str(each[4][0]) for each in found)
    if [*numbers] == [host]:
        return message("check.name.number", host=host)
    return message("check.name", host=host, numbers=message("list.comma").join(numbers))


def _connects(visit: _Visit) -> str:
    host, port = _place(visit.address)
    if _goes_by_proxy(visit.address):
        return message("check.by_proxy")
    try:
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResonanceError("RZ-1002", url=shown(visit.address), reason=reason) from error
    return message("check.port", port=port)


def _is_private(visit: _Visit) -> str:
    response = visit.get("/livez")
    if visit.address.startswith("https"):
        secured = response.extensions["network_stream"].get_extra_info("ssl_object")
        until = datetime.fromtimestamp(cert_time_to_seconds(secured.getpeercert()["notAfter"]), UTC)
        return message("check.tls", date=until.date().isoformat())
    wrong = refusal(response) if response.status_code != 200 else None
    if wrong and wrong.code == "RZ-1004":
        raise wrong
    return message("check.tls.here" if is_this_machine(visit.address) else "check.tls.none")


# ── Is it the service, and does it answer? ───────────────────────────────────
def _is_the_service(visit: _Visit) -> str:
    response = visit.get("/livez")
    if response.status_code in (401, 403):  # ours asks for no key there
        raise not_ours(response, message("client.reason.status", status=response.status_code))
    fields(response, "status")
    asks_for_key = content_of(visit.get("/readyz")) or {}
    if asks_for_key.get("code") != "RZ-0901":
        raise not_ours(response, message("client.reason.other_program"))
    return message("check.service")


def _is_ready(visit: _Visit) -> str:
    fields(visit.get("/health"), "status")
    return message("check.ready")


def _knows_the_key(visit: _Visit) -> str:
    if visit.key:
        response = visit.get("/readyz", **authorization(visit.address, visit.key))
    elif holds_key(visit.address):
        response = visit.get("/health", visit.address)
    else:
        raise ResonanceError("RZ-1017")
    if response.status_code not in (200, *NOT_READY):
        raise refusal(response)
    return message("check.key")


def _answers(visit: _Visit) -> str:
    recording = visit.recording if visit.recording is not None else _any_recording()
    with ResonanceClient(visit.address, visit.key, ca_file=visit.ca_file) as client:
        answer = client.transcribe(recording, visit.patient_id)
    heard = "check.recording" if answer.text else "check.recording.silent"
    key = heard if visit.recording is not None else "check.recording.sample"
    return message(key, text=answer.text, seconds=f"{answer.seconds:.1f}", model=answer.model)


_STEPS: dict[str, Callable[[_Visit], str]] = {
    "name": _resolves,
    "port": _connects,
    "tls": _is_private,
    "service": _is_the_service,
    "ready": _is_ready,
    "key": _knows_the_key,
    "recording": _answers,
}


def _place(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _goes_by_proxy(address: str) -> bool:
    host, _ = _place(address)
    known = getproxies().keys() & {urlsplit(address).scheme, "all"}
    return bool(known) and not is_this_machine(address) and not proxy_bypass(host)


def _any_recording() -> Path | bytes:
    """The first of the bundled sample; a tone where this was installed without it."""
    return next(iter(sorted((SAMPLE_DIR / "audio_raw").glob("*.*"))), None) or _tone()


def _tone(seconds: float = 1.0, hertz: float = 440.0) -> bytes:
    heights = (math.sin(2 * math.pi * hertz * at / SAMPLE_RATE) for at in range(round(seconds * SAMPLE_RATE)))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(b"".join(struct.pack("<h", round(10_000 * height)) for height in heights))
    return file.getvalue()
