"""Tokens for programs: of applications (``cta_...``), and personal ones of users (``ctp_...``).

A token is shown once and kept as its hash.  It is looked up in memory; the database is asked once
a minute at most for each, so that one revoked by another process dies within that time, and one
revoked here at once.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence

from msgspec import Struct

from homeserver.errors import InvalidParam, NotFound
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.scopes import APPLICATIONS_ONLY, SCOPES, parse_scopes
from homeserver.services.sessions import hash_token
from homeserver.storage import api_tokens as storage
from homeserver.storage.api_tokens import ApiToken
from homeserver.storage.database import Connection, Database

APPLICATION_PREFIX, PERSONAL_PREFIX = "cta_", "ctp_"
SHOWN_CHARACTERS = 10
CACHED_TOKENS = 50_000
RECHECK_AFTER_MS = 60_000
WRITE_USES_AFTER_MS = 5_000
SEEN_EVERY_MS = 60_000
MOST_TOKENS = 100
MAX_NAME_LENGTH = 100


class _Known(Struct):
    token: ApiToken
    checked_at: int
    noted_at: int = 0


def is_api_token(token: str) -> bool:
    """Whether a text looks like one of ours; a device's access token does not."""
    return token.startswith((APPLICATION_PREFIX, PERSONAL_PREFIX))


class ApiTokens:
    """Makes, recognises and revokes tokens.  A job of the caretaker notes when they were used."""

    def __init__(
        self, *, database: Database, wake: Callable[[], None], clock_ms: Callable[[], int]
    ) -> None:
        """``wake`` the caretaker."""
        self._database = database
        self._wake = wake
        self._clock_ms = clock_ms
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._revocations = 0
        self._uses: dict[str, int] = {}
        self._uses_since = 0
        self.on_void: list[Callable[[], None]] = []
        """Called after tokens became void here."""

    # ------------------------------------------------------------ recognising

    async def find(self, token: str) -> ApiToken | None:
        """A token that is good now, or None."""
        now, token_hash = self._clock_ms(), hash_token(token)
        known = self._known.get(token_hash)
        if known is None or now - known.checked_at >= RECHECK_AFTER_MS:
            known = await self._load(token_hash, known, now)
        if known is None:
            return None
        expires_at = known.token.expires_at
        if expires_at is not None and expires_at <= now:
            return None
        if now - known.noted_at >= SEEN_EVERY_MS:
            known.noted_at = now
            self._note_use(known.token.token_id, now)
        return known.token

    async def _load(self, token_hash: bytes, known: _Known | None, now: int) -> _Known | None:
        revocations = self._revocations
        token = await storage.find(self._database, token_hash)
        if token is None:
            self._known.pop(token_hash, None)
            return None
        loaded = _Known(token, now, known.noted_at if known is not None else 0)
        if revocations == self._revocations:  # else it may be void by now
            self._known[token_hash] = loaded
            self._known.move_to_end(token_hash)
            if len(self._known) > CACHED_TOKENS:
                self._known.popitem(last=False)
        return loaded

    def forget(self, *, application_id: str | None = None, user_id: str | None = None) -> None:
        """Ask the database again about the tokens of an application, or of a user."""
        self._revocations += 1
        for token_hash, known in list(self._known.items()):
            token = known.token
            if (application_id is not None and token.application_id == application_id) or (
                user_id is not None and token.user_id == user_id
            ):
                del self._known[token_hash]
        self._tell()

    def _tell(self) -> None:
        for listener in self.on_void:
            listener()

    # ------------------------------------------------------------ making and revoking

    async def create(
        self,
        *,
        name: str,
        scopes: Sequence[str],
        created_by: str,
        application_id: str | None = None,
        user_id: str | None = None,
        at_most: Sequence[str] | None = None,
        expires_at: int | None = None,
    ) -> tuple[str, ApiToken]:
        """A new token of an application, or of a user: its text, which is not kept, and itself.

        ``at_most``: the scopes that it may have; ``expires_at`` in ms.  Raises
        :class:`InvalidParam`, and :class:`Problem` ``quota_exceeded`` beyond a hundred.
        """
        now = self._clock_ms()
        if at_most is None:
            at_most = sorted(SCOPES.keys() - APPLICATIONS_ONLY)
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise InvalidParam(f"'name' must be 1 to {MAX_NAME_LENGTH} printable characters")
        if expires_at is not None and expires_at <= now:
            raise InvalidParam("'expires_at' must be in the future")
        wanted = parse_scopes(scopes, at_most=at_most)
        owner = {"application_id": application_id, "user_id": user_id}
        if await storage.count_of(self._database, **owner) >= MOST_TOKENS:
            raise Problem(
                "quota_exceeded", f"There are {MOST_TOKENS} tokens: revoke some", status=429
            )
        prefix = APPLICATION_PREFIX if application_id is not None else PERSONAL_PREFIX
        text = prefix + secrets.token_urlsafe(32)
        token = ApiToken(
            token_id=f"tok_{secrets.token_hex(8)}",
            prefix=text[:SHOWN_CHARACTERS],
            application_id=application_id,
            user_id=user_id,
            name=name,
            scopes=wanted,
            created_at=now,
            created_by=created_by,
            expires_at=expires_at,
        )
        await storage.insert(self._database, token, hash_token(text))
        return text, token

    async def list_of(
        self, *, application_id: str | None = None, user_id: str | None = None
    ) -> list[ApiToken]:
        """The tokens of an application, or of a user, the oldest first."""
        await self._write_uses()
        return await storage.get_of(self._database, application_id=application_id, user_id=user_id)

    async def revoke(
        self, token_id: str, *, application_id: str | None = None, user_id: str | None = None
    ) -> None:
        """Make a token of this application, or of this user, void.  Raises :class:`NotFound`."""
        token_hash = await storage.delete(
            self._database, token_id, application_id=application_id, user_id=user_id
        )
        if token_hash is None:
            raise NotFound("There is no such token")
        self._revocations += 1
        self._known.pop(token_hash, None)
        self._tell()

    async def account_ended(self, connection: Connection, user_id: str) -> None:
        """Delete an ended account's personal tokens; :meth:`forget` them after the commit."""
        await storage.delete_of_user(connection, user_id)

    # ------------------------------------------------------------ last used

    def _note_use(self, token_id: str, now: int) -> None:
        if not self._uses:
            self._uses_since = now
            self._wake()
        self._uses[token_id] = now

    async def _write_uses(self) -> None:
        if self._uses:
            uses, self._uses = self._uses, {}
            await storage.set_last_used(self._database, uses)

    async def step(self) -> bool:
        """Write, in one statement, when tokens were last used; a job of the caretaker."""
        if not self._uses or self._clock_ms() - self._uses_since < WRITE_USES_AFTER_MS:
            return False
        await self._write_uses()
        return True

    async def next_due(self) -> int | None:
        """When there is something to write (ms)."""
        return self._uses_since + WRITE_USES_AFTER_MS if self._uses else None
