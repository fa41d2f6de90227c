"""Browsers at the account pages: who is signed in, and whether a form comes from our own page.

A browser has one cookie, a secret.  Before anybody signs in it only ties forms to their browser; a
new one takes its place when somebody does, so that nobody can be signed in with a cookie that was
planted.  Only its hash is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import UserId
from homeserver.services.sessions import Origin, hash_token
from homeserver.storage import account_sessions as storage
from homeserver.storage.account_sessions import AccountSession
from homeserver.storage.database import Database

MAX_COOKIE_LENGTH = 100
RECENT_MS = 10 * 60_000
"""For how long after a sign-in what is grave needs no password again."""
PRUNE_EVERY_MS = 10 * 60_000
SEEN_EVERY_MS = 5 * 60_000


def new_cookie() -> str:
    """A cookie for a browser that has none."""
    return secrets.token_urlsafe(32)


class Browsers:
    """Knows who is signed in where."""

    def __init__(
        self, *, database: Database, secret: bytes, lifetime_ms: int, clock_ms: Callable[[], int]
    ) -> None:
        """``lifetime_ms``: of a sign-in."""
        self.lifetime_ms = lifetime_ms
        self._database = database
        self._key = hashlib.blake2b(secret, person=b"comity-forms").digest()
        self._clock_ms = clock_ms
        self._pruned_at = 0

    async def sign_in(
        self,
        user_id: UserId,
        old_cookie: str | None,
        origin: Origin,
        *,
        authenticated_at: int | None = None,
    ) -> str:
        """Note that a user has signed in; the browser's new cookie.

        ``authenticated_at``: when they proved who they are (ms); None: now.
        """
        now = self._clock_ms()
        if now - self._pruned_at >= PRUNE_EVERY_MS:
            self._pruned_at = now
            await storage.delete_old(self._database, now - self.lifetime_ms)
        cookie = new_cookie()
        if old_cookie is not None:
            await storage.delete_session(self._database, hash_token(old_cookie))
        await storage.insert_session(
            self._database,
            hash_token(cookie),
            user_id,
            now,
            origin.ip,
            origin.user_agent,
            now if authenticated_at is None else authenticated_at,
        )
        return cookie

    async def sign_out(self, cookie: str) -> None:
        """End a browser's session."""
        await storage.delete_session(self._database, hash_token(cookie))

    async def find(self, cookie: str | None, origin: Callable[[], Origin]) -> AccountSession | None:
        """Who is signed in, if somebody is.  ``origin`` is asked only now and then."""
        if cookie is None:
            return None
        now = self._clock_ms()
        token_hash = hash_token(cookie)
        session = await storage.get_session(self._database, token_hash, now - self.lifetime_ms)
        if session is not None and now - (session.last_seen_at or 0) >= SEEN_EVERY_MS:
            seen = origin()
            await storage.set_seen(self._database, token_hash, now, seen.ip, seen.user_agent)
        return session

    async def list_of(self, user_id: str) -> list[AccountSession]:
        """The browsers in which a user is signed in, the last seen first."""
        since = self._clock_ms() - self.lifetime_ms
        return await storage.get_sessions(self._database, user_id, since)

    async def end(self, user_id: str, sessions: Sequence[AccountSession]) -> None:
        """Sign browsers of a user out."""
        hashes = [session.token_hash for session in sessions]
        await storage.delete_sessions(self._database, user_id, hashes)

    @staticmethod
    def public_id(session: AccountSession) -> str:
        """What a browser is called in forms: nobody can sign in with it."""
        return session.token_hash[:12].hex()

    def is_recent(self, session: AccountSession) -> bool:
        """Whether the user has proved lately who they are."""
        return session.authenticated_at > self._clock_ms() - RECENT_MS

    def form_token(self, cookie: str) -> str:
        """What a form of ours has in it, for one browser."""
        letters = cookie.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, letters, hashlib.sha256).hexdigest()

    def check_form(self, cookie: str | None, token: str) -> None:
        """Refuse a form that another site has sent.  Raises :class:`Forbidden`."""
        if cookie is None or not hmac.compare_digest(
            self.form_token(cookie).encode(), token.encode("utf-8", "replace")
        ):
            raise Forbidden(
                "This form has expired, or your browser refuses cookies: go back, load the page "
                "again and send it once more"
            )
