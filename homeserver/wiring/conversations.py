"""The parts of the Conversations API, and where its handlers find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class Conversations:
    """Everything that only the Conversations API needs; built last."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""

    async def start(self) -> None:
        """Start what runs in the background."""

    def stop_waiting(self) -> None:
        """End what clients keep open, so that the listeners can close."""

    async def close(self) -> None:
        """Stop what runs in the background."""
