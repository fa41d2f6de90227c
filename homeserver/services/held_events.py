"""Events that content policy holds until a moderator decides: released, or dropped for good.

A held event has had its place in the timeline since it came, and nobody was shown it.  One of
another instance stands in the room's graph, too, since later events of theirs cite it.  One of
ours does not: it enters the graph, and is sent to the other instances, when it is released.
"""

from __future__ import annotations

import asyncio

import structlog

from homeserver.errors import MatrixError, NotFound
from homeserver.protocol.events import redacted_copy
from homeserver.services.arrivals import Arrivals
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import MAX_REBUILDS, EventSigner, Rooms
from homeserver.services.unread_rules import UnreadRules
from homeserver.storage.event_records import RoomMoved
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Log
from homeserver.storage.moderation_queue import Decision
from homeserver.storage.policy import VerdictRow
from homeserver.storage.releases import ReleaseRecord

logger = structlog.get_logger(__name__)


class HeldEvents:
    """Releases held events, one at a time."""

    def __init__(
        self,
        *,
        log: Log,
        rooms: Rooms,
        arrivals: Arrivals,
        store: EventStore,
        unread: UnreadRules,
        policy_servers: EventSigner,
    ) -> None:
        self._log = log
        self._rooms = rooms
        self._arrivals = arrivals
        self._store = store
        self._unread = unread
        self._policy_servers = policy_servers
        self.lock = asyncio.Lock()
        """Hold it while deciding about a held event."""

    async def release(
        self, event_id: str, decision: Decision, audit: VerdictRow, *, unsent: bool
    ) -> None:
        """Show a held event to its readers; returns when that is on disk.

        ``audit`` is written with it.  ``unsent``: it is ours, and other instances get it now.
        Call it with :attr:`lock` held.
        Raises :class:`NotFound`, and :class:`Forbidden` if ours may not be sent any more.
        """
        for _ in range(MAX_REBUILDS):
            stored = await self._store.get(event_id)
            if stored is None or stored.withheld is None:
                raise NotFound("There is no such held event")
            room = await self._rooms.get(stored.event.room_id)
            async with room.lock:
                if not self._rooms.is_current(room):
                    continue
                done = await self._append(room, stored, decision, audit, unsent=unsent)
            try:
                await asyncio.shield(done)
            except RoomMoved:
                continue
            logger.info("held event released", event_id=event_id, room_id=room.room_id)
            return
        raise MatrixError("The room is too busy; try again", status=503)

    async def _append(
        self,
        room: LiveRoom,
        stored: StoredEvent,
        decision: Decision,
        audit: VerdictRow,
        *,
        unsent: bool,
    ) -> asyncio.Future[list[int]]:
        event, signed = stored.event, None
        await self._unread.prepare(room, event.content)
        if unsent:
            event = await self._policy_servers.signed(room, event)
            signed = event if event is not stored.event else None
        if stored.redacted_by is not None:
            event = redacted_copy(event)
        record = ReleaseRecord(
            event,
            live=False,
            timeline_order=stored.timeline_order,
            snapshot_before=stored.snapshot_before,
            snapshot_after=stored.snapshot_after,
            redacts=await self._arrivals.redaction_target(room, event),
            decision=decision,
            audit=audit,
            signed=signed,
        )
        if not unsent:
            record.notifications = self._unread.notifications(room, event)
            return self._log.append(record)
        set_id = await self._rooms.destination_set(room, event, room.destinations)
        with self._rooms.moving(room, event):
            placed = await self._arrivals.let_in(room, stored)
        record.notifications = placed.notifications
        record.snapshots, record.memberships = placed.snapshots, placed.memberships
        record.destination_set = set_id
        return self._rooms.commit(room, [record])
