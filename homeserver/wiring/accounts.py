"""What belongs to having an account: terms, invitations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client_api.web.consent import ConsentLinks
from client_api.web.terms import PATH as TERMS_PATH
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.exports.account import AccountPart
from homeserver.services.exports.jobs import Exports, Settings
from homeserver.services.exports.rooms import RoomsPart
from homeserver.services.invitations import Invitations, Limits
from homeserver.services.terms import Document, Terms
from homeserver.services.welcome import Welcome
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class AccountParts:
    """Terms that users accept, invitations that members hand out."""

    def __init__(self, wiring: Wiring) -> None:
        config = wiring.config
        self.terms_links = ConsentLinks(
            base_url=config.public_base_url,
            secret=bytes(wiring.signing_key.seed) + b"terms",
            path=TERMS_PATH,
        )
        self.terms = Terms(
            documents=[Document.parse(item) for item in config.registration.terms],
            update=config.consent.terms_update,
            database=wiring.database,
            consent_uri=self.terms_links.make,
            clock_ms=clock_ms,
        )
        settings = config.registration.invitations
        self.invitations = Invitations(
            limits=Limits(settings.enabled, settings.per_member, settings.max_days),
            public_base_url=config.public_base_url,
            database=wiring.database,
            clock_ms=clock_ms,
        )
        self.welcome = Welcome(
            database=wiring.database,
            room_version=ROOM_VERSIONS[config.rooms.default_version],
            contacts=wiring.consent,
            chats=wiring.creation,
            joins=wiring.membership,
            profiles=wiring.profiles,
            account_data=wiring.account_data,
            clock_ms=clock_ms,
        )

    async def start(self) -> None:
        """Go on with what was left at the last stop."""
        await self.welcome.start()

    async def close(self) -> None:
        """Stop; what is left stays for the next start."""
        await self.welcome.close()


def make_exports(wiring: Wiring) -> Exports:
    """Exports of users' data; they read as users do."""
    config, database, reading = wiring.config, wiring.database, wiring.reading
    return Exports(
        server_name=config.server_name,
        directory=config.data_dir / "exports",
        settings=Settings(config.exports.keep_hours, config.exports.max_media_bytes),
        database=database,
        account=AccountPart(database=database, account_data=wiring.account_data),
        rooms=RoomsPart(database=database, readers=reading.timeline, states=reading.timeline_state),
        media=wiring.device_parts.media,
        clock_ms=clock_ms,
    )
