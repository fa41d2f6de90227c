"""Accounts of this instance.  They are never deleted: a deactivated one keeps its user ID taken."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_ACCOUNT = """
INSERT INTO accounts (user_id, password_hash, admin, guest, created_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id) DO NOTHING RETURNING user_id
"""
SELECT_ACCOUNT = """
SELECT user_id, password_hash, admin, guest, created_at, deactivated_at, erased, locked_at,
    suspended_at
FROM accounts WHERE user_id = $1
"""
SELECT_EXISTING = "SELECT user_id FROM accounts WHERE user_id = ANY($1::text[])"
SELECT_ACCOUNTS = """
SELECT user_id, password_hash, admin, guest, created_at, deactivated_at, erased, locked_at,
    suspended_at
FROM accounts WHERE user_id > $1 AND ($2 OR deactivated_at IS NULL) ORDER BY user_id LIMIT $3
"""
# Browsers that were signed in with the old one are not any more.
SET_PASSWORD_HASH = """
WITH gone AS (DELETE FROM account_sessions WHERE user_id = $1)
UPDATE accounts SET password_hash = $2 WHERE user_id = $1 AND deactivated_at IS NULL
RETURNING user_id
"""
# For a rehash: unless the password was changed meanwhile.
REPLACE_PASSWORD_HASH = """
UPDATE accounts SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2
"""
SET_ADMIN = "UPDATE accounts SET admin = $2 WHERE user_id = $1 RETURNING user_id"
DEACTIVATE = """
UPDATE accounts SET deactivated_at = coalesce(deactivated_at, $2), password_hash = NULL,
    admin = false, erased = erased OR $3, deletion_since = coalesce(deletion_since, $2),
    erased_position = CASE WHEN $3 THEN coalesce(erased_position,
        (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM log_position))
        ELSE erased_position END
WHERE user_id = $1 RETURNING user_id
"""
# Deactivated, yet still in a room, with a device or belongings: the server stopped before the end.
SELECT_UNFINISHED_DEACTIVATIONS = """
SELECT user_id FROM accounts a WHERE deactivated_at IS NOT NULL AND (
    deletion_since IS NOT NULL
    OR EXISTS (SELECT 1 FROM devices d WHERE d.user_id = a.user_id)
    OR EXISTS (SELECT 1 FROM memberships m
        WHERE m.user_id = a.user_id AND m.membership IN ('join', 'invite', 'knock')))
"""


class Account(Struct, frozen=True):
    """A local user's account."""

    user_id: str
    password_hash: str | None
    admin: bool
    guest: bool
    created_at: int
    deactivated_at: int | None = None
    erased: bool = False
    locked_at: int | None = None
    suspended_at: int | None = None


async def insert_account(db: Queryable, account: Account) -> bool:
    """Add an account.  False if the user ID is taken."""
    inserted = await db.fetchval(
        INSERT_ACCOUNT,
        account.user_id,
        account.password_hash,
        account.admin,
        account.guest,
        account.created_at,
    )
    return inserted is not None


async def get_account(db: Queryable, user_id: str) -> Account | None:
    """An account, deactivated or not."""
    row = await db.fetchrow(SELECT_ACCOUNT, user_id)
    return Account(**row) if row is not None else None


async def get_existing(db: Queryable, user_ids: Iterable[str]) -> set[str]:
    """Those of some users who have, or had, an account."""
    return {row["user_id"] for row in await db.fetch(SELECT_EXISTING, list(user_ids))}


async def get_accounts(
    db: Queryable, *, after: str = "", limit: int = 1_000, deactivated: bool = False
) -> list[Account]:
    """Accounts in the order of their user IDs; deactivated ones only if asked for."""
    rows = await db.fetch(SELECT_ACCOUNTS, after, deactivated, limit)
    return [Account(**row) for row in rows]


async def set_password_hash(db: Queryable, user_id: str, password_hash: str | None) -> bool:
    """Set an account's password.  False if there is no such active account."""
    return await db.fetchval(SET_PASSWORD_HASH, user_id, password_hash) is not None


async def replace_password_hash(db: Queryable, user_id: str, old: str, new: str) -> None:
    """Store another hash of the same password."""
    await db.execute(REPLACE_PASSWORD_HASH, user_id, old, new)


async def set_admin(db: Queryable, user_id: str, admin: bool) -> bool:
    """Make an account an admin's, or no longer.  False if there is no such account."""
    return await db.fetchval(SET_ADMIN, user_id, admin) is not None


async def deactivate_account(db: Queryable, user_id: str, now: int, *, erase: bool) -> bool:
    """Mark an account as deactivated, for ever.  False if there is no such account."""
    return await db.fetchval(DEACTIVATE, user_id, now, erase) is not None


async def get_unfinished_deactivations(db: Queryable) -> list[str]:
    """Deactivated users who have not left every room yet, or still have what was theirs."""
    return [row["user_id"] for row in await db.fetch(SELECT_UNFINISHED_DEACTIVATIONS)]
