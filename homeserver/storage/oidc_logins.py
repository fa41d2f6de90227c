"""Logins that are under way at an OpenID Connect provider."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_LOGIN = """
INSERT INTO oidc_logins (state_hash, provider, browser_hash, nonce, code_verifier, redirect_uri,
    trusted, uia_session, again, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
# A login's answer comes once.
TAKE_LOGIN = """
DELETE FROM oidc_logins WHERE state_hash = $1
RETURNING state_hash, provider, browser_hash, nonce, code_verifier, redirect_uri, trusted,
    uia_session, again, created_at
"""
DELETE_OLD = "DELETE FROM oidc_logins WHERE created_at < $1"


class OidcLogin(Struct, frozen=True):
    """A login that is under way.

    ``again``: the provider was asked for a proof also of who is logged in; ``created_at``: ms.
    """

    state_hash: bytes
    provider: str
    browser_hash: bytes
    nonce: str
    code_verifier: str
    redirect_uri: str
    trusted: bool
    uia_session: str | None
    again: bool
    created_at: int


async def insert_login(db: Queryable, login: OidcLogin) -> None:
    """Note a login that begins."""
    await db.execute(
        INSERT_LOGIN,
        login.state_hash,
        login.provider,
        login.browser_hash,
        login.nonce,
        login.code_verifier,
        login.redirect_uri,
        login.trusted,
        login.uia_session,
        login.again,
        login.created_at,
    )


async def take_login(db: Queryable, state_hash: bytes) -> OidcLogin | None:
    """A login, which ends by this."""
    row = await db.fetchrow(TAKE_LOGIN, state_hash)
    return OidcLogin(**row) if row is not None else None


async def delete_old(db: Queryable, before: int) -> None:
    """Forget logins that began before a time (ms)."""
    await db.execute(DELETE_OLD, before)
