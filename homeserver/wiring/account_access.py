"""What accounts may do: locked and suspended ones, guests; and their mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.errors import UserLocked
from homeserver.services.account_standing import AccountStanding
from homeserver.services.appservices.registry import AppServices
from homeserver.services.guests import Guests
from homeserver.services.mail import Mailer
from homeserver.wiring.basics import clock_ms
from homeserver.wiring.mail import make_mailer

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


def mailer_and_standing(wiring: Wiring) -> tuple[Mailer, AccountStanding]:
    """What others are built upon: mail, and who is locked or suspended."""
    standing = AccountStanding(
        server_name=wiring.config.server_name,
        database=wiring.database,
        store=wiring.store,
        clock_ms=clock_ms,
    )
    return make_mailer(wiring.config, wiring.database), standing


class AccountAccess:
    """Puts account standing before what is not asked at a gate; guests."""

    def __init__(self, wiring: Wiring) -> None:
        self._mailer = wiring.mailer
        self.standing = standing = wiring.standing
        services: AppServices = wiring.app_services.services
        standing.on_changed += [wiring.sessions.forget, services.forget]
        wiring.creation.may_act = standing.require_active
        wiring.profiles.may_act = standing.require_active

        def may_enter(user_id: str) -> None:
            if standing.is_locked(user_id):
                raise UserLocked()

        wiring.sessions.may_enter = may_enter
        self.guests = Guests(
            enabled=wiring.config.registration.guests,
            database=wiring.database,
            rooms=wiring.rooms,
            store=wiring.store,
            leaving=wiring.membership,
        )
        wiring.log.subscribe(self.guests.on_notice)

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.ACCOUNT_STANDING] = self.standing
        app[app_keys.GUESTS] = self.guests
        app[app_keys.MAILER] = self._mailer

    async def start(self) -> None:
        """Begin what runs in the background."""
        await self.standing.start()
        await self.guests.start()
        await self._mailer.start()

    async def close(self) -> None:
        """Stop it."""
        await self._mailer.close()
        await self.guests.close()
        await self.standing.close()
