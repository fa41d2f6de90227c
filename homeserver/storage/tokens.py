"""Access, refresh and login tokens.  Only their SHA-256 is ever stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_ACCESS_TOKEN = """
INSERT INTO access_tokens (token_hash, user_id, device_id, created_at, expires_at,
    refresh_token_hash) VALUES ($1, $2, $3, $4, $5, $6)
"""
# A client is an admin's where an admin has let it in, not where its user became one later.
SELECT_ACCESS_TOKEN = """
SELECT t.token_hash, t.user_id, t.device_id, t.expires_at, t.refresh_token_hash, a.guest,
    a.admin AND NOT EXISTS (SELECT 1 FROM oauth_sessions s
        WHERE s.user_id = t.user_id AND s.device_id = t.device_id AND NOT s.as_admin) AS admin
FROM access_tokens t JOIN accounts a USING (user_id)
WHERE t.token_hash = $1 AND a.deactivated_at IS NULL
"""
SELECT_KNOWN = "SELECT 1 FROM access_tokens WHERE token_hash = $1"
SELECT_GOOD = """
SELECT t.token_hash FROM access_tokens t JOIN accounts a USING (user_id)
WHERE t.token_hash = ANY($1::bytea[]) AND a.deactivated_at IS NULL AND a.locked_at IS NULL
    AND (t.expires_at IS NULL OR t.expires_at > $2)
"""
SELECT_LOGGED_OUT = """
SELECT d.user_id, d.device_id
FROM unnest($1::text[], $2::text[]) AS d (user_id, device_id) LEFT JOIN accounts a USING (user_id)
WHERE a.deactivated_at IS NOT NULL OR NOT (
    EXISTS (SELECT 1 FROM access_tokens t
        WHERE t.user_id = d.user_id AND t.device_id = d.device_id)
    OR EXISTS (SELECT 1 FROM refresh_tokens t
        WHERE t.user_id = d.user_id AND t.device_id = d.device_id))
"""
# With `$2` null: all of the user's tokens.
DELETE_ACCESS_TOKENS = """
DELETE FROM access_tokens
WHERE user_id = $1 AND ($2::text[] IS NULL OR device_id = ANY($2::text[]))
"""
DELETE_REFRESH_TOKENS = """
DELETE FROM refresh_tokens
WHERE user_id = $1 AND ($2::text[] IS NULL OR device_id = ANY($2::text[]))
"""

INSERT_REFRESH_TOKEN = """
INSERT INTO refresh_tokens (token_hash, user_id, device_id, created_at) VALUES ($1, $2, $3, $4)
"""
SELECT_REFRESH_TOKEN = """
SELECT r.token_hash, r.user_id, r.device_id, r.created_at, r.next_token_hash,
    s.client_id, s.scope
FROM refresh_tokens r JOIN accounts a USING (user_id)
    LEFT JOIN oauth_sessions s ON s.user_id = r.user_id AND s.device_id = r.device_id
WHERE r.token_hash = $1 AND a.deactivated_at IS NULL FOR UPDATE OF r
"""
# A device without tokens is nobody's session either.
DELETE_OAUTH_SESSIONS = """
DELETE FROM oauth_sessions
WHERE user_id = $1 AND ($2::text[] IS NULL OR device_id = ANY($2::text[]))
"""
LOCK_DEVICE = """
SELECT 1 FROM devices d JOIN refresh_tokens r USING (user_id, device_id) WHERE r.token_hash = $1
FOR NO KEY UPDATE OF d
"""
SET_NEXT_TOKEN = "UPDATE refresh_tokens SET next_token_hash = $2 WHERE token_hash = $1"
# A pair whose successor was never used is void once its predecessor is used again.
DELETE_UNUSED_REFRESH_TOKEN = "DELETE FROM refresh_tokens WHERE token_hash = $1"
DELETE_UNUSED_ACCESS_TOKEN = """
DELETE FROM access_tokens WHERE refresh_token_hash = $1 RETURNING token_hash
"""
# The first use of a token voids the pair before it.
DELETE_PREDECESSORS = """
WITH gone AS (
    DELETE FROM refresh_tokens
    WHERE user_id = $1 AND device_id = $2 AND next_token_hash = $3 RETURNING token_hash)
DELETE FROM access_tokens USING gone WHERE refresh_token_hash = gone.token_hash
RETURNING access_tokens.token_hash
"""

INSERT_LOGIN_TOKEN = """
INSERT INTO login_tokens (token_hash, user_id, expires_at, authenticated_at)
VALUES ($1, $2, $3, $4)
"""
TAKE_LOGIN_TOKEN = """
DELETE FROM login_tokens WHERE token_hash = $1 RETURNING user_id, expires_at, authenticated_at
"""
# What a user has let in that is not in yet.  The first two are what the token endpoint locks first.
DELETE_GRANTED = (
    "DELETE FROM oauth_authorizations WHERE user_id = $1 AND used_at IS NULL",
    "DELETE FROM oauth_device_codes WHERE user_id = $1",
    "DELETE FROM oauth_approvals WHERE user_id = $1",
    "DELETE FROM login_tokens WHERE user_id = $1",
)
DELETE_USER_API_TOKENS = "DELETE FROM api_tokens WHERE user_id = $1"
DELETE_USER_ACCOUNT_SESSIONS = "DELETE FROM account_sessions WHERE user_id = $1"


class NewToken(Struct, frozen=True):
    """An access token to be stored, with the refresh token given out with it."""

    token_hash: bytes
    user_id: str
    device_id: str
    created_at: int
    expires_at: int | None = None
    refresh_token_hash: bytes | None = None


class AccessToken(Struct, frozen=True):
    """A stored access token, and what its account may do."""

    token_hash: bytes
    user_id: str
    device_id: str | None
    expires_at: int | None
    refresh_token_hash: bytes | None
    admin: bool
    guest: bool


class RefreshToken(Struct, frozen=True):
    """A stored refresh token, and its successor once it was used.

    ``created_at``: ms; ``client_id`` and ``scope``: of a device that uses the OAuth 2.0 API.
    """

    token_hash: bytes
    user_id: str
    device_id: str
    created_at: int
    next_token_hash: bytes | None
    client_id: str | None
    scope: str | None


class LoginToken(Struct, frozen=True):
    """Whose login token it was; ``authenticated_at``: when they proved that, if known (ms)."""

    user_id: str
    authenticated_at: int | None


async def insert_token(db: Queryable, token: NewToken) -> None:
    """Store an access token and, if there is one, its refresh token."""
    if token.refresh_token_hash is not None:
        await db.execute(
            INSERT_REFRESH_TOKEN,
            token.refresh_token_hash,
            token.user_id,
            token.device_id,
            token.created_at,
        )
    await db.execute(
        INSERT_ACCESS_TOKEN,
        token.token_hash,
        token.user_id,
        token.device_id,
        token.created_at,
        token.expires_at,
        token.refresh_token_hash,
    )


async def get_good(db: Queryable, token_hashes: Collection[bytes], now: int) -> list[bytes]:
    """Those of some access tokens that are known and have not expired (``now`` in ms)."""
    rows = await db.fetch(SELECT_GOOD, list(token_hashes), now)
    return [row["token_hash"] for row in rows]


async def get_logged_out(
    db: Queryable, devices: Sequence[tuple[str, str | None]]
) -> list[tuple[str, str]]:
    """Those of some users' devices that have no tokens any more."""
    users, names = [user for user, _ in devices], [name for _, name in devices]
    rows = await db.fetch(SELECT_LOGGED_OUT, users, names)
    return [(row["user_id"], row["device_id"]) for row in rows]


async def get_access_token(db: Queryable, token_hash: bytes) -> AccessToken | None:
    """A token of an active account."""
    row = await db.fetchrow(SELECT_ACCESS_TOKEN, token_hash)
    return AccessToken(**row) if row is not None else None


async def is_known(db: Queryable, token_hash: bytes) -> bool:
    """Whether there is an access token."""
    return await db.fetchval(SELECT_KNOWN, token_hash) is not None


async def delete_tokens(db: Queryable, user_id: str, device_ids: Sequence[str] | None) -> None:
    """Revoke the tokens of these devices.

    For None: of all of them, of browsers and of programs, and what could become one.
    """
    ids = list(device_ids) if device_ids is not None else None
    if device_ids is None:
        await delete_granted(db, user_id)
        await delete_api_tokens(db, user_id)
    # In the order in which a refresh locks them.
    await db.execute(DELETE_OAUTH_SESSIONS, user_id, ids)
    await db.execute(DELETE_REFRESH_TOKENS, user_id, ids)
    await db.execute(DELETE_ACCESS_TOKENS, user_id, ids)
    if device_ids is None:
        await db.execute(DELETE_USER_ACCOUNT_SESSIONS, user_id)


async def delete_granted(db: Queryable, user_id: str) -> None:
    """Void the codes, confirmations and login tokens of a user that were not used yet.

    Comes before their devices' tokens are deleted: a code that is being used right now is waited
    for, and what it gave out is deleted then, too.
    """
    for statement in DELETE_GRANTED:
        await db.execute(statement, user_id)


async def delete_api_tokens(db: Queryable, user_id: str) -> None:
    """Revoke a user's personal API tokens."""
    await db.execute(DELETE_USER_API_TOKENS, user_id)


# ---------------------------------------------------------------- refreshing


async def lock_device(db: Queryable, token_hash: bytes) -> None:
    """Let refreshes of a device come one after the other, until the transaction ends."""
    await db.execute(LOCK_DEVICE, token_hash)


async def get_refresh_token(db: Queryable, token_hash: bytes) -> RefreshToken | None:
    """A refresh token of an active account, locked until the transaction ends."""
    row = await db.fetchrow(SELECT_REFRESH_TOKEN, token_hash)
    return RefreshToken(**row) if row is not None else None


async def replace_successor(db: Queryable, token: RefreshToken, successor: NewToken) -> list[bytes]:
    """Store the pair that a refresh gives out; one given out before and never used is void.

    The hashes of access tokens that are void by this.
    """
    voided = []
    if token.next_token_hash is not None:
        await db.execute(DELETE_UNUSED_REFRESH_TOKEN, token.next_token_hash)
        rows = await db.fetch(DELETE_UNUSED_ACCESS_TOKEN, token.next_token_hash)
        voided = [row["token_hash"] for row in rows]
    await insert_token(db, successor)
    await db.execute(SET_NEXT_TOKEN, token.token_hash, successor.refresh_token_hash)
    return voided


async def delete_predecessors(
    db: Queryable, user_id: str, device_id: str, refresh_token_hash: bytes
) -> list[bytes]:
    """Void the pair before this one, now that it is used; the access tokens' hashes."""
    rows = await db.fetch(DELETE_PREDECESSORS, user_id, device_id, refresh_token_hash)
    return [row["token_hash"] for row in rows]


# ---------------------------------------------------------------- login tokens


async def insert_login_token(
    db: Queryable,
    token_hash: bytes,
    user_id: str,
    expires_at: int,
    authenticated_at: int | None,
) -> None:
    """Store a token for one login."""
    await db.execute(INSERT_LOGIN_TOKEN, token_hash, user_id, expires_at, authenticated_at)


async def take_login_token(db: Queryable, token_hash: bytes, now: int) -> LoginToken | None:
    """Use up a login token; None if it was unknown or expired."""
    row = await db.fetchrow(TAKE_LOGIN_TOKEN, token_hash)
    if row is None or row["expires_at"] <= now:
        return None
    return LoginToken(row["user_id"], row["authenticated_at"])
