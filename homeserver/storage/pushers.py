"""Pushers: where their users' notifications go."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

HTTP, EMAIL = "http", "email"

COLUMNS = """pusher_id, user_id, app_id, pushkey, kind, device_id, enabled, app_display_name,
    device_display_name, profile_tag, lang, data, updated_at, since, failures, retry_at, sent_at"""
SELECT_ALL = f"SELECT {COLUMNS} FROM pushers ORDER BY pusher_id"
SELECT_OF_USERS = f"""
SELECT {COLUMNS} FROM pushers WHERE user_id = ANY($1::text[]) ORDER BY pusher_id
"""
COUNT_OTHERS = """
SELECT count(*) FROM pushers WHERE user_id = $1 AND NOT (app_id = $2 AND pushkey = $3)
"""
# One that is set again goes on where it stood, unless it was off; a new address is tried at once.
UPSERT = """
INSERT INTO pushers (user_id, app_id, pushkey, kind, device_id, enabled, app_display_name,
    device_display_name, profile_tag, lang, data, updated_at, since)
VALUES ($1, $2, $3, $4, (SELECT device_id FROM devices WHERE user_id = $1 AND device_id = $5), $6,
    $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (app_id, pushkey, user_id) DO UPDATE SET kind = EXCLUDED.kind,
    device_id = EXCLUDED.device_id, enabled = EXCLUDED.enabled,
    app_display_name = EXCLUDED.app_display_name,
    device_display_name = EXCLUDED.device_display_name, profile_tag = EXCLUDED.profile_tag,
    lang = EXCLUDED.lang, data = EXCLUDED.data, updated_at = EXCLUDED.updated_at,
    failures = 0, retry_at = NULL,
    since = CASE WHEN pushers.enabled THEN pushers.since ELSE EXCLUDED.since END
"""
DELETE_ONE = """
DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3
"""
DELETE_OF_OTHERS = """
DELETE FROM pushers WHERE app_id = $2 AND pushkey = $3 AND user_id <> $1 RETURNING user_id
"""
DELETE_BY_ID = "DELETE FROM pushers WHERE pusher_id = $1"
DELETE_OF_USER = "DELETE FROM pushers WHERE user_id = $1"
DELETE_UNBOUND = "DELETE FROM pushers WHERE user_id = $1 AND device_id IS NULL AND kind = 'http'"
SET_RETRY = "UPDATE pushers SET failures = $2, retry_at = $3 WHERE pusher_id = $1"
SET_SENT = "UPDATE pushers SET failures = 0, retry_at = NULL, sent_at = $2 WHERE pusher_id = $1"


class Pusher(Struct):
    """A pusher.  Times in ms; ``since``: the log's position when it was made."""

    pusher_id: int
    user_id: str
    app_id: str
    pushkey: str
    kind: str
    device_id: str | None
    enabled: bool
    app_display_name: str
    device_display_name: str
    profile_tag: str | None
    lang: str
    data: dict[str, Any]
    updated_at: int
    since: int
    failures: int
    retry_at: int | None
    sent_at: int | None


class NewPusher(Struct, frozen=True):
    """A pusher as a client sets it."""

    user_id: str
    app_id: str
    pushkey: str
    kind: str
    device_id: str | None
    enabled: bool
    app_display_name: str
    device_display_name: str
    profile_tag: str | None
    lang: str
    data: dict[str, Any]


async def get_all(db: Queryable) -> list[Pusher]:
    """Every pusher."""
    return [Pusher(**row) for row in await db.fetch(SELECT_ALL)]


async def get_of_users(db: Queryable, user_ids: Collection[str]) -> list[Pusher]:
    """The pushers of some users, the oldest first."""
    return [Pusher(**row) for row in await db.fetch(SELECT_OF_USERS, list(user_ids))]


async def count_others(db: Queryable, user_id: str, app_id: str, pushkey: str) -> int:
    """How many pushers a user has beside this one."""
    count: int = await db.fetchval(COUNT_OTHERS, user_id, app_id, pushkey)
    return count


async def put(db: Queryable, pusher: NewPusher, *, now: int, since: int) -> None:
    """Add a pusher, or change the one of that app and pushkey."""
    await db.execute(
        UPSERT,
        pusher.user_id,
        pusher.app_id,
        pusher.pushkey,
        pusher.kind,
        pusher.device_id,
        pusher.enabled,
        pusher.app_display_name,
        pusher.device_display_name,
        pusher.profile_tag,
        pusher.lang,
        pusher.data,
        now,
        since,
    )


async def delete(db: Queryable, user_id: str, app_id: str, pushkey: str) -> None:
    """Remove a user's pusher, if there is one."""
    await db.execute(DELETE_ONE, user_id, app_id, pushkey)


async def delete_of_others(db: Queryable, user_id: str, app_id: str, pushkey: str) -> set[str]:
    """Remove the pushers that other users have for the same app and pushkey; whose they were."""
    rows = await db.fetch(DELETE_OF_OTHERS, user_id, app_id, pushkey)
    return {row["user_id"] for row in rows}


async def delete_by_id(db: Queryable, pusher_id: int) -> None:
    """Remove a pusher."""
    await db.execute(DELETE_BY_ID, pusher_id)


async def delete_of_user(db: Queryable, user_id: str) -> None:
    """Remove all of a user's pushers."""
    await db.execute(DELETE_OF_USER, user_id)


async def delete_unbound(db: Queryable, user_id: str) -> None:
    """Remove a user's HTTP pushers that no device set."""
    await db.execute(DELETE_UNBOUND, user_id)


async def set_retry(db: Queryable, pusher_id: int, failures: int, retry_at: int | None) -> None:
    """Note that requests failed, and when to try again; ``(0, None)``: that one did not."""
    await db.execute(SET_RETRY, pusher_id, failures, retry_at)


async def set_sent(db: Queryable, pusher_id: int, sent_at: int) -> None:
    """Note when a mail was sent (ms)."""
    await db.execute(SET_SENT, pusher_id, sent_at)
