"""Sliding sync: built upon the parts of sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.sliding.connections import Connections
from homeserver.services.sliding.extensions import Extensions
from homeserver.services.sliding.room_news import RoomNewsFinder
from homeserver.services.sliding.room_state import StateReader
from homeserver.services.sliding.rooms import SlidingRoomParts
from homeserver.services.sliding.service import SlidingSync
from homeserver.services.sliding.traits import BumpStamps, RoomTraits
from homeserver.services.sliding.user_rooms import SlidingRooms
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class SlidingParts:
    """Sliding sync."""

    def __init__(self, wiring: Wiring) -> None:
        database, reading, store = wiring.database, wiring.reading, wiring.store
        invites = wiring.consent_parts.requests
        parts = SlidingRoomParts(
            rooms=reading.sync_rooms,
            states=StateReader(database=database, states=reading.sync_states, store=store),
            store=store,
            summaries=reading.summaries,
            visibility=reading.visibility,
            unread=reading.unread_counts,
            bumps=BumpStamps(database=database, log=wiring.log),
        )
        self.connections = Connections(database=database, clock_ms=clock_ms)
        wiring.devices.on_removed.append(self.connections.devices_removed)
        wiring.account_deletion.also(self.connections.forget)
        self.sync = SlidingSync(
            connections=self.connections,
            recent=reading.recent,
            notifier=reading.notifier,
            rooms_of_users=reading.rooms_of_users,
            rooms=SlidingRooms(
                database=database,
                recent=reading.recent,
                account_data=wiring.account_data,
                traits=RoomTraits(database=database, log=wiring.log, store=store),
            ),
            parts=parts,
            finder=RoomNewsFinder(
                database=database,
                recent=reading.recent,
                store=store,
                parts=parts,
                extras=reading.extras,
                invites=invites,
            ),
            extensions=Extensions(extras=reading.extras, recent=reading.recent),
            extras=reading.extras,
            reader_filter=reading.hidden_events,
            invites=invites,
            progress=wiring.device_parts.progress,
        )

    def provide(self, app: web.Application) -> None:
        """Put the part under its key."""
        app[app_keys.SLIDING_SYNC] = self.sync

    async def start(self) -> None:
        """Begin to put quiet connections away."""
        await self.connections.start()

    async def close(self) -> None:
        """Put all connections away."""
        await self.connections.close()
