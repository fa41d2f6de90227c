"""Guests, and the rooms in which they are."""

from __future__ import annotations

from homeserver.storage.database import Queryable

SELECT_ROOMS_OF_GUESTS = """
SELECT DISTINCT m.room_id FROM accounts a JOIN memberships m USING (user_id)
WHERE a.guest AND a.deactivated_at IS NULL AND m.membership = 'join'
"""
SELECT_GUESTS_IN = """
SELECT m.user_id FROM memberships m JOIN accounts a USING (user_id)
WHERE m.room_id = $1 AND m.local AND m.membership = 'join' AND a.guest AND a.deactivated_at IS NULL
"""
SET_USER = """
UPDATE accounts SET guest = false, password_hash = $2
WHERE user_id = $1 AND guest AND deactivated_at IS NULL RETURNING user_id
"""


async def get_rooms_of_guests(db: Queryable) -> list[str]:
    """The rooms in which there is a guest."""
    return [row["room_id"] for row in await db.fetch(SELECT_ROOMS_OF_GUESTS)]


async def get_guests_in(db: Queryable, room_id: str) -> list[str]:
    """The guests who are joined to a room."""
    return [row["user_id"] for row in await db.fetch(SELECT_GUESTS_IN, room_id)]


async def make_user_of_guest(db: Queryable, user_id: str, password_hash: str | None) -> bool:
    """Give a guest's account a password.  False if it is no guest's, or no longer."""
    return await db.fetchval(SET_USER, user_id, password_hash) is not None
