"""Application services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.appservices.registration import load_registrations
from homeserver.services.appservices.registry import AppServices
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class AppServiceParts:
    """The application services of the configuration, and how they are told what happens."""

    def __init__(self, wiring: Wiring) -> None:
        """Raises :class:`~homeserver.config.ConfigError` for registrations that cannot be used."""
        config = wiring.config
        registrations = load_registrations(config.app_services, config.base, config.server_name)
        self.services = AppServices(
            registrations,
            server_name=config.server_name,
            database=wiring.database,
            accounts=wiring.accounts,
            clock_ms=clock_ms,
        )
        wiring.accounts.after_ended.append(self.services.forget)
        if registrations:
            wiring.accounts.check_name = self.services.check_user
            wiring.rate_limits.is_exempt = self.services.is_exempt_from_rates
            wiring.consent.programs = self.services

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.APP_SERVICES] = self.services

    async def start(self) -> None:
        """Make their senders' accounts, and tell them what they missed."""
        await self.services.start()
