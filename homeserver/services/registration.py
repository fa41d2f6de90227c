"""Registration: closed, by token, or open; with terms to accept, if there are any.

Spec: client-server API, account registration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from homeserver.errors import Forbidden, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.accounts import AccountService, UserInUse
from homeserver.services.interactive_auth import (
    DUMMY,
    EMAIL_IDENTITY,
    REGISTRATION_TOKEN,
    TERMS,
    Flows,
)
from homeserver.services.invitations import Invitations
from homeserver.services.passwords import Passwords
from homeserver.services.terms import Terms
from homeserver.services.third_party_mails import REGISTER
from homeserver.services.usernames import new_user_id
from homeserver.storage import accounts as account_storage
from homeserver.storage import registration_tokens as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.guests import make_user_of_guest
from homeserver.storage.third_party_ids import ValidationSession

CLOSED, TOKEN, OPEN = "closed", "token", "open"
MAX_TOKEN_LENGTH = 64


class Newcomers(Protocol):
    """What becomes of those who come by a member's invitation."""

    async def newcomer(self, user_id: str) -> None:
        """Welcome them."""


class Reserved(Protocol):
    """User names that are not for newcomers."""

    async def refuse_reserved(self, user_id: UserId) -> None:
        """Raise :class:`UserInUse` for such a one."""


class Addresses(Protocol):
    """E-mail addresses that newcomers have shown to be theirs."""

    @property
    def enabled(self) -> bool:
        """Whether accounts can have addresses."""

    async def session_of(self, sid: str, purpose: str) -> ValidationSession:
        """The session in which it was shown."""

    async def use(self, db: Connection, session: ValidationSession, user_id: str) -> None:
        """Use a session up: its address is the user's."""


class RegistrationService:
    """Lets newcomers make accounts, as the instance's mode and its members say."""

    def __init__(
        self,
        *,
        mode: str,
        server_name: str,
        database: Database,
        accounts: AccountService,
        passwords: Passwords,
        terms: Terms,
        invitations: Invitations,
        newcomers: Newcomers,
        clock_ms: Callable[[], int],
    ) -> None:
        self._mode = mode
        self._server_name = server_name
        self._database = database
        self._accounts = accounts
        self._passwords = passwords
        self._terms = terms
        self._invitations = invitations
        self._newcomers = newcomers
        self._clock_ms = clock_ms
        self._reserved: Reserved | None = None
        self._addresses: Addresses | None = None
        self._require_email = False

    def reserve(self, names: Reserved) -> None:
        """Keep these names from newcomers."""
        self._reserved = names

    def take_addresses(self, addresses: Addresses, *, require: bool) -> None:
        """Let newcomers, or have them, show an e-mail address to be theirs."""
        self._addresses, self._require_email = addresses, require

    def flows(self) -> Flows:
        """How to authenticate.  Raises: :class:`Forbidden` where registration is closed.

        Each flow ends with the dummy stage: matrix-nio completes a registration only by it.
        """
        flows = self._plain_flows()
        if self._addresses is None or not self._addresses.enabled:
            return flows
        with_email = tuple((*stages[:-1], EMAIL_IDENTITY, DUMMY) for stages in flows)
        return with_email if self._require_email else (*flows, *with_email)

    def _plain_flows(self) -> Flows:
        invitations = self._invitations.limits.enabled
        if self._mode == CLOSED and not invitations:
            raise Forbidden("Registration is closed on this server: ask its admin for an account")
        terms = (TERMS,) if self._terms.documents else ()
        by_token = (REGISTRATION_TOKEN, *terms, DUMMY)
        if self._mode != OPEN:
            return (by_token,)
        return ((*terms, DUMMY), by_token) if invitations else ((*terms, DUMMY),)

    def params(self) -> JsonObject:
        """What the stages of the flows show."""
        return {TERMS: self._terms.params()} if self._terms.documents else {}

    async def check_available(self, username: str | None, guest: UserId | None = None) -> UserId:
        """The ID that a newcomer would get; ``guest``: who they are already, as a guest.

        Raises: :class:`~homeserver.services.usernames.InvalidUsername`, :class:`UserInUse`,
        :class:`Forbidden` if a guest wants another name than theirs.
        """
        user_id = new_user_id(username, self._server_name)
        if guest is not None:
            if username is None or user_id != guest:
                raise Forbidden(f"A guest keeps their user name: {guest.localpart}")
            return user_id
        if await account_storage.get_account(self._database, user_id) is not None:
            raise UserInUse("That user name is taken")
        if self._accounts.check_name is not None:
            self._accounts.check_name(user_id)
        if self._reserved is not None:
            await self._reserved.refuse_reserved(user_id)
        return user_id

    async def register(
        self,
        user_id: UserId,
        password: str | None,
        proof: Mapping[str, Any],
        *,
        how: str = "registration",
        upgrade: bool = False,
    ) -> None:
        """Make an account, use up the token with it, and note the terms accepted.

        ``proof``: what each completed stage yielded; ``how``: where the newcomer was asked;
        ``upgrade``: the account is a guest's, and becomes a user's.
        Raises: :class:`UserInUse`, :class:`Forbidden` if the token was used up meanwhile.
        """
        password_hash = await self._passwords.hash(password) if password is not None else None
        token = proof.get(REGISTRATION_TOKEN)
        invited = False
        async with self._database.transaction() as connection:
            if not upgrade:
                await self._accounts.insert(connection, user_id, password_hash)
            elif not await make_user_of_guest(connection, user_id, password_hash):
                raise UserInUse("That user name is taken")
            if TERMS in proof:
                await self._terms.accept(user_id, proof[TERMS], how=how, db=connection)
            if EMAIL_IDENTITY in proof and self._addresses is not None:
                session = await self._addresses.session_of(proof[EMAIL_IDENTITY], REGISTER)
                await self._addresses.use(connection, session, user_id)
            if token is not None:
                invited = await self._invitations.use(connection, token, user_id)
                if not invited and not await self._use_token(connection, token):
                    raise Forbidden("This registration token is not valid, or no longer")
        if invited:
            await self._newcomers.newcomer(user_id)

    async def register_guest(self) -> UserId:
        """Make a guest's account, under a name that nobody has chosen."""
        user_id = new_user_id(None, self._server_name)
        async with self._database.transaction() as connection:
            await self._accounts.insert(connection, user_id, None, guest=True)
        return user_id

    async def _use_token(self, connection: Connection, token: str) -> bool:
        return self._mode != CLOSED and await storage.use_token(connection, token, self._clock_ms())

    async def is_token_valid(self, token: str) -> bool:
        """Whether a registration token, or an invitation's code, would be accepted now.

        Raises: :class:`Forbidden` where registration is closed.
        """
        self.flows()
        if "\0" in token or len(token) > MAX_TOKEN_LENGTH:
            return False
        if await self._invitations.is_valid(token):
            return True
        if self._mode == CLOSED:
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
