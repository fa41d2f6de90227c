"""Whose e-mail addresses are whose, and validations of addresses under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct

from homeserver.storage.database import Queryable

SELECT_IDS = """
SELECT medium, address, user_id, validated_at, added_at FROM third_party_ids
WHERE user_id = $1 ORDER BY added_at, address
"""
SELECT_OWNER = """
SELECT user_id FROM third_party_ids t JOIN accounts a USING (user_id)
WHERE medium = $1 AND address = $2 AND a.deactivated_at IS NULL
"""
INSERT_ID = """
INSERT INTO third_party_ids (medium, address, user_id, validated_at, added_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (medium, address)
DO UPDATE SET validated_at = excluded.validated_at
    WHERE third_party_ids.user_id = excluded.user_id
RETURNING user_id
"""
DELETE_ID = """
DELETE FROM third_party_ids WHERE user_id = $1 AND medium = $2 AND address = $3 RETURNING user_id
"""
DELETE_OF_USER = "DELETE FROM third_party_ids WHERE user_id = $1"

SESSION = """
sid, purpose, client_secret, address, send_attempt, token_hash, next_link, created_at,
validated_at, browser_hash
"""
SELECT_SESSION = f"""
SELECT {SESSION} FROM third_party_sessions WHERE sid = $1
"""
SELECT_SESSION_FOR = f"""
SELECT {SESSION} FROM third_party_sessions
WHERE purpose = $1 AND client_secret = $2 AND address = $3
"""
# A session whose time is over makes place for the new one.
PUT_SESSION = """
INSERT INTO third_party_sessions
    (sid, purpose, client_secret, address, send_attempt, token_hash, next_link, created_at,
    browser_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (purpose, client_secret, address) DO UPDATE SET sid = excluded.sid,
    send_attempt = excluded.send_attempt, token_hash = excluded.token_hash,
    next_link = excluded.next_link, created_at = excluded.created_at, validated_at = NULL,
    browser_hash = excluded.browser_hash, code_hash = NULL, code_made_at = NULL, code_tries = 0
"""
SET_ATTEMPT = """
UPDATE third_party_sessions SET send_attempt = $2, next_link = $3
WHERE sid = $1 AND send_attempt < $2 RETURNING sid
"""
SELECT_BY_TOKEN = f"""
SELECT {SESSION} FROM third_party_sessions WHERE token_hash = $1
"""
VALIDATE = """
UPDATE third_party_sessions SET validated_at = coalesce(validated_at, $2) WHERE token_hash = $1
"""
SET_CODE = """
UPDATE third_party_sessions SET code_hash = $2, code_made_at = $3, code_tries = 0 WHERE sid = $1
"""
TAKE_TRY = """
UPDATE third_party_sessions SET code_tries = code_tries + 1
WHERE sid = $1 AND code_tries < $2 AND code_made_at > $3 RETURNING code_hash
"""
DELETE_SESSION = "DELETE FROM third_party_sessions WHERE sid = $1 RETURNING sid"
DELETE_SESSIONS_BEFORE = "DELETE FROM third_party_sessions WHERE created_at < $1"

INSERT_BINDING = """
INSERT INTO third_party_bindings (user_id, medium, address, id_server, bound_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
SELECT_BINDINGS = """
SELECT medium, address, id_server FROM third_party_bindings WHERE user_id = $1
    AND ($2::text IS NULL OR medium = $2) AND ($3::text IS NULL OR address = $3)
ORDER BY bound_at
"""
DELETE_BINDING = """
DELETE FROM third_party_bindings
WHERE user_id = $1 AND medium = $2 AND address = $3 AND id_server = $4
"""


class ThirdPartyId(Struct, frozen=True):
    """An address of a user.  Times in ms."""

    medium: str
    address: str
    user_id: str
    validated_at: int
    added_at: int


@dataclass(frozen=True, slots=True)
class ValidationSession:
    """A validation of an e-mail address.  Times in ms.

    ``browser_hash``: of the cookie of the browser that asked on our pages; None: a client did.
    """

    sid: str
    purpose: str
    client_secret: str = field(repr=False)
    address: str = field(repr=False)
    send_attempt: int
    token_hash: bytes = field(repr=False)
    next_link: str | None
    created_at: int
    validated_at: int | None = None
    browser_hash: bytes | None = field(default=None, repr=False)


class Binding(Struct, frozen=True):
    """An address that an identity server was told of."""

    medium: str
    address: str
    id_server: str


async def get_ids(db: Queryable, user_id: str) -> list[ThirdPartyId]:
    """The addresses of a user."""
    return [ThirdPartyId(**row) for row in await db.fetch(SELECT_IDS, user_id)]


async def get_owner(db: Queryable, medium: str, address: str) -> str | None:
    """Whose an address is."""
    user_id: str | None = await db.fetchval(SELECT_OWNER, medium, address)
    return user_id


async def insert_id(db: Queryable, entry: ThirdPartyId) -> bool:
    """Note whose an address is.  False if it is somebody else's."""
    row = await db.fetchval(
        INSERT_ID, entry.medium, entry.address, entry.user_id, entry.validated_at, entry.added_at
    )
    return row is not None


async def delete_id(db: Queryable, user_id: str, medium: str, address: str) -> bool:
    """Forget an address of a user.  False if it is not theirs."""
    return await db.fetchval(DELETE_ID, user_id, medium, address) is not None


async def delete_ids(db: Queryable, user_id: str) -> None:
    """Forget all addresses of a user."""
    await db.execute(DELETE_OF_USER, user_id)


# ---------------------------------------------------------------- validations


async def get_session(db: Queryable, sid: str) -> ValidationSession | None:
    """A session by its ID."""
    row = await db.fetchrow(SELECT_SESSION, sid)
    return ValidationSession(**row) if row is not None else None


async def get_session_for(
    db: Queryable, purpose: str, client_secret: str, address: str
) -> ValidationSession | None:
    """The session of a client for an address."""
    row = await db.fetchrow(SELECT_SESSION_FOR, purpose, client_secret, address)
    return ValidationSession(**row) if row is not None else None


async def put_session(db: Queryable, session: ValidationSession) -> None:
    """Store a new session, in the place of one of the same client for the same address."""
    await db.execute(
        PUT_SESSION,
        session.sid,
        session.purpose,
        session.client_secret,
        session.address,
        session.send_attempt,
        session.token_hash,
        session.next_link,
        session.created_at,
        session.browser_hash,
    )


async def set_attempt(db: Queryable, sid: str, attempt: int, next_link: str | None) -> bool:
    """Note a further attempt.  False if as high a one was made already."""
    return await db.fetchval(SET_ATTEMPT, sid, attempt, next_link) is not None


async def get_session_by_token(db: Queryable, token_hash: bytes) -> ValidationSession | None:
    """The session whose mail has a token."""
    row = await db.fetchrow(SELECT_BY_TOKEN, token_hash)
    return ValidationSession(**row) if row is not None else None


async def validate_session(db: Queryable, token_hash: bytes, now: int) -> None:
    """The mail has arrived with its owner."""
    await db.execute(VALIDATE, token_hash, now)


async def set_code(db: Queryable, sid: str, code_hash: bytes, now: int) -> None:
    """Note a session's code, in the place of an earlier one."""
    await db.execute(SET_CODE, sid, code_hash, now)


async def take_try(db: Queryable, sid: str, most: int, since: int) -> bytes | None:
    """Count a try at a code made after a time (ms); its hash, or None after too many."""
    code_hash: bytes | None = await db.fetchval(TAKE_TRY, sid, most, since)
    return code_hash


async def delete_session(db: Queryable, sid: str) -> bool:
    """Use a session up.  False if it was used up already."""
    return await db.fetchval(DELETE_SESSION, sid) is not None


async def delete_sessions_before(db: Queryable, time_ms: int) -> None:
    """Forget sessions that were begun before a time."""
    await db.execute(DELETE_SESSIONS_BEFORE, time_ms)


# ---------------------------------------------------------------- identity servers


async def insert_binding(db: Queryable, user_id: str, binding: Binding, now: int) -> None:
    """Note what an identity server was told."""
    await db.execute(
        INSERT_BINDING, user_id, binding.medium, binding.address, binding.id_server, now
    )


async def get_bindings(
    db: Queryable, user_id: str, medium: str | None = None, address: str | None = None
) -> list[Binding]:
    """What identity servers were told of a user; of one address, if it is given."""
    rows = await db.fetch(SELECT_BINDINGS, user_id, medium, address)
    return [Binding(**row) for row in rows]


async def delete_binding(db: Queryable, user_id: str, binding: Binding) -> None:
    """An identity server has forgotten an address."""
    await db.execute(DELETE_BINDING, user_id, binding.medium, binding.address, binding.id_server)
