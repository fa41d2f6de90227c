"""Events as they lie in the database: read one page or one set of IDs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from msgspec import Struct

from homeserver.protocol.events import Event
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.storage.database import Queryable
from homeserver.storage.erasures import RETENTION
from homeserver.storage.event_records import UPDATE_REDACTED, ClientTransaction
from homeserver.storage.message_index_removal import forget


def select_columns(events: str) -> str:
    """The columns of a stored event, of a table alias; the room is ``r``."""
    names = """event_id position timeline_order snapshot_before snapshot_after rejected soft_failed
        withheld redacted_by erased pdu room_id"""
    return ", ".join(f"{events}.{name}" for name in names.split()) + ", r.room_version"


_COLUMNS = select_columns("e")
SELECT_EVENTS = f"""
SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_id) WHERE e.event_id = ANY($1::text[])
"""
SELECT_TIMELINE_BACKWARDS = f"""
SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_id)
WHERE e.room_id = $1 AND e.timeline_order IS NOT NULL AND e.timeline_order <= $2
    AND e.timeline_order > $3 ORDER BY e.timeline_order DESC LIMIT $4
"""
SELECT_TIMELINE_FORWARDS = f"""
SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_id)
WHERE e.room_id = $1 AND e.timeline_order IS NOT NULL AND e.timeline_order > $2
    AND e.timeline_order <= $3 ORDER BY e.timeline_order LIMIT $4
"""
SELECT_RELEASED = f"""
SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_id)
WHERE e.room_id = $1 AND e.position > $2 AND e.position <= $3 AND e.timeline_order <= $2
    AND e.timeline_order > 0 AND e.position <> e.timeline_order AND e.withheld IS NULL
ORDER BY e.timeline_order DESC LIMIT $4
"""
# Of a released event the release counts; its place is further back.
SELECT_AFTER = f"""
SELECT {_COLUMNS}
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS span (room_id, since, upto)
CROSS JOIN LATERAL (
    (SELECT * FROM events live WHERE live.room_id = span.room_id
        AND live.timeline_order > span.since AND live.timeline_order <= span.upto
        AND live.position = live.timeline_order AND live.withheld IS NULL
    ORDER BY live.timeline_order LIMIT $4)
    UNION ALL
    (SELECT * FROM events released WHERE released.room_id = span.room_id
        AND released.position > span.since AND released.position <= span.upto
        AND released.timeline_order > 0 AND released.position <> released.timeline_order
        AND released.withheld IS NULL
    ORDER BY released.position LIMIT $4)
) e JOIN rooms r ON r.room_id = e.room_id ORDER BY e.position LIMIT $4
"""
SELECT_COUNT_AFTER = """
SELECT count(*) FROM (
    SELECT 1 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS span (room_id, since, upto)
    JOIN events e ON e.room_id = span.room_id AND e.timeline_order > span.since
        AND e.timeline_order <= span.upto LIMIT $4
) found
"""
SELECT_RELEASED_ROOMS = """
SELECT room_id, max(position) AS position FROM events
WHERE timeline_order > 0 AND position <> timeline_order GROUP BY room_id
ORDER BY position DESC LIMIT $1
"""
SELECT_PDUS = """
SELECT event_id, pdu, redacted_by IS NOT NULL AND erased IS NULL OR (sender = ANY($2::text[])
    AND (state_key IS NULL OR type = 'm.room.member' AND state_key = sender)) AS redacted
FROM events WHERE event_id = ANY($1::text[])
"""
SELECT_KNOWN_IDS = """
SELECT event_id FROM events WHERE event_id = ANY($1::text[]) AND
    (timeline_order IS NOT NULL OR snapshot_after IS NOT NULL OR erased IS NOT NULL OR NOT $2)
"""
# Each step reads the auth events of the last by primary key; bounded by the chain's size.
SELECT_AUTH_CHAIN = """
WITH RECURSIVE chain (event_id) AS (
    SELECT unnest($1::text[])
    UNION
    SELECT unnest(e.auth_event_ids) FROM chain JOIN events e USING (event_id)
)
SELECT event_id FROM chain
"""
SELECT_CITED_CHAIN = """
WITH RECURSIVE chain (event_id) AS (
    SELECT unnest(auth_event_ids) FROM events WHERE event_id = ANY($1::text[])
    UNION
    SELECT unnest(e.auth_event_ids) FROM chain JOIN events e USING (event_id)
)
SELECT event_id FROM chain
"""
SELECT_TRANSACTION = """
SELECT event_id FROM client_transactions
WHERE user_id = $1 AND device_id = $2 AND path = $3 AND txn_id = $4
"""
SELECT_TRANSACTION_IDS = """
SELECT event_id, txn_id, device_id FROM client_transactions
WHERE event_id = ANY($1::text[]) AND user_id = $2 AND device_id IN ($3, $4)
"""
TAKE_BACKFILL_ORDER = "SELECT -nextval('backfill_order') FROM generate_series(1, $1::int)"
SELECT_BACKWARD_EXTREMITIES = """
SELECT DISTINCT b.event_id, e.depth FROM backward_extremities b
JOIN events e ON e.event_id = b.successor_id WHERE b.room_id = $1 ORDER BY e.depth DESC LIMIT $2
"""
SELECT_FOLLOWS_GAP = """
SELECT EXISTS (
    SELECT 1 FROM backward_extremities WHERE room_id = $1 AND successor_id = ANY($2::text[]))
"""
SELECT_PENDING_REDACTIONS = """
DELETE FROM pending_redactions WHERE redacted_event_id = ANY($1::text[])
RETURNING redacted_event_id, redaction_event_id
"""
INSERT_PENDING_REDACTION = """
INSERT INTO pending_redactions (redacted_event_id, redaction_event_id, room_id)
VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""

PARSED_AT_ONCE = 100
DELAYED_DEVICE = "dev.comity.delayed"  # no client's: under which delayed events are sent


class DelayId(str):
    """The transaction ID of an event that was delayed (MSC4140)."""

    __slots__ = ()


class StoredEvent(Struct):
    """An event as it lies in the database.

    ``event`` is as it was sent; if ``redacted_by`` is set, readers get a redacted copy.  If
    ``erased`` is set, its content is gone from here (see :mod:`homeserver.storage.erasures`).
    ``position`` is when it could be seen first: for a live event its place in the timeline, unless
    it was held; then that of its release.
    """

    event: Event
    position: int
    timeline_order: int | None
    snapshot_before: int | None
    snapshot_after: int | None
    rejected: str | None
    soft_failed: bool
    withheld: str | None
    redacted_by: str | None
    erased: str | None = None

    @property
    def order(self) -> int:
        """Its place in the timeline; for an outlier, when it was written."""
        return self.timeline_order if self.timeline_order is not None else self.position

    @property
    def shown(self) -> bool:
        """Whether readers may see it at all."""
        return (
            self.rejected is None
            and not self.soft_failed
            and self.withheld is None
            and self.erased != RETENTION
        )

    def erase(self, redacted: Event, why: str) -> None:
        """Take up that its content was deleted."""
        self.event, self.erased = redacted, why
        if why == RETENTION:
            self.timeline_order = None


def stored_event(row: Any) -> StoredEvent:
    """An event from the columns that :func:`select_columns` names."""
    version: RoomVersion = ROOM_VERSIONS[row["room_version"]]
    return StoredEvent(
        event=Event(orjson.loads(row["pdu"]), row["event_id"], version),
        position=row["position"],
        timeline_order=row["timeline_order"],
        snapshot_before=row["snapshot_before"],
        snapshot_after=row["snapshot_after"],
        rejected=row["rejected"],
        soft_failed=row["soft_failed"],
        withheld=row["withheld"],
        redacted_by=row["redacted_by"],
        erased=row["erased"],
    )


async def stored_events(rows: Sequence[Any]) -> list[StoredEvent]:
    """Events from rows; where there are many, others get their turn in between."""
    found: list[StoredEvent] = []
    for start in range(0, len(rows), PARSED_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        found.extend(map(stored_event, rows[start : start + PARSED_AT_ONCE]))
    return found


async def get_events(db: Queryable, event_ids: Iterable[str]) -> dict[str, StoredEvent]:
    """The events among ``event_ids`` that we have, rejected ones and outliers included."""
    found = await stored_events(await db.fetch(SELECT_EVENTS, list(event_ids)))
    return {stored.event.event_id: stored for stored in found}


async def get_pdus(
    db: Queryable, event_ids: Iterable[str], version: RoomVersion, erased: Iterable[str] = ()
) -> dict[str, orjson.Fragment]:
    """The JSON of a room's events as it lies on disk, to be spliced into an answer unparsed.

    What was redacted is redacted here, and so is what is personal of users who were ``erased``.
    """
    rows = await db.fetch(SELECT_PDUS, list(event_ids), list(erased))
    return {
        row["event_id"]: orjson.Fragment(
            orjson.dumps(redact(orjson.loads(row["pdu"]), version))
            if row["redacted"]
            else row["pdu"]
        )
        for row in rows
    }


async def get_timeline(
    db: Queryable, room_id: str, *, newest: int, oldest: int, limit: int
) -> list[StoredEvent]:
    """Up to ``limit`` events with ``oldest < timeline_order <= newest``, the newest first."""
    rows = await db.fetch(SELECT_TIMELINE_BACKWARDS, room_id, newest, oldest, limit)
    return [stored_event(row) for row in rows]


async def get_timeline_forwards(
    db: Queryable, room_id: str, *, after: int, upto: int, limit: int
) -> list[StoredEvent]:
    """Up to ``limit`` events with ``after < timeline_order <= upto``, the oldest first."""
    rows = await db.fetch(SELECT_TIMELINE_FORWARDS, room_id, after, upto, limit)
    return [stored_event(row) for row in rows]


async def get_released(
    db: Queryable, room_id: str, since: int, upto: int, limit: int
) -> list[StoredEvent]:
    """Events with a place up to ``since`` that were released at ``since < position <= upto``.

    The latest by place, the newest first.
    """
    rows = await db.fetch(SELECT_RELEASED, room_id, since, upto, limit)
    return [stored_event(row) for row in rows]


async def get_events_after(
    db: Queryable,
    room_ids: Sequence[str],
    since: Sequence[int],
    upto: Sequence[int],
    limit: int,
) -> list[StoredEvent]:
    """Events that could be seen first at ``since < position <= upto``, a pair for each room.

    Up to ``limit`` in all, the oldest first.
    """
    rows = await db.fetch(SELECT_AFTER, list(room_ids), list(since), list(upto), limit)
    return [stored_event(row) for row in rows]


async def count_events_after(
    db: Queryable,
    room_ids: Sequence[str],
    since: Sequence[int],
    upto: Sequence[int],
    limit: int,
) -> int:
    """How many events stand at ``since < timeline_order <= upto``; ``limit`` for more than that."""
    count: int = await db.fetchval(
        SELECT_COUNT_AFTER, list(room_ids), list(since), list(upto), limit
    )
    return count


async def get_released_rooms(db: Queryable, limit: int) -> list[tuple[str, int]]:
    """Rooms in which held events were released, and where last, the latest first."""
    rows = await db.fetch(SELECT_RELEASED_ROOMS, limit)
    return [(row["room_id"], row["position"]) for row in rows]


async def known_event_ids(
    db: Queryable, event_ids: Iterable[str], *, with_state: bool = False
) -> set[str]:
    """Which of ``event_ids`` we have; ``with_state``: leaving out outliers."""
    rows = await db.fetch(SELECT_KNOWN_IDS, list(event_ids), with_state)
    return {row["event_id"] for row in rows}


async def auth_chain_ids(db: Queryable, event_ids: Iterable[str]) -> set[str]:
    """``event_ids`` and all that they cite as auth events, and so on, as far as we have them."""
    rows = await db.fetch(SELECT_AUTH_CHAIN, list(event_ids))
    return {row["event_id"] for row in rows}


async def cited_chain_ids(db: Queryable, event_ids: Iterable[str]) -> set[str]:
    """What the events cite as auth events, and so on; not the events themselves, unless cited."""
    rows = await db.fetch(SELECT_CITED_CHAIN, list(event_ids))
    return {row["event_id"] for row in rows}


async def get_transaction_event(
    db: Queryable, user_id: str, device_id: str, path: str, txn_id: str
) -> str | None:
    """The event that a client's transaction made, if it was seen before."""
    found: str | None = await db.fetchval(SELECT_TRANSACTION, user_id, device_id, path, txn_id)
    return found


async def get_transaction_ids(
    db: Queryable, event_ids: Iterable[str], user_id: str, device_id: str
) -> dict[str, str]:
    """Event ID -> transaction ID, for the events that this device sent; :class:`DelayId` for those
    that were delayed, whatever device wanted them."""
    rows = await db.fetch(
        SELECT_TRANSACTION_IDS, list(event_ids), user_id, device_id, DELAYED_DEVICE
    )
    return {
        row["event_id"]: DelayId(row["txn_id"])
        if row["device_id"] == DELAYED_DEVICE
        else row["txn_id"]
        for row in rows
    }


def own_transaction(transaction: ClientTransaction, device_id: str) -> str | None:
    """The transaction ID as a device of its user sees it; None if it was another device's."""
    if transaction.device_id == DELAYED_DEVICE:
        return DelayId(transaction.txn_id)
    return transaction.txn_id if transaction.device_id == device_id else None


async def take_backfill_order(db: Queryable, count: int) -> list[int]:
    """``count`` places in the timeline before all others, each older than the last."""
    return [row[0] for row in await db.fetch(TAKE_BACKFILL_ORDER, count)]


async def backward_extremities(db: Queryable, room_id: str, limit: int = 20) -> list[str]:
    """Events that we lack and that the deepest of ours cite: where to backfill from."""
    rows = await db.fetch(SELECT_BACKWARD_EXTREMITIES, room_id, limit)
    return list(dict.fromkeys(row["event_id"] for row in rows))


async def follows_gap(db: Queryable, room_id: str, event_ids: Iterable[str]) -> bool:
    """Whether one of some events cites one that we lack."""
    follows: bool = await db.fetchval(SELECT_FOLLOWS_GAP, room_id, list(event_ids))
    return follows


async def take_pending_redactions(db: Queryable, event_ids: Iterable[str]) -> dict[str, str]:
    """Redactions that came before their events: event ID -> redaction's ID; forgets them."""
    rows = await db.fetch(SELECT_PENDING_REDACTIONS, list(event_ids))
    return {row["redacted_event_id"]: row["redaction_event_id"] for row in rows}


async def add_pending_redaction(
    db: Queryable, redacted_event_id: str, redaction_event_id: str, room_id: str
) -> None:
    """Remember a redaction of an event that has not arrived."""
    await db.execute(INSERT_PENDING_REDACTION, redacted_event_id, redaction_event_id, room_id)


async def set_redacted(db: Queryable, event_id: str, redaction_event_id: str) -> None:
    """Mark an event as redacted."""
    await db.execute(UPDATE_REDACTED, [event_id], [redaction_event_id])
    await forget(db, [event_id])
