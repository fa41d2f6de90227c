"""Sessions: access tokens, who is behind them, and how they come and go.

A token is looked up in memory; the database is asked once a minute at most for each, so a token
revoked by another process dies within that time.  Spec: client-server API, using access tokens,
refreshing access tokens, soft logout.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

import structlog
from msgspec import Struct

from homeserver.errors import Forbidden, UnknownToken
from homeserver.protocol.identifiers import UserId
from homeserver.services.requester import Requester
from homeserver.storage import devices as device_storage
from homeserver.storage import tokens as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.devices import Sighting
from homeserver.storage.tokens import AccessToken, LoginToken, NewToken, RefreshToken

logger = structlog.get_logger(__name__)

CACHED_SESSIONS = 50_000
WRITE_SIGHTINGS_EVERY_SECONDS = 5.0
RECHECK_AFTER_MS = 60_000
SEEN_EVERY_MS = 60_000
REFRESHABLE_LIFETIME_MS = 5 * 60_000
LOGIN_TOKEN_LIFETIME_MS = 2 * 60_000


class Origin(Struct, frozen=True):
    """Where a request comes from, as its owner is shown it in the list of devices."""

    ip: str | None = None
    user_agent: str | None = None


class Tokens(Struct, frozen=True):
    """What a client is given: once, and nowhere kept in the clear."""

    user_id: UserId
    device_id: str
    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class _Session(Struct):
    requester: Requester
    expires_at: int | None
    checked_at: int
    seen_at: int = 0


def hash_token(token: str) -> bytes:
    """What is stored of a token, whatever bytes a header had that are no UTF-8."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class SessionService:
    """Issues, recognises and revokes tokens."""

    def __init__(
        self,
        *,
        database: Database,
        clock_ms: Callable[[], int],
        access_token_lifetime_ms: int = REFRESHABLE_LIFETIME_MS,
    ) -> None:
        """``access_token_lifetime_ms``: of tokens that can be refreshed; others do not expire."""
        self._database = database
        self._clock_ms = clock_ms
        self._lifetime_ms = access_token_lifetime_ms
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._by_user: defaultdict[str, set[bytes]] = defaultdict(set)
        self._revocations = 0
        self.on_revoked: Callable[[str], None] = lambda _user_id: None
        """Told of a user some of whose tokens may be void now."""
        self.on_forgotten: list[Callable[[str, Collection[str] | None], None]] = []
        """Told of a user and of the devices (None: all) that may not be let in any more; not of
        tokens that a client has itself replaced by refreshing them."""
        self.on_all_revoked: list[Callable[[str], None]] = []
        """Told of a user all of whose tokens are void, and those of their programs."""
        self.may_enter: Callable[[str], None] = lambda _user_id: None
        """Raises for a user who gets no tokens now."""
        self._sightings: dict[tuple[str, str], Sighting] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write when devices were last seen."""
        self._task = asyncio.create_task(self._keep_writing(), name="device sightings")

    async def close(self) -> None:
        """Write what is not written yet, and stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.write_sightings()

    # ------------------------------------------------------------ recognising

    async def authenticate(self, token: str, origin: Callable[[], Origin]) -> Requester:
        """Who bears an access token.  ``origin`` is asked only now and then.

        Raises: :class:`UnknownToken`, with ``soft_logout`` where the session lives on and the
        token only has to be refreshed.
        """
        token_hash = hash_token(token)
        now = self._clock_ms()
        session = self._sessions.get(token_hash)
        if session is None or now - session.checked_at >= RECHECK_AFTER_MS:
            session = await self._load(token_hash, session, now)
        if session.expires_at is not None and session.expires_at <= now:
            raise UnknownToken("The access token has expired: refresh it", soft_logout=True)
        if now - session.seen_at >= SEEN_EVERY_MS:
            session.seen_at = now
            self._note(session.requester, origin(), now)
        return session.requester

    async def still_good(self, tokens: Collection[str]) -> set[str]:
        """Those of some access tokens that are good now, as the database has it."""
        hashes = {hash_token(token): token for token in tokens}
        found = await storage.get_good(self._database, hashes, self._clock_ms())
        return {hashes[token_hash] for token_hash in found}

    async def _load(self, token_hash: bytes, known: _Session | None, now: int) -> _Session:
        revocations = self._revocations
        row = await storage.get_access_token(self._database, token_hash)
        if row is None:
            self._drop(token_hash)
            raise UnknownToken("This access token is not known here, or was logged out")
        if known is None:
            await self._confirm(row)
        session = _Session(
            Requester(UserId(row.user_id), row.device_id, row.admin, row.guest),
            row.expires_at,
            checked_at=now,
            seen_at=known.seen_at if known is not None else 0,
        )
        if revocations == self._revocations:  # else it may be void by now
            self._remember(token_hash, session)
        return session

    def _remember(self, token_hash: bytes, session: _Session) -> None:
        self._sessions[token_hash] = session
        self._sessions.move_to_end(token_hash)
        self._by_user[session.requester.user_id].add(token_hash)
        if len(self._sessions) > CACHED_SESSIONS:
            self._drop(next(iter(self._sessions)))

    def _drop(self, token_hash: bytes) -> None:
        self._revocations += 1
        session = self._sessions.pop(token_hash, None)
        if session is None:
            return
        user_id = session.requester.user_id
        hashes = self._by_user[user_id]
        hashes.discard(token_hash)
        if not hashes:
            del self._by_user[user_id]
        self.on_revoked(user_id)

    async def _confirm(self, token: AccessToken) -> None:
        """The first use of a refreshed token voids the one it replaced."""
        if token.refresh_token_hash is None or token.device_id is None:
            return
        voided = await storage.delete_predecessors(
            self._database, token.user_id, token.device_id, token.refresh_token_hash
        )
        for token_hash in voided:
            self._drop(token_hash)
        if not await storage.is_known(self._database, token.token_hash):
            # Whoever has the pair before it was quicker, and has got another one.
            raise UnknownToken("This access token was replaced by a newer one")

    # ------------------------------------------------------------ last seen

    def _note(self, requester: Requester, origin: Origin, now: int) -> None:
        if requester.device_id is None:
            return
        self._sightings[(requester.user_id, requester.device_id)] = Sighting(
            requester.user_id, requester.device_id, now, origin.ip, origin.user_agent
        )

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SIGHTINGS_EVERY_SECONDS)
            try:
                await self.write_sightings()
            except Exception:
                logger.exception("could not write when devices were last seen")

    async def write_sightings(self) -> None:
        """Write, in one statement, when devices were last seen."""
        if not self._sightings:
            return
        sightings, self._sightings = list(self._sightings.values()), {}
        await device_storage.set_last_seen(self._database, sightings)

    # ------------------------------------------------------------ issuing

    async def log_in(
        self,
        user_id: UserId,
        *,
        device_id: str | None = None,
        display_name: str | None = None,
        refreshable: bool = False,
        origin: Origin | None = None,
    ) -> Tokens:
        """Give out tokens for a device, new or known; a known one's earlier tokens are void.

        Spec: client-server API, relationship between access tokens and devices.
        """
        new_device = device_id is None
        device = device_id or new_device_id()
        if not new_device:
            await self.check_device_id(user_id, device)
        self.may_enter(user_id)
        made = self._new_tokens(user_id, device, f"cmr_{_secret()}" if refreshable else None)
        async with self._database.transaction() as connection:
            tokens = await self._open(connection, made, display_name, origin, known=not new_device)
        if not new_device:
            self.forget(user_id, [device])
        return tokens

    async def check_device_id(self, user_id: str, device_id: str) -> None:
        """Refuse a device ID that means something else.  Raises :class:`Forbidden`."""
        if await device_storage.is_cross_signing_key(self._database, user_id, device_id):
            raise Forbidden("That device ID is the ID of one of your cross-signing keys")

    async def open(
        self,
        connection: Connection,
        user_id: UserId,
        device_id: str,
        *,
        display_name: str,
        refresh_token: str,
        origin: Origin,
        lifetime_ms: int,
    ) -> Tokens:
        """Like :meth:`log_in`, inside a transaction and with a refresh token made elsewhere.

        After the commit the caller has to :meth:`forget` the device.
        """
        self.may_enter(user_id)
        made = self._new_tokens(user_id, device_id, refresh_token, lifetime_ms)
        return await self._open(connection, made, display_name, origin, known=True, proved=False)

    async def _open(
        self,
        connection: Connection,
        made: tuple[Tokens, NewToken],
        display_name: str | None,
        origin: Origin | None,
        *,
        known: bool,
        proved: bool = True,
    ) -> Tokens:
        tokens, row = made
        origin = origin or Origin()
        sighting = Sighting(
            row.user_id, row.device_id, row.created_at, origin.ip, origin.user_agent
        )
        await device_storage.put_device(connection, sighting, display_name, proved=proved)
        if known:
            await storage.delete_tokens(connection, row.user_id, [row.device_id])
        await storage.insert_token(connection, row)
        return tokens

    def _new_tokens(
        self,
        user_id: UserId,
        device_id: str,
        refresh_token: str | None,
        lifetime_ms: int | None = None,
    ) -> tuple[Tokens, NewToken]:
        now = self._clock_ms()
        access_token = f"cmt_{_secret()}"
        if refresh_token is None:
            return Tokens(user_id, device_id, access_token), NewToken(
                hash_token(access_token), user_id, device_id, now
            )
        lifetime_ms = self._lifetime_ms if lifetime_ms is None else lifetime_ms
        return Tokens(user_id, device_id, access_token, refresh_token, lifetime_ms), NewToken(
            hash_token(access_token),
            user_id,
            device_id,
            now,
            now + lifetime_ms,
            hash_token(refresh_token),
        )

    async def refresh(self, refresh_token: str) -> Tokens:
        """Give out a new pair of tokens; the old pair is good until the new one is first used.

        Spec: client-server API, refreshing access tokens.
        """
        async with self._database.transaction() as connection:
            await storage.lock_device(connection, hash_token(refresh_token))
            old = await storage.get_refresh_token(connection, hash_token(refresh_token))
            if old is None:
                raise UnknownToken("This refresh token is not known here, or was used before")
            if old.client_id is not None:
                raise UnknownToken("This refresh token is for the token endpoint of OAuth 2.0")
            self.may_enter(old.user_id)
            tokens, voided = await self.renew(connection, old, f"cmr_{_secret()}")
        self.drop(voided)
        return tokens

    async def renew(
        self,
        connection: Connection,
        old: RefreshToken,
        refresh_token: str,
        lifetime_ms: int | None = None,
    ) -> tuple[Tokens, list[bytes]]:
        """A new pair of tokens in the place of an old one, inside a transaction.

        For whoever has the old one, :attr:`may_enter` or not: the caller asks that.
        The second value goes to :meth:`drop` after the commit.
        """
        tokens, row = self._new_tokens(
            UserId(old.user_id), old.device_id, refresh_token, lifetime_ms
        )
        voided = await storage.delete_predecessors(
            connection, old.user_id, old.device_id, old.token_hash
        )
        voided += await storage.replace_successor(connection, old, row)
        return tokens, voided

    def drop(self, token_hashes: Iterable[bytes]) -> None:
        """Forget access tokens that are void now."""
        for token_hash in token_hashes:
            self._drop(token_hash)

    async def new_login_token(
        self, user_id: UserId, *, authenticated_at: int | None = None
    ) -> tuple[str, int]:
        """A token that logs one more client in, and its lifetime in milliseconds.

        ``authenticated_at``: when the user proved at a provider who they are (ms), if known.
        Spec: client-server API, ``POST /login/get_token``.
        """
        token = f"cml_{secrets.token_urlsafe(32)}"
        expires_at = self._clock_ms() + LOGIN_TOKEN_LIFETIME_MS
        await storage.insert_login_token(
            self._database, hash_token(token), user_id, expires_at, authenticated_at
        )
        return token, LOGIN_TOKEN_LIFETIME_MS

    async def use_login_token(self, token: str) -> UserId:
        """Whose login token it is; it is used up by this."""
        return UserId((await self.take_login_token(token)).user_id)

    async def take_login_token(self, token: str) -> LoginToken:
        """Use a login token up.  Raises :class:`Forbidden`."""
        taken = await storage.take_login_token(self._database, hash_token(token), self._clock_ms())
        if taken is None:
            raise Forbidden("This login token is not valid, or no longer")
        return taken

    # ------------------------------------------------------------ revoking

    async def revoke(self, user_id: str, device_ids: Sequence[str] | None) -> None:
        """Make the tokens of these devices void.

        For None: of all the user's devices, browsers and programs, and codes not used yet.
        """
        async with self._database.transaction() as connection:
            await storage.delete_tokens(connection, user_id, device_ids)
        self.forget(user_id, device_ids)
        if device_ids is None:
            self.forget_programs(user_id)

    def forget_programs(self, user_id: str) -> None:
        """Ask the database again about a user's personal API tokens."""
        for listener in self.on_all_revoked:
            listener(user_id)

    def forget(self, user_id: str, device_ids: Sequence[str] | None = None) -> None:
        """Ask the database again about these devices' tokens."""
        self._revocations += 1
        for token_hash in list(self._by_user.get(user_id, ())):
            requester = self._sessions[token_hash].requester
            if device_ids is None or requester.device_id in device_ids:
                self._drop(token_hash)
        self.on_revoked(user_id)
        for listener in self.on_forgotten:
            listener(user_id, device_ids)


def _secret() -> str:
    return secrets.token_urlsafe(32)


def new_device_id() -> str:
    """Ten capital letters."""
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(10))
