"""How is the API doing? Counters in a registry of their own; labels are route templates and statuses, never names or secrets."""

import threading
from collections.abc import MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """What is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "opsconductor_http_requests", "Answers by route and status", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "opsconductor_http_request_seconds", "Time to the end of an answer", ("method", "route"), registry=self.registry
        )
        self.in_flight = Gauge("opsconductor_http_in_flight", "Requests being answered", registry=self.registry)
        self.streams = Gauge("opsconductor_live_streams", "Live streams open", registry=self.registry)
        self.commands = Counter(
            "opsconductor_api_commands",
            "Commands sent, by type and what became of them",
            ("type", "result"),
            registry=self.registry,
        )
        Gauge("opsconductor_threads", "Threads of this process", registry=self.registry).set_function(threading.active_count)
        self.sign_ins = Counter("opsconductor_sign_ins", "Sign-ins by result", ("result",), registry=self.registry)

    def answered(self, scope: MutableMapping[str, Any], status: int | None, seconds: float) -> None:
        """Count one answer."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.requests.labels(method, route, str(status or 0)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
