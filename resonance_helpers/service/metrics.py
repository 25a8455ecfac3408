"""What the operator may count, in Prometheus' format. No label names a patient, a key or an address."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()  # not the library's global one: two services may run in one process
        self._requests = Counter(
            "resonance_requests", "Answered requests.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "resonance_request_seconds", "From the first byte to the answer.", ("route",), buckets=SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._audio = Counter("resonance_audio_seconds", "Sound that was decoded.", registry=self._registry)
        self._model = Histogram(
            "resonance_model_seconds", "One call of the model.", buckets=SECONDS, registry=self._registry
        )
        self._batch = Histogram(
            "resonance_batch_pieces", "Pieces in one call of the model.", buckets=(1, 2, 4, 8), registry=self._registry
        )
        self._dropped = Counter(
            "resonance_dropped", "Requests that were given up before their answer.", ("why",), registry=self._registry
        )

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A gauge that asks ``value`` when it is read."""
        Gauge(f"resonance_{name}", what, registry=self._registry).set_function(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def decoded(self, seconds: float) -> None:
        self._audio.inc(seconds)

    def called(self, pieces: int, seconds: float) -> None:
        self._model.observe(seconds)
        self._batch.observe(pieces)

    def dropped(self, why: str) -> None:
        self._dropped.labels(why).inc()

    def text(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)
