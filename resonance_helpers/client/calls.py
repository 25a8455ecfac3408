"""The client of the service.

A request is repeated only where the service said that it has not looked at it (429, 503): a recording that may have
been answered is never sent twice. The recording is sent under a neutral name, because a file's name often holds the
phrase itself. Programs on asyncio can use OpenAI's asynchronous client, whose protocol the service speaks.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import tenacity

from ..core.messages import ResonanceError, language
from .address import ROUTE, app_address, holds_key, is_this_machine, trusting
from .explain import fields, on_the_way, refusal

TIMEOUT_S = 60.0  # a phrase takes a second; the rest is for a slow upload and a queue
LATER = (429, 503)  # busy, or not ready yet: nothing was done
ANSWER_HEADER = "Resonance-Answer"  # the id of an answer that may be put right


@dataclass(frozen=True)
class Retries:
    """When to repeat a request that was answered with 429 or 503. The wait is what ``Retry-After`` asks for, else
    ``first_s``, doubled each time up to ``longest_s``; jitter is added, so that clients don't come back together."""

    times: int = 3  # after the first attempt; 0 never repeats
    total_s: float = 60.0  # from the first attempt on; a wait that would end later is not begun
    first_s: float = 0.5
    longest_s: float = 10.0
    jitter: float = 0.5  # up to this share of the wait on top

    def __post_init__(self) -> None:
        for name in ("times", "total_s", "first_s", "longest_s", "jitter"):
            if getattr(self, name) < 0:
                raise ResonanceError("RZ-0001", name=f"retries.{name}", value=getattr(self, name), allowed="≥ 0")

    def send(self, attempt: Callable[[], httpx.Response]) -> httpx.Response:
        """The response of the last attempt. Raises what ``attempt`` raises, which is never repeated."""

        def wait_s(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None
            asked = _asked_to_wait_s(state.outcome.result())
            wait = asked or min(self.first_s * 2 ** (state.attempt_number - 1), self.longest_s)
            return wait * (1 + random.uniform(0, self.jitter))

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda response: response.status_code in LATER),
            stop=tenacity.stop_after_attempt(self.times + 1) | tenacity.stop_before_delay(self.total_s),
            wait=wait_s,
            sleep=time.sleep,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        return retrying(attempt)


@dataclass(frozen=True)
class Transcript:
    """One answer. ``duration`` of the recording and ``seconds`` of the service's work; ``uncertain``: a person should
    confirm the text first (None: the service does not say). ``answer`` is what ``correct`` takes, None where nothing of
    the recording was kept."""

    text: str
    uncertain: bool | None
    duration: float
    seconds: float
    model: str
    answer: str | None = None


class ResonanceClient:
    """Calls one service. ``url`` may end in ``/transcribe`` or not; ``timeout_s`` bounds each wait for the network.

    ``key`` may be left out where it stands in the address (``/k/<key>/transcribe``). ``ca_file`` is the certificate of
    a service that made its own (``resonance serve --tls``): it alone is trusted then. Raises RZ-1001 (address), RZ-1008
    (a key that can't be one) and RZ-0950 (no certificate in that file) at once, the rest of RZ-10xx when a call fails.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        timeout_s: float = TIMEOUT_S,
        ca_file: Path | str | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.address = app_address(url)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._http = httpx.Client(**connection(self.address, authorization(self.address, key), timeout_s, ca_file))

    def health(self) -> dict[str, str]:
        """What ``GET /health`` says: ``{"status": "ok"}``. Never repeated: it asks for the present state."""
        return fields(self._send("GET", self._at("/health")), "status")

    def transcribe(self, recording: Path | str | bytes, patient_id: str | None = None) -> Transcript:
        """The text of a recording (a file or its bytes, any common format), spoken by ``patient_id``."""
        name, content = _upload(recording)
        form = {"patient_id": patient_id} if patient_id is not None else {}

        def attempt() -> httpx.Response:
            file = (name, io.BytesIO(content), "application/octet-stream")
            return self._send("POST", self.address, files={"file": file}, data=form)

        response = self._retries.send(attempt)
        found = fields(response, "text", "uncertain", "duration", "seconds", "model")
        return Transcript(**found, answer=response.headers.get(ANSWER_HEADER))

    def correct(self, answer_id: str, text: str) -> None:
        """Send the correct text of the recording of ``Transcript.answer``: it becomes a take for the next training."""
        form = {"answer": answer_id, "text": text}
        response = self._retries.send(lambda: self._send("POST", self._at("/corrections"), data=form))
        if response.status_code != 204:
            raise refusal(response)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> ResonanceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _at(self, path: str) -> str:
        return self.address.removesuffix(ROUTE) + path

    def _send(self, method: str, address: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, address, **content)
        except httpx.RequestError as error:
            raise on_the_way(error, self._timeout_s) from error


def connection(
    address: str, headers: Mapping[str, str], timeout_s: float, ca_file: Path | str | None
) -> dict[str, Any]:
    """The options with which httpx reaches ``address``. Raises RZ-0950."""
    return {
        "timeout": timeout_s,
        "headers": {**headers, "Accept-Language": language()},
        "verify": trusting(ca_file) if ca_file else True,
        "trust_env": not is_this_machine(address),  # a proxy cannot reach this machine
    }


def authorization(address: str, key: str) -> dict[str, str]:
    """The header with ``key``; none where the key stands in the address. Raises RZ-1008."""
    key = key.strip()
    if not key and holds_key(address):
        return {}
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        raise ResonanceError("RZ-1008")
    return {"Authorization": f"Bearer {key}"}


def _upload(recording: Path | str | bytes) -> tuple[str, bytes]:
    """Name and content of what is sent. Raises RZ-1016."""
    if isinstance(recording, bytes):
        return "recording", recording
    path = Path(recording)
    if not path.is_file():
        raise ResonanceError("RZ-1016", path=path)
    return f"recording{path.suffix}", path.read_bytes()


def _asked_to_wait_s(response: httpx.Response) -> float:
    """Seconds of ``Retry-After``, which is a number or a date; 0 where it is neither."""
    said = response.headers.get("Retry-After", "")
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
