"""Server notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.protocol.identifiers import UserId
from homeserver.services.policy_lists.service_account import ServiceAccount
from homeserver.services.server_notices.notices import SenderLook, ServerNotices
from homeserver.services.server_notices.rooms import NoticeRooms, RoomLook
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class NoticeParts:
    """What tells users something in the server's own name."""

    def __init__(self, wiring: Wiring) -> None:
        config, database = wiring.config, wiring.database
        settings = config.server_notices
        rooms = NoticeRooms(
            database=database,
            rooms=wiring.rooms,
            creation=wiring.creation,
            tags=wiring.room_tags,
            consent=wiring.consent,
            profiles=wiring.profiles,
            look=RoomLook(
                settings.room_name,
                settings.room_topic,
                settings.avatar_url,
                config.rooms.default_version,
            ),
        )
        wiring.membership.check_leave = rooms.check_leave
        account = None
        if settings.account is not None:
            account = ServiceAccount(
                user_id=UserId(f"@{settings.account}:{config.server_name}"),
                database=database,
                accounts=wiring.accounts,
                consent=wiring.consent,
                setting="server_notices.account",
            )
        self.notices = ServerNotices(
            database=database,
            store=wiring.store,
            rooms=wiring.rooms,
            notice_rooms=rooms,
            account=account,
            look=SenderLook(settings.display_name, settings.avatar_url),
            clock_ms=clock_ms,
        )

    def provide(self, app: web.Application) -> None:
        """Put it under its key."""
        app[app_keys.SERVER_NOTICES] = self.notices
