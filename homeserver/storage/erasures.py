"""Deletion for real: an event's content goes from the database, its place in the graph stays.

What stays is the redacted PDU: hashes, signatures and IDs cover nothing else, so that other
instances accept it (spec: server-server API, validating hashes and signatures).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import orjson

from homeserver.protocol.events import Event
from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record
from homeserver.storage.message_index_removal import forget

REDACTED, EXPIRED, VIEWED, RETENTION, ERASURE = (
    "redacted",
    "expired",
    "viewed",
    "retention",
    "erasure",
)

# That it was an edit is kept: an edit is no message of its own.
# What retention takes leaves the timeline as well, so that nobody walks past it again.
UPDATE_EVENTS = """
UPDATE events SET pdu = new.pdu, erased = $3, relates_to = NULL, relation_type = NULL,
    relation_key = CASE WHEN relation_type = 'm.replace'
        OR relation_type IS NULL AND relation_key = 'm.replace' THEN 'm.replace' END,
    timeline_order = CASE WHEN $3 = 'retention' THEN NULL ELSE timeline_order END
FROM unnest($1::text[], $2::bytea[]) AS new (event_id, pdu)
WHERE events.event_id = new.event_id
"""
GIVE_UP_MEDIA = """
WITH gone AS (
    DELETE FROM media_references WHERE event_id = ANY($1::text[])
    RETURNING origin, media_id, sender
)
INSERT INTO media_deletions (origin, media_id, sender)
SELECT DISTINCT origin, media_id, sender FROM gone ON CONFLICT DO NOTHING
"""
DELETE_SCHEDULED = """
WITH views AS (DELETE FROM message_views WHERE event_id = ANY($1::text[]))
DELETE FROM redacted_contents WHERE event_id = ANY($1::text[])
"""
# What ends by itself stays on the schedule until its redaction has been sent.
DELETE_ENDS = "DELETE FROM message_ends WHERE event_id = ANY($1::text[])"
INSERT_ERASURES = """
INSERT INTO erasures (position, room_id, event_ids, erased_at)
SELECT position, room_id, string_to_array(event_ids, E'\\x1f'), erased_at
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
    AS new (position, room_id, event_ids, erased_at)
"""
SELECT_ERASURES = """
SELECT room_id, event_ids FROM erasures
WHERE room_id = ANY($1::text[]) AND position > $2 AND position <= $3 ORDER BY position
"""
SELECT_ROOMS_WITH_ERASURES = """
SELECT DISTINCT e.room_id FROM erasures e WHERE e.position > $2 AND e.position <= $3 AND EXISTS (
    SELECT 1 FROM memberships m
    WHERE m.room_id = e.room_id AND m.user_id = $1 AND m.membership = 'join')
"""
DELETE_OLD_ERASURES = "DELETE FROM erasures WHERE erased_at < $1"


class ErasureRecord(Record, eq=False):
    """Events of a room whose content goes, on its way into the log.

    ``events``: redacted copies.  ``told``: those of which clients are told.
    """

    room_id: str
    events: Sequence[Event]
    why: str
    erased_at: int  # ms
    told: Sequence[str] = ()

    def touched_rooms(self) -> Sequence[str]:
        """The room, if its readers are told."""
        return (self.room_id,) if self.told else ()

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, ErasureRecord]]
    ) -> None:
        """Put the redacted PDUs in the place of the whole ones."""
        for why in {record.why for _, record in batch}:
            events = [e for _, record in batch if record.why == why for e in record.events]
            erased = [event.event_id for event in events]
            await connection.execute(
                UPDATE_EVENTS, erased, [orjson.dumps(event.pdu) for event in events], why
            )
            if why not in (EXPIRED, VIEWED):
                await connection.execute(DELETE_ENDS, erased)
        event_ids = [event.event_id for _, record in batch for event in record.events]
        await connection.execute(GIVE_UP_MEDIA, event_ids)
        await connection.execute(DELETE_SCHEDULED, event_ids)
        await forget(connection, event_ids)
        told = [(position, record) for position, record in batch if record.told]
        if told:
            await connection.execute(
                INSERT_ERASURES,
                [position for position, _ in told],
                [record.room_id for _, record in told],
                ["\x1f".join(record.told) for _, record in told],
                [record.erased_at for _, record in told],
            )


async def get_erasures(
    db: Queryable, room_ids: Collection[str], since: int, upto: int
) -> dict[str, list[str]]:
    """Room ID -> the messages that ended at ``since < position <= upto``."""
    found: dict[str, list[str]] = {}
    for row in await db.fetch(SELECT_ERASURES, list(room_ids), since, upto):
        found.setdefault(row["room_id"], []).extend(row["event_ids"])
    return found


async def get_rooms_with_erasures(db: Queryable, user_id: str, since: int, upto: int) -> list[str]:
    """The user's rooms in which messages ended at ``since < position <= upto``."""
    rows = await db.fetch(SELECT_ROOMS_WITH_ERASURES, user_id, since, upto)
    return [row["room_id"] for row in rows]


async def delete_old_erasures(db: Queryable, before: int) -> None:
    """Forget what ended before a time (ms): nobody has so old a token, or it is told anew."""
    await db.execute(DELETE_OLD_ERASURES, before)


async def give_up_media(db: Queryable, event_ids: Iterable[str]) -> None:
    """What the events refer to is to be deleted, unless something else needs it."""
    await db.execute(GIVE_UP_MEDIA, list(event_ids))
