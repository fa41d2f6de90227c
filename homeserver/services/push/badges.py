"""How much a user has not read, in all rooms together: what the badge of an app shows.

Kept for those who have pushers, room by room; of what has happened only the rooms concerned are
counted again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol
from weakref import WeakValueDictionary

from msgspec import Struct

from homeserver.services.unread import Unread
from homeserver.storage import notification_list as storage
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.hidden_events import HiddenRecord, ViewedRecord
from homeserver.storage.log import Log, Notice

CACHED_USERS = 10_000
MOST_MISSED_CALLS = 100
CALLS_SINCE_MS = 30 * 24 * 3_600_000


class Counts(Protocol):
    """Readers' counts, room by room."""

    async def get_many(self, user_id: str, room_ids: Iterable[str], upto: int) -> dict[str, Unread]:
        """A reader's counts in several rooms."""


class JoinedRooms(Protocol):
    """In which rooms a user is."""

    @property
    def joined(self) -> Mapping[str, int]:
        """Room ID -> position."""


class RoomsOf(Protocol):
    """The rooms of users."""

    async def get(self, user_id: str) -> JoinedRooms:
        """A user's rooms."""


class Badge(Struct, frozen=True):
    """``counts`` of the push gateway API."""

    unread: int
    missed_calls: int = 0

    def to_json(self, *, with_zero: bool = False) -> dict[str, int]:
        """Counts that are zero are left out, unless it is they that are to be told."""
        counts = {"unread": self.unread, "missed_calls": self.missed_calls}
        return {name: count for name, count in counts.items() if count or with_zero}


class Badges:
    """Counts what is unread, for pushers."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        counts: Counts,
        rooms: RoomsOf,
        clock_ms: Callable[[], int],
    ) -> None:
        self._clock_ms = clock_ms
        self._database = database
        self._log = log
        self._counts = counts
        self._rooms = rooms
        self._of_user: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._stale: dict[str, set[str]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.told: dict[int, Badge] = {}
        """What each pusher's gateway was told last, as far as this process knows."""
        log.subscribe(self._on_notice)

    async def get(self, user_id: str) -> Badge:
        """What a user has not read."""
        # One at a time for each user: else the second would take for counted what the first counts.
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        async with lock:
            return await self._get(user_id)

    async def _get(self, user_id: str) -> Badge:
        joined = (await self._rooms.get(user_id)).joined
        known = self._of_user.setdefault(user_id, {})
        self._of_user.move_to_end(user_id)
        if len(self._of_user) > CACHED_USERS:
            self._of_user.popitem(last=False)
        stale = self._stale.pop(user_id, set())
        wanted = {room_id for room_id in joined if room_id not in known or room_id in stale}
        if wanted:
            try:
                found = await self._counts.get_many(user_id, wanted, self._log.position)
            except BaseException:
                self._of_user.pop(user_id, None)
                raise
            known.update({room_id: unread.notifications for room_id, unread in found.items()})
        unread_in = {room: count for room, count in known.items() if count and room in joined}
        missed = 0
        if unread_in:
            now = self._clock_ms()
            missed = await storage.count_missed_calls(
                self._database,
                user_id,
                unread_in,
                since=now - CALLS_SINCE_MS,
                now=now,
                limit=MOST_MISSED_CALLS,
            )
        return Badge(sum(unread_in.values()), missed)

    def room_changed(self, user_id: str, room_id: str) -> None:
        """What is unread in a room may have changed for a user."""
        if user_id in self._of_user:
            self._stale.setdefault(user_id, set()).add(room_id)

    def forget(self, user_id: str) -> None:
        """Count everything anew."""
        self._of_user.pop(user_id, None)
        self._stale.pop(user_id, None)

    def _on_notice(self, notice: Notice) -> None:
        if not self._of_user:
            return
        for _, record in notice.records:
            if isinstance(record, AccountDataRecord | HiddenRecord | ViewedRecord):
                self.forget(record.user_id)
            elif isinstance(record, ConsentRecord):
                self.forget(record.owner)
