"""An account of the server itself: it follows policy rooms, or sends notices.

Nobody can log in as it: it has no password.  It is made when it is first needed.
"""

from __future__ import annotations

from typing import Protocol

from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import UserId
from homeserver.services.accounts import AccountService
from homeserver.services.consent import EVERYONE, Scope
from homeserver.storage import accounts as storage
from homeserver.storage.database import Database


class Grants(Protocol):
    """Consent, as far as the account needs it."""

    async def grant_if_new(self, owner: str, peer: str, scope: str, *, how: str) -> None:
        """Grant, unless it is granted already."""


class ServiceAccount:
    """Makes sure that the account is there, and is nobody's."""

    def __init__(
        self,
        *,
        user_id: UserId,
        database: Database,
        accounts: AccountService,
        consent: Grants,
        setting: str = "policy.list_account",
    ) -> None:
        """``setting``: the key of the configuration that names the account."""
        self._setting = setting
        self.user_id = user_id
        self._database = database
        self._accounts = accounts
        self._consent = consent

    async def ensure(self) -> UserId:
        """The account's ID.  Raises: :class:`MatrixError` if the account is somebody's."""
        account = await storage.get_account(self._database, self.user_id)
        if account is None:
            async with self._database.transaction() as connection:
                await self._accounts.insert(connection, self.user_id, None)
        elif account.password_hash is not None or account.deactivated_at is not None:
            raise MatrixError(
                f"The account {self.user_id} belongs to somebody: name another in {self._setting}"
            )
        # It joins rooms elsewhere, and must be reached by those who invite it to theirs.
        for scope in (Scope.FEDERATION, Scope.MESSAGE, Scope.GROUP):
            await self._consent.grant_if_new(self.user_id, EVERYONE, scope, how="service account")
        return self.user_id
