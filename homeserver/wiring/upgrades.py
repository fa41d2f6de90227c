"""Room upgrades, and what users take with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.conversations.direct_list import DirectList
from homeserver.services.upgrades.belongings import RoomBelongings
from homeserver.services.upgrades.upgrade import RoomUpgrades

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class UpgradeParts:
    """Built once rooms can be made and joined."""

    def __init__(self, wiring: Wiring) -> None:
        self.direct_list = DirectList(wiring.account_data)
        self.belongings = RoomBelongings(
            database=wiring.database,
            rooms=wiring.rooms,
            store=wiring.store,
            tags=wiring.room_tags,
            direct=self.direct_list,
            push_rules=wiring.push_rules,
        )
        wiring.membership.on_joined = self.belongings.joined
        self.upgrades = RoomUpgrades(
            database=wiring.database,
            rooms=wiring.rooms,
            store=wiring.store,
            creation=wiring.creation,
            gate=wiring.send_gate,
            profiles=wiring.profiles,
            belongings=self.belongings,
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.ROOM_UPGRADES] = self.upgrades
