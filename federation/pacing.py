"""How fast the transactions of one instance are taken in.

Events, and what else must not be lost, are taken at a steady rate: a transaction that comes too
fast waits, and so do those behind it.  What tells of a moment (who types, who is here, who has
read) is passed over where there is too much of it.  And whoever has very many events waiting for
their place in their rooms is asked to come later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from homeserver.errors import LimitExceeded
from homeserver.services.rate_limits import RateLimits
from homeserver.storage import inbox
from homeserver.storage.database import Database

EPHEMERAL = frozenset({"m.typing", "m.presence", "m.receipt", "dev.comity.delivered"})
PATIENCE_SECONDS = 20.0
ENTRIES_PER_COST = 10
MAX_BACKLOG = 5_000
COUNTED_EVERY = 500  # events of one instance between two looks at its backlog
BACKLOG_RETRY_MS = 30_000
MAX_INSTANCES = 10_000


class Pacing:
    """Keeps the pace of each instance."""

    def __init__(self, *, database: Database, rate_limits: RateLimits) -> None:
        self._database = database
        self._rate_limits = rate_limits
        self._uncounted: OrderedDict[str, int] = OrderedDict()

    async def wait(self, origin: str, pdus: list[Any], edus: list[Any]) -> None:
        """Let a transaction's turn come.  Raises :class:`LimitExceeded`; nothing is taken then."""
        await self._check_backlog(origin, len(pdus))
        durable = len(pdus) + sum(not is_ephemeral(edu) for edu in edus)
        seconds = self._rate_limits.reserve(
            "federation_events", origin, durable, patience=PATIENCE_SECONDS
        )
        if seconds:
            await asyncio.sleep(seconds)

    def takes(self, origin: str, edu: dict[str, Any]) -> bool:
        """Whether there is time for an EDU that tells of a moment."""
        try:
            self._rate_limits.check("federation_ephemeral", origin, _cost(edu.get("content")))
        except LimitExceeded:
            return False
        return True

    async def _check_backlog(self, origin: str, events: int) -> None:
        """Look now and then at how much of an instance's waits in the database."""
        uncounted = self._uncounted.pop(origin, 0) + events
        if uncounted >= COUNTED_EVERY:
            if await inbox.has_backlog(self._database, origin, MAX_BACKLOG):
                self._keep(origin, COUNTED_EVERY)  # look again next time
                raise LimitExceeded(BACKLOG_RETRY_MS)
            uncounted = events
        self._keep(origin, uncounted)

    def _keep(self, origin: str, uncounted: int) -> None:
        if uncounted:
            self._uncounted[origin] = uncounted
            if len(self._uncounted) > MAX_INSTANCES:
                self._uncounted.popitem(last=False)


def is_ephemeral(edu: Any) -> bool:
    """Whether an EDU tells of a moment, so that the next one stands for it."""
    return isinstance(edu, dict) and str(edu.get("edu_type")) in EPHEMERAL


def _cost(content: Any) -> int:
    """More for one that is about many."""
    entries = 0
    if isinstance(content, dict):
        push = content.get("push")
        entries = len(push) if isinstance(push, list) else 0
        for room in content.values():
            for users in room.values() if isinstance(room, dict) else ():
                entries += len(users) if isinstance(users, dict) else 0
    return 1 + entries // ENTRIES_PER_COST
