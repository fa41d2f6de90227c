"""How clients synced before ``/sync``: a snapshot, then a stream of events.

Some bots and bridges still do, and it is how anybody follows a room that they are not in, where
its history is world-readable.  Spec: client-server API, ``GET /initialSync``, ``GET /events``,
``GET /events/{eventId}``, ``GET /rooms/{roomId}/initialSync`` (all deprecated), peeking events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import orjson
from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import SyncFilter
from homeserver.services.event_store import EventStore
from homeserver.services.event_stream import EVENTS_AT_ONCE, EventStream
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.requester import Requester
from homeserver.services.room_watch import RoomWatch
from homeserver.services.sync import SyncRequest, SyncService
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.sync_token import SyncToken, timeline_token
from homeserver.services.timeline import PageRequest, Timeline
from homeserver.services.timeline_state import TimelineState
from homeserver.storage import rooms as room_storage
from homeserver.storage.database import Database


class Wait(Struct, frozen=True):
    """How long somebody waits for news."""

    timeout_ms: int
    is_gone: Callable[[], bool] = lambda: False  # whether nobody is there for the answer


class OldSync:
    """Answers those who sync as clients once did."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        store: EventStore,
        sync: SyncService,
        extras: SyncExtras,
        timeline: Timeline,
        timeline_state: TimelineState,
        watch: RoomWatch,
        stream: EventStream,
    ) -> None:
        self._database = database
        self._recent = recent
        self._store = store
        self._sync = sync
        self._extras = extras
        self._timeline = timeline
        self._timeline_state = timeline_state
        self._watch = watch
        self._stream = stream

    # ------------------------------------------------------------ the stream

    async def events(self, requester: Requester, since: SyncToken | None, wait: Wait) -> JsonObject:
        """The events of the user's rooms after a token; waits for one, up to the timeout.

        Without a token: those that come from now on.  Of many there are some, and ``end`` is where
        the others begin.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.timeout_ms / 1000
        start = token = since or self._stream.now()
        with (
            self._extras.presence.syncing(requester.user_id),
            self._stream.waiter(requester) as waiter,
        ):
            while True:
                waiter.woken = False
                chunk, token, is_more = await self._stream.read(requester, token)
                left = deadline - loop.time()
                if chunk or left <= 0 or wait.is_gone() or not (is_more or await waiter.wait(left)):
                    return {"start": str(start), "chunk": chunk, "end": str(token)}

    async def peek(
        self, requester: Requester, room_id: str, after: int | None, wait: Wait
    ) -> JsonObject:
        """The events of one room after a point; waits for one, up to the timeout.

        Spec: ``GET /events`` with ``room_id``.  Raises :class:`~homeserver.errors.Forbidden`.
        """
        await self._timeline.reader(room_id, requester.user_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.timeout_ms / 1000
        start = point = self._recent.position if after is None else after
        with self._watch.watcher(room_id, requester.user_id) as watcher:
            while True:
                watcher.reset()
                upto = self._recent.position
                page = PageRequest(False, start=point, stop=upto, limit=EVENTS_AT_ONCE)
                found = await self._timeline.messages(requester, room_id, page)
                end = found.get("end", timeline_token(max(point, upto)))
                left = deadline - loop.time()
                if (
                    found["chunk"]
                    or wait.is_gone()
                    or not await watcher.wait(left)
                    or wait.is_gone()
                ):
                    return {"start": timeline_token(start), "chunk": found["chunk"], "end": end}
                point = max(point, upto)

    async def event(self, requester: Requester, event_id: str) -> orjson.Fragment:
        """One event, wherever it is.  Spec: ``GET /events/{eventId}``.

        Raises :class:`NotFound`, also for those who may not see it.
        """
        stored = await self._store.get(event_id)
        if stored is not None:
            with contextlib.suppress(Forbidden):
                return await self._timeline.event(requester, stored.event.room_id, event_id)
        raise NotFound("There is no such event, or you may not see it")

    # ------------------------------------------------------------ the snapshots

    async def snapshot(self, requester: Requester, limit: int, *, archived: bool) -> JsonObject:
        """All rooms of a user, each with its newest events.  Spec: ``GET /initialSync``."""
        wanted = {"room": {"timeline": {"limit": limit}, "include_leave": archived}}
        answer = orjson.loads(
            await self._sync.sync(
                SyncRequest(
                    # Messages to devices stay for those who sync: this acknowledges none.
                    replace(requester, device_id=None),
                    filter=SyncFilter.parse(wanted),
                    use_state_after=True,
                )
            )
        )
        rooms = answer.get("rooms", {})
        parts = {**rooms.get("join", {}), **rooms.get("leave", {})}
        published = await room_storage.get_published_among(self._database, parts)
        listed = [
            self._room(room_id, part, requester.user_id, answer["next_batch"])
            for room_id, part in parts.items()
        ]
        for room in listed:
            room["visibility"] = "public" if room["room_id"] in published else "private"
        invites = await self._stream.invites(requester.user_id) if "invite" in rooms else {}
        for room_id in rooms.get("invite", ()):
            room = {"room_id": room_id, "membership": "invite"}
            if room_id in invites:
                room["invite"] = invites[room_id]
            listed.append(room)
        return {
            "end": answer["next_batch"],
            "rooms": listed,
            "presence": answer.get("presence", {}).get("events", []),
            "account_data": answer.get("account_data", {}).get("events", []),
        }

    def _room(self, room_id: str, part: JsonObject, user_id: str, end: str) -> JsonObject:
        timeline, state = part["timeline"], part["state_after"]["events"]
        own = [
            event["content"]["membership"]
            for event in (*state, *timeline["events"])
            if event["type"] == "m.room.member" and event["state_key"] == user_id
        ]
        return {
            "room_id": room_id,
            "membership": own[-1] if own else "leave",
            "messages": {
                "start": timeline.get("prev_batch", end),
                "end": end,
                "chunk": _of_room(room_id, timeline["events"]),
            },
            "state": _of_room(room_id, state),
            "account_data": part["account_data"]["events"],
        }

    async def room_snapshot(self, requester: Requester, room_id: str, limit: int) -> JsonObject:
        """One room as its reader has it.  Spec: ``GET /rooms/{roomId}/initialSync``.

        Raises :class:`~homeserver.errors.Forbidden`.
        """
        user_id = requester.user_id
        reader = await self._timeline.reader(room_id, user_id)
        page = await self._timeline.messages(
            requester, room_id, PageRequest(backwards=True, limit=limit)
        )
        messages = {"chunk": page["chunk"][::-1], "end": page["start"]}
        if "end" in page:
            messages["start"] = page["end"]
        account_data = await self._extras.room_account_data(user_id, [room_id])
        published = await room_storage.get_published_among(self._database, [room_id])
        answer: JsonObject = {
            "room_id": room_id,
            "messages": messages,
            "state": await self._timeline_state.state(requester, room_id),
            "visibility": "public" if published else "private",
            "account_data": account_data.get(room_id, []),
        }
        if reader.ever_joined:
            answer["membership"] = reader.membership
        return answer


def _of_room(room_id: str, events: Iterable[JsonObject]) -> list[JsonObject]:
    return [{**event, "room_id": room_id} for event in events]
