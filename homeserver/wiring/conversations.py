"""The parts of the Conversations API, and where its handlers find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.idempotency import Idempotency
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class Conversations:
    """Everything that only the Conversations API needs; built last."""

    def __init__(self, wiring: Wiring) -> None:
        database = wiring.database
        self.idempotency = Idempotency(database=database, clock_ms=clock_ms)
        wiring.ends.caretaker.add(self.idempotency)

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.IDEMPOTENCY] = self.idempotency

    async def start(self) -> None:
        """Start what runs in the background."""

    def stop_waiting(self) -> None:
        """End what clients keep open, so that the listeners can close."""

    async def close(self) -> None:
        """Stop what runs in the background."""
