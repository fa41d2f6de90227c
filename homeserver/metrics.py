"""Figures for Prometheus, in one registry.  Names end in their unit."""

from __future__ import annotations

import functools

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

REQUESTS = Counter(
    "comity_requests_total",
    "Requests answered",
    ("method", "route", "status"),
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "comity_request_duration_seconds",
    "How long requests took",
    ("route",),
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request that was answered; methods that are no endpoint's count as one."""
    requests, durations = _of(method if method in METHODS else "other", route, status)
    requests.inc()
    durations.observe(seconds)


@functools.cache
def _of(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, status), REQUEST_SECONDS.labels(route)


LOG_COMMITS = Counter("comity_log_commits_total", "Transactions of the log", registry=REGISTRY)
LOG_RECORDS = Counter("comity_log_records_total", "Records in the log", registry=REGISTRY)
EVENTS_RECEIVED = Counter(
    "comity_federation_events_total",
    "Events of other instances, by what became of them",
    ("verdict",),
    registry=REGISTRY,
)
SOCKETS = Gauge(
    "comity_websockets", "WebSockets with a session of the Conversations API", registry=REGISTRY
)
SOCKETS_CUT_OFF = Counter(
    "comity_websockets_cut_off_total",
    "WebSockets closed by the server, by code",
    ("code",),
    registry=REGISTRY,
)
MODERATION_ITEMS = Counter(
    "comity_moderation_items_total",
    "Items that entered the moderators' queue",
    ("kind",),
    registry=REGISTRY,
)
MODERATION_OPEN = Gauge(
    "comity_moderation_open_items",
    "Items of the moderators' queue that wait for a decision",
    ("kind",),
    registry=REGISTRY,
)
WEBHOOK_DELIVERIES = Counter(
    "comity_webhook_deliveries_total",
    "Attempts to deliver to webhooks, by result",
    ("result",),
    registry=REGISTRY,
)
PUSHES = Counter(
    "comity_pushes_total",
    "Requests to push gateways, by result",
    ("result",),
    registry=REGISTRY,
)
CHECKS = Counter(
    "comity_external_checks_total",
    "Questions to external checks, by verdict or as failed or skipped",
    ("check", "result"),
    registry=REGISTRY,
)
CHECK_SECONDS = Histogram(
    "comity_external_check_duration_seconds",
    "How long external checks took to answer",
    ("check",),
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
POLICY_MATCHES = Counter(
    "comity_policy_matches_total",
    "Events that a rule of content policy matched",
    ("rule", "action", "mode"),
    registry=REGISTRY,
)
