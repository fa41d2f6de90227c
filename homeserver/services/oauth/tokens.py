"""The token endpoint: a code, a refresh token or a device code becomes tokens of a device.

The tokens are the ones of the legacy API (``services/sessions.py``), so that every other endpoint
works alike with them; beside each device is a row that says which client it is of.  Whatever a
request uses up, it uses up in the transaction that gives out what it is for.

Spec: client-server API, grant types, token revocation; RFC 6749, 7009, 7636, 8628, 9700.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, OAuth2Error
from authlib.oauth2.rfc8628 import AuthorizationPendingError, SlowDownError
from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.devices import DeviceService
from homeserver.services.oauth.clients import (
    CODE_GRANT,
    DEVICE_GRANT,
    REFRESH_GRANT,
    Client,
    Clients,
)
from homeserver.services.oauth.grants import Facts, Parameters, check_token_request, too_fast
from homeserver.services.oauth.id_tokens import IdTokens
from homeserver.services.oauth.refresh_tokens import Lineage, RefreshTokens, new_family
from homeserver.services.oauth.scopes import parse_scope
from homeserver.services.sessions import Origin, SessionService, Tokens, hash_token
from homeserver.storage import accounts as account_storage
from homeserver.storage import oauth_grants as grant_storage
from homeserver.storage import oauth_sessions as session_storage
from homeserver.storage import tokens as token_storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.oauth_grants import DeviceCode
from homeserver.storage.oauth_sessions import OAuthSession
from homeserver.storage.tokens import RefreshToken

logger = structlog.get_logger(__name__)

SLOWER_BY_SECONDS = 5  # RFC 8628, section 3.5


class _Outcome(Struct):
    """What came of a request: tokens or an error, and what is to be done after the commit.

    ``begun_for``: the client of a session that has begun.
    """

    error: OAuth2Error | None = None
    tokens: Tokens | None = None
    scope: str = ""
    begun_for: str | None = None
    nonce: str | None = None
    voided: tuple[bytes, ...] = ()
    stolen: OAuthSession | None = None


class OAuthTokens:
    """Gives out tokens, renews and revokes them."""

    def __init__(
        self,
        *,
        database: Database,
        clients: Clients,
        sessions: SessionService,
        devices: DeviceService,
        refresh_tokens: RefreshTokens,
        id_tokens: IdTokens,
        access_token_lifetime_ms: int,
        refresh_token_lifetime_ms: int | None,
        clock_ms: Callable[[], int],
    ) -> None:
        """``refresh_token_lifetime_ms``: for how long a session lives on unused; None: for ever."""
        self._database = database
        self._clients = clients
        self._sessions = sessions
        self._devices = devices
        self._refresh_tokens = refresh_tokens
        self._id_tokens = id_tokens
        self._access_lifetime_ms = access_token_lifetime_ms
        self._refresh_lifetime_ms = refresh_token_lifetime_ms
        self._clock_ms = clock_ms

    async def exchange(self, parameters: Parameters, origin: Origin) -> JsonObject:
        """Answer a token request.  Raises Authlib's :class:`OAuth2Error`."""
        values = {key: value[0] for key, value in parameters.items()}
        facts = Facts(await self._clients.get(values.get("client_id")), now=self._clock_ms())
        kind = values.get("grant_type")
        if kind != REFRESH_GRANT:
            await self._id_tokens.load()
        async with self._database.transaction() as connection:
            if kind == CODE_GRANT:
                code = values.get("code", "")
                outcome = await self._use_code(connection, parameters, facts, code, origin)
            elif kind == DEVICE_GRANT:
                code = values.get("device_code", "")
                outcome = await self._use_device_code(connection, parameters, facts, code, origin)
            else:
                token = values.get("refresh_token", "")
                outcome = await self._refresh(connection, parameters, facts, token)
            if outcome.stolen is not None:
                # In here, so that nothing which happens later leaves it to who has stolen it.
                stolen = outcome.stolen
                await token_storage.delete_tokens(connection, stolen.user_id, [stolen.device_id])
        return await self._conclude(outcome)

    async def _conclude(self, outcome: _Outcome) -> JsonObject:
        stolen = outcome.stolen
        if stolen is not None:
            logger.warning(
                "a used code or refresh token was presented again: its session ends",
                user_id=stolen.user_id,
                device_id=stolen.device_id,
            )
            self._sessions.forget(stolen.user_id, [stolen.device_id])
            await self.end(stolen)
        tokens = outcome.tokens
        if tokens is None:
            raise outcome.error or InvalidGrantError("Nobody has granted this")
        self._sessions.drop(outcome.voided)
        if not outcome.voided:
            self._sessions.forget(tokens.user_id, [tokens.device_id])
        answer: JsonObject = {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": self._access_lifetime_ms // 1000,
            "refresh_token": tokens.refresh_token,
            "scope": outcome.scope,
        }
        if outcome.begun_for is not None and parse_scope(outcome.scope).wants_id_token:
            answer["id_token"] = self._id_tokens.sign(
                user_id=tokens.user_id,
                client_id=outcome.begun_for,
                access_token=tokens.access_token,
                nonce=outcome.nonce,
            )
        return answer

    # ------------------------------------------------------------ codes

    async def _use_code(
        self,
        connection: Connection,
        parameters: Parameters,
        facts: Facts,
        code: str,
        origin: Origin,
    ) -> _Outcome:
        """A code is used up by whoever presents it, rightly or not."""
        row = await grant_storage.get_by_code(connection, hash_token(code)) if code else None
        facts.authorization = row
        outcome = await self._judge(connection, parameters, facts)
        if row is None:
            return outcome
        if row.used_at is not None:
            outcome.stolen = await session_storage.get_by_grant(connection, row.grant_id)
            return outcome
        await grant_storage.set_used(connection, row.grant_id, facts.now)
        if outcome.error is None and facts.client is not None and row.user_id is not None:
            outcome.tokens = await self._begin(
                connection, facts.client, row.grant_id, row.user_id, row.scope, origin
            )
            outcome.scope, outcome.nonce = row.scope, row.nonce
            outcome.begun_for = row.client_id
        return outcome

    async def _use_device_code(
        self,
        connection: Connection,
        parameters: Parameters,
        facts: Facts,
        code: str,
        origin: Origin,
    ) -> _Outcome:
        row = await grant_storage.get_by_device_code(connection, hash_token(code)) if code else None
        facts.device_code = row
        outcome = await self._judge(connection, parameters, facts)
        if row is None or facts.client is None or facts.client.client_id != row.client_id:
            return outcome
        if isinstance(outcome.error, AuthorizationPendingError | SlowDownError):
            await self._note_poll(connection, row, facts.now)
            return outcome
        if outcome.error is None and row.user_id is not None:
            outcome.tokens = await self._begin(
                connection, facts.client, row.grant_id, row.user_id, row.scope, origin
            )
            outcome.scope, outcome.begun_for = row.scope, row.client_id
            await grant_storage.delete_device_code(connection, row.grant_id)
        return outcome

    async def _note_poll(self, connection: Connection, row: DeviceCode, now: int) -> None:
        slower = SLOWER_BY_SECONDS if too_fast(row, now) else 0
        interval = row.interval_seconds + slower
        await grant_storage.set_polled(connection, row.grant_id, now, interval)

    async def _judge(
        self, connection: Connection, parameters: Parameters, facts: Facts
    ) -> _Outcome:
        try:
            user_id = check_token_request(parameters, facts)
            account = await account_storage.get_account(connection, user_id)
            if account is None or account.deactivated_at is not None:
                raise InvalidGrantError("This account has ended")
        except OAuth2Error as error:
            return _Outcome(error)
        return _Outcome()

    async def _begin(
        self,
        connection: Connection,
        client: Client,
        grant_id: str,
        user_id: str,
        scope: str,
        origin: Origin,
    ) -> Tokens:
        lineage = Lineage(new_family(), 0)
        device_id = parse_scope(scope).device_id
        tokens = await self._sessions.open(
            connection,
            UserId(user_id),
            device_id,
            display_name=client.name,
            refresh_token=self._refresh_tokens.make(lineage),
            origin=origin,
            lifetime_ms=self._access_lifetime_ms,
        )
        await session_storage.insert_session(
            connection,
            OAuthSession(
                user_id,
                device_id,
                client.client_id,
                grant_id,
                scope,
                lineage.family,
                lineage.generation,
                self._clock_ms(),
            ),
        )
        return tokens

    # ------------------------------------------------------------ refreshing

    async def _refresh(
        self, connection: Connection, parameters: Parameters, facts: Facts, token: str
    ) -> _Outcome:
        """The last pair, or the one before it until the last was used, becomes a new one.

        Whoever repeats a refresh voids what it gave out before; if that is presented after all,
        two have used the same token, and the session ends for both.
        """
        lineage = self._refresh_tokens.read(token)
        # The session's row is locked first, so that its refreshes come one after the other.
        session = await self._locked_session(connection, lineage, token)
        row = await token_storage.get_refresh_token(connection, hash_token(token))
        facts.refresh_token = None if row is not None and self._has_lapsed(row, facts.now) else row
        outcome = await self._judge(connection, parameters, facts)
        if row is None and session is not None and lineage is not None:
            # Not one from after what was restored from a backup.
            outcome.stolen = session if lineage.generation < session.generation else None
        if outcome.error is not None or row is None or session is None:
            return outcome
        generation = session.generation + 1
        await session_storage.set_generation(connection, row.user_id, row.device_id, generation)
        outcome.tokens, voided = await self._sessions.renew(
            connection,
            row,
            self._refresh_tokens.make(Lineage(session.family, generation)),
            self._access_lifetime_ms,
        )
        outcome.scope, outcome.voided = session.scope, tuple(voided)
        return outcome

    def _has_lapsed(self, row: RefreshToken, now: int) -> bool:
        lifetime = self._refresh_lifetime_ms
        return lifetime is not None and row.created_at + lifetime <= now

    async def _locked_session(
        self, connection: Connection, lineage: Lineage | None, token: str
    ) -> OAuthSession | None:
        if lineage is not None:
            return await session_storage.get_by_family(connection, lineage.family)
        # Made before the server had another key.
        return await session_storage.get_by_refresh_token(connection, hash_token(token))

    # ------------------------------------------------------------ ending

    async def revoke(self, parameters: Parameters) -> None:
        """End the session of a token, whichever of its tokens it is; nothing for an unknown one.

        Whoever has found a token may void it, so the client is not asked for.
        """
        if any(len(values) > 1 for values in parameters.values()):
            raise InvalidRequestError("A parameter is there more than once")
        token = (parameters.get("token") or [""])[0]
        if not token:
            raise InvalidRequestError("Missing 'token' in request.")
        session = await self._session_of(token)
        if session is not None:
            await self.end(session)

    async def _session_of(self, token: str) -> OAuthSession | None:
        lineage = self._refresh_tokens.read(token)
        if lineage is not None:
            return await session_storage.get_by_family(self._database, lineage.family)
        return await session_storage.get_by_access_token(self._database, hash_token(token))

    async def end(self, session: OAuthSession) -> None:
        """Log a device out and delete it."""
        await self._devices.remove(session.user_id, [session.device_id])

    async def uses_oauth(self, user_id: str, device_id: str | None) -> bool:
        """Whether a device was logged in by this API."""
        if device_id is None:
            return False
        return await session_storage.get_session(self._database, user_id, device_id) is not None
