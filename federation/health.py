"""Which instances answer, and when those that do not are tried again.

The back-off doubles from a second to an hour; only what has been down for three days is left in
peace for six.  Anything heard from an instance, a request of its own above all, cuts the wait
short.  So nobody is "effectively defederated" by an outage.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from federation.caching import ExpiringCache
from federation.errors import Temporary
from homeserver.storage import outbox as storage
from homeserver.storage.database import Database
from homeserver.storage.outbox import FailingDestination

logger = structlog.get_logger(__name__)

SECOND_MS = 1000
HOUR_MS = 3600 * SECOND_MS
FIRST_INTERVAL_MS = SECOND_MS
GROWTH = 2
JITTER = 0.2
LONGEST_INTERVAL_MS = HOUR_MS
PATIENCE_MS = 72 * HOUR_MS  # after that the instance counts as gone for good
LONGEST_INTERVAL_WHEN_GONE_MS = 6 * HOUR_MS

REFUSE_FROM_INTERVAL_MS = 10 * SECOND_MS  # below this a person's request is worth a try
HEARD_EVERY_SECONDS = 5  # a peer that we cannot reach does not make us try with each request
CONTACT_EVERY_SECONDS = 600  # how often plain traffic is written down
MOST_INSTANCES = 50_000


class DestinationHealth:
    """What is known of other instances' being up, shared by all that send to them."""

    def __init__(
        self,
        *,
        database: Database,
        clock_ms: Callable[[], int],
        choose: random.Random | None = None,
    ) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._choose = choose or random.Random()
        self._failing: dict[str, FailingDestination] = {}
        self._heard: ExpiringCache[str, bool] = ExpiringCache(MOST_INSTANCES, self._seconds)
        self._contacts: ExpiringCache[str, bool] = ExpiringCache(MOST_INSTANCES, self._seconds)
        self._listeners: list[Callable[[str], None]] = []
        self.silenced: Callable[[str], None] = lambda _server_name: None
        """Told of each instance that answered before and does not any more."""
        self._unsaved: dict[str, FailingDestination | None] = {}
        self._writer: asyncio.Task[None] | None = None

    def _seconds(self) -> float:
        return self._clock_ms() / SECOND_MS

    async def start(self) -> None:
        """Read who did not answer when the process ended."""
        for failing in await storage.get_failing(self._database):
            self._failing[failing.server_name] = failing

    async def close(self) -> None:
        """Write down what is not yet."""
        if self._writer is not None:
            await self._writer

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call ``listener(server_name)`` when a failing instance is worth trying at once."""
        self._listeners.append(listener)

    # ------------------------------------------------------------ asking

    def check(self, server_name: str) -> None:
        """Raise :class:`Temporary` if an instance is known to be down, so that nobody waits."""
        failing = self._failing.get(server_name)
        if failing is None or failing.retry_interval_ms < REFUSE_FROM_INTERVAL_MS:
            return
        wait_ms = failing.retry_at - self._clock_ms()
        if wait_ms > 0:
            raise Temporary(server_name, "it does not answer at the moment", wait_ms / SECOND_MS)

    def is_failing(self, server_name: str) -> bool:
        """Whether the last attempt failed."""
        return server_name in self._failing

    def wait_seconds(self, server_name: str) -> float:
        """How long to leave an instance alone; 0 if it may be tried now."""
        failing = self._failing.get(server_name)
        if failing is None:
            return 0.0
        return max(0.0, (failing.retry_at - self._clock_ms()) / SECOND_MS)

    def failing_since(self, server_name: str) -> int | None:
        """Since when an instance has not answered, in ms."""
        failing = self._failing.get(server_name)
        return failing.failing_since if failing is not None else None

    # ------------------------------------------------------------ being told

    def failed(
        self, server_name: str, reason: str, retry_after_seconds: float | None = None
    ) -> None:
        """An attempt failed.  Attempts that were under way at once count as one."""
        now = self._clock_ms()
        before = self._failing.get(server_name)
        if before is not None and now < before.retry_at:
            return
        since = before.failing_since if before is not None else now
        interval = self._next_interval(before, now)
        spread = self._choose.uniform(1 - JITTER, 1 + JITTER)
        wait = max(round(interval * spread), round((retry_after_seconds or 0) * SECOND_MS))
        failing = FailingDestination(
            server_name, since, now + min(wait, LONGEST_INTERVAL_WHEN_GONE_MS), interval
        )
        self._failing[server_name] = failing
        if before is None:
            self.silenced(server_name)
        logger.info(
            "instance does not answer", server=server_name, reason=reason, retry_ms=interval
        )
        self._save(server_name, failing)

    def _next_interval(self, before: FailingDestination | None, now: int) -> int:
        if before is None:
            return FIRST_INTERVAL_MS
        gone = now - before.failing_since > PATIENCE_MS
        longest = LONGEST_INTERVAL_WHEN_GONE_MS if gone else LONGEST_INTERVAL_MS
        return min(max(before.retry_interval_ms, FIRST_INTERVAL_MS) * GROWTH, longest)

    def succeeded(self, server_name: str) -> None:
        """An instance answered a request of ours."""
        if self._failing.pop(server_name, None) is not None:
            logger.info("instance answers again", server=server_name)
            self._contacts.put(server_name, True, CONTACT_EVERY_SECONDS)
            self._save(server_name, None)
            self._tell(server_name)
        else:
            self._contact(server_name)

    def heard_from(self, server_name: str) -> None:
        """An instance sent us a signed request: if it did not answer before, it may now.

        The interval stays as it is until an attempt succeeds, for there are instances that can
        reach us and that we cannot reach.
        """
        failing = self._failing.get(server_name)
        if failing is None:
            self._contact(server_name)
            return
        if self._heard.get(server_name):
            return
        self._heard.put(server_name, True, HEARD_EVERY_SECONDS)
        self._failing[server_name] = FailingDestination(
            server_name, failing.failing_since, self._clock_ms(), failing.retry_interval_ms
        )
        self._tell(server_name)

    def try_now(self, server_name: str) -> None:
        """Somebody wants an instance tried again at once, every few seconds at most."""
        if server_name in self._failing:
            self.heard_from(server_name)

    def forget(self, server_name: str) -> None:
        """Treat an instance as if it had never failed."""
        self._unsaved.pop(server_name, None)
        if self._failing.pop(server_name, None) is not None:
            self._tell(server_name)

    def _tell(self, server_name: str) -> None:
        for listener in self._listeners:
            listener(server_name)

    # ------------------------------------------------------------ writing it down

    def _contact(self, server_name: str) -> None:
        if not self._contacts.get(server_name):
            self._contacts.put(server_name, True, CONTACT_EVERY_SECONDS)
            self._save(server_name, None)

    def _save(self, server_name: str, failing: FailingDestination | None) -> None:
        self._unsaved[server_name] = failing
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="destination health")

    async def _write(self) -> None:
        while self._unsaved:
            server_name = next(iter(self._unsaved))
            failing = self._unsaved.pop(server_name)
            try:
                if failing is not None:
                    await storage.save_failure(self._database, failing)
                else:
                    await storage.save_success(self._database, server_name, self._clock_ms())
            except Exception:
                # what is in memory counts; a restart tries everybody once more
                logger.exception("destination health not saved", server=server_name)
