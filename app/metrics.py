"""The numbers Prometheus collects, in a registry of the app's own."""

import math
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from winnow.embeddings.cache import Usage

_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Requests as they come; jobs and the queue as they are when somebody asks."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "winnow_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram("winnow_http_request_seconds", "Time to answer", ["route"], registry=registry)
        self._received = Counter("winnow_http_received_bytes", "Bytes of request bodies", registry=registry)
        self._sent = Counter("winnow_http_sent_bytes", "Bytes of answers", registry=registry)
        self._jobs = Gauge("winnow_jobs", "Jobs by state", ["state"], registry=registry)
        self._oldest = Gauge("winnow_oldest_queued_seconds", "Wait of the oldest due job", registry=registry)
        self._cache_bytes = Gauge("winnow_cache_bytes", "Vectors kept on disk", ["encoder"], registry=registry)
        self._cache_rows = Gauge("winnow_cache_rows", "Samples whose vector is kept", ["encoder"], registry=registry)
        self._database_up = Gauge("winnow_database_up", "1 where the database answers", registry=registry)

    def note(self, method: str, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        self._requests.labels(method if method in _METHODS else "OTHER", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    def set_queue(self, jobs_by_state: Mapping[str, int] | None, oldest_queued_s: float = 0.0) -> None:
        """None: the database is away, and old numbers would be a lie."""
        self._database_up.set(0 if jobs_by_state is None else 1)
        self._jobs.clear()
        if jobs_by_state is None:
            self._oldest.set(math.nan)
            return
        self._oldest.set(oldest_queued_s)
        for state in _STATES:
            self._jobs.labels(state).set(jobs_by_state.get(state, 0))

    def set_cache(self, usage: Iterable[Usage]) -> None:
        self._cache_bytes.clear()
        self._cache_rows.clear()
        for shelf in usage:
            self._cache_bytes.labels(shelf.made_by).set(shelf.bytes)
            self._cache_rows.labels(shelf.made_by).set(shelf.rows)

    def text(self) -> bytes:
        return generate_latest(self._registry)
