"""Calls: written in the transaction of their events, so that none is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from homeserver.protocol.calls import ANSWER, HANGUP, INVITE, REJECT, CallStep, read_step
from homeserver.storage.database import Connection, Queryable

if TYPE_CHECKING:
    from homeserver.storage.event_records import EventRecord

TYPES = frozenset({INVITE, ANSWER, HANGUP, REJECT})
GRACE_MS = 10_000  # an answer that came just in time, by clocks that differ
COLUMNS = """call_key, event_id, room_id, call_id, caller, party_id, invitee, media, started_at,
    rings_until, position, managed, answered_at, answered_by, answered_party, answer_id, ended_at,
    ended_by, outcome"""
INSERT = """
INSERT INTO calls (call_key, event_id, room_id, call_id, caller, party_id, invitee, media,
    started_at, rings_until, position, managed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING
"""
# Who calls themselves answers with another device.
_CALLED = """(caller <> $3 OR party_id <> $4) AND (invitee IS NULL OR invitee = $3)"""
UPDATE_ANSWERED = f"""
UPDATE calls SET position = $2, answered_by = $3, answered_party = $4, answered_at = $5,
    answer_id = $6
WHERE call_key = $1 AND answered_at IS NULL AND ended_at IS NULL AND {_CALLED}
    AND rings_until + {GRACE_MS} >= $5
"""
# In a group it goes on ringing for the others.
_ALONE = """(invitee = $3 OR (SELECT count(*) FROM (SELECT 1 FROM memberships m
    WHERE m.room_id = calls.room_id AND m.membership = 'join' LIMIT 3) AS present) <= 2)"""
UPDATE_DECLINED = f"""
UPDATE calls SET position = $2, ended_by = $3, ended_at = $5, outcome = 'declined'
WHERE call_key = $1 AND answered_at IS NULL AND ended_at IS NULL AND {_CALLED} AND {_ALONE}
"""
UPDATE_ENDED = f"""
UPDATE calls SET position = $2, ended_by = $3, ended_at = $5,
    outcome = CASE WHEN caller <> $3 AND answered_at IS NULL AND $6 = 'user_hangup'
        THEN 'declined' ELSE $6 END
WHERE call_key = $1 AND ended_at IS NULL AND (caller = $3
    OR (answered_by IS NULL AND {_CALLED} AND {_ALONE})
    OR (answered_by = $3 AND answered_party = $4))
"""
UPDATE_LEFT = """
UPDATE calls SET ended_by = left_by.user_id, ended_at = $3, outcome = 'user_hangup'
FROM unnest($1::text[], $2::text[]) AS left_by (room_id, user_id)
WHERE calls.room_id = left_by.room_id AND ended_at IS NULL
    AND (caller = left_by.user_id OR answered_by = left_by.user_id)
"""
SELECT_ONE = f"SELECT {COLUMNS} FROM calls WHERE call_key = $1"
SELECT_HISTORY = f"""
SELECT call.* FROM unnest($1::text[]) AS wanted (room_id) CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM calls WHERE room_id = wanted.room_id
        AND (started_at, event_id) < ($2::bigint, $3::text)
    ORDER BY started_at DESC, event_id DESC LIMIT $4
) call ORDER BY started_at DESC, event_id DESC LIMIT $4
"""
SELECT_UNANSWERED = f"""
SELECT {COLUMNS} FROM calls WHERE managed AND ended_at IS NULL AND answered_at IS NULL
    AND rings_until <= $1 AND right(caller, length($2) + 1) = ':' || $2
ORDER BY rings_until LIMIT $3
"""
SELECT_NEXT = """
SELECT min(rings_until) FROM calls WHERE managed AND ended_at IS NULL AND answered_at IS NULL
    AND right(caller, length($1) + 1) = ':' || $1
"""
GIVE_UP = """
UPDATE calls SET ended_at = rings_until, outcome = 'invite_timeout'
WHERE call_key = $1 AND ended_at IS NULL AND answered_at IS NULL
"""


class CallRow(Struct, frozen=True):
    """A call.  ``party_id``, ``answered_party``: the devices that are in it.  Times in ms."""

    call_key: str
    event_id: str
    room_id: str
    call_id: str
    caller: str
    party_id: str
    invitee: str | None
    media: str
    started_at: int
    rings_until: int
    position: int
    managed: bool
    answered_at: int | None
    answered_by: str | None
    answered_party: str | None
    answer_id: str | None
    ended_at: int | None
    ended_by: str | None
    outcome: str | None

    def is_ringing(self, now: int) -> bool:
        """Whether it can be answered."""
        return self.answered_at is None and self.ended_at is None and now <= self.rings_until


async def write_calls(connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
    """Write what events say of calls; no statement where none does."""
    for position, record in batch:
        event = record.event
        if event.type not in TYPES or not record.visible or event.state_key is not None:
            continue
        step = read_step(event)
        if step is not None:
            await WRITERS[event.type](connection, position, record, step)


async def _begun(
    connection: Connection, position: int, record: EventRecord, step: CallStep
) -> None:
    event = record.event
    await connection.execute(
        INSERT,
        step.key,
        event.event_id,
        event.room_id,
        step.call_id,
        event.sender,
        step.party_id,
        step.invitee,
        step.media,
        event.origin_server_ts,
        event.origin_server_ts + step.lifetime_ms,
        position,
        step.managed,
    )


async def _answered(
    connection: Connection, position: int, record: EventRecord, step: CallStep
) -> None:
    await connection.execute(
        UPDATE_ANSWERED, *_common(position, record, step), record.event.event_id
    )


async def _declined(
    connection: Connection, position: int, record: EventRecord, step: CallStep
) -> None:
    await connection.execute(UPDATE_DECLINED, *_common(position, record, step))


async def _ended(
    connection: Connection, position: int, record: EventRecord, step: CallStep
) -> None:
    await connection.execute(UPDATE_ENDED, *_common(position, record, step), step.reason)


def _common(position: int, record: EventRecord, step: CallStep) -> tuple[Any, ...]:
    event = record.event
    return step.key, position, event.sender, step.party_id, event.origin_server_ts


WRITERS: dict[str, Callable[..., Any]] = {
    INVITE: _begun,
    ANSWER: _answered,
    REJECT: _declined,
    HANGUP: _ended,
}


async def get(db: Queryable, key: str) -> CallRow | None:
    """A call."""
    row = await db.fetchrow(SELECT_ONE, key)
    return CallRow(**row) if row is not None else None


async def get_history(
    db: Queryable, rooms: Collection[str], before: tuple[int, str], limit: int
) -> list[CallRow]:
    """The newest calls in some rooms, before a time (ms) and event ID."""
    rows = await db.fetch(SELECT_HISTORY, list(rooms), *before, limit)
    return [CallRow(**row) for row in rows]


async def get_unanswered(db: Queryable, server_name: str, now: int, limit: int) -> list[CallRow]:
    """Calls of an instance's users that it has to end, since nobody answered."""
    rows = await db.fetch(SELECT_UNANSWERED, now, server_name, limit)
    return [CallRow(**row) for row in rows]


async def next_unanswered(db: Queryable, server_name: str) -> int | None:
    """When the next call stops ringing (ms)."""
    due: int | None = await db.fetchval(SELECT_NEXT, server_name)
    return due


async def give_up(db: Queryable, key: str) -> None:
    """A call that nobody answered is over, though nobody can be told."""
    await db.execute(GIVE_UP, key)


async def end_of_those_who_left(db: Queryable, left: Collection[tuple[str, str]], now: int) -> None:
    """``(room, user)``: who leaves a room leaves its calls.  Spec: behaviour on room leave."""
    await db.execute(UPDATE_LEFT, [room for room, _ in left], [user for _, user in left], now)
