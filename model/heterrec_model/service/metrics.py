"""The metrics of the service, for Prometheus."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from heterrec_model.bundle.files import Identity

STAGES = ("parse", "queue", "encode", "search", "write")
_SECONDS = (0.0001, 0.0005, 0.001, 0.002, 0.004, 0.007, 0.01, 0.015, 0.03, 0.06, 0.125, 0.25, 1.0)


class Metrics:
    """Counters, gauges and histograms of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        stages = Histogram(
            "heterrec_stage_seconds",
            "Time of a stage of a request.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._requests = self._counter("requests", "Answers by path and status.", "path", "status")
        self._seconds = Histogram(
            "heterrec_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._refused = self._counter("refused", "Requests answered with 503.", "reason")
        self._fallbacks = self._counter("fallbacks", "Answers of popular items.", "kind")
        self._short = self._counter("short_answers", "Answers with fewer than k items.")
        self._cache = self._counter("user_vectors", "User vectors needed.", "source")
        self._reloads = self._counter("reloads", "Bundles that were opened.", "outcome")
        for reason in ("queue", "deadline", "connections"):
            self._refused.labels(reason)
        for outcome in ("loaded", "refused"):
            self._reloads.labels(outcome)
        self._queue = Gauge(
            "heterrec_queue_length", "Requests waiting for the model.", registry=self._registry
        )
        self._bundle = Gauge(
            "heterrec_bundle_info",
            "The bundle in use.",
            ["generation", "model", "checkpoint", "fingerprint"],
            registry=self._registry,
        )

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"heterrec_{name}", words, labels, registry=self._registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name].observe(time.perf_counter() - started)

    def waited(self, seconds: float) -> None:
        """Count the time of a request in the queue."""
        self._stages["queue"].observe(seconds)

    def answered(self, path: str, status: str, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a 503: queue, deadline or connections."""
        self._refused.labels(reason).inc()

    def fell_back(self, kind: str) -> None:
        """Count an answer of popular items."""
        self._fallbacks.labels(kind).inc()

    def short_answer(self) -> None:
        """Count an answer with fewer than k items."""
        self._short.inc()

    def user_vectors(self, cached: int, encoded: int) -> None:
        """Count user vectors by their source."""
        self._cache.labels("cache").inc(cached)
        self._cache.labels("model").inc(encoded)

    def reloaded(self, outcome: str) -> None:
        """Count an opened bundle: loaded or refused."""
        self._reloads.labels(outcome).inc()

    def uses(self, identity: Identity) -> None:
        """Name the bundle in use."""
        self._bundle.clear()
        self._bundle.labels(
            identity.generation,
            identity.model,
            identity.checkpoint,
            identity.fingerprint or "",
        ).set(1)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Read the length of the queue when the metrics are read."""
        self._queue.set_function(length)

    def text(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
