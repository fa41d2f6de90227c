"""Application services."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.appservices.bodies import Bodies
from homeserver.services.appservices.client import ServiceClient
from homeserver.services.appservices.delivering import Delivering
from homeserver.services.appservices.ephemeral import Passing
from homeserver.services.appservices.gathering import Gathering
from homeserver.services.appservices.interest import Interest
from homeserver.services.appservices.questions import Questions
from homeserver.services.appservices.registration import AppService, load_registrations
from homeserver.services.appservices.registry import AppServices
from homeserver.services.appservices.room_lists import NetworkRooms
from homeserver.services.appservices.third_party import ThirdPartyNetworks
from homeserver.services.appservices.workers import Workers
from homeserver.storage.webhook_source import get_members_at
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
            if not config.media.limit_app_services:
                wiring.device_parts.media.limits.is_exempt = self.services.is_user
        self.client = ServiceClient()
        self.questions = Questions(
            services=self.services, client=self.client, database=wiring.database
        )
        self.networks = ThirdPartyNetworks(services=self.services, client=self.client)
        self.rooms = NetworkRooms(database=wiring.database, rooms=wiring.rooms)
        self.workers = Workers(
            services=self.services,
            client=self.client,
            make=partial(self._worker, wiring),
            head=lambda: wiring.log.position,
        )
        if self.workers.any:
            self._follow(wiring)

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.APP_SERVICES] = self.services
        app[app_keys.APP_SERVICE_ROOMS] = self.rooms
        app[app_keys.APP_SERVICE_WORKERS] = self.workers
        app[app_keys.THIRD_PARTY_NETWORKS] = self.networks

    async def start(self) -> None:
        """Make their senders' accounts, and tell them what they missed."""
        await self.services.start()
        await self.workers.start()

    async def close(self) -> None:
        """Stop telling and asking them."""
        await self.workers.close()
        await self.questions.close()
        await self.client.close()

    # ------------------------------------------------------------ telling them what happens

    def _follow(self, wiring: Wiring) -> None:
        """Have those with an address hear of everything, and be asked."""
        workers, parts = self.workers, wiring.device_parts
        parts.typing.on_change = _both(parts.typing.on_change, workers.typing)
        parts.presence.on_change = _both(parts.presence.on_change, workers.presence)
        forget = parts.end_to_end_keys.on_counts_changed

        def keys_changed(user_id: str, device_id: str) -> None:
            forget(user_id, device_id)
            workers.keys_changed(user_id, device_id)

        parts.end_to_end_keys.on_counts_changed = keys_changed
        wiring.log.subscribe(workers.on_notice)
        wiring.directory.on_alias_changed.append(workers.aliases_changed)
        wiring.directory.unmade = self.questions
        wiring.send_gate.unmade = self.questions

    def _worker(self, wiring: Wiring, service: AppService) -> Delivering:
        database, parts = wiring.database, wiring.device_parts
        interest = Interest(
            service,
            server_name=wiring.config.server_name,
            members_at=partial(get_members_at, database),
            aliases_of=wiring.directory.aliases,
        )
        return Delivering(
            service,
            database=database,
            head=lambda: wiring.log.position,
            interest=interest,
            gathering=Gathering(
                database=database,
                store=wiring.store,
                interest=interest,
                with_devices=service.encryption,
            ),
            passing=Passing(
                database=database,
                interest=interest,
                typing=parts.typing,
                presence=parts.presence,
                audience=wiring.consent,
                sender=service.sender,
            ),
            bodies=Bodies(
                database=database,
                store=wiring.store,
                events=wiring.reading.client_events,
                erased=wiring.erased.positions,
                keys=parts.end_to_end_keys,
                is_own=interest.is_own,
            ),
            client=self.client,
            clock_ms=clock_ms,
        )


def _both(first: Callable[[str], None], second: Callable[[str], None]) -> Callable[[str], None]:
    def call(changed: str) -> None:
        first(changed)
        second(changed)

    return call
