"""The two clients: one that waits for the answer, one for programs that do other things meanwhile.

What is asked, what an answer means and when to ask again is written once, as generators that yield a request to send
or seconds to wait; the clients do no more than that. A request is repeated only where the service said that it has not
been looked at (429, 503): a recording that may have been answered is never sent twice.
The recording goes out under a neutral name: the name of a file often holds the phrase itself.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx

from ..core.messages import ResonanceError, language
from .address import ROUTE, app_address, holds_key, is_this_machine, trusting
from .explain import content_of, fields, on_the_way, refusal

TIMEOUT_S = 60.0  # a phrase takes a second; the rest is for a slow upload and a queue
LATER = (429, 503)  # busy, or not ready yet: nothing was done
ANSWER_HEADER = "Resonance-Answer"  # the id of an answer that may be put right

T = TypeVar("T")
Exchange = Generator[httpx.Request | float, httpx.Response | None, T]


@dataclass(frozen=True)
class Retries:
    """How long to insist when a service says "later". A wait is what its ``Retry-After`` asks for, else ``first_s``,
    doubled each time up to ``longest_s``; a random part is added, so that a hundred phones don't come back together."""

    times: int = 3  # after the first try; 0 never asks again
    total_s: float = 60.0  # from the first try on; a wait that would end later is not begun
    first_s: float = 0.5
    longest_s: float = 10.0
    jitter: float = 0.5  # up to this share of the wait on top

    def __post_init__(self) -> None:
        for name in ("times", "total_s", "first_s", "longest_s", "jitter"):
            if getattr(self, name) < 0:
                raise ResonanceError("RZ-0001", name=f"retries.{name}", value=getattr(self, name), allowed="≥ 0")

    def wait_s(self, tried: int, asked_s: float) -> float:
        """Seconds to wait after ``tried`` repetitions, when the service asked for ``asked_s`` (0: for none)."""
        wait = asked_s or min(self.first_s * 2**tried, self.longest_s)
        return wait * (1 + random.uniform(0, self.jitter))


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


class _Calls:
    """What the clients share: the address, the requests, what the answers mean."""

    _http: httpx.Client | httpx.AsyncClient

    def __init__(self, url: str, timeout_s: float, retries: Retries | None) -> None:
        self.address = app_address(url)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()

    def _health(self) -> Exchange[dict[str, str]]:
        response = yield self._http.build_request("GET", self._at("/health"))
        return fields(_given(response), "status")

    def _transcribe(self, upload: tuple[str, bytes], patient_id: str | None) -> Exchange[Transcript]:
        response = yield from self._insist(partial(self._request, *upload, patient_id))
        said = fields(response, "text", "uncertain", "duration", "seconds", "model")
        return Transcript(**said, answer=response.headers.get(ANSWER_HEADER))

    def _correct(self, answer_id: str, text: str) -> Exchange[None]:
        form = {"answer": answer_id, "text": text}
        response = yield from self._insist(
            lambda: self._http.build_request("POST", self._at("/corrections"), data=form)
        )
        if response.status_code != 204:
            raise refusal(response)

    def _drop_adapter(self, patient_id: str) -> Exchange[bool]:
        response = _given((yield self._http.build_request("DELETE", self._at(f"/adapters/{patient_id}"))))
        if response.status_code != 204 and (content_of(response) or {}).get("code") != "RZ-0904":
            raise refusal(response)
        return response.status_code == 204

    def _insist(self, make: Callable[[], httpx.Request]) -> Exchange[httpx.Response]:
        """The answer to a request, which is made anew for each try."""
        started = time.monotonic()
        for tried in count():
            response = _given((yield make()))
            if response.status_code not in LATER or tried >= self._retries.times:
                break
            wait = self._retries.wait_s(tried, _asked_to_wait_s(response))
            if time.monotonic() - started + wait > self._retries.total_s:
                break
            yield wait
        return response

    def _request(self, name: str, content: bytes, patient_id: str | None) -> httpx.Request:
        return self._http.build_request(
            "POST",
            self.address,
            files={"file": (name, io.BytesIO(content), "application/octet-stream")},
            data={"patient_id": patient_id} if patient_id is not None else {},
        )

    def _at(self, path: str) -> str:
        return self.address.removesuffix(ROUTE) + path


class ResonanceClient(_Calls):
    """Calls one service. ``url`` may end in ``/transcribe`` or not; ``timeout_s`` bounds each wait for the network.

    ``key`` may be left out where it stands in the address (``/k/<key>/transcribe``). ``ca_file`` is the certificate of
    a service that made its own (``resonance serve --tls``): it alone is trusted then. Raises RZ-1001 (address), RZ-1008
    (a key that can't be one) and RZ-0950 (no certificate in that file) at once, the rest of RZ-10xx when a call fails.
    """

    _http: httpx.Client

    def __init__(
        self,
        url: str,
        key: str = "",
        timeout_s: float = TIMEOUT_S,
        ca_file: Path | str | None = None,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(url, timeout_s, retries)
        self._http = httpx.Client(**connection(self.address, authorization(self.address, key), timeout_s, ca_file))

    def health(self) -> dict[str, str]:
        """What ``GET /health`` says: ``{"status": "ok"}``. Never repeated: it asks how things are now."""
        return self._run(self._health())

    def transcribe(self, recording: Path | str | bytes, patient_id: str | None = None) -> Transcript:
        """The words of a recording (a file or its bytes, any common format), spoken by ``patient_id``."""
        return self._run(self._transcribe(_upload(recording), patient_id))

    def correct(self, answer_id: str, text: str) -> None:
        """Say what was meant by the recording of ``Transcript.answer``: it becomes a take for the next training."""
        self._run(self._correct(answer_id, text))

    def drop_adapter(self, patient_id: str) -> bool:
        """Have the service delete a patient's adapter and forget it, with an administrator's key. False: it knew none.

        Raises RZ-1012 for any other key of the service.
        """
        return self._run(self._drop_adapter(patient_id))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> ResonanceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, exchange: Exchange[T]) -> T:
        response = None
        try:
            while True:
                step = exchange.send(response)
                if isinstance(step, httpx.Request):
                    response = self._http.send(step)
                else:
                    time.sleep(step)
                    response = None
        except StopIteration as end:
            return end.value
        except httpx.RequestError as error:
            raise on_the_way(error, self._timeout_s) from error


class AsyncResonanceClient(_Calls):
    """``ResonanceClient`` for programs that run on asyncio or trio: the same calls, to be awaited."""

    _http: httpx.AsyncClient

    def __init__(
        self,
        url: str,
        key: str = "",
        timeout_s: float = TIMEOUT_S,
        ca_file: Path | str | None = None,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(url, timeout_s, retries)
        self._http = httpx.AsyncClient(**connection(self.address, authorization(self.address, key), timeout_s, ca_file))

    async def health(self) -> dict[str, str]:
        """As ``ResonanceClient.health``."""
        return await self._run(self._health())

    async def transcribe(self, recording: Path | str | bytes, patient_id: str | None = None) -> Transcript:
        """As ``ResonanceClient.transcribe``."""
        upload = await anyio.to_thread.run_sync(_upload, recording)
        return await self._run(self._transcribe(upload, patient_id))

    async def correct(self, answer_id: str, text: str) -> None:
        """As ``ResonanceClient.correct``."""
        await self._run(self._correct(answer_id, text))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncResonanceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, exchange: Exchange[T]) -> T:
        response = None
        try:
            while True:
                step = exchange.send(response)
                if isinstance(step, httpx.Request):
                    response = await self._http.send(step)
                else:
                    await anyio.sleep(step)
                    response = None
        except StopIteration as end:
            return end.value
        except httpx.RequestError as error:  # may ask the address once more, which blocks
            raise await anyio.to_thread.run_sync(on_the_way, error, self._timeout_s) from error


def connection(
    address: str, headers: Mapping[str, str], timeout_s: float, ca_file: Path | str | None
) -> dict[str, Any]:
    """How either kind of httpx client reaches ``address``. Raises RZ-0950."""
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


def _given(response: httpx.Response | None) -> httpx.Response:
    assert response is not None  # a request that was yielded comes back answered
    return response


def _asked_to_wait_s(response: httpx.Response) -> float:
    """Seconds of ``Retry-After``, which is a number or a date; 0 where it is neither."""
    said = response.headers.get("Retry-After", "")
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
