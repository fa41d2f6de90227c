"""The OAuth 2.0 API, and the pages on which people sign in and manage their accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.interactive_auth import Stage
from homeserver.services.oauth.approvals import OLDER_STAGE, STAGE, Approvals, stage
from homeserver.services.oauth.authorizations import Authorizations
from homeserver.services.oauth.browsers import Browsers
from homeserver.services.oauth.clients import Clients
from homeserver.services.oauth.device_codes import DeviceCodes
from homeserver.services.oauth.id_tokens import IdTokens
from homeserver.services.oauth.lapsed_sessions import LapsedSessions
from homeserver.services.oauth.metadata import issuer_of
from homeserver.services.oauth.refresh_tokens import RefreshTokens
from homeserver.services.oauth.tokens import OAuthTokens
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class OAuthParts:
    """Clients, what they are granted, and the browsers in which that is done."""

    def __init__(self, wiring: Wiring) -> None:
        config, database = wiring.config, wiring.database
        secret = bytes(wiring.signing_key.seed)
        self.clients = Clients(
            database=database, hosts=config.oauth.client_hosts, clock_ms=clock_ms
        )
        self.authorizations = Authorizations(
            issuer=issuer_of(config.public_base_url),
            database=database,
            clients=self.clients,
            sessions=wiring.sessions,
            clock_ms=clock_ms,
        )
        self.device_codes = DeviceCodes(
            public_base_url=config.public_base_url,
            secret=secret,
            database=database,
            clients=self.clients,
            sessions=wiring.sessions,
            clock_ms=clock_ms,
        )
        self.id_tokens = IdTokens(
            issuer=issuer_of(config.public_base_url),
            secret=secret,
            database=database,
            clock_ms=clock_ms,
        )
        self.tokens = OAuthTokens(
            database=database,
            clients=self.clients,
            sessions=wiring.sessions,
            devices=wiring.devices,
            refresh_tokens=RefreshTokens(secret),
            id_tokens=self.id_tokens,
            access_token_lifetime_ms=config.oauth.access_token_lifetime_ms,
            refresh_token_lifetime_ms=config.oauth.refresh_token_lifetime_ms,
            clock_ms=clock_ms,
        )
        self.lapsed_sessions = LapsedSessions(
            database=database,
            devices=wiring.devices,
            lifetime_ms=config.oauth.refresh_token_lifetime_ms,
            clock_ms=clock_ms,
        )
        self.approvals = Approvals(
            public_base_url=config.public_base_url, database=database, clock_ms=clock_ms
        )
        self.stages: dict[str, Stage] = {STAGE: stage, OLDER_STAGE: stage}
        self.browsers = Browsers(
            database=database,
            secret=secret,
            lifetime_ms=config.oauth.browser_session_lifetime_ms,
            clock_ms=clock_ms,
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.OAUTH_CLIENTS] = self.clients
        app[app_keys.AUTHORIZATIONS] = self.authorizations
        app[app_keys.DEVICE_CODES] = self.device_codes
        app[app_keys.OAUTH_TOKENS] = self.tokens
        app[app_keys.ID_TOKENS] = self.id_tokens
        app[app_keys.APPROVALS] = self.approvals
        app[app_keys.BROWSERS] = self.browsers
