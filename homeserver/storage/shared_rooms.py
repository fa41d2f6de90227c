"""Who shares a room with whom, who came to, and who ceased to."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import orjson

from homeserver.storage.database import Queryable

SELECT_JOINED_ROOMS = "SELECT room_id FROM memberships WHERE user_id = $1 AND membership = 'join'"
SELECT_ROOMS_OF = """
SELECT user_id, room_id FROM memberships WHERE user_id = ANY($1::text[]) AND membership = 'join'
"""
# Remote users who are joined to a room to which one of ours is joined.
SELECT_SHARED_WITH_US = """
SELECT wanted.user_id FROM unnest($1::text[]) AS wanted (user_id)
WHERE EXISTS (
    SELECT 1 FROM memberships theirs JOIN memberships ours USING (room_id)
    WHERE theirs.user_id = wanted.user_id AND theirs.membership = 'join'
        AND ours.local AND ours.membership = 'join')
"""
SELECT_SHARING = """
SELECT wanted.user_id FROM unnest($2::text[]) AS wanted (user_id)
WHERE EXISTS (
    SELECT 1 FROM memberships theirs JOIN memberships mine USING (room_id)
    WHERE theirs.user_id = wanted.user_id AND theirs.membership = 'join'
        AND mine.user_id = $1 AND mine.membership = 'join')
"""
MUTUAL = """
FROM memberships mine JOIN memberships theirs USING (room_id)
WHERE mine.user_id = $1 AND mine.membership = 'join'
    AND theirs.user_id = $2 AND theirs.membership = 'join'
"""
SELECT_MUTUAL_ROOMS = f"SELECT room_id {MUTUAL} AND room_id > $3 ORDER BY room_id LIMIT $4"
COUNT_MUTUAL_ROOMS = f"SELECT count(*) {MUTUAL}"

# ---- since a position

SELECT_SHARES_ANOTHER = """
SELECT EXISTS (
    SELECT 1 FROM memberships theirs JOIN memberships ours USING (room_id)
    WHERE theirs.user_id = $1 AND theirs.membership = 'join' AND theirs.room_id <> $2
        AND ours.local AND ours.membership = 'join' AND ours.user_id <> $1)
"""
SELECT_ROOMS_MOVED = """
SELECT c.room_id, bool_or(c.membership <> 'join') AS gone_meanwhile,
    coalesce((SELECT p.membership = 'join' FROM membership_changes p
        WHERE p.room_id = c.room_id AND p.user_id = $1 AND p.position <= $2
        ORDER BY p.position DESC LIMIT 1), false) AS before,
    coalesce((SELECT m.membership = 'join' FROM memberships m
        WHERE m.room_id = c.room_id AND m.user_id = $1), false) AS now
FROM membership_changes c WHERE c.user_id = $1 AND c.position > $2 AND c.position <= $3
GROUP BY c.room_id
"""
SELECT_JOINED_MEMBERS = """
SELECT DISTINCT user_id FROM memberships WHERE room_id = ANY($1::text[]) AND membership = 'join'
"""
SELECT_MEMBERS_LEFT = """
SELECT DISTINCT user_id FROM memberships
WHERE room_id = ANY($1::text[]) AND membership IN ('leave', 'ban')
    AND position > $2 AND position <= $3
"""
# Members whose membership moved in a room of the reader's; ``event_id`` is what moved it.
SELECT_MEMBERS_MOVED = """
SELECT theirs.room_id, theirs.user_id, theirs.membership, theirs.event_id FROM memberships theirs
JOIN memberships mine ON mine.room_id = theirs.room_id AND mine.user_id = $1
WHERE theirs.position > $2 AND theirs.position <= $3 AND mine.membership = 'join'
    AND theirs.user_id <> $1 AND NOT theirs.room_id = ANY($4::text[])
"""
# The member events before those: a changed profile moves a membership too.
SELECT_MEMBER_EVENTS_BEFORE = """
SELECT moved.user_id, before.pdu
FROM unnest($1::text[], $2::text[], $3::text[]) AS moved (room_id, user_id, event_id)
CROSS JOIN LATERAL (
    SELECT e.pdu FROM events e
    WHERE e.room_id = moved.room_id AND e.type = 'm.room.member' AND e.state_key = moved.user_id
        AND e.event_id <> moved.event_id AND coalesce(e.timeline_order, 0) <= $4
        AND e.rejected IS NULL AND NOT e.soft_failed
    ORDER BY e.depth DESC LIMIT 1
) before
"""

# ---- through a join

SELECT_IS_NEW_JOIN = """
SELECT coalesce((SELECT membership <> 'join' FROM membership_changes
    WHERE room_id = $1 AND user_id = $2 AND position < $3 ORDER BY position DESC LIMIT 1), true)
"""
SELECT_IS_FIRST_OF_OURS = """
SELECT NOT EXISTS (SELECT 1 FROM memberships
    WHERE room_id = $1 AND local AND membership = 'join' AND user_id <> $2)
"""
SELECT_NEW_SERVERS = """
SELECT DISTINCT substr(user_id, strpos(user_id, ':') + 1) AS server_name FROM memberships
WHERE room_id = $1 AND membership = 'join' AND NOT local
EXCEPT
SELECT substr(theirs.user_id, strpos(theirs.user_id, ':') + 1)
FROM memberships mine JOIN memberships theirs USING (room_id)
WHERE mine.user_id = $2 AND mine.membership = 'join' AND mine.room_id <> $1
    AND theirs.membership = 'join' AND NOT theirs.local
"""


async def rooms_of(db: Queryable, user_ids: Collection[str]) -> dict[str, list[str]]:
    """User ID -> the rooms to which they are joined."""
    found: dict[str, list[str]] = {}
    for row in await db.fetch(SELECT_ROOMS_OF, list(user_ids)):
        found.setdefault(row["user_id"], []).append(row["room_id"])
    return found


async def get_joined_rooms(db: Queryable, user_id: str) -> list[str]:
    """The rooms to which a user is joined."""
    return [row["room_id"] for row in await db.fetch(SELECT_JOINED_ROOMS, user_id)]


async def sharing_with_us(db: Queryable, user_ids: Iterable[str]) -> set[str]:
    """Those of ``user_ids`` who share a room with any local user."""
    rows = await db.fetch(SELECT_SHARED_WITH_US, list(user_ids))
    return {row["user_id"] for row in rows}


async def shares_another_room(db: Queryable, user_id: str, room_id: str) -> bool:
    """Whether a user is joined, with another user of ours, to a room other than this one."""
    return bool(await db.fetchval(SELECT_SHARES_ANOTHER, user_id, room_id))


async def sharing_rooms(db: Queryable, reader: str, among: Iterable[str]) -> set[str]:
    """Those of ``among`` who share a room with the reader."""
    rows = await db.fetch(SELECT_SHARING, reader, list(among))
    return {row["user_id"] for row in rows}


# ---------------------------------------------------------------- since a position


async def get_rooms_moved(
    db: Queryable, reader: str, since: int, upto: int
) -> tuple[list[str], list[str], list[str]]:
    """The rooms that the reader joined, those they left, and those of both they were in before.

    Who left and is back has joined: what happened in between was not told here.
    """
    rows = await db.fetch(SELECT_ROOMS_MOVED, reader, since, upto)
    joined = [
        row["room_id"]
        for row in rows
        if row["now"] and (row["gone_meanwhile"] or not row["before"])
    ]
    left = [row["room_id"] for row in rows if row["before"] and not row["now"]]
    return joined, left, [row["room_id"] for row in rows if row["before"]]


async def get_joined_members(db: Queryable, room_ids: Iterable[str]) -> set[str]:
    """Everybody joined to any of these rooms."""
    rows = await db.fetch(SELECT_JOINED_MEMBERS, list(room_ids))
    return {row["user_id"] for row in rows}


async def get_members_left(
    db: Queryable, room_ids: Iterable[str], since: int, upto: int
) -> set[str]:
    """Who left any of these rooms since a position."""
    rows = await db.fetch(SELECT_MEMBERS_LEFT, list(room_ids), since, upto)
    return {row["user_id"] for row in rows}


async def get_members_moved(
    db: Queryable, reader: str, since: int, upto: int, *, besides: Iterable[str] = ()
) -> tuple[set[str], set[str]]:
    """Who joined, and who left, a room of the reader's since a position; not ``besides``."""
    rows = await db.fetch(SELECT_MEMBERS_MOVED, reader, since, upto, list(besides))
    present = [row for row in rows if row["membership"] == "join"]
    left = {row["user_id"] for row in rows if row["membership"] in ("leave", "ban")}
    if not present:
        return set(), left
    before = await db.fetch(
        SELECT_MEMBER_EVENTS_BEFORE,
        [row["room_id"] for row in present],
        [row["user_id"] for row in present],
        [row["event_id"] for row in present],
        since,
    )
    stayed = {
        row["user_id"]
        for row in before
        if orjson.loads(row["pdu"])["content"].get("membership") == "join"
    }
    return {row["user_id"] for row in present} - stayed, left


# ---------------------------------------------------------------- through a join


async def is_new_join(db: Queryable, room_id: str, user_id: str, position: int) -> bool:
    """Whether a local user was not joined before the member event at ``position``."""
    return bool(await db.fetchval(SELECT_IS_NEW_JOIN, room_id, user_id, position))


async def is_first_of_ours(db: Queryable, room_id: str, user_id: str) -> bool:
    """Whether no other local user is joined to a room."""
    return bool(await db.fetchval(SELECT_IS_FIRST_OF_OURS, room_id, user_id))


async def get_new_servers(db: Queryable, room_id: str, user_id: str) -> set[str]:
    """The other instances in a room with which the user shares no other room."""
    rows = await db.fetch(SELECT_NEW_SERVERS, room_id, user_id)
    return {row["server_name"] for row in rows}


async def get_mutual_rooms(
    db: Queryable, user_id: str, other: str, *, after: str, limit: int
) -> list[str]:
    """Rooms to which both users are joined, by room ID, those after ``after``."""
    return [row[0] for row in await db.fetch(SELECT_MUTUAL_ROOMS, user_id, other, after, limit)]


async def count_mutual_rooms(db: Queryable, user_id: str, other: str) -> int:
    """How many rooms both users are joined to."""
    count: int = await db.fetchval(COUNT_MUTUAL_ROOMS, user_id, other)
    return count
