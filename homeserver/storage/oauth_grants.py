"""What users are asked to let OAuth 2.0 clients do: authorization requests, and device codes."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_AUTHORIZATION = """
INSERT INTO oauth_authorizations
    (grant_id, client_id, redirect_uri, response_mode, scope, state, nonce, code_challenge,
    created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
AUTHORIZATION = """
grant_id, client_id, redirect_uri, response_mode, scope, state, nonce, code_challenge, created_at,
user_id, code_expires_at, used_at
"""
# One that waits for its user's answer.
SELECT_ASKED = f"""
SELECT {AUTHORIZATION} FROM oauth_authorizations
WHERE grant_id = $1 AND code_hash IS NULL AND created_at > $2
"""
GRANT = """
UPDATE oauth_authorizations SET user_id = $2, code_hash = $3, code_expires_at = $4
WHERE grant_id = $1 AND code_hash IS NULL RETURNING grant_id
"""
REFUSE = """
DELETE FROM oauth_authorizations WHERE grant_id = $1 AND code_hash IS NULL RETURNING grant_id
"""
# Whoever presents a code second waits for the first, and sees that it was used.
SELECT_BY_CODE = f"""
SELECT {AUTHORIZATION} FROM oauth_authorizations WHERE code_hash = $1 FOR UPDATE
"""
SET_USED = "UPDATE oauth_authorizations SET used_at = $2 WHERE grant_id = $1"
DELETE_OLD_AUTHORIZATIONS = """
DELETE FROM oauth_authorizations
WHERE created_at < $1 AND (code_hash IS NULL OR created_at < $2)
"""

INSERT_DEVICE_CODE = """
INSERT INTO oauth_device_codes (grant_id, client_id, scope, device_code_hash, user_code_hash,
    created_at, expires_at, interval_seconds, ip, user_agent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING grant_id
"""
DEVICE_CODE = """
grant_id, client_id, scope, created_at, expires_at, interval_seconds, ip, user_agent, polled_at,
user_id, granted
"""
SELECT_BY_USER_CODE = f"""
SELECT {DEVICE_CODE} FROM oauth_device_codes
WHERE user_code_hash = $1 AND granted IS NULL AND expires_at > $2
"""
SELECT_BY_DEVICE_CODE = f"""
SELECT {DEVICE_CODE} FROM oauth_device_codes WHERE device_code_hash = $1 FOR UPDATE
"""
ANSWER_DEVICE_CODE = """
UPDATE oauth_device_codes SET user_id = $2, granted = $3
WHERE grant_id = $1 AND granted IS NULL AND expires_at > $4 RETURNING grant_id
"""
SET_POLLED = """
UPDATE oauth_device_codes SET polled_at = $2, interval_seconds = $3 WHERE grant_id = $1
"""
DELETE_DEVICE_CODE = "DELETE FROM oauth_device_codes WHERE grant_id = $1"
DELETE_OLD_DEVICE_CODES = "DELETE FROM oauth_device_codes WHERE expires_at < $1"


class Authorization(Struct, frozen=True):
    """An authorization request, and what became of it.  Times in ms."""

    grant_id: str
    client_id: str
    redirect_uri: str
    response_mode: str
    scope: str
    state: str | None
    nonce: str | None
    code_challenge: str
    created_at: int
    user_id: str | None = None
    code_expires_at: int | None = None
    used_at: int | None = None


class DeviceCode(Struct, frozen=True):
    """A device authorization.  Times in ms; ``ip`` and ``user_agent``: who has asked for it."""

    grant_id: str
    client_id: str
    scope: str
    created_at: int
    expires_at: int
    interval_seconds: int
    ip: str | None = None
    user_agent: str | None = None
    polled_at: int | None = None
    user_id: str | None = None
    granted: bool | None = None


# ---------------------------------------------------------------- authorization requests


async def insert_authorization(db: Queryable, request: Authorization) -> None:
    """Store a request that a user is about to be asked."""
    await db.execute(
        INSERT_AUTHORIZATION,
        request.grant_id,
        request.client_id,
        request.redirect_uri,
        request.response_mode,
        request.scope,
        request.state,
        request.nonce,
        request.code_challenge,
        request.created_at,
    )


async def get_asked(db: Queryable, grant_id: str, since: int) -> Authorization | None:
    """A request without an answer that was made after a time (ms)."""
    row = await db.fetchrow(SELECT_ASKED, grant_id, since)
    return Authorization(**row) if row is not None else None


async def grant(
    db: Queryable, grant_id: str, user_id: str, code_hash: bytes, expires_at: int
) -> bool:
    """Note that a user has agreed, and the code; False if it was answered meanwhile."""
    found = await db.fetchval(GRANT, grant_id, user_id, code_hash, expires_at)
    return found is not None


async def refuse(db: Queryable, grant_id: str) -> bool:
    """Forget a request that a user has refused; False if it was answered meanwhile."""
    return await db.fetchval(REFUSE, grant_id) is not None


async def get_by_code(db: Queryable, code_hash: bytes) -> Authorization | None:
    """The request that a code was given out for, locked until the transaction ends."""
    row = await db.fetchrow(SELECT_BY_CODE, code_hash)
    return Authorization(**row) if row is not None else None


async def set_used(db: Queryable, grant_id: str, now: int) -> None:
    """Note that a code was presented."""
    await db.execute(SET_USED, grant_id, now)


async def delete_old_authorizations(db: Queryable, *, asked_before: int, before: int) -> None:
    """Forget requests made before a time (ms), and unanswered ones made before a later one."""
    await db.execute(DELETE_OLD_AUTHORIZATIONS, asked_before, before)


# ---------------------------------------------------------------- device codes


async def insert_device_code(
    db: Queryable, code: DeviceCode, device_code_hash: bytes, user_code_hash: bytes
) -> bool:
    """Store a device authorization; False if its user code is another's already."""
    inserted = await db.fetchval(
        INSERT_DEVICE_CODE,
        code.grant_id,
        code.client_id,
        code.scope,
        device_code_hash,
        user_code_hash,
        code.created_at,
        code.expires_at,
        code.interval_seconds,
        code.ip,
        code.user_agent,
    )
    return inserted is not None


async def get_by_user_code(db: Queryable, user_code_hash: bytes, now: int) -> DeviceCode | None:
    """A device authorization without an answer that has not expired."""
    row = await db.fetchrow(SELECT_BY_USER_CODE, user_code_hash, now)
    return DeviceCode(**row) if row is not None else None


async def get_by_device_code(db: Queryable, device_code_hash: bytes) -> DeviceCode | None:
    """A device authorization, locked until the transaction ends."""
    row = await db.fetchrow(SELECT_BY_DEVICE_CODE, device_code_hash)
    return DeviceCode(**row) if row is not None else None


async def answer_device_code(
    db: Queryable, grant_id: str, user_id: str, granted: bool, now: int
) -> bool:
    """Note a user's answer; False if it was answered meanwhile, or has expired."""
    found = await db.fetchval(ANSWER_DEVICE_CODE, grant_id, user_id, granted, now)
    return found is not None


async def set_polled(db: Queryable, grant_id: str, now: int, interval_seconds: int) -> None:
    """Note that the client has asked, and how long it has to wait now."""
    await db.execute(SET_POLLED, grant_id, now, interval_seconds)


async def delete_device_code(db: Queryable, grant_id: str) -> None:
    """Use a device authorization up."""
    await db.execute(DELETE_DEVICE_CODE, grant_id)


async def delete_expired_device_codes(db: Queryable, before: int) -> None:
    """Forget device codes that expired before a time (ms)."""
    await db.execute(DELETE_OLD_DEVICE_CODES, before)
