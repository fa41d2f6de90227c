"""Signing in with what others vouch for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.services.sign_in.documents import HttpDocuments
from homeserver.services.sign_in.identities import Identities
from homeserver.services.sign_in.jwt_login import JwtLogin
from homeserver.services.sign_in.passwords import PasswordLogin
from homeserver.services.sign_in.settings import parse_issuers
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class SignInParts:
    """Issuers of tokens, and OpenID Connect providers."""

    def __init__(self, wiring: Wiring) -> None:
        """Raises :class:`~homeserver.config.ConfigError` for what cannot be used."""
        config = wiring.config
        self.documents = HttpDocuments()
        self.passwords = PasswordLogin(accounts=wiring.accounts, rate_limits=wiring.rate_limits)
        self.identities = Identities(
            server_name=config.server_name,
            database=wiring.database,
            accounts=wiring.accounts,
            profiles=wiring.profiles,
            clock_ms=clock_ms,
        )
        self.jwt_login = JwtLogin(
            issuers=parse_issuers(config.sign_in.jwt_issuers, config.base),
            identities=self.identities,
            documents=self.documents,
            clock_ms=clock_ms,
        )

    async def close(self) -> None:
        """Close the connections to issuers and providers."""
        await self.documents.close()
