"""The rooms of those who sync, in memory, and who of them is in which room.

A user's rooms are loaded at their first sync and follow the log from then on.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Set

from msgspec import Struct
from msgspec.structs import replace

from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, MembershipChange
from homeserver.storage.log import Log, Notice
from homeserver.storage.rooms import MembershipRow

CACHED_USERS = 10_000  # besides those who are pinned
DROPPED_AT_ONCE = 500
PRESENT = ("join", "invite", "knock")
NOBODY: frozenset[str] = frozenset()


class UserRooms(Struct, frozen=True):
    """Where a user is joined, invited or knocking.  A change makes another one."""

    joined: dict[str, int]  # room ID -> position of the last change
    invited: dict[str, MembershipRow]
    knocked: dict[str, MembershipRow]

    def membership(self, room_id: str) -> str:
        """The user's membership of a room; ``leave`` where they have none."""
        if room_id in self.joined:
            return "join"
        if room_id in self.invited:
            return "invite"
        return "knock" if room_id in self.knocked else "leave"

    def changed(self, row: MembershipRow) -> UserRooms:
        """The same with one membership in its new place."""
        joined, invited, knocked = dict(self.joined), dict(self.invited), dict(self.knocked)
        for memberships in (joined, invited, knocked):
            memberships.pop(row.room_id, None)
        if row.membership == "join":
            joined[row.room_id] = row.position
        elif row.membership == "invite":
            invited[row.room_id] = row
        elif row.membership == "knock":
            knocked[row.room_id] = row
        return replace(self, joined=joined, invited=invited, knocked=knocked)


class RoomsOfUsers:
    """Keeps the rooms of syncing users."""

    def __init__(self, *, database: Database, log: Log) -> None:
        self._database = database
        self._users: OrderedDict[str, UserRooms] = OrderedDict()
        self._members: dict[str, set[str]] = {}
        self._loading: dict[str, asyncio.Task[UserRooms]] = {}
        self._moved_while_loading: set[str] = set()
        self._pins: Counter[str] = Counter()
        self.on_move: Callable[[str, MembershipRow, str], None] = lambda _user, _row, _before: None
        """Told of each move of those in memory, in order: who, what is now, what was before."""
        log.subscribe(self._on_notice)

    async def get(self, user_id: str) -> UserRooms:
        """A user's rooms, as of the log's present position."""
        rooms = self._users.get(user_id)
        if rooms is not None:
            self._users.move_to_end(user_id)
            return rooms
        task = self._loading.get(user_id)
        if task is None:
            task = asyncio.create_task(self._load(user_id))
            self._loading[user_id] = task
        return await asyncio.shield(task)

    def members(self, room_id: str) -> Set[str]:
        """Those whose rooms are in memory and who are joined to this one."""
        return self._members.get(room_id, NOBODY)

    def pin(self, user_id: str) -> None:
        """Keep a user's rooms in memory: they are waiting for something to happen there."""
        self._pins[user_id] += 1

    def unpin(self, user_id: str) -> None:
        """The wait is over."""
        self._pins[user_id] -= 1
        if self._pins[user_id] <= 0:
            del self._pins[user_id]

    async def _load(self, user_id: str) -> UserRooms:
        try:
            while True:
                self._moved_while_loading.discard(user_id)
                rows = await storage.get_user_rooms(self._database, user_id, PRESENT)
                if user_id not in self._moved_while_loading:
                    break
            rooms = UserRooms(
                {row.room_id: row.position for row in rows if row.membership == "join"},
                {row.room_id: row for row in rows if row.membership == "invite"},
                {row.room_id: row for row in rows if row.membership == "knock"},
            )
            self._users[user_id] = rooms
            for room_id in rooms.joined:
                self._members.setdefault(room_id, set()).add(user_id)
            self._drop_cold()
            return rooms
        finally:
            del self._loading[user_id]
            self._moved_while_loading.discard(user_id)

    def _drop_cold(self) -> None:
        """Forget the coldest, many at a time: it goes over them all."""
        if len(self._users) - len(self._pins) <= CACHED_USERS:
            return
        for user_id in [user for user in self._users if user not in self._pins][:DROPPED_AT_ONCE]:
            self._leave(user_id, self._users.pop(user_id).joined)

    def _leave(self, user_id: str, room_ids: Iterable[str]) -> None:
        for room_id in room_ids:
            members = self._members.get(room_id)
            if members is not None:
                members.discard(user_id)
                if not members:
                    del self._members[room_id]

    def _on_notice(self, notice: Notice) -> None:
        for position, record in notice.records:
            if isinstance(record, EventRecord):
                for change in record.memberships:
                    if change.local:
                        self._take(position, change)

    def _take(self, position: int, change: MembershipChange) -> None:
        user_id = change.user_id
        if user_id in self._loading:
            self._moved_while_loading.add(user_id)
        rooms = self._users.get(user_id)
        if rooms is None:
            return
        row = MembershipRow(
            change.room_id,
            change.membership,
            change.event_id,
            change.sender,
            position,
            False,
            change.stripped_state,
        )
        self._users[user_id] = rooms.changed(row)
        self.on_move(user_id, row, rooms.membership(change.room_id))
        if change.membership == "join":
            self._members.setdefault(change.room_id, set()).add(user_id)
        else:
            self._leave(user_id, (change.room_id,))
