"""A room's state for readers: now, for members; as of their leave, for those who left.

Spec: client-server API, ``/state``, ``/members``, ``/joined_members``, ``/joined_rooms``.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.services.client_events import shown_event
from homeserver.services.event_store import EventStore
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.requester import Requester
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.services.sync_state import MEMBER, StateIds, SyncStates
from homeserver.services.timeline import Timeline
from homeserver.services.visibility import LAST_ORDER, Reader
from homeserver.storage.events import StoredEvent


class TimelineState:
    """Reads rooms' state for users."""

    def __init__(
        self,
        *,
        recent: RecentTimeline,
        store: EventStore,
        states: SyncStates,
        timeline: Timeline,
        rooms_of_users: RoomsOfUsers,
    ) -> None:
        self._recent = recent
        self._store = store
        self._states = states
        self._timeline = timeline
        self._rooms_of_users = rooms_of_users

    async def joined_rooms(self, user_id: str) -> list[str]:
        """The rooms that a user is in.  Spec: ``GET /joined_rooms``."""
        return list((await self._rooms_of_users.get(user_id)).joined)

    async def state(self, requester: Requester, room_id: str) -> list[orjson.Fragment]:
        """All state events.  Spec: ``GET /rooms/{roomId}/state``.  Raises :class:`Forbidden`."""
        reader = await self._timeline.reader(room_id, requester.user_id)
        ids = await self.ids(room_id, reader)
        return await self._timeline.serialise(await self._events(ids), reader, requester)

    async def ids(self, room_id: str, reader: Reader) -> StateIds:
        """The IDs of all state events that a reader gets."""
        snapshot = await self._snapshot(room_id, reader)
        return await self._states.snapshot(snapshot) if snapshot is not None else {}

    async def state_event(
        self, requester: Requester, room_id: str, event_type: str, state_key: str
    ) -> tuple[JsonObject, orjson.Fragment]:
        """One state event: its content, and the whole of it.

        Spec: ``GET /rooms/{roomId}/state/{eventType}/{stateKey}``.
        Raises :class:`Forbidden`, :class:`NotFound`.
        """
        reader = await self._timeline.reader(room_id, requester.user_id)
        snapshot = await self._snapshot(room_id, reader)
        key = (event_type, state_key)
        ids = await self._states.keys(snapshot, (key,)) if snapshot is not None else {}
        events = await self._events(ids)
        if not events:
            raise NotFound("The room has no state of that type and key")
        serialised = await self._timeline.serialise(events, reader, requester)
        return shown_event(reader.as_seen(events[0])).content, serialised[0]

    async def members(
        self,
        requester: Requester,
        room_id: str,
        *,
        at: int | None,
        membership: str | None,
        not_membership: str | None,
    ) -> list[orjson.Fragment]:
        """The member events, now or at a point of the timeline.

        With both conditions, one suffices.  Spec: ``GET /rooms/{roomId}/members``.
        Raises :class:`Forbidden`.
        """
        reader = await self._timeline.reader(room_id, requester.user_id)
        snapshot = await self._snapshot(room_id, reader, at)
        ids = await self._states.snapshot(snapshot) if snapshot is not None else {}
        events = await self._events({k: v for k, v in ids.items() if k[0] == MEMBER})
        if membership is not None or not_membership is not None:
            events = [
                stored
                for stored in events
                if (found := stored.event.membership) == membership
                or (not_membership is not None and found != not_membership)
            ]
        return await self._timeline.serialise(events, reader, requester)

    async def joined_members(self, requester: Requester, room_id: str) -> JsonObject:
        """The joined users' profiles in a room.  Spec: ``GET /rooms/{roomId}/joined_members``.

        Raises :class:`Forbidden`.
        """
        reader = await self._timeline.reader(room_id, requester.user_id)
        if reader.membership != "join":
            raise Forbidden("You are not in this room")
        snapshot = await self._snapshot(room_id, reader)
        ids = await self._states.snapshot(snapshot) if snapshot is not None else {}
        joined: JsonObject = {}
        for stored in await self._events({k: v for k, v in ids.items() if k[0] == MEMBER}):
            event = shown_event(reader.as_seen(stored))
            if event.membership == "join" and event.state_key is not None:
                joined[str(event.state_key)] = _profile(event.content)
        return {"joined": joined}

    async def _snapshot(self, room_id: str, reader: Reader, at: int | None = None) -> int | None:
        """The state that a reader gets: at a point, at their leave, or now."""
        position = self._recent.position
        if at is not None and not (reader.history.always_shared and reader.membership == "join"):
            at = _first_visible(reader, at)
        limit = reader.left_at if reader.membership != "join" else None
        if limit is not None and not reader.history.is_world_readable:
            at = limit if at is None else min(at, limit)
        if at is None or at >= position:
            return await self._states.room_snapshot(room_id, position)
        return await self._states.snapshot_at(room_id, at)

    async def _events(self, ids: StateIds) -> Sequence[StoredEvent]:
        return list((await self._store.get_many(ids.values())).values())


def _first_visible(reader: Reader, at: int) -> int:
    """The first point of the timeline from one on at which a reader may see what happens; that
    of their leave, or now, if there is none."""
    starts = [max(after + 1, at) for after, upto in reader.visible_ranges() if at <= upto]
    return min(starts, default=LAST_ORDER)


def _profile(content: JsonObject) -> JsonObject:
    profile: JsonObject = {}
    for name, key in (("display_name", "displayname"), ("avatar_url", "avatar_url")):
        if isinstance(content.get(key), str):
            profile[name] = content[key]
    return profile
