"""Rooms that we enter from outside: their state arrives as a whole, with our join.

Spec: server-server API, joining rooms (the answer to ``send_join``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.room_versions import RoomVersion
from homeserver.services.live_room import ALWAYS_LOADED, LiveRoom, LiveRooms
from homeserver.services.rooms import Rooms, Sent
from homeserver.storage import events as event_storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, MembershipChange, NewSnapshot


class RoomImport:
    """Takes in a room's state as another instance tells it."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        rooms: Rooms,
        live_rooms: LiveRooms,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._rooms = rooms
        self._live_rooms = live_rooms
        self._locks: dict[str, asyncio.Lock] = {}

    async def import_room(
        self,
        version: RoomVersion,
        join: Event,
        state: Sequence[Event],
        auth_chain: Iterable[Event],
        *,
        now_ms: int,
    ) -> Sent:
        """Enter a room by ``join``, one of ours, on top of ``state`` (the state before it).

        All events must have passed their checks.  Everything is written in one transaction.
        """
        room_id = join.room_id
        lock = self._locks.setdefault(room_id, asyncio.Lock())
        async with lock:
            await room_storage.insert_room(self._database, room_id, version.identifier, now_ms)
            await room_storage.set_room_version(self._database, room_id, version.identifier)
            row = await room_storage.get_room(self._database, room_id)
            assert row is not None
            known = await self._live_rooms.get(room_id)
            if known is not None:
                await known.settle()
            await self._live_rooms.prepare_snapshot_ids(2)
            records = await self._outliers([*auth_chain, *state])
            room = LiveRoom(room_id, version, self._server_name)
            room.revision = known.revision if known is not None else row.revision
            join_record = await self._join_record(room, join, state)
            self._live_rooms.add(room)
            done = self._rooms.commit(room, [*records, join_record])
        self._locks.pop(room_id, None)
        positions = await asyncio.shield(done)
        return Sent(join, positions[-1])

    async def _outliers(self, events: Iterable[Event]) -> list[EventRecord]:
        """Records for the events that we do not have yet."""
        by_id = {event.event_id: event for event in events}
        known = await event_storage.known_event_ids(self._database, by_id)
        return [
            EventRecord(event, live=False)
            for event_id, event in by_id.items()
            if event_id not in known
        ]

    async def _join_record(
        self, room: LiveRoom, join: Event, state: Sequence[Event]
    ) -> EventRecord:
        before: dict[StateKey, str] = {event.key: event.event_id for event in state}
        members = {event.key[1]: event for event in state if event.type == "m.room.member"}
        for event in state:
            room.state[event.key] = event.event_id
            if event.key in ALWAYS_LOADED:
                room.set_state(event.key, event)
        for user_id, event in members.items():
            room.set_membership(user_id, event.membership or "leave")
        snapshot_before = self._live_rooms.take_snapshot_id()
        first = NewSnapshot(snapshot_before, room.room_id, None, 0, before)
        room.snapshot_id = snapshot_before
        room.extremities = {}
        record = self._rooms.apply(room, join)
        record.snapshots = (first, *record.snapshots)
        record.memberships = (
            *await self._memberships(room, members, join),
            *record.memberships,
        )
        known = await event_storage.known_event_ids(
            self._database, join.prev_event_ids, with_state=True
        )
        record.missing_prev_event_ids = [i for i in join.prev_event_ids if i not in known]
        return record

    async def _memberships(
        self, room: LiveRoom, members: dict[str, Event], join: Event
    ) -> list[MembershipChange]:
        """Membership rows of the whole room; those whom the state no longer names have left."""
        changes = [
            MembershipChange(
                room.room_id,
                user_id,
                event.membership or "leave",
                event.event_id,
                event.sender,
                server_name_of(user_id) == self._server_name,
            )
            for user_id, event in members.items()
            if user_id != join.state_key
        ]
        before = await room_storage.get_room_memberships(self._database, room.room_id)
        old = {user_id: membership for user_id, membership, _ in before}
        changes = [change for change in changes if old.get(change.user_id) != change.membership]
        changes.extend(
            MembershipChange(room.room_id, user_id, "leave", "", user_id, local)
            for user_id, membership, local in before
            if membership in ("join", "invite", "knock")
            and user_id not in members
            and user_id != join.state_key
        )
        return changes
