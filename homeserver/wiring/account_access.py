"""What accounts may do: locked and suspended ones, guests; and their mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.errors import UserLocked
from homeserver.services.account_standing import AccountStanding
from homeserver.services.appservices.registry import AppServices
from homeserver.services.guests import Guests
from homeserver.services.interactive_auth import (
    EMAIL_IDENTITY,
    PASSWORD,
    InteractiveAuth,
    PasswordStage,
)
from homeserver.services.long_polls import LongPolls
from homeserver.services.mail import Mailer
from homeserver.services.room_blocks import RoomBlocks
from homeserver.services.third_party_bindings import ThirdPartyBindings
from homeserver.services.third_party_ids import Settings, ThirdPartyIds
from homeserver.wiring.basics import clock_ms
from homeserver.wiring.mail import make_mailer

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


def mailer_and_standing(wiring: Wiring) -> tuple[Mailer, AccountStanding, RoomBlocks]:
    """What others are built upon: mail, who is locked or suspended, which rooms are blocked."""
    standing = AccountStanding(
        server_name=wiring.config.server_name,
        database=wiring.database,
        store=wiring.store,
        clock_ms=clock_ms,
    )
    room_blocks = RoomBlocks(database=wiring.database, clock_ms=clock_ms)
    return make_mailer(wiring.config, wiring.database), standing, room_blocks


class AccountAccess:
    """Puts account standing before what is not asked at a gate; guests."""

    def __init__(self, wiring: Wiring, auth: InteractiveAuth) -> None:
        self._mailer = wiring.mailer
        self._room_blocks = wiring.room_blocks
        self.standing = standing = wiring.standing
        services: AppServices = wiring.app_services.services
        standing.on_changed += [wiring.sessions.forget, services.forget]
        wiring.creation.may_act = standing.require_active
        wiring.profiles.may_act = standing.require_active

        def may_enter(user_id: str) -> None:
            if standing.is_locked(user_id):
                raise UserLocked()

        wiring.sessions.may_enter = may_enter
        self.long_polls = LongPolls(database=wiring.database, sessions=wiring.sessions)
        self.long_polls.keepers += [wiring.reading.notifier, wiring.reading.room_watch]
        wiring.sessions.on_forgotten.append(self.long_polls.changed)
        self._third_party(wiring, auth)
        self.guests = Guests(
            enabled=wiring.config.registration.guests,
            database=wiring.database,
            rooms=wiring.rooms,
            store=wiring.store,
            leaving=wiring.membership,
        )
        wiring.log.subscribe(self.guests.on_notice)

    def _third_party(self, wiring: Wiring, auth: InteractiveAuth) -> None:
        config = wiring.config
        self.third_party_ids = ThirdPartyIds(
            Settings(
                server_name=config.server_name,
                base_url=config.public_base_url,
                secret=bytes(wiring.signing_key.seed),
                allowed_domains=config.email.allowed_domains,
                reveal_accounts=config.email.reveal_accounts,
                next_link_urls=config.email.next_link_urls,
            ),
            database=wiring.database,
            mailer=wiring.mailer,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        require_email = config.registration.require_email
        wiring.registration.take_addresses(self.third_party_ids, require=require_email)
        auth.add_stage(EMAIL_IDENTITY, self.third_party_ids.stage)
        by_password = PasswordStage(
            server_name=config.server_name,
            accounts=wiring.accounts,
            rate_limits=wiring.rate_limits,
            identified=self.third_party_ids.identified,
        )
        auth.add_stage(PASSWORD, by_password)
        self.bindings = ThirdPartyBindings(
            database=wiring.database,
            servers=wiring.third_party.identity_servers,
            clock_ms=clock_ms,
        )
        wiring.accounts.unbind_all = self.bindings.unbind_all

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.ACCOUNT_STANDING] = self.standing
        app[app_keys.GUESTS] = self.guests
        app[app_keys.LONG_POLLS] = self.long_polls
        app[app_keys.MAILER] = self._mailer
        app[app_keys.THIRD_PARTY_IDS] = self.third_party_ids
        app[app_keys.THIRD_PARTY_BINDINGS] = self.bindings

    async def start(self) -> None:
        """Begin what runs in the background."""
        await self.standing.start()
        await self.long_polls.start()
        await self._room_blocks.start()
        await self.guests.start()
        await self._mailer.start()

    async def close(self) -> None:
        """Stop it."""
        await self._mailer.close()
        await self.guests.close()
        await self.long_polls.close()
        await self.standing.close()
