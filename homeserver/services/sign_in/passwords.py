"""Logging in with a password: guesses at one account are counted, wherever they come from."""

from __future__ import annotations

from homeserver.protocol.identifiers import UserId
from homeserver.services.accounts import AccountService
from homeserver.services.rate_limits import RateLimits


class PasswordLogin:
    """Knows whose password it is."""

    def __init__(self, *, accounts: AccountService, rate_limits: RateLimits) -> None:
        self._accounts = accounts
        self._rate_limits = rate_limits

    async def sign_in(self, named: UserId | None, password: str) -> UserId:
        """The user, if that is their password; None can be nobody.

        Raises: :class:`~homeserver.errors.Forbidden`, :class:`~homeserver.errors.LimitExceeded`.
        """
        if named is not None:
            self._rate_limits.check("login_account", named)
        user_id = await self._accounts.check_password(named, password)
        self._rate_limits.reset("login_account", user_id)
        return user_id
