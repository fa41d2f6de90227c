"""Retention: messages older than their room's policy allows are deleted for real.

The purge walks through all rooms again and again, a few events at a time, with pauses between: it
can be stopped anywhere and begins anew.  Spec: MSC1763.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from homeserver.protocol.events import JsonObject
from homeserver.protocol.retention import (
    RETENTION_TYPES,
    RetentionLimits,
    RetentionPolicy,
    parse_retention_policy,
)
from homeserver.services.deletion import Deletion
from homeserver.services.event_store import EventStore
from homeserver.services.state import States
from homeserver.storage import retention as storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import RETENTION
from homeserver.storage.retention import RetentionRoom

logger = structlog.get_logger(__name__)

ROOMS_AT_ONCE = 50
ROOMS_A_STEP = 10
EVENTS_AT_ONCE = 100
SWEEP_EVERY_MS = 30 * 60_000


class Retention:
    """A job of the caretaker: purges what is too old; says what the policies are."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        states: States,
        deletion: Deletion,
        limits: RetentionLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._store = store
        self._states = states
        self._deletion = deletion
        self._limits = limits
        self._clock_ms = clock_ms
        self._sweep_at = 0
        self._next_room = ""  # the sweep has come so far
        self._rooms: deque[RetentionRoom] = deque()
        self._since = 0  # in the first of them
        self._purged = 0
        self._again = False

    def configuration(self) -> JsonObject:
        """The instance's policy and limits, as clients are told of them.

        Spec: MSC1763, ``GET /retention/configuration``.
        """
        limits = self._limits
        default: dict[str, Any] = {}
        longest = limits.lifetime(None)
        if longest is not None:
            default["max_lifetime"] = longest
        bounds = {"min": limits.least, "max": limits.most}
        allowed = {name: value for name, value in bounds.items() if value is not None}
        return {
            "policies": {"*": default},
            "limits": {"max_lifetime": allowed} if allowed else {},
        }

    def policy_changed(self) -> None:
        """A room's policy changed: sweep soon."""
        self._sweep_at, self._again = 0, True

    # ------------------------------------------------------------ the purge

    async def next_due(self) -> int | None:
        """When the next sweep begins (ms)."""
        return self._sweep_at

    async def step(self) -> bool:
        """Look at a few rooms, or delete some of what is too old in one."""
        if not self._rooms and not await self._read_rooms():
            return False
        for _ in range(ROOMS_A_STEP):
            if not self._rooms:
                break
            purged = await self._purge(self._rooms[0])
            if purged < EVENTS_AT_ONCE:
                self._rooms.popleft()
                self._since = 0
            if purged:
                break
        return True

    async def _read_rooms(self) -> bool:
        """Read which rooms are next; False if the sweep is over, or none is due."""
        if self._clock_ms() < self._sweep_at:
            return False
        if not self._next_room:
            self._again = False
        rooms = await storage.get_rooms(
            self._database, self._next_room, RETENTION_TYPES, ROOMS_AT_ONCE
        )
        if not rooms:
            self._end_sweep()
            return False
        self._next_room = rooms[-1].room_id
        all_rooms = self._limits.lifetime(None) is not None
        self._rooms.extend(room for room in rooms if all_rooms or room.has_policy)
        return True

    def _end_sweep(self) -> None:
        if self._purged:
            logger.info("messages purged", count=self._purged)
        self._purged, self._next_room = 0, ""
        self._sweep_at = 0 if self._again else self._clock_ms() + SWEEP_EVERY_MS

    async def _purge(self, room: RetentionRoom) -> int:
        """Delete some old messages of a room; how many."""
        lifetime = self._limits.lifetime(await self._policy(room))
        if lifetime is None:
            return 0
        old = await storage.get_old_events(
            self._database,
            room,
            since=self._since,
            before=self._clock_ms() - lifetime,
            limit=EVENTS_AT_ONCE,
        )
        if old:
            await self._deletion.delete_event_content(
                [event.event_id for event in old], why=RETENTION, tell=False
            )
            self._purged += len(old)
            self._since = old[-1].origin_server_ts
        if 0 < len(old) < EVENTS_AT_ONCE:
            await storage.delete_purged_notifications(self._database, room.room_id)
        return len(old)

    async def _policy(self, room: RetentionRoom) -> RetentionPolicy | None:
        if not room.has_policy or room.snapshot_id is None:
            return None
        keys = [(kind, "") for kind in RETENTION_TYPES]
        ids = await self._states.get_keys(room.snapshot_id, keys)
        for key in keys:
            stored = await self._store.get(ids[key]) if key in ids else None
            if stored is not None and stored.redacted_by is None:
                return parse_retention_policy(stored.event.content)
        return None
