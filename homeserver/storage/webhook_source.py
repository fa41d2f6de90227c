"""What happened in all rooms after a position: what webhooks are told of is among it.

Each function gives the oldest first, up to a limit.
"""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.feed import Move
from homeserver.storage.message_requests import MessageRequest, request_of
from homeserver.storage.rooms import MembershipRow

# What takes part in a timeline, or was released into one.
SELECT_EVENTS = """
SELECT event_id, position FROM events
WHERE position > $1 AND position <= $2 AND timeline_order > 0 AND withheld IS NULL
ORDER BY position LIMIT $3
"""
# Found by where memberships stand now: they stand there since the last of their changes.
SELECT_MOVES = """
SELECT c.position, c.user_id, c.room_id, c.membership, c.event_id,
    coalesce(e.sender, m.sender) AS sender,
    CASE WHEN m.event_id = c.event_id THEN m.stripped_state END AS stripped_state,
    (SELECT p.membership FROM membership_changes p
        WHERE p.room_id = c.room_id AND p.user_id = c.user_id AND p.position < c.position
        ORDER BY p.position DESC LIMIT 1) AS before
FROM memberships m JOIN membership_changes c USING (user_id, room_id)
LEFT JOIN events e ON e.event_id = c.event_id
WHERE m.local AND m.position > $1 AND c.position > $1 AND c.position <= $2
ORDER BY c.position LIMIT $3
"""
# Of a request only the last state is there.
SELECT_REQUESTS = """
SELECT owner, sender, server, scope, room_id, state, attempts, created_at, updated_at, expires_at,
    reported, position FROM message_requests
WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3
"""
SELECT_ERASURES = """
SELECT room_id, event_ids, erased_at, position,
    (SELECT erased FROM events e WHERE e.event_id = x.event_ids[1]) AS why
FROM erasures x WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3
"""
SELECT_MEMBERS_AT = """
SELECT user_id FROM (
    SELECT DISTINCT ON (user_id) user_id, membership FROM membership_changes
    WHERE room_id = $1 AND position <= $2 ORDER BY user_id, position DESC
) last WHERE membership = 'join' ORDER BY user_id
"""


class UserMove(Struct, frozen=True):
    """A change of a local user's membership."""

    user_id: str
    move: Move


async def get_events(db: Queryable, since: int, upto: int, limit: int) -> list[tuple[int, str]]:
    """Positions and IDs of events that could be seen first at ``since < position <= upto``."""
    rows = await db.fetch(SELECT_EVENTS, since, upto, limit)
    return [(row["position"], row["event_id"]) for row in rows]


async def get_moves(db: Queryable, since: int, upto: int, limit: int) -> list[UserMove]:
    """Comings and goings of local users."""
    return [
        UserMove(
            row["user_id"],
            Move(
                MembershipRow(
                    row["room_id"],
                    row["membership"],
                    row["event_id"],
                    row["sender"] or "",
                    row["position"],
                    False,
                    row["stripped_state"],
                ),
                row["before"] or "leave",
            ),
        )
        for row in await db.fetch(SELECT_MOVES, since, upto, limit)
    ]


async def get_requests(
    db: Queryable, since: int, upto: int, limit: int
) -> list[tuple[int, MessageRequest]]:
    """Message requests as they now stand."""
    rows = await db.fetch(SELECT_REQUESTS, since, upto, limit)
    return [(row["position"], request_of(row)) for row in rows]


async def get_erasures(
    db: Queryable, since: int, upto: int, limit: int
) -> list[tuple[int, ErasureRecord]]:
    """What ended by itself, as far as clients are told."""
    return [
        (
            row["position"],
            ErasureRecord(
                row["room_id"], (), row["why"] or "", row["erased_at"], tuple(row["event_ids"])
            ),
        )
        for row in await db.fetch(SELECT_ERASURES, since, upto, limit)
    ]


async def get_members_at(db: Queryable, room_id: str, position: int) -> list[str]:
    """The local users who were in a room at a position."""
    return [row["user_id"] for row in await db.fetch(SELECT_MEMBERS_AT, room_id, position)]
