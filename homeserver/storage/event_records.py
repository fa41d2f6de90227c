"""Events on their way into the log: what is written with each, in groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from msgspec import Struct

from homeserver.protocol.answers import relation_key
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.media_uris import media_uris
from homeserver.protocol.message_ends import MessageEnd
from homeserver.storage.calls import write_calls
from homeserver.storage.database import Connection, Queryable
from homeserver.storage.event_marks import write_marks
from homeserver.storage.log import Record
from homeserver.storage.message_ends import write_ends
from homeserver.storage.message_index_removal import forget

# Lists travel as one string each, since PostgreSQL has no array of unequal arrays.
SEPARATOR = "\x1f"

INSERT_EVENTS = """
INSERT INTO events (event_id, position, room_id, timeline_order, type, state_key, sender, depth,
    origin_server_ts, auth_event_ids, prev_event_ids, snapshot_before, snapshot_after, rejected,
    soft_failed, withheld, relates_to, relation_type, relation_key, destination_set, pdu)
SELECT event_id, position, room_id, timeline_order, type, state_key, sender, depth,
    origin_server_ts, string_to_array(auth_event_ids, E'\\x1f'),
    string_to_array(prev_event_ids, E'\\x1f'), snapshot_before, snapshot_after, rejected,
    soft_failed, withheld, relates_to, relation_type, relation_key, destination_set, pdu
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::bigint[], $13::bigint[],
    $14::text[], $15::boolean[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[],
    $21::bytea[])
    AS new (event_id, position, room_id, timeline_order, type, state_key, sender, depth,
    origin_server_ts, auth_event_ids, prev_event_ids, snapshot_before, snapshot_after, rejected,
    soft_failed, withheld, relates_to, relation_type, relation_key, destination_set, pdu)
ON CONFLICT (event_id) DO UPDATE SET
    position = EXCLUDED.position, timeline_order = EXCLUDED.timeline_order,
    snapshot_before = EXCLUDED.snapshot_before, snapshot_after = EXCLUDED.snapshot_after,
    rejected = EXCLUDED.rejected, soft_failed = EXCLUDED.soft_failed,
    withheld = EXCLUDED.withheld, destination_set = EXCLUDED.destination_set, pdu = EXCLUDED.pdu
WHERE events.timeline_order IS NULL AND EXCLUDED.timeline_order IS NOT NULL
    AND events.erased IS NULL
"""

# The revision guards against another process that has moved the room meanwhile.
UPDATE_ROOMS = """
UPDATE rooms SET revision = new.revision, snapshot_id = new.snapshot_id,
    forward_extremities = string_to_array(new.extremities, E'\\x1f')
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])
    AS new (room_id, base_revision, revision, snapshot_id, extremities)
WHERE rooms.room_id = new.room_id AND rooms.revision = new.base_revision
"""

INSERT_SNAPSHOTS = """
INSERT INTO state_snapshots (snapshot_id, room_id, parent_id, chain_length)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::int[])
"""

INSERT_STATE_ENTRIES = """
INSERT INTO state_entries (snapshot_id, type, state_key, event_id)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[])
"""

UPSERT_MEMBERSHIPS = """
INSERT INTO memberships (room_id, user_id, membership, event_id, sender, position, local,
    stripped_state)
SELECT room_id, user_id, membership, event_id, sender, position, local, stripped_state::json
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
    $7::boolean[], $8::text[])
    AS new (room_id, user_id, membership, event_id, sender, position, local, stripped_state)
ON CONFLICT (room_id, user_id) DO UPDATE SET
    membership = EXCLUDED.membership, event_id = EXCLUDED.event_id, sender = EXCLUDED.sender,
    position = EXCLUDED.position, stripped_state = EXCLUDED.stripped_state,
    forgotten = memberships.forgotten AND EXCLUDED.membership IN ('leave', 'ban')
"""

INSERT_MEMBERSHIP_CHANGES = """
INSERT INTO membership_changes (position, user_id, room_id, membership, event_id)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
ON CONFLICT DO NOTHING
"""

# A conflict fails the event: its transaction was seen before, and has its event.
INSERT_TRANSACTIONS = """
INSERT INTO client_transactions (user_id, device_id, path, txn_id, event_id, created_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
"""

INSERT_NOTIFICATIONS = """
INSERT INTO notifications (room_id, audience, position, event_id, sender, thread_id, highlight)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
    $7::boolean[])
ON CONFLICT DO NOTHING
"""

# What is redacted is deleted for real some time later.
UPDATE_REDACTED = """
WITH redacted AS (
    UPDATE events SET redacted_by = new.redaction
    FROM unnest($1::text[], $2::text[]) AS new (target, redaction)
    WHERE event_id = new.target AND redacted_by IS NULL RETURNING event_id, erased
)
INSERT INTO redacted_contents (event_id, redacted_at)
SELECT event_id, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM redacted
WHERE erased IS NULL ON CONFLICT DO NOTHING
"""

INSERT_BACKWARD_EXTREMITIES = """
INSERT INTO backward_extremities (room_id, event_id, successor_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING
"""

DELETE_BACKWARD_EXTREMITIES = "DELETE FROM backward_extremities WHERE event_id = ANY($1::text[])"
DELETE_INBOX = "DELETE FROM inbox WHERE inbox_id = ANY($1::bigint[])"
INSERT_MEDIA_REFERENCES = """
INSERT INTO media_references (origin, media_id, event_id, room_id, sender)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
ON CONFLICT DO NOTHING
"""


class NewSnapshot(Struct, frozen=True):
    """A state snapshot to be written: entries on a parent, or, without one, the full state."""

    snapshot_id: int
    room_id: str
    parent_id: int | None
    chain_length: int
    entries: dict[StateKey, str]


class RoomUpdate(Struct, frozen=True):
    """Where a room stands after an event: guarded by the revision that it was built on."""

    base_revision: int
    revision: int
    snapshot_id: int
    forward_extremities: tuple[str, ...]


class MembershipChange(Struct, frozen=True):
    """A user's membership as of an event.  ``stripped_state`` goes with invites and knocks."""

    room_id: str
    user_id: str
    membership: str
    event_id: str
    sender: str
    local: bool
    stripped_state: list[dict[str, Any]] | None = None


class ClientTransaction(Struct, frozen=True):
    """The client's transaction that an event answers."""

    user_id: str
    device_id: str
    path: str
    txn_id: str
    created_at: int


class Notification(Struct, frozen=True):
    """An event that counts as unread for an audience: a ruleset's name or one user."""

    audience: str
    thread_id: str
    highlight: bool


class EventRecord(Record, eq=False):
    """An event on its way into the log, with all that is written in the same transaction.

    ``live`` events stand in the timeline at their position; others at ``timeline_order``, which
    is negative for backfilled history and None for an outlier (an event known only because
    another cites it).
    """

    event: Event
    live: bool = True
    timeline_order: int | None = None
    snapshot_before: int | None = None
    snapshot_after: int | None = None
    rejected: str | None = None
    soft_failed: bool = False
    withheld: str | None = None
    destination_set: int | None = None
    room: RoomUpdate | None = None
    snapshots: Sequence[NewSnapshot] = ()
    memberships: Sequence[MembershipChange] = ()
    transaction: ClientTransaction | None = None
    notifications: Sequence[Notification] = ()
    redacts: str | None = None
    redacted_by: str | None = None  # by a redaction that came before it
    missing_prev_event_ids: Sequence[str] = ()
    inbox_id: int | None = None
    unsent: bool = False  # ours, held before any other instance got it: not in the graph
    flags: Sequence[str] = ()  # rules that ask a moderator to look at it
    strip_rule: str | None = None  # the rule for which its media is not served
    ends: MessageEnd | None = None  # once written: when the message ends, if it says so

    @property
    def stands(self) -> bool:
        """Whether it has a place in the live timeline, even if it is held."""
        return self.live and self.rejected is None and not self.soft_failed

    @property
    def visible(self) -> bool:
        """Whether it shows in the live timeline."""
        return self.stands and self.withheld is None

    def touched_rooms(self) -> Sequence[str]:
        """Its room, if it shows there."""
        return (self.event.room_id,) if self.visible else ()

    def touched_users(self) -> Sequence[str]:
        """Local users whose membership it changes."""
        return [change.user_id for change in self.memberships if change.local]

    def sent_by(self) -> tuple[str, str] | None:
        """The device that sent it in a transaction of its own."""
        sent = self.transaction
        return (sent.user_id, sent.device_id) if sent is not None else None

    @classmethod
    async def write(cls, connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
        """Write events and what hangs on them, a statement per table that has something to say."""
        await _write_events(connection, batch)
        await write_moves(connection, batch)
        await _write_transactions(connection, batch)
        await _write_notifications(connection, batch)
        await _write_media_references(connection, batch)
        await write_marks(connection, [record for _, record in batch])
        await write_ends(connection, batch)
        await write_calls(connection, batch)


class RoomMoved(Exception):
    """Another process has changed a room since its state was read here: build again."""


async def write_moves(connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
    """Write what events do to their rooms.  Raises :class:`RoomMoved`."""
    await _write_rooms(connection, batch)
    await _write_snapshots(connection, batch)
    await _write_memberships(connection, batch)
    await _write_graph(connection, batch)


async def _write_rooms(connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
    bases: dict[str, int] = {}
    latest: dict[str, RoomUpdate] = {}
    for _, record in batch:
        if record.room is not None:
            bases.setdefault(record.event.room_id, record.room.base_revision)
            latest[record.event.room_id] = record.room
    if not latest:
        return
    status = await connection.execute(
        UPDATE_ROOMS,
        list(latest),
        list(bases.values()),
        [update.revision for update in latest.values()],
        [update.snapshot_id for update in latest.values()],
        [SEPARATOR.join(update.forward_extremities) for update in latest.values()],
    )
    if int(status.rpartition(" ")[2]) != len(latest):
        raise RoomMoved(", ".join(latest))


async def _write_snapshots(
    connection: Connection, batch: Sequence[tuple[int, EventRecord]]
) -> None:
    snapshots = [snapshot for _, record in batch for snapshot in record.snapshots]
    if snapshots:
        await write_snapshots(connection, snapshots)


async def write_snapshots(connection: Queryable, snapshots: Sequence[NewSnapshot]) -> None:
    """Write state snapshots with their entries."""
    await connection.execute(
        INSERT_SNAPSHOTS,
        [snapshot.snapshot_id for snapshot in snapshots],
        [snapshot.room_id for snapshot in snapshots],
        [snapshot.parent_id for snapshot in snapshots],
        [snapshot.chain_length for snapshot in snapshots],
    )
    entries = [
        (snapshot.snapshot_id, kind, state_key, event_id)
        for snapshot in snapshots
        for (kind, state_key), event_id in snapshot.entries.items()
    ]
    if entries:
        await connection.execute(INSERT_STATE_ENTRIES, *map(list, zip(*entries, strict=True)))


def _relation(event: Event) -> tuple[str | None, str | None]:
    relation = event.content.get("m.relates_to")
    if not isinstance(relation, dict):
        return None, None
    target, kind = relation.get("event_id"), relation.get("rel_type")
    if not isinstance(target, str) or not isinstance(kind, str) or "\0" in target + kind:
        return None, None
    return target, kind


async def _write_events(connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
    rows = []
    seen: set[str] = set()
    for position, record in batch:
        event = record.event
        if event.event_id in seen:  # one statement must not touch a row twice
            continue
        seen.add(event.event_id)
        relates_to, relation_type = _relation(event)
        rows.append(
            (
                event.event_id,
                position,
                event.room_id,
                position if record.live else record.timeline_order,
                event.type,
                event.state_key,
                event.sender,
                event.depth,
                event.origin_server_ts,
                SEPARATOR.join(event.auth_event_ids),
                SEPARATOR.join(event.prev_event_ids),
                record.snapshot_before,
                record.snapshot_after,
                record.rejected,
                record.soft_failed,
                record.withheld,
                relates_to,
                relation_type,
                relation_key(event) if relates_to is not None else None,
                record.destination_set,
                orjson.dumps(event.pdu),
            )
        )
    await connection.execute(INSERT_EVENTS, *map(list, zip(*rows, strict=True)))


async def _write_memberships(
    connection: Connection, batch: Sequence[tuple[int, EventRecord]]
) -> None:
    latest: dict[tuple[str, str], tuple[int, MembershipChange]] = {}
    changes: list[tuple[int, MembershipChange]] = []
    for position, record in batch:
        for change in record.memberships:
            latest[(change.room_id, change.user_id)] = (position, change)
            if change.local:
                changes.append((position, change))
    if latest:
        rows = [
            (
                change.room_id,
                change.user_id,
                change.membership,
                change.event_id,
                change.sender,
                position,
                change.local,
                # as text: asyncpg would take a list of lists for an array of two dimensions
                None
                if change.stripped_state is None
                else orjson.dumps(change.stripped_state).decode(),
            )
            for position, change in latest.values()
        ]
        await connection.execute(UPSERT_MEMBERSHIPS, *map(list, zip(*rows, strict=True)))
    if changes:
        await connection.execute(
            INSERT_MEMBERSHIP_CHANGES,
            [position for position, _ in changes],
            [change.user_id for _, change in changes],
            [change.room_id for _, change in changes],
            [change.membership for _, change in changes],
            [change.event_id for _, change in changes],
        )


async def _write_transactions(
    connection: Connection, batch: Sequence[tuple[int, EventRecord]]
) -> None:
    rows = [
        (txn.user_id, txn.device_id, txn.path, txn.txn_id, record.event.event_id, txn.created_at)
        for _, record in batch
        if (txn := record.transaction) is not None
    ]
    if rows:
        await connection.execute(INSERT_TRANSACTIONS, *map(list, zip(*rows, strict=True)))


async def _write_notifications(
    connection: Connection, batch: Sequence[tuple[int, EventRecord]]
) -> None:
    rows = [
        (
            record.event.room_id,
            notification.audience,
            position,
            record.event.event_id,
            record.event.sender,
            notification.thread_id,
            notification.highlight,
        )
        for position, record in batch
        for notification in record.notifications
    ]
    if rows:
        await connection.execute(INSERT_NOTIFICATIONS, *map(list, zip(*rows, strict=True)))


async def _write_media_references(
    connection: Connection, batch: Sequence[tuple[int, EventRecord]]
) -> None:
    rows = [
        (uri.origin, uri.media_id, event.event_id, event.room_id, event.sender)
        for event in (record.event for _, record in batch)
        if event.type != "m.room.member"  # their avatars are profiles', and far too many
        for uri in media_uris(event.content)
    ]
    if rows:
        await connection.execute(INSERT_MEDIA_REFERENCES, *map(list, zip(*rows, strict=True)))


async def _write_graph(connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
    """Redactions, the backward extremities, and the inbox rows that are now handled."""
    redactions = [(r.redacts, r.event.event_id) for _, r in batch if r.redacts is not None]
    if redactions:
        await connection.execute(UPDATE_REDACTED, *map(list, zip(*redactions, strict=True)))
        await forget(connection, [target for target, _ in redactions])
    missing = [
        (record.event.room_id, event_id, record.event.event_id)
        for _, record in batch
        for event_id in record.missing_prev_event_ids
    ]
    if missing:
        await connection.execute(
            INSERT_BACKWARD_EXTREMITIES, *map(list, zip(*missing, strict=True))
        )
    arrived = [
        record.event.event_id
        for _, record in batch
        if record.inbox_id is not None or (not record.live and record.timeline_order is not None)
    ]
    if arrived:
        await connection.execute(DELETE_BACKWARD_EXTREMITIES, arrived)
    handled = [record.inbox_id for _, record in batch if record.inbox_id is not None]
    if handled:
        await connection.execute(DELETE_INBOX, handled)
