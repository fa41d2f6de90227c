"""Fetching a room's history from before we were in it.

Spec: server-server API, backfilling.
"""

from __future__ import annotations

import asyncio

import structlog

from federation.client import FederationClient
from federation.errors import FederationFailure
from federation.fetching import Fetching
from federation.paths import path_of
from federation.pdus import PduChecker
from homeserver.protocol.events import Event
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Rooms
from homeserver.storage import events as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log

logger = structlog.get_logger(__name__)

MAX_SERVERS = 5
MAX_EXTREMITIES = 20
MAX_EVENTS = 100


class Backfill:
    """Extends rooms' timelines into the past."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        client: FederationClient,
        checker: PduChecker,
        fetching: Fetching,
        store: EventStore,
        rooms: Rooms,
    ) -> None:
        self._database = database
        self._log = log
        self._client = client
        self._checker = checker
        self._fetching = fetching
        self._store = store
        self._rooms = rooms
        self._running: dict[str, asyncio.Task[bool]] = {}

    async def backfill(self, room_id: str, limit: int) -> bool:
        """Fetch older events; True if some came.  One request a room at a time."""
        task = self._running.get(room_id)
        if task is None:
            task = asyncio.create_task(self._backfill(room_id, limit))
            self._running[room_id] = task
            task.add_done_callback(lambda _: self._running.pop(room_id, None))
        return await asyncio.shield(task)

    async def _backfill(self, room_id: str, limit: int) -> bool:
        room = await self._rooms.find(room_id)
        wanted = await storage.backward_extremities(self._database, room_id, MAX_EXTREMITIES)
        if room is None or not wanted:
            return False
        for server in sorted(room.destinations, key=lambda s: -room.hosts[s])[:MAX_SERVERS]:
            try:
                answer = await self._client.get(
                    server,
                    path_of("v1/backfill", room_id),
                    query=[("limit", str(min(max(limit, 20), MAX_EVENTS)))]
                    + [("v", event_id) for event_id in wanted],
                )
            except FederationFailure as error:
                logger.info("backfill failed", server=server, reason=str(error))
                continue
            pdus = answer.get("pdus")
            if not isinstance(pdus, list) or not pdus:
                continue
            events = await self._checker.check_many(pdus[:MAX_EVENTS], room.version)
            if await self._keep(room, events, server):
                return True
        return False

    async def _keep(self, room: LiveRoom, events: list[Event], server: str) -> bool:
        """Place events before all that we have, in the order of the graph."""
        by_id = {event.event_id: event for event in events if event.room_id == room.room_id}
        known = await self._store.get_many(by_id)
        new = [
            event
            for event_id, event in by_id.items()
            if event_id not in known
            or (known[event_id].timeline_order is None and known[event_id].erased is None)
        ]
        for event in new:
            await self._fetching.ensure_auth_events(room, event, server)
        new = [event for event in new if await self._authorised(event)]
        if not new:
            return False
        new.sort(key=lambda event: (-event.depth, event.origin_server_ts, event.event_id))
        orders = await storage.take_backfill_order(self._database, len(new))
        orders.sort(reverse=True)
        placed = {event.event_id for event in new}
        have = await storage.known_event_ids(
            self._database, [p for event in new for p in event.prev_event_ids], with_state=True
        )
        pending = await storage.take_pending_redactions(self._database, placed)
        records = []
        for event, order in zip(new, orders, strict=True):
            missing = [p for p in event.prev_event_ids if p not in have and p not in placed]
            records.append(
                EventRecord(event, live=False, timeline_order=order, missing_prev_event_ids=missing)
            )
            if event.redacts is not None:
                records[-1].redacts = event.redacts if event.redacts in placed else None
        await self._log.append(*records)
        for event_id, redaction_id in pending.items():
            await storage.set_redacted(self._database, event_id, redaction_id)
            self._store.forget(event_id)
        return True

    async def _authorised(self, event: Event) -> bool:
        """Whether its auth events are here and none was rejected."""
        found = await self._store.get_many(event.auth_event_ids)
        return len(found) == len(set(event.auth_event_ids)) and not any(
            stored.rejected for stored in found.values()
        )
