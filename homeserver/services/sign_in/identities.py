"""The accounts of people for whom an issuer or a provider vouches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.identifiers import UserId
from homeserver.services.accounts import AccountService, UserInUse
from homeserver.services.profiles import DISPLAY_NAME
from homeserver.services.usernames import new_user_id
from homeserver.storage import accounts as account_storage
from homeserver.storage import external_identities as storage
from homeserver.storage.accounts import Account
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

MOST_SUFFIXES = 50


class Vouched(Struct, frozen=True):
    """Somebody, as a provider has them.

    ``create``: an account is made for whom it does not know yet; ``adopt``: an account that is
    there already under that name becomes theirs; ``suffix``: a name that is taken gets a number.
    """

    provider: str
    subject: str
    localpart: str
    display_name: str | None = None
    create: bool = True
    adopt: bool = False
    suffix: bool = False


class DisplayNames(Protocol):
    """Where a newcomer's display name is set."""

    async def set_field(self, user_id: UserId, key: str, value: str) -> None:
        """Set a field of a profile."""


class Identities:
    """Finds or makes the accounts of people for whom somebody else vouches."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        accounts: AccountService,
        profiles: DisplayNames,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._accounts = accounts
        self._profiles = profiles
        self._clock_ms = clock_ms

    async def sign_in(self, vouched: Vouched) -> UserId:
        """Whose account it is; one that is made, if need be and if it may.

        Raises :class:`~homeserver.errors.Forbidden`, also for an account that has ended.
        """
        subject = _hash(vouched)
        known = await storage.get_identity(self._database, vouched.provider, subject)
        if known is not None:
            if known.ended:
                raise ended()
            return UserId(known.user_id)
        user_id = await self._adopt(vouched, subject) or await self._create(vouched, subject)
        logger.info("somebody's first sign-in", provider=vouched.provider, user_id=user_id)
        return user_id

    async def find(self, vouched: Vouched) -> UserId | None:
        """Whose account it is, if there is one that has not ended."""
        known = await storage.get_identity(self._database, vouched.provider, _hash(vouched))
        return UserId(known.user_id) if known is not None and not known.ended else None

    async def providers(self, user_id: str) -> list[str]:
        """Who vouches for a user."""
        return await storage.get_providers(self._database, user_id)

    async def _adopt(self, vouched: Vouched, subject: bytes) -> UserId | None:
        user_id = new_user_id(vouched.localpart, self._server_name)
        account = await account_storage.get_account(self._database, user_id)
        if account is None or not vouched.adopt:
            return None
        _check_adoptable(account)
        if not await self._note(vouched, subject, user_id):
            raise Forbidden("That account belongs to somebody else at the same issuer")
        return user_id

    async def _create(self, vouched: Vouched, subject: bytes) -> UserId:
        if not vouched.create:
            raise Forbidden("There is no account for you here, and none is made by signing in")
        for attempt in range(1, MOST_SUFFIXES + 1 if vouched.suffix else 2):
            suffix = f"-{attempt}" if attempt > 1 else ""
            user_id = new_user_id(vouched.localpart + suffix, self._server_name)
            try:
                async with self._database.transaction() as connection:
                    await self._accounts.insert(connection, user_id, None)
                    if not await storage.insert_identity(
                        connection, vouched.provider, subject, user_id, self._clock_ms()
                    ):
                        raise _Overtaken("Somebody signs in as you at the same time")
            except UserInUse:
                if await storage.get_identity(self._database, vouched.provider, subject):
                    return await self.sign_in(vouched)
                continue
            except _Overtaken:
                return await self.sign_in(vouched)
            if vouched.display_name is not None:
                await self._profiles.set_field(user_id, DISPLAY_NAME, vouched.display_name)
            return user_id
        raise UserInUse("The user name that you would get here is taken")

    async def _note(self, vouched: Vouched, subject: bytes, user_id: UserId) -> bool:
        if await storage.insert_identity(
            self._database, vouched.provider, subject, user_id, self._clock_ms()
        ):
            return True
        known = await storage.get_identity(self._database, vouched.provider, subject)
        return known is not None and known.user_id == user_id


class _Overtaken(MatrixError):
    """The same person signed in for the first time, twice at once."""


def _check_adoptable(account: Account) -> None:
    if account.deactivated_at is not None:
        raise ended()
    if account.admin:
        raise Forbidden("An admin's account is not handed to whom an issuer calls by its name")


def ended() -> MatrixError:
    """What is said of an account that was deactivated."""
    return Forbidden("This account has ended", errcode="M_USER_DEACTIVATED")


def _hash(vouched: Vouched) -> bytes:
    return hashlib.sha256(f"{vouched.provider}\0{vouched.subject}".encode()).digest()
