"""The numbers Prometheus collects, in a registry of the app's own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Gauges:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "winnow_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "winnow_http_request_seconds", "Time to answer a request", ["route"], registry=self.registry
        )
        self.jobs = Gauge("winnow_jobs", "Jobs by state", ["state"], registry=self.registry)
        self.oldest_queued_s = Gauge(
            "winnow_oldest_queued_seconds", "How long the oldest due job has waited", registry=self.registry
        )
