"""Calls: making them, following them, relays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver import app_keys
from homeserver.services.conversations.call_keeper import CallKeeper
from homeserver.services.conversations.calls import Calls
from homeserver.services.turn import Turn
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring
    from homeserver.wiring.finding import FindingParts
    from homeserver.wiring.messages import MessageParts


class CallParts:
    """Calls of the Conversations API, and what all calls need."""

    def __init__(self, wiring: Wiring, messages: MessageParts, finding: FindingParts) -> None:
        config, database = wiring.config, wiring.database
        self.calls = Calls(
            database=database,
            store=wiring.store,
            rooms=wiring.rooms,
            timeline=wiring.reading.timeline,
            sending=messages.sending,
            places=finding.message_search,
            clock_ms=clock_ms,
        )
        self.keeper = CallKeeper(
            server_name=config.server_name,
            database=database,
            log=wiring.log,
            rooms=wiring.rooms,
            clock_ms=clock_ms,
            wake=wiring.ends.caretaker.wake,
        )
        wiring.ends.caretaker.add(self.keeper)
        self.turn = Turn(
            uris=config.voip.turn_uris,
            shared_secret=config.voip.turn_shared_secret,
            ttl_ms=config.voip.turn_ttl_ms,
            clock_ms=clock_ms,
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.CALLS] = self.calls
        app[app_keys.TURN] = self.turn

    async def close(self) -> None:
        """Stop following."""
        await self.keeper.close()
