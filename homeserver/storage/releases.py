"""Held events that a moderator lets through.

The event keeps its place in the timeline (``timeline_order``) and takes the position of its
release, so that readers get it with their next sync.  See :mod:`homeserver.services.held_events`.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from homeserver.protocol.events import Event
from homeserver.storage.database import Connection
from homeserver.storage.event_records import EventRecord, write_moves
from homeserver.storage.moderation_queue import Decision, close_held_items
from homeserver.storage.policy import VerdictRow, insert_verdict

UPDATE_EVENTS = """
UPDATE events SET withheld = NULL, position = new.position,
    destination_set = coalesce(new.destination_set, events.destination_set),
    pdu = coalesce(new.pdu, events.pdu)
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
    AS new (event_id, position, destination_set, pdu)
WHERE events.event_id = new.event_id AND events.withheld IS NOT NULL
"""
INSERT_NOTIFICATIONS = """
INSERT INTO notifications (room_id, audience, position, event_id, sender, thread_id, highlight,
    released_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
    $7::boolean[], $8::bigint[])
ON CONFLICT DO NOTHING
"""


class ReleaseRecord(EventRecord, eq=False, kw_only=True):
    """A held event that shows from now on.

    ``timeline_order`` is the place that it has had since it was held; ``live`` is False, since it
    is not at the end of the timeline.
    """

    decision: Decision
    audit: VerdictRow
    signed: Event | None = None  # with the signature of the room's policy server, if it needs one

    @property
    def visible(self) -> bool:
        """It shows from this record on."""
        return True

    def touched_rooms(self) -> Sequence[str]:
        """Its room: readers get it with their next sync."""
        return (self.event.room_id,)

    @classmethod
    async def write(cls, connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
        """Show the events, move their rooms, and close their items in the moderators' queue."""
        signed = [r.signed if isinstance(r, ReleaseRecord) else None for _, r in batch]
        await connection.execute(
            UPDATE_EVENTS,
            [record.event.event_id for _, record in batch],
            [position for position, _ in batch],
            [record.destination_set for _, record in batch],
            [orjson.dumps(event.pdu) if event is not None else None for event in signed],
        )
        await write_moves(connection, batch)
        await _write_notifications(connection, batch)
        for _, record in batch:
            if isinstance(record, ReleaseRecord):
                await close_held_items(
                    connection, record.event.event_id, "released", record.decision
                )
                await insert_verdict(connection, record.audit)


async def _write_notifications(
    connection: Connection, batch: Sequence[tuple[int, EventRecord]]
) -> None:
    rows = [
        (
            record.event.room_id,
            notification.audience,
            record.timeline_order,
            record.event.event_id,
            record.event.sender,
            notification.thread_id,
            notification.highlight,
            position,
        )
        for position, record in batch
        for notification in record.notifications
    ]
    if rows:
        await connection.execute(INSERT_NOTIFICATIONS, *map(list, zip(*rows, strict=True)))
