"""Conversations that are muted until some time."""

from __future__ import annotations

from homeserver.storage.database import Queryable

UPSERT_MUTE = """
INSERT INTO timed_mutes (user_id, room_id, until) VALUES ($1, $2, $3)
ON CONFLICT (user_id, room_id) DO UPDATE SET until = EXCLUDED.until
"""
DELETE_MUTE = """
DELETE FROM timed_mutes WHERE user_id = $1 AND room_id = $2 AND ($3::bigint IS NULL OR until = $3)
"""
SELECT_MUTES = "SELECT room_id, until FROM timed_mutes WHERE user_id = $1"
SELECT_DUE = (
    "SELECT user_id, room_id, until FROM timed_mutes WHERE until <= $1 ORDER BY until LIMIT $2"
)
SELECT_NEXT = "SELECT min(until) FROM timed_mutes"


async def set_mute(db: Queryable, user_id: str, room_id: str, until: int) -> None:
    """Remember when a mute ends (ms)."""
    await db.execute(UPSERT_MUTE, user_id, room_id, until)


async def delete_mute(db: Queryable, user_id: str, room_id: str, until: int | None = None) -> bool:
    """Forget when a mute ends; with ``until`` only if it ends then.  Whether there was one."""
    return (await db.execute(DELETE_MUTE, user_id, room_id, until)).endswith(" 1")


async def get_mutes(db: Queryable, user_id: str) -> dict[str, int]:
    """Room ID -> when its mute ends (ms), for one user."""
    return {row["room_id"]: row["until"] for row in await db.fetch(SELECT_MUTES, user_id)}


async def get_due(db: Queryable, now: int, limit: int) -> list[tuple[str, str, int]]:
    """``(user ID, room ID, until)`` of mutes whose time has come."""
    rows = await db.fetch(SELECT_DUE, now, limit)
    return [(row["user_id"], row["room_id"], row["until"]) for row in rows]


async def get_next(db: Queryable) -> int | None:
    """When the next mute ends (ms)."""
    until: int | None = await db.fetchval(SELECT_NEXT)
    return until
