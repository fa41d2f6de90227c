"""Registration: closed, by token, or open; with terms to accept, if there are any.

Spec: client-server API, account registration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeserver.errors import Forbidden, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.accounts import AccountService, UserInUse
from homeserver.services.interactive_auth import DUMMY, REGISTRATION_TOKEN, TERMS, Flows
from homeserver.services.passwords import Passwords
from homeserver.services.terms import Terms
from homeserver.services.usernames import new_user_id
from homeserver.storage import accounts as account_storage
from homeserver.storage import registration_tokens as storage
from homeserver.storage.database import Database

CLOSED, TOKEN, OPEN = "closed", "token", "open"
MAX_TOKEN_LENGTH = 64


class RegistrationService:
    """Lets newcomers make accounts, as the instance's mode says."""

    def __init__(
        self,
        *,
        mode: str,
        server_name: str,
        database: Database,
        accounts: AccountService,
        passwords: Passwords,
        terms: Terms,
        clock_ms: Callable[[], int],
    ) -> None:
        self._mode = mode
        self._server_name = server_name
        self._database = database
        self._accounts = accounts
        self._passwords = passwords
        self._terms = terms
        self._clock_ms = clock_ms

    def flows(self) -> Flows:
        """How to authenticate.  Raises: :class:`Forbidden` where registration is closed.

        Each flow ends with the dummy stage: matrix-nio completes a registration only by it.
        """
        if self._mode == CLOSED:
            raise Forbidden("Registration is closed on this server: ask its admin for an account")
        terms = (TERMS,) if self._terms.documents else ()
        token = (REGISTRATION_TOKEN,) if self._mode == TOKEN else ()
        return ((*token, *terms, DUMMY),)

    def params(self) -> JsonObject:
        """What the stages of the flows show."""
        return {TERMS: self._terms.params()} if self._terms.documents else {}

    async def check_available(self, username: str | None) -> UserId:
        """The ID that a newcomer would get.

        Raises: :class:`~homeserver.services.usernames.InvalidUsername`, :class:`UserInUse`.
        """
        user_id = new_user_id(username, self._server_name)
        if await account_storage.get_account(self._database, user_id) is not None:
            raise UserInUse("That user name is taken")
        return user_id

    async def register(
        self, user_id: UserId, password: str | None, proof: Mapping[str, Any]
    ) -> None:
        """Make an account, use up the token with it, and note the terms accepted.

        ``proof``: what each completed stage yielded.
        Raises: :class:`UserInUse`, :class:`Forbidden` if the token was used up meanwhile.
        """
        password_hash = await self._passwords.hash(password) if password is not None else None
        async with self._database.transaction() as connection:
            await self._accounts.insert(connection, user_id, password_hash)
            if TERMS in proof:
                await self._terms.accept(user_id, proof[TERMS], how="registration", db=connection)
            token = proof.get(REGISTRATION_TOKEN)
            if token is not None and not await storage.use_token(
                connection, token, self._clock_ms()
            ):
                raise Forbidden("This registration token is not valid, or no longer")

    async def is_token_valid(self, token: str) -> bool:
        """Whether a registration token would be accepted now.

        Raises: :class:`Forbidden` where registration is closed.
        """
        self.flows()
        if "\0" in token or len(token) > MAX_TOKEN_LENGTH:
            return False
        stored = await storage.get_token(self._database, token)
        return stored is not None and stored.is_valid(self._clock_ms())

    async def token_stage(self, auth: JsonObject, _user_id: str | None) -> str:
        """The stage ``m.login.registration_token``; yields the token."""
        token = auth.get("token")
        if not isinstance(token, str):
            raise MissingParam("'token' is required")
        if not await self.is_token_valid(token):
            raise Forbidden("This registration token is not valid, or no longer")
        return token
