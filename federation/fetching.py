"""Fetching what an event needs and we lack: ancestors, auth events, the state before it.

Spec: server-server API, backfilling and retrieving missing events.  Everything is bounded: a peer
cannot make us fetch without end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from federation.client import FederationClient
from federation.errors import FederationFailure
from federation.paths import path_of
from federation.pdus import PduChecker, authorise_chain
from homeserver.protocol.events import BadEvent, Event, StateKey
from homeserver.protocol.room_versions import RoomVersion
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import CREATE, LiveRoom
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log

logger = structlog.get_logger(__name__)

MAX_MISSING = 50  # events a request
MAX_ROUNDS = 40  # requests for one gap
MAX_ENDS = 20
MAX_SINGLE_FETCHES = 50
STATE_TIMEOUT_SECONDS = 120.0


class Fetching:
    """Asks other instances for events, checks them, and keeps them as outliers."""

    def __init__(
        self,
        *,
        client: FederationClient,
        checker: PduChecker,
        store: EventStore,
        log: Log,
    ) -> None:
        self._client = client
        self._checker = checker
        self._store = store
        self._log = log

    async def missing_events(self, room: LiveRoom, event: Event, origin: str) -> list[Event]:
        """Ancestors of an event back to what we have, the oldest first; maybe not all of them.

        A peer answers with some twenty at a time, the latest first: it is asked again for what
        those cite, until they meet what we have, up to a bound.
        """
        found: dict[str, Event] = {}
        latest = [event]
        for _ in range(MAX_ROUNDS):
            answered = await self._missing_before(room, latest, origin)
            new = [e for e in answered if e.event_id not in found and e != event]
            if not new:
                break
            found.update((e.event_id, e) for e in new)
            cited = {p for e in found.values() for p in e.prev_event_ids} - found.keys()
            known = await self._store.get_many(cited)
            missing = {p for p in cited if p not in known or known[p].snapshot_after is None}
            latest = [e for e in found.values() if not missing.isdisjoint(e.prev_event_ids)]
            if not latest:
                break
        return sorted(found.values(), key=lambda e: (e.depth, e.event_id))

    async def _missing_before(
        self, room: LiveRoom, latest: Sequence[Event], origin: str
    ) -> list[Event]:
        """One ``get_missing_events``; empty if it fails."""
        try:
            answer = await self._client.post(
                origin,
                path_of("v1/get_missing_events", room.room_id),
                body={
                    "earliest_events": list(room.extremities)[-MAX_ENDS:],
                    "latest_events": [event.event_id for event in latest[:MAX_ENDS]],
                    "limit": MAX_MISSING,
                    "min_depth": 0,
                },
            )
        except FederationFailure as error:
            logger.info("missing events not had", origin=origin, reason=str(error))
            return []
        events = await self._checked(answer.get("events"), room.version)
        return [event for event in events if event.room_id == room.room_id]

    async def _checked(self, pdus: Any, version: RoomVersion) -> list[Event]:
        if not isinstance(pdus, list):
            return []
        return await self._checker.check_many(pdus[:100_000], version)

    async def single_events(
        self, origin: str, event_ids: Iterable[str], version: RoomVersion
    ) -> list[Event]:
        """Events by ID, those that can be had."""
        events: list[Event] = []
        for event_id in list(event_ids)[:MAX_SINGLE_FETCHES]:
            try:
                answer = await self._client.get(origin, path_of("v1/event", event_id))
                pdus = answer.get("pdus")
                if isinstance(pdus, list) and pdus:
                    event = await self._checker.check(pdus[0], version)
                    if event.event_id == event_id:
                        events.append(event)
            except (FederationFailure, BadEvent) as error:
                logger.info("event not had", origin=origin, event_id=event_id, reason=str(error))
        return events

    async def ensure_auth_events(self, room: LiveRoom, event: Event, origin: str) -> None:
        """Have an event's auth events, with their own, as far as the origin gives them."""
        known = await self._store.get_many(event.auth_event_ids)
        if len(known) == len(set(event.auth_event_ids)):
            return
        try:
            answer = await self._client.get(
                origin, path_of("v1/event_auth", room.room_id, event.event_id)
            )
        except FederationFailure as error:
            logger.info("auth chain not had", origin=origin, reason=str(error))
            return
        events = await self._checked(answer.get("auth_chain"), room.version)
        await self.keep_outliers(room, events)

    async def keep_outliers(self, room: LiveRoom, events: Sequence[Event]) -> None:
        """Authorise events by their auth events and store those that are new."""
        by_id = {event.event_id: event for event in events if event.room_id == room.room_id}
        known = await self._store.get_many(by_id)
        new = {event_id: event for event_id, event in by_id.items() if event_id not in known}
        if not new:
            return
        cited = {cited for event in new.values() for cited in event.auth_event_ids}
        have = await self._store.get_many(cited - new.keys())
        context = {
            event_id: stored.event for event_id, stored in have.items() if not stored.rejected
        }
        accepted, refused = _authorise(new, context, room.event(CREATE))
        records = [EventRecord(event, live=False) for event in accepted]
        records.extend(
            EventRecord(new[event_id], live=False, rejected=reason)
            for event_id, reason in refused.items()
        )
        await self._log.append(*records)

    async def state_before(
        self, room: LiveRoom, event: Event, origin: str
    ) -> dict[StateKey, str] | None:
        """The state before an event whose ancestors we lack, as the origin has it."""
        path = path_of("v1/state_ids", room.room_id)
        try:
            answer = await self._client.get(
                origin,
                path,
                query={"event_id": event.event_id},
                timeout_seconds=STATE_TIMEOUT_SECONDS,
            )
            state_ids = [i for i in answer.get("pdu_ids", []) if isinstance(i, str)]
            chain_ids = [i for i in answer.get("auth_chain_ids", []) if isinstance(i, str)]
            await self._have(room, event, {*state_ids, *chain_ids}, origin)
        except FederationFailure as error:
            logger.info("state not had", origin=origin, reason=str(error))
            return None
        found = await self._store.get_many(state_ids)
        return {
            stored.event.key: event_id
            for event_id, stored in found.items()
            if stored.event.is_state and stored.rejected is None
        }

    async def _have(self, room: LiveRoom, event: Event, event_ids: set[str], origin: str) -> None:
        """Have these events: one by one if they are few, else the state as a whole."""
        missing = event_ids - (await self._store.get_many(event_ids)).keys()
        if len(missing) <= MAX_SINGLE_FETCHES:
            events = await self.single_events(origin, missing, room.version)
        else:
            answer = await self._client.get(
                origin,
                path_of("v1/state", room.room_id),
                query={"event_id": event.event_id},
                timeout_seconds=STATE_TIMEOUT_SECONDS,
            )
            events = await self._checked(answer.get("pdus"), room.version)
            events += await self._checked(answer.get("auth_chain"), room.version)
        await self.keep_outliers(room, events)


def _authorise(
    new: dict[str, Event], context: dict[str, Event], create: Event | None
) -> tuple[list[Event], dict[str, str]]:
    """Authorise new events among ones that are already trusted."""
    accepted, refused = authorise_chain(new, create, trusted=context)
    return [event for event_id, event in accepted.items() if event_id in new], refused
