"""What happens in a user's rooms, as one stream of events in the order in which they came.

An answer has a bounded number of them and ends where they end: whoever asks on from there is told
of each exactly once, however large the gap.  Spec: client-server API, ``GET /events`` (deprecated).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from msgspec import Struct

from homeserver.errors import Forbidden
from homeserver.protocol.events import JsonObject, stripped_state
from homeserver.protocol.stripped import without_strangers_choices
from homeserver.services.event_store import EventStore
from homeserver.services.invites_shown import is_from_stranger
from homeserver.services.notifier import Notifier, Waiter
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.requester import Requester
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.services.sync_token import SyncToken
from homeserver.services.timeline import Timeline
from homeserver.services.visibility import InviteFilter
from homeserver.storage import events as event_storage
from homeserver.storage import rooms as room_storage
from homeserver.storage import sync as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.rooms import MembershipRow

EVENTS_AT_ONCE = 100
MOST_PAGES = 20  # of events that may all be hidden


_Told = tuple[int, Any]
"""The position of an event, and the event as its reader gets it."""


class _Part(Struct):
    """What happened at ``since < position <= upto``."""

    chunk: list[Any]
    upto: int


class EventStream:
    """Reads the stream."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        store: EventStore,
        notifier: Notifier,
        timeline: Timeline,
        rooms_of_users: RoomsOfUsers,
        invites: InviteFilter,
    ) -> None:
        self._database = database
        self._recent = recent
        self._store = store
        self._notifier = notifier
        self._timeline = timeline
        self._rooms_of_users = rooms_of_users
        self._invites = invites

    def now(self) -> SyncToken:
        """The point at which what happens from now on begins."""
        return SyncToken(self._recent.position)

    def waiter(self, requester: Requester) -> Waiter:
        """To be woken by what may be in the stream; a context manager."""
        return self._notifier.waiter(requester.user_id, requester.device_id)

    async def read(
        self, requester: Requester, since: SyncToken
    ) -> tuple[list[Any], SyncToken, bool]:
        """The next events after a token, the token after them, and whether there may be more.

        None though there may be more: very many in between are not for this reader.
        """
        point = min(since.position, self._recent.position)
        for _ in range(MOST_PAGES):
            part = await self._part(requester, point)
            point = part.upto
            if part.chunk or point >= self._recent.position:
                break
        token = SyncToken(point, since.typing, since.presence, point)
        return part.chunk, token, point < self._recent.position

    async def _part(self, requester: Requester, since: int) -> _Part:
        user_id, upto = requester.user_id, self._recent.position
        rooms = await self._rooms_of_users.get(user_id)
        limits = dict.fromkeys(await self._changed(user_id, rooms.joined, since, upto), upto)
        gone: list[MembershipRow] = []
        for row in await self._moved(user_id, since, upto):
            if row.membership == "join":
                limits[row.room_id] = upto
            elif row.membership != "invite":
                if await self._may_read(user_id, row.room_id):
                    limits[row.room_id] = min(upto, row.position)
                else:
                    gone.append(row)
        found = await event_storage.get_events_after(
            self._database,
            list(limits),
            [since] * len(limits),
            list(limits.values()),
            EVENTS_AT_ONCE,
        )
        if len(found) == EVENTS_AT_ONCE:
            upto = found[-1].position
        told = await self._shown(requester, found)
        told += await self._gone(requester, [row for row in gone if row.position <= upto])
        told += await self._invited(user_id, rooms.invited, since, upto)
        told.sort(key=itemgetter(0))
        return _Part([event for _, event in told], upto)

    # ------------------------------------------------------------ which rooms

    async def _changed(
        self, user_id: str, joined: Mapping[str, object], since: int, upto: int
    ) -> Sequence[str]:
        changed = self._recent.rooms.since(since)
        if changed is None:
            return list(await storage.get_changed_rooms(self._database, user_id, since, upto))
        return [room_id for room_id in changed if room_id in joined]

    async def _moved(self, user_id: str, since: int, upto: int) -> list[MembershipRow]:
        """The user's present membership of the rooms in which it has changed."""
        if not self._recent.memberships.changed(user_id, since):
            return []
        changes = await room_storage.get_membership_changes(self._database, user_id, since, upto)
        moved = dict.fromkeys(change.room_id for change in changes)
        rows = await room_storage.get_memberships_in(self._database, user_id, moved)
        return [rows[room_id] for room_id in moved if room_id in rows]

    async def _may_read(self, user_id: str, room_id: str) -> bool:
        """Whether a user may read a room that they are not in: they left it, and have not forgotten
        it."""
        try:
            reader = await self._timeline.reader(room_id, user_id)
        except Forbidden:
            return False
        return reader.ever_joined

    # ------------------------------------------------------------ which events

    async def _shown(self, requester: Requester, found: Sequence[StoredEvent]) -> list[_Told]:
        """Those of some events that are for the reader."""
        by_room: dict[str, list[StoredEvent]] = {}
        for stored in found:
            by_room.setdefault(stored.event.room_id, []).append(stored)
        told: list[_Told] = []
        withheld = await self._timeline.withheld(requester.user_id)
        for room_id, events in by_room.items():
            reader = await self._timeline.any_reader(room_id, requester.user_id)
            visible = [s for s in events if self._timeline.shows(s, reader, withheld)]
            made = await self._timeline.bundled(visible, reader, requester)
            told += zip((stored.position for stored in visible), made, strict=True)
        return told

    async def _gone(self, requester: Requester, rows: Sequence[MembershipRow]) -> list[_Told]:
        """What became of a user in rooms that they may not read."""
        told: list[_Told] = []
        user_id = requester.user_id
        for row in rows:
            stored = await self._store.get(row.event_id)
            if stored is None or not stored.shown:
                continue
            withheld = await self._timeline.withheld(user_id)
            if not await is_from_stranger(self._invites, withheld, user_id, row):
                reader = await self._timeline.any_reader(row.room_id, user_id)
                (event,) = await self._timeline.bundled([stored], reader, requester)
                told.append((row.position, event))
        return told

    async def _invited(
        self, user_id: str, invited: Mapping[str, MembershipRow], since: int, upto: int
    ) -> list[_Told]:
        """The invites that the user is shown since a position, up to another."""
        if not invited:
            return []
        shown = await self._invites.shown_invites(user_id, invited, since)
        if not shown:
            return []
        later = await self._invites.shown_invites(user_id, invited, upto)
        found = [
            (invite[0].position, await self._invite(*invite))
            for room_id, invite in shown.items()
            if room_id not in later
        ]
        return [(position, event) for position, event in found if event is not None]

    async def invites(self, user_id: str) -> dict[str, JsonObject]:
        """Room ID -> the event of each invite that a user is shown."""
        rooms = await self._rooms_of_users.get(user_id)
        shown = await self._invites.shown_invites(user_id, rooms.invited, None)
        found = {room_id: await self._invite(*invite) for room_id, invite in shown.items()}
        return {room_id: event for room_id, event in found.items() if event is not None}

    async def _invite(self, row: MembershipRow, from_stranger: bool) -> JsonObject | None:
        """The event of an invite, showing of it what a sync shows."""
        stored = await self._store.get(row.event_id)
        if stored is None:
            return None
        event = stored.event
        shown = stripped_state(event)
        if from_stranger:
            (shown,) = without_strangers_choices([shown])
        return {
            **shown,
            "room_id": event.room_id,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
        }
