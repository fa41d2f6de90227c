"""Applications: programs that act for users of their own."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import astuple

from homeserver.storage.database import Queryable

INSERT = """
INSERT INTO applications (application_id, name, user_patterns, scopes, may_create_users,
    bot_user_id, created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
COLUMNS = """
application_id, name, user_patterns, scopes, may_create_users, bot_user_id, created_at, created_by
"""
SELECT_ALL = f"SELECT {COLUMNS} FROM applications ORDER BY created_at, application_id"
UPDATE = """
UPDATE applications SET name = $2, user_patterns = $3, scopes = $4, may_create_users = $5
WHERE application_id = $1
"""
DELETE = "DELETE FROM applications WHERE application_id = $1 RETURNING application_id"
INSERT_USER = """
INSERT INTO application_users (user_id, application_id, created_at) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO NOTHING
"""
SELECT_MADE_BY = "SELECT application_id FROM application_users WHERE user_id = $1"
SELECT_MADE_AMONG = """
SELECT user_id FROM application_users WHERE application_id = $1 AND user_id = ANY($2::text[])
ORDER BY user_id
"""
# `$2`: patterns for LIKE, of whole user IDs.
SELECT_USERS = """
SELECT a.user_id, a.created_at, p.fields->>'displayname' AS name
FROM accounts a LEFT JOIN profiles p USING (user_id)
WHERE a.user_id > $3 AND a.deactivated_at IS NULL AND NOT a.admin AND (
    a.user_id LIKE ANY($2::text[])
    OR EXISTS (SELECT 1 FROM application_users u
        WHERE u.user_id = a.user_id AND u.application_id = $1))
ORDER BY a.user_id LIMIT $4
"""


class ApplicationRow(Struct, frozen=True):
    """An application as it is stored.  Times in ms."""

    application_id: str
    name: str
    user_patterns: Sequence[str]
    scopes: Sequence[str]
    may_create_users: bool
    bot_user_id: str | None
    created_at: int
    created_by: str


class OwnUser(Struct, frozen=True):
    """A user of an application's."""

    user_id: str
    created_at: int
    name: str | None


async def insert(db: Queryable, application: ApplicationRow) -> None:
    """Store a new application."""
    await db.execute(INSERT, *astuple(application))


async def get_all(db: Queryable) -> list[ApplicationRow]:
    """All applications, the oldest first."""
    return [ApplicationRow(**row) for row in await db.fetch(SELECT_ALL)]


async def update(db: Queryable, application: ApplicationRow) -> None:
    """Store what an admin may change of an application."""
    await db.execute(
        UPDATE,
        application.application_id,
        application.name,
        application.user_patterns,
        application.scopes,
        application.may_create_users,
    )


async def delete(db: Queryable, application_id: str) -> bool:
    """Delete an application, its tokens and webhooks; False if there is none."""
    return await db.fetchval(DELETE, application_id) is not None


async def insert_user(db: Queryable, user_id: str, application_id: str, created_at: int) -> None:
    """Note that an application made an account."""
    await db.execute(INSERT_USER, user_id, application_id, created_at)


async def made_by(db: Queryable, user_id: str) -> str | None:
    """The application that made an account."""
    application_id: str | None = await db.fetchval(SELECT_MADE_BY, user_id)
    return application_id


async def made_among(db: Queryable, application_id: str, user_ids: Sequence[str]) -> list[str]:
    """Those of some users whose accounts an application made."""
    rows = await db.fetch(SELECT_MADE_AMONG, application_id, list(user_ids))
    return [row["user_id"] for row in rows]


async def get_users(
    db: Queryable, application_id: str, like: Sequence[str], *, after: str, limit: int
) -> list[OwnUser]:
    """An application's users: those whose ID matches a pattern for LIKE, and those it made."""
    rows = await db.fetch(SELECT_USERS, application_id, like, after, limit)
    return [OwnUser(**row) for row in rows]
