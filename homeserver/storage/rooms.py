"""Rooms, their members and aliases: the rows that say where a room stands now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_ROOM = """
INSERT INTO rooms (room_id, room_version, created_at) VALUES ($1, $2, $3)
ON CONFLICT (room_id) DO NOTHING
"""
SET_ROOM_VERSION = """
UPDATE rooms SET room_version = $2 WHERE room_id = $1 AND room_version <> $2
"""
DELETE_EMPTY_ROOM = "DELETE FROM rooms WHERE room_id = $1 AND snapshot_id IS NULL"
SELECT_ROOM = """
SELECT room_id, room_version, revision, forward_extremities, snapshot_id, published
FROM rooms WHERE room_id = $1
"""
SET_ROOM_STATE = """
UPDATE rooms SET revision = revision + 1, snapshot_id = $2, forward_extremities = $3
WHERE room_id = $1 RETURNING revision
"""
SELECT_MEMBERSHIPS = "SELECT user_id, membership, local FROM memberships WHERE room_id = $1"
SELECT_USER_ROOMS = """
SELECT room_id, membership, event_id, sender, position, forgotten, stripped_state
FROM memberships WHERE user_id = $1 AND membership = ANY($2::text[])
"""
SELECT_MEMBERSHIP = """
SELECT room_id, membership, event_id, sender, position, forgotten, stripped_state
FROM memberships WHERE room_id = $1 AND user_id = $2
"""
SELECT_MEMBERSHIPS_IN = """
SELECT room_id, membership, event_id, sender, position, forgotten, stripped_state
FROM memberships WHERE user_id = $1 AND room_id = ANY($2::text[])
"""
SELECT_MEMBERSHIP_CHANGES = """
SELECT position, room_id, membership, event_id FROM membership_changes
WHERE user_id = $1 AND position > $2 AND position <= $3 ORDER BY position
"""
SET_FORGOTTEN = """
UPDATE memberships SET forgotten = true
WHERE room_id = $1 AND user_id = $2 AND membership IN ('leave', 'ban')
"""
SELECT_ALIAS = "SELECT room_id, creator FROM room_aliases WHERE alias = $1"
SELECT_ROOM_ALIASES = "SELECT alias FROM room_aliases WHERE room_id = $1 ORDER BY alias"
INSERT_ALIAS = """
INSERT INTO room_aliases (alias, room_id, creator) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""
DELETE_ALIAS = "DELETE FROM room_aliases WHERE alias = $1"
SET_PUBLISHED = "UPDATE rooms SET published = $2 WHERE room_id = $1"
SELECT_PUBLISHED_AMONG = "SELECT room_id FROM rooms WHERE published AND room_id = ANY($1::text[])"
SHARED_ROOM_SERVERS = """
SELECT DISTINCT substr(theirs.user_id, strpos(theirs.user_id, ':') + 1)
FROM memberships mine
JOIN memberships theirs ON theirs.room_id = mine.room_id AND theirs.membership = 'join'
WHERE mine.user_id = $1 AND mine.membership = 'join' AND NOT theirs.local
"""

TAKE_SNAPSHOT_BLOCK = "SELECT nextval('snapshot_ids')"
SNAPSHOT_BLOCK = 1000  # INCREMENT of the sequence snapshot_ids

SELECT_CHAIN_LENGTH = "SELECT chain_length FROM state_snapshots WHERE snapshot_id = $1"


class RoomRow(Struct, frozen=True):
    """Where a room stands, as stored."""

    room_id: str
    room_version: str
    revision: int
    forward_extremities: list[str]
    snapshot_id: int | None
    published: bool


class MembershipRow(Struct, frozen=True):
    """A user's current membership of a room."""

    room_id: str
    membership: str
    event_id: str
    sender: str
    position: int
    forgotten: bool
    stripped_state: list[dict[str, Any]] | None


class MembershipChangeRow(Struct, frozen=True):
    """One change of a local user's membership, at a position of the log."""

    position: int
    room_id: str
    membership: str
    event_id: str


async def insert_room(db: Queryable, room_id: str, room_version: str, created_at: int) -> bool:
    """Make a room's row, if there is none; whether there was none."""
    status = await db.execute(INSERT_ROOM, room_id, room_version, created_at)
    return status.endswith(" 1")


async def set_room_version(db: Queryable, room_id: str, room_version: str) -> None:
    """Correct a room's version, of which an invite may have told anything."""
    await db.execute(SET_ROOM_VERSION, room_id, room_version)


async def delete_empty_room(db: Queryable, room_id: str) -> None:
    """Take back the row of a room that did not come to be."""
    await db.execute(DELETE_EMPTY_ROOM, room_id)


async def get_room(db: Queryable, room_id: str) -> RoomRow | None:
    """A room's row."""
    row = await db.fetchrow(SELECT_ROOM, room_id)
    return RoomRow(**row) if row is not None else None


async def set_room_state(
    db: Queryable, room_id: str, snapshot_id: int, forward_extremities: list[str]
) -> int:
    """Put a room where another instance says it stands (after a join); the new revision."""
    revision: int = await db.fetchval(SET_ROOM_STATE, room_id, snapshot_id, forward_extremities)
    return revision


async def get_room_memberships(db: Queryable, room_id: str) -> list[tuple[str, str, bool]]:
    """``(user ID, membership, local)`` of everybody who has or had one."""
    rows = await db.fetch(SELECT_MEMBERSHIPS, room_id)
    return [(row["user_id"], row["membership"], row["local"]) for row in rows]


async def get_user_rooms(
    db: Queryable, user_id: str, memberships: Iterable[str]
) -> list[MembershipRow]:
    """The rooms in which a user has one of these memberships."""
    rows = await db.fetch(SELECT_USER_ROOMS, user_id, list(memberships))
    return [MembershipRow(**row) for row in rows]


async def get_membership(db: Queryable, room_id: str, user_id: str) -> MembershipRow | None:
    """A user's current membership of a room."""
    row = await db.fetchrow(SELECT_MEMBERSHIP, room_id, user_id)
    return MembershipRow(**row) if row is not None else None


async def get_memberships_in(
    db: Queryable, user_id: str, room_ids: Iterable[str]
) -> dict[str, MembershipRow]:
    """Room ID -> a user's current membership; rooms without one are left out."""
    rows = await db.fetch(SELECT_MEMBERSHIPS_IN, user_id, list(room_ids))
    return {row["room_id"]: MembershipRow(**row) for row in rows}


async def get_membership_changes(
    db: Queryable, user_id: str, after: int, upto: int
) -> list[MembershipChangeRow]:
    """A local user's membership changes with ``after < position <= upto``, the oldest first."""
    rows = await db.fetch(SELECT_MEMBERSHIP_CHANGES, user_id, after, upto)
    return [MembershipChangeRow(**row) for row in rows]


async def set_forgotten(db: Queryable, room_id: str, user_id: str) -> bool:
    """Forget a room that the user has left; False if they have not."""
    return not (await db.execute(SET_FORGOTTEN, room_id, user_id)).endswith(" 0")


async def get_alias(db: Queryable, alias: str) -> tuple[str, str] | None:
    """``(room ID, creator)`` of a local alias."""
    row = await db.fetchrow(SELECT_ALIAS, alias)
    return (row["room_id"], row["creator"]) if row is not None else None


async def get_room_aliases(db: Queryable, room_id: str) -> list[str]:
    """A room's local aliases."""
    return [row["alias"] for row in await db.fetch(SELECT_ROOM_ALIASES, room_id)]


async def insert_alias(db: Queryable, alias: str, room_id: str, creator: str) -> bool:
    """Make a local alias; False if it is taken."""
    return (await db.execute(INSERT_ALIAS, alias, room_id, creator)).endswith(" 1")


async def delete_alias(db: Queryable, alias: str) -> None:
    """Remove a local alias."""
    await db.execute(DELETE_ALIAS, alias)


async def set_published(db: Queryable, room_id: str, published: bool) -> None:
    """List a room in the public directory, or take it out."""
    await db.execute(SET_PUBLISHED, room_id, published)


async def get_published_among(db: Queryable, room_ids: Iterable[str]) -> set[str]:
    """Those of some rooms that are in the public directory."""
    return {row["room_id"] for row in await db.fetch(SELECT_PUBLISHED_AMONG, list(room_ids))}


async def servers_sharing_rooms(db: Queryable, user_id: str) -> set[str]:
    """Other instances with a member in a room to which ``user_id`` is joined."""
    return {row[0] for row in await db.fetch(SHARED_ROOM_SERVERS, user_id)}


# ---------------------------------------------------------------- state snapshots


async def take_snapshot_ids(db: Queryable) -> range:
    """A block of unused snapshot IDs."""
    first: int = await db.fetchval(TAKE_SNAPSHOT_BLOCK)
    return range(first, first + SNAPSHOT_BLOCK)


async def get_chain_length(db: Queryable, snapshot_id: int) -> int:
    """How many parents a snapshot has."""
    length: int | None = await db.fetchval(SELECT_CHAIN_LENGTH, snapshot_id)
    return length or 0


def is_direct_invite(row: MembershipRow, user_id: str) -> bool:
    """Whether an invite says that it is to a direct chat."""
    for event in row.stripped_state or ():
        if event.get("type") == "m.room.member" and event.get("state_key") == user_id:
            content = event.get("content")
            return isinstance(content, dict) and content.get("is_direct") is True
    return False
