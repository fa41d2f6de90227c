"""Fetching a room's history from before we were in it.

Spec: server-server API, backfilling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog

from federation.client import FederationClient
from federation.errors import FederationFailure
from federation.fetching import Fetching
from federation.paths import path_of
from federation.pdus import PduChecker, authorise_chain
from homeserver.protocol.events import Event, redacted_copy
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import Action, Judgement, takes_no_effect
from homeserver.services.live_room import CREATE, LiveRoom
from homeserver.services.redaction_rules import may_redact
from homeserver.services.rooms import Rooms
from homeserver.storage import events as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Log

logger = structlog.get_logger(__name__)

MAX_SERVERS = 5
MAX_EXTREMITIES = 20
MAX_EVENTS = 100


class HistoryPolicy(Protocol):
    """Content policy for old events of other instances; it writes its own audit rows."""

    async def judge_history(self, room: LiveRoom, event: Event) -> Judgement:
        """Accept, hold or soft-fail."""


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
        policy: HistoryPolicy,
    ) -> None:
        self._policy = policy
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
            # "the response of backfill MUST NOT be validated on" how many events a PDU cites
            events = await self._checker.check_many(
                pdus[:MAX_EVENTS], room.version, limit_references=False
            )
            if await self._keep(room, events, server):
                return True
        return False

    async def _keep(self, room: LiveRoom, events: list[Event], server: str) -> bool:
        """Place events before all that we have, in the order of the graph."""
        by_id = {event.event_id: event for event in events if event.room_id == room.room_id}
        known = await self._store.get_many(by_id)
        new = {
            event_id: event
            for event_id, event in by_id.items()
            if event_id not in known or _is_outlier(known[event_id])
        }
        for event in new.values():
            await self._fetching.ensure_auth_events(room, event, server)
        accepted = await self._authorised(room, new)
        if not accepted:
            return False
        accepted.sort(key=lambda event: (-event.depth, event.origin_server_ts, event.event_id))
        orders = await storage.take_backfill_order(self._database, len(accepted))
        orders.sort(reverse=True)
        placed = {event.event_id: event for event in accepted}
        have = await storage.known_event_ids(
            self._database, [p for event in accepted for p in event.prev_event_ids], with_state=True
        )
        redacted = await self._redacted_before(room, placed)
        records = []
        for event, order in zip(accepted, orders, strict=True):
            record = await self._judged(room, event, order)
            record.missing_prev_event_ids = [
                p for p in event.prev_event_ids if p not in have and p not in placed
            ]
            if event.event_id in redacted:
                record.event = redacted_copy(event)  # before anybody sees it
            if not record.soft_failed and record.withheld is None:
                record.redacts = await self._redaction_target(room, event, placed)
                record.soft_failed = takes_no_effect(event, record.redacts)
            records.append(record)
        await self._log.append(*records)
        for event_id, redaction_id in redacted.items():
            await storage.set_redacted(self._database, event_id, redaction_id)
            self._store.forget(event_id)
        return True

    async def _authorised(self, room: LiveRoom, new: Mapping[str, Event]) -> list[Event]:
        """Those whose auth events are here, and allow them."""
        cited = {i for event in new.values() for i in event.auth_event_ids}
        found = await self._store.get_many(cited - new.keys())
        trusted = {i: stored.event for i, stored in found.items() if stored.rejected is None}
        accepted, refused = authorise_chain(new, room.event(CREATE), trusted=trusted)
        if refused:
            logger.info("events of the history refused", count=len(refused))
        return [event for event_id, event in accepted.items() if event_id in new]

    async def _judged(self, room: LiveRoom, event: Event, order: int) -> EventRecord:
        """Its record, by what content policy says of it: nobody gets round that with old events."""
        judgement = await self._policy.judge_history(room, event)
        if event.is_state:
            judgement = judgement.for_state()
        return EventRecord(
            event,
            live=False,
            timeline_order=order,
            soft_failed=judgement.action is Action.SOFT_FAIL,
            withheld=judgement.withheld,
            flags=judgement.flags,
            strip_rule=judgement.strip_rule,
        )

    async def _redacted_before(self, room: LiveRoom, placed: Mapping[str, Event]) -> dict[str, str]:
        """Event ID -> the redaction that came before it, and that may redact it."""
        pending = await storage.take_pending_redactions(self._database, placed)
        redactions = await self._store.get_many(pending.values())
        return {
            event_id: redaction_id
            for event_id, redaction_id in pending.items()
            if redaction_id in redactions
            and may_redact(room, redactions[redaction_id].event, placed[event_id])
        }

    async def _redaction_target(
        self, room: LiveRoom, event: Event, placed: Mapping[str, Event]
    ) -> str | None:
        """What it redacts, if it may; remembered if that is further back."""
        if event.redacts is None:
            return None
        target = placed.get(event.redacts)
        if target is None:
            stored = await self._store.get(event.redacts)
            if stored is None:
                await storage.add_pending_redaction(
                    self._database, event.redacts, event.event_id, room.room_id
                )
                return None
            target = stored.event
        return event.redacts if may_redact(room, event, target) else None


def _is_outlier(stored: StoredEvent) -> bool:
    """Whether an event is known without a place: not one that is kept unshown, or was deleted."""
    return (
        stored.timeline_order is None
        and stored.erased is None
        and stored.rejected is None
        and not stored.soft_failed
    )
