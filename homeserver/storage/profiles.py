"""Profiles of local users: a JSON object of fields each."""

from __future__ import annotations

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Queryable
from homeserver.storage.people_directory import Listed, put_people

SELECT_PROFILE = """
SELECT coalesce(p.fields, '{}'::jsonb) FROM accounts a LEFT JOIN profiles p USING (user_id)
WHERE a.user_id = $1
"""
# The row is made first, so that there is always one to lock.
ENSURE_PROFILE = "INSERT INTO profiles (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
LOCK_PROFILE = "SELECT fields FROM profiles WHERE user_id = $1 FOR UPDATE"
SET_PROFILE = "UPDATE profiles SET fields = $2 WHERE user_id = $1"


async def get_profile(db: Queryable, user_id: str) -> JsonObject | None:
    """A local user's fields; None if there is no such user."""
    fields: JsonObject | None = await db.fetchval(SELECT_PROFILE, user_id)
    return fields


async def lock_profile(db: Queryable, user_id: str) -> JsonObject:
    """A user's fields, which nobody else may change until the transaction ends."""
    await db.execute(ENSURE_PROFILE, user_id)
    fields: JsonObject = await db.fetchval(LOCK_PROFILE, user_id)
    return fields


async def set_profile(db: Queryable, user_id: str, fields: JsonObject) -> None:
    """Replace a user's fields; the directory follows."""
    await db.execute(SET_PROFILE, user_id, fields)
    name, avatar_url = fields.get("displayname"), fields.get("avatar_url")
    await put_people(db, [Listed(user_id, True, name, avatar_url)])
