"""Codes that carry what a mail's link proves from one browser to another.

Whoever asks for a mail on our pages is known by their browser's cookie.  A link that is opened in
that browser counts at once.  In another one it shows a code, which has to be entered where the mail
was asked for: so a link that somebody else has had sent gives them nothing unless they know it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

from homeserver.errors import Forbidden
from homeserver.storage import third_party_ids as storage
from homeserver.storage.database import Database
from homeserver.storage.third_party_ids import ValidationSession

DIGITS = 6
LIFETIME_MS = 10 * 60_000
MOST_TRIES = 5
"""Wrong codes, after which the link has to be opened again."""


class LinkCodes:
    """Makes codes, and takes them.  Only their hash is stored."""

    def __init__(self, *, secret: bytes, database: Database, clock_ms: Callable[[], int]) -> None:
        self._key = hashlib.blake2b(secret, person=b"comity-emailcod").digest()
        self._database = database
        self._clock_ms = clock_ms

    async def make(self, session: ValidationSession) -> str:
        """A code for a session; an earlier one is void."""
        code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
        hashed = self._hash(session.sid, code)
        await storage.set_code(self._database, session.sid, hashed, self._clock_ms())
        return code

    async def enter(self, session: ValidationSession, text: str) -> None:
        """Take a session's code: its address is shown to be the reader's.

        Raises: :class:`Forbidden`.
        """
        digits = "".join(letter for letter in text if letter in "0123456789")
        since = self._clock_ms() - LIFETIME_MS
        # Counted before it is looked at, so that not even guesses made at once are more than these.
        known = await storage.take_try(self._database, session.sid, MOST_TRIES, since)
        if known is None:
            raise Forbidden(
                "There is no code for this, or not any more: open the link in the mail again"
            )
        if not hmac.compare_digest(known, self._hash(session.sid, digits)):
            raise Forbidden("That is not the code which the link shows")
        await storage.validate_session(self._database, session.token_hash, self._clock_ms())

    def _hash(self, sid: str, code: str) -> bytes:
        return hmac.new(self._key, f"{sid} {code}".encode(), hashlib.sha256).digest()
