"""How large rooms are: counted when an admin asks, for the rooms that changed since.

So it costs nothing where nobody asks, and a list of rooms is read from an index.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from homeserver.services.event_store import EventStore
from homeserver.services.state import States
from homeserver.storage import admin_rooms as storage
from homeserver.storage.admin_rooms import ChangedRoom
from homeserver.storage.database import Database

AT_ONCE = 100  # while somebody waits
A_STEP = 10
NAME = ("m.room.name", "")
MAX_NAME_LENGTH = 255


class RoomFigures:
    """Counts rooms; as a job of the caretaker's, those that were too many to wait for."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        states: States,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._store = store
        self._states = states
        self._wake = wake
        self._clock_ms = clock_ms
        self._behind = False
        self._lock = asyncio.Lock()

    async def refresh(self) -> bool:
        """Count some rooms; False if there are more, which are counted in the background."""
        complete = await self._count(AT_ONCE) < AT_ONCE
        if not complete:
            self._behind = True
            self._wake()
        return complete

    async def next_due(self) -> int | None:
        """When there is something to count (ms)."""
        return self._clock_ms() if self._behind else None

    async def step(self) -> bool:
        """Count a few rooms."""
        if not self._behind:
            return False
        self._behind = await self._count(A_STEP) == A_STEP
        return True

    async def _count(self, most: int) -> int:
        async with self._lock:
            rooms = await storage.get_changed_rooms(self._database, most)
            for room in rooms:
                counts = await storage.count_room(self._database, room.room_id)
                await storage.save_figures(
                    self._database, room, await self._name(room), counts, self._clock_ms()
                )
            return len(rooms)

    async def _name(self, room: ChangedRoom) -> str:
        if room.snapshot_id is None:
            return ""
        event_id = (await self._states.get_keys(room.snapshot_id, [NAME])).get(NAME)
        stored = await self._store.get(event_id) if event_id is not None else None
        if stored is None or stored.redacted_by is not None:
            return ""
        name = stored.event.content.get("name")
        return name.replace("\0", "")[:MAX_NAME_LENGTH] if isinstance(name, str) else ""
