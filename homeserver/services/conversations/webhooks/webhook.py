"""A webhook in memory, and its health."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from homeserver.services.conversations.webhooks.event_types import is_wanted
from homeserver.services.conversations.webhooks.sending import Attempt
from homeserver.storage.webhooks import WebhookRow

ACTIVE, PAUSED, STOPPED = "active", "paused", "disabled"

SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
GIVE_UP_AFTER_MS = 72 * HOUR_MS
# After each failed attempt at a delivery, how long until the next.
DELAYS_MS = tuple(
    seconds * SECOND_MS for seconds in (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600)
)
SPREAD = 0.1  # of a delay, at random, so that not everything comes back at once
# After so many failures in a row the whole endpoint rests, and then is tried with one request.
FAILURES_BEFORE_REST = 5
SHORTEST_REST_MS = 10 * SECOND_MS
LONGEST_REST_MS = HOUR_MS


def delay_ms(attempts: int) -> int:
    """How long to wait after so many failed attempts at one delivery."""
    delay = DELAYS_MS[min(max(attempts, 1), len(DELAYS_MS)) - 1]
    return int(delay * random.uniform(1 - SPREAD, 1 + SPREAD))


def rest_ms(failures: int) -> int:
    """How long an endpoint is left alone after so many failures in a row."""
    if failures < FAILURES_BEFORE_REST:
        return 0
    doublings = min(failures - FAILURES_BEFORE_REST, 20)
    return min(SHORTEST_REST_MS << doublings, LONGEST_REST_MS)


class Webhook:
    """A webhook as it is now.  ``row`` is replaced, never changed."""

    def __init__(self, row: WebhookRow) -> None:
        self.row = row
        self.webhook_id = row.webhook_id
        self.owner = row.application_id or row.user_id or ""
        """An application's ID, or a user's."""
        self.position = self.row_position = row.position
        """Of the log: everything up to it is queued.  ``row_position`` is the one on disk."""
        self.writing = asyncio.Lock()

    @property
    def is_active(self) -> bool:
        """Whether anything is sent to it."""
        return self.row.state == ACTIVE

    def wants(self, type_: str) -> bool:
        """Whether it asks for a type."""
        return is_wanted(type_, self.row.events)

    def secrets(self, now: int) -> list[str]:
        """What to sign with: after a rotation, the old secret too, for a while."""
        row = self.row
        if row.previous_secret is None or (row.previous_until or 0) <= now:
            return [row.secret]
        return [row.secret, row.previous_secret]

    def slots(self) -> int:
        """How many requests may be under way: one, while it is not known whether it is well."""
        return 1 if self.row.failures >= FAILURES_BEFORE_REST else self.row.concurrency

    def note(self, attempt: Attempt, now: int) -> bool:
        """What an attempt says of the endpoint's health; whether anything has changed."""
        row = self.row
        if not self.is_active:
            return False
        if attempt.error is None:
            if row.failures == 0:
                return False
            self.row = replace(row, failures=0, failing_since=None, rest_until=None)
            return True
        failing_since = row.failing_since if row.failing_since is not None else now
        failures = row.failures + 1
        rest = max(rest_ms(failures), attempt.retry_after_ms or 0)
        self.row = replace(
            row,
            failures=failures,
            failing_since=failing_since,
            rest_until=now + rest if rest else None,
        )
        if attempt.unwanted:
            self._stop("the endpoint answered 410: it wants no more")
        elif now - failing_since >= GIVE_UP_AFTER_MS:
            self._stop(f"nothing was accepted for three days; the last time: {attempt.error}")
        return True

    def _stop(self, reason: str) -> None:
        self.row = replace(self.row, state=STOPPED, reason=reason)
