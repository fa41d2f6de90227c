"""Signing in with what others vouch for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.sign_in.documents import HttpDocuments
from homeserver.services.sign_in.identities import Identities
from homeserver.services.sign_in.jwt_login import JwtLogin
from homeserver.services.sign_in.oidc import OidcLogins
from homeserver.services.sign_in.passwords import PasswordLogin
from homeserver.services.sign_in.proofs import Proofs
from homeserver.services.sign_in.provider import OidcProvider
from homeserver.services.sign_in.settings import (
    check_redirect_urls,
    parse_issuers,
    parse_providers,
)
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

        check_redirect_urls(config.sign_in.redirect_urls)
        self.oidc_logins = OidcLogins(
            providers=[
                OidcProvider(provider, documents=self.documents, clock_ms=clock_ms)
                for provider in parse_providers(config.sign_in.oidc_providers, config.base)
            ],
            redirect_urls=config.sign_in.redirect_urls,
            public_base_url=config.public_base_url,
            identities=self.identities,
            database=wiring.database,
            clock_ms=clock_ms,
        )
        self.proofs = Proofs(
            database=wiring.database,
            identities=self.identities,
            jwt_login=self.jwt_login,
            providers=self.oidc_logins.providers.keys(),
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.JWT_LOGIN] = self.jwt_login
        app[app_keys.OIDC_LOGINS] = self.oidc_logins
        app[app_keys.PASSWORD_LOGIN] = self.passwords
        app[app_keys.PROOFS] = self.proofs

    async def close(self) -> None:
        """Close the connections to issuers and providers."""
        await self.documents.close()
