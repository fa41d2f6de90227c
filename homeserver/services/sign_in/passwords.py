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

    async def sign_in(
        self, named: UserId | None, password: str, *, address: str | None = None
    ) -> UserId:
        """The user, if that is their password; None can be nobody.

        ``address``: the e-mail address they were named by.  It is counted, too, be it an account's
        or not: else being refused would tell which of the two it is.

        Raises: :class:`~homeserver.errors.Forbidden`, :class:`~homeserver.errors.LimitExceeded`.
        """
        counted = [key for key in (address, named) if key is not None]
        for key in counted:
            self._rate_limits.check("login_account", key)
        user_id = await self._accounts.check_password(named, password)
        for key in counted:
            self._rate_limits.reset("login_account", key)
        return user_id
