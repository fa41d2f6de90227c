"""Authorization requests: what a client asks of a user, the user's answer, and the code for it.

Spec: client-server API, authorisation code flow; RFC 6749, 9207.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error
from msgspec import Struct

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.oauth import redirects
from homeserver.services.oauth.clients import Client, Clients
from homeserver.services.oauth.errors import InteractionRequired
from homeserver.services.oauth.grants import Parameters, check_authorization_request
from homeserver.services.oauth.scopes import Scope, parse_scope
from homeserver.services.sessions import SessionService, hash_token
from homeserver.storage import oauth_grants as storage
from homeserver.storage.database import Database
from homeserver.storage.oauth_grants import Authorization

ASKED_FOR_MS = 60 * 60_000
CODE_LIFETIME_MS = 2 * 60_000
KEPT_FOR_MS = 24 * 3_600_000
"""For how long it is noticed that a used code is presented again."""
PRUNE_EVERY_MS = 10 * 60_000
MAX_NONCE_LENGTH = 1_000
RESPONSE_MODES = ("query", "fragment")
CREATE, LOGIN, NONE = "create", "login", "none"


class Asked(Struct, frozen=True):
    """A request that waits for its user."""

    request: Authorization
    client: Client
    scope: Scope


class Refused(Exception):
    """A request that is refused, and why; at ``address`` the client is told so."""

    def __init__(self, text: str, address: str) -> None:
        super().__init__(text)
        self.text = text
        self.address = address


class Authorizations:
    """Takes authorization requests, and users' answers to them."""

    def __init__(
        self,
        *,
        issuer: str,
        database: Database,
        clients: Clients,
        sessions: SessionService,
        clock_ms: Callable[[], int],
    ) -> None:
        self._issuer = issuer
        self._database = database
        self._clients = clients
        self._sessions = sessions
        self._clock_ms = clock_ms
        self._pruned_at = 0

    async def begin(self, parameters: Parameters) -> str:
        """Take a request; the ID under which its user is asked.

        Raises :class:`Refused`; Authlib's :class:`OAuth2Error` where it is not certain that the
        client is who it says it is, so that only the person may be told.
        """
        values = {key: value[0] for key, value in parameters.items()}
        client = await self._clients.get(values.get("client_id"))
        mode = values.get("response_mode", "query")
        try:
            scope = check_authorization_request(parameters, client)
            self._check_modes(values, mode)
        except OAuth2Error as error:
            if error.redirect_uri is None:
                raise
            told = {"error": error.error, "error_description": error.get_error_description()}
            mode = mode if mode in RESPONSE_MODES else "query"
            address = self._address(error.redirect_uri, mode, values.get("state"), told)
            raise Refused(told["error_description"] or error.error, address) from error
        await self._prune()
        request = Authorization(
            grant_id=secrets.token_urlsafe(24),
            client_id=values["client_id"],
            redirect_uri=values["redirect_uri"],
            response_mode=mode,
            scope=scope.text,
            state=values.get("state"),
            nonce=values.get("nonce"),
            code_challenge=values["code_challenge"],
            created_at=self._clock_ms(),
        )
        await storage.insert_authorization(self._database, request)
        return request.grant_id

    def _check_modes(self, values: dict[str, str], mode: str) -> None:
        uri = values["redirect_uri"]
        if mode not in RESPONSE_MODES:
            raise InvalidRequestError(
                "The response_mode must be query or fragment", redirect_uri=uri
            )
        prompts = values.get("prompt", "").split()
        if NONE in prompts:
            raise InteractionRequired("The user is always asked", redirect_uri=uri)
        if len(values.get("nonce", "")) > MAX_NONCE_LENGTH:
            raise InvalidRequestError("The nonce is too long", redirect_uri=uri)
        if any("\0" in value for value in values.values()):
            raise InvalidRequestError("A parameter has a NUL character", redirect_uri=uri)

    async def find(self, grant_id: str) -> Asked:
        """A request without an answer yet.  Raises :class:`NotFound`."""
        since = self._clock_ms() - ASKED_FOR_MS
        request = None
        if "\0" not in grant_id:
            request = await storage.get_asked(self._database, grant_id, since)
        client = await self._clients.get(request.client_id) if request is not None else None
        if request is None or client is None:
            raise NotFound(
                "This request is not known, was answered, or took too long: begin again in the "
                "application"
            )
        return Asked(request, client, parse_scope(request.scope))

    async def grant(self, asked: Asked, user_id: UserId) -> str:
        """The user agrees; where the browser goes now.

        Raises :class:`NotFound`, and :class:`~homeserver.errors.Forbidden` for a device ID that the
        client must not use.
        """
        await self._sessions.check_device_id(user_id, asked.scope.device_id)
        code = f"cmc_{secrets.token_urlsafe(32)}"
        expires_at = self._clock_ms() + CODE_LIFETIME_MS
        if not await storage.grant(
            self._database, asked.request.grant_id, user_id, hash_token(code), expires_at
        ):
            raise NotFound("This request was answered already")
        return self._answer(asked, {"code": code})

    async def refuse(self, asked: Asked) -> str:
        """The user does not agree; where the browser goes now.  Raises :class:`NotFound`."""
        if not await storage.refuse(self._database, asked.request.grant_id):
            raise NotFound("This request was answered already")
        return self._answer(
            asked, {"error": "access_denied", "error_description": "The user has refused"}
        )

    def _answer(self, asked: Asked, told: dict[str, str]) -> str:
        request = asked.request
        return self._address(request.redirect_uri, request.response_mode, request.state, told)

    def _address(self, uri: str, mode: str, state: str | None, told: dict[str, str]) -> str:
        answer = {**told, **({"state": state} if state is not None else {}), "iss": self._issuer}
        return redirects.with_parameters(uri, answer, mode)

    async def _prune(self) -> None:
        now = self._clock_ms()
        if now - self._pruned_at >= PRUNE_EVERY_MS:
            self._pruned_at = now
            await storage.delete_old_authorizations(
                self._database, asked_before=now - ASKED_FOR_MS, before=now - KEPT_FOR_MS
            )
