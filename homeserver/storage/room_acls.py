"""Which rooms are ours to keep in order, and what we put into their server ACLs."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.storage.database import Queryable

SELECT_MADE_HERE = """
SELECT room_id FROM (
    SELECT DISTINCT room_id FROM memberships WHERE local AND membership = 'join'
) AS ours WHERE EXISTS (
    SELECT 1 FROM events e WHERE e.room_id = ours.room_id AND e.type = 'm.room.create'
        AND e.state_key = '' AND e.rejected IS NULL
        AND substr(e.sender, strpos(e.sender, ':') + 1) = $1
) ORDER BY room_id
"""
SELECT_ENTRIES = "SELECT room_id, server FROM policy_acl_entries"
INSERT_ENTRIES = """
INSERT INTO policy_acl_entries (room_id, server, list_id)
SELECT $1, server, $3 FROM unnest($2::text[]) AS added (server) ON CONFLICT DO NOTHING
"""
DELETE_ENTRIES = "DELETE FROM policy_acl_entries WHERE room_id = $1 AND server = ANY($2::text[])"


async def get_rooms_made_here(db: Queryable, server_name: str) -> list[str]:
    """Rooms that a user of this instance made, with users of this instance."""
    return [row["room_id"] for row in await db.fetch(SELECT_MADE_HERE, server_name)]


async def get_acl_entries(db: Queryable) -> dict[str, set[str]]:
    """Room -> what lists have put into its ACL."""
    entries: dict[str, set[str]] = {}
    for row in await db.fetch(SELECT_ENTRIES):
        entries.setdefault(row["room_id"], set()).add(row["server"])
    return entries


async def add_acl_entries(
    db: Queryable, room_id: str, servers: Collection[str], list_id: int
) -> None:
    """Note what was put into a room's ACL for a list."""
    await db.execute(INSERT_ENTRIES, room_id, list(servers), list_id)


async def delete_acl_entries(db: Queryable, room_id: str, servers: Collection[str]) -> None:
    """Note what was taken out of a room's ACL."""
    await db.execute(DELETE_ENTRIES, room_id, list(servers))
