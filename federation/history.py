"""What other instances may read of our rooms: events, state, auth chains, backfill.

Spec: server-server API, retrieving events, backfilling and retrieving missing events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orjson import Fragment

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import redacted_copy
from homeserver.protocol.history_visibility import server_may_see, visibility_of
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.erased_accounts import ErasedAccounts, is_personal
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import HISTORY_VISIBILITY, LiveRoom
from homeserver.services.rooms import Rooms
from homeserver.services.state import State, States
from homeserver.services.visibility import Visibility
from homeserver.storage import events as storage
from homeserver.storage import moderation_queue
from homeserver.storage import sync as sync_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

MAX_BACKFILL = 100
MAX_MISSING = 50
MAX_WALK = 1000
MAX_NEAR = 50


class History:
    """Answers other instances' questions about rooms that they are in."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        states: States,
        erased: ErasedAccounts,
        visibility: Visibility,
    ) -> None:
        self._database = database
        self._erased = erased
        self._rooms = rooms
        self._store = store
        self._states = states
        self._visibility = visibility

    async def _room(self, room_id: str, origin: str) -> LiveRoom:
        room = await self._rooms.find(room_id)
        if room is None:
            raise NotFound("This server does not know that room")
        if not room.allows_server(origin):
            raise Forbidden("Your server is not allowed in this room")
        if origin not in room.hosts and not self._world_readable(room):
            raise Forbidden("Your server is not in that room")
        return room

    def _world_readable(self, room: LiveRoom) -> bool:
        visibility = room.content(HISTORY_VISIBILITY).get("history_visibility")
        return visibility == "world_readable"

    async def event(self, event_id: str, origin: str) -> dict[str, Any]:
        """One event as a transaction of one PDU.  Raises :class:`NotFound`."""
        stored = await self._store.get(event_id)
        if stored is None or stored.rejected is not None or await self._is_unsent(stored):
            raise NotFound("There is no such event")
        room = await self._room(stored.event.room_id, origin)
        (pdu,) = await self._visible(room, [stored], origin)
        return {"pdus": [pdu]}

    async def _is_unsent(self, stored: StoredEvent) -> bool:
        """Whether it is ours, and content policy has held it before anybody got it.

        What other instances sent is theirs to read, whether our readers are shown it or not.
        """
        if stored.withheld is None:
            return False
        if server_name_of(stored.event.sender) != self._rooms.server_name:
            return False
        return await moderation_queue.is_unsent(self._database, stored.event.event_id)

    async def state_ids(self, room_id: str, event_id: str, origin: str) -> dict[str, Any]:
        """The IDs of the state before an event, and of its auth chain."""
        state = await self._state_before(await self._room(room_id, origin), event_id)
        chain = await storage.cited_chain_ids(self._database, state.values())
        return {"pdu_ids": list(state.values()), "auth_chain_ids": sorted(chain)}

    async def state(self, room_id: str, event_id: str, origin: str) -> dict[str, Any]:
        """The state before an event, and its auth chain."""
        room = await self._room(room_id, origin)
        state = await self._state_before(room, event_id)
        chain = await storage.cited_chain_ids(self._database, state.values())
        pdus = await self._pdus(room, chain | set(state.values()), origin)
        return {
            "pdus": [pdus[i] for i in state.values() if i in pdus],
            "auth_chain": [pdus[i] for i in chain if i in pdus],
        }

    async def _state_before(self, room: LiveRoom, event_id: str) -> State:
        stored = await self._store.get(event_id)
        if stored is None or stored.event.room_id != room.room_id:
            raise NotFound("There is no such event in this room")
        if stored.snapshot_before is None:
            if stored.event.type == "m.room.create":
                return {}
            raise NotFound("This server does not have the state at that event")
        return await self._states.get(stored.snapshot_before)

    async def event_auth(self, room_id: str, event_id: str, origin: str) -> dict[str, Any]:
        """An event's auth chain."""
        room = await self._room(room_id, origin)
        stored = await self._store.get(event_id)
        if stored is None or stored.event.room_id != room.room_id:
            raise NotFound("There is no such event in this room")
        chain = await storage.auth_chain_ids(self._database, stored.event.auth_event_ids)
        return {"auth_chain": list((await self._pdus(room, chain, origin)).values())}

    async def _pdus(
        self, room: LiveRoom, event_ids: Iterable[str], origin: str
    ) -> Mapping[str, Fragment]:
        hidden = await self._erased.hidden_from_server(room.room_id, origin)
        return await storage.get_pdus(self._database, event_ids, room.version, hidden)

    async def event_near(
        self, room_id: str, ts: int, origin: str, *, forwards: bool
    ) -> dict[str, Any]:
        """The event next to a time (ms) that an instance may see.  Raises :class:`NotFound`.

        Spec: ``GET /timestamp_to_event/{roomId}``.
        """
        room = await self._room(room_id, origin)
        near = await sync_storage.get_events_near(
            self._database, room_id, ts, forwards=forwards, limit=MAX_NEAR
        )
        found = await self._store.get_many(event.event_id for event in near)
        for event in near:
            stored = found.get(event.event_id)
            if stored is not None and await self._may_see(room, stored, origin):
                return {"event_id": event.event_id, "origin_server_ts": event.origin_server_ts}
        direction = "after" if forwards else "before"
        raise NotFound(f"There is no event {direction} that time that your server may see")

    # ------------------------------------------------------------ walking back

    async def backfill(
        self, room_id: str, event_ids: Sequence[str], limit: int, origin: str
    ) -> list[Any]:
        """Up to ``limit`` events before and including the given ones, the newest first."""
        room = await self._room(room_id, origin)
        limit = min(max(limit, 1), MAX_BACKFILL)
        found = await self._walk(room, event_ids, stop=set(), limit=limit)
        return await self._visible(room, found, origin)

    async def missing_events(
        self,
        room_id: str,
        *,
        earliest: Sequence[str],
        latest: Sequence[str],
        limit: int,
        min_depth: int,
        origin: str,
    ) -> list[Any]:
        """Events between ``latest`` (left out) and ``earliest``, the oldest first."""
        room = await self._room(room_id, origin)
        limit = min(max(limit, 1), MAX_MISSING)
        ends = await self._store.get_many(latest)
        prevs = [p for stored in ends.values() for p in stored.event.prev_event_ids]
        found = await self._walk(room, prevs, stop={*earliest, *latest}, limit=limit)
        found = [stored for stored in found if stored.event.depth >= min_depth]
        found.reverse()
        return await self._visible(room, found, origin)

    async def _walk(
        self, room: LiveRoom, start: Iterable[str], *, stop: set[str], limit: int
    ) -> list[StoredEvent]:
        """Breadth first along prev events, deepest first within a step."""
        found: dict[str, StoredEvent] = {}
        frontier = [event_id for event_id in start if event_id not in stop]
        for _ in range(MAX_WALK):
            if not frontier or len(found) >= limit:
                break
            step = await self._store.get_many(frontier[:MAX_BACKFILL])
            frontier = []
            for stored in sorted(step.values(), key=lambda s: -s.event.depth):
                event = stored.event
                if event.room_id != room.room_id or event.event_id in found:
                    continue
                if stored.timeline_order is None and stored.snapshot_after is None:
                    continue  # an outlier: we do not know where it stands
                found[event.event_id] = stored
                frontier.extend(p for p in event.prev_event_ids if p not in found and p not in stop)
        ordered = sorted(found.values(), key=lambda s: -s.event.depth)
        return ordered[:limit]

    async def _visible(
        self, room: LiveRoom, events: Sequence[StoredEvent], origin: str
    ) -> list[Any]:
        """PDUs as an instance may see them: redacted where they were, or where history visibility
        hides them."""
        erased = await self._erased.hidden_from_server(room.room_id, origin)
        return [
            stored.event.pdu
            if stored.redacted_by is None
            and not (stored.event.sender in erased and is_personal(stored.event))
            and await self._may_see(room, stored, origin)
            else redacted_copy(stored.event).pdu
            for stored in events
            if stored.rejected is None and not await self._is_unsent(stored)
        ]

    async def _may_see(self, room: LiveRoom, stored: StoredEvent, origin: str) -> bool:
        event = stored.event
        if event.is_state or server_name_of(event.sender) == origin:
            return True
        setting, in_room = await self._setting_at(stored), origin in room.hosts
        if server_may_see(setting, (), in_room=in_room):
            return True
        if stored.snapshot_before is None:
            return False  # who was there then is not known here
        full = await self._states.get(stored.snapshot_before)
        members = [
            event_id
            for key, event_id in full.items()
            if key[0] == "m.room.member" and server_name_of(key[1]) == origin
        ]
        found = await self._store.get_many(members)
        memberships = [s.event.membership or "leave" for s in found.values()]
        return server_may_see(setting, memberships, in_room=in_room)

    async def _setting_at(self, stored: StoredEvent) -> str:
        """The history visibility at an event: by the state before it, or, of history that was
        fetched from elsewhere, by its place in the timeline."""
        if stored.snapshot_before is None:
            history = await self._visibility.history(stored.event.room_id)
            return history.at(stored.order)
        ids = await self._states.get_keys(stored.snapshot_before, (HISTORY_VISIBILITY,))
        found = await self._store.get_many(ids.values())
        content = next((event.event.content for event in found.values()), None)
        return visibility_of(content)


def as_transaction(server_name: str, now_ms: int, pdus: list[Any]) -> dict[str, Any]:
    """PDUs in the form of a transaction, as backfill and event answer."""
    return {"origin": server_name, "origin_server_ts": now_ms, "pdus": pdus}
