"""Media of the Conversations API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.media_links import MediaLinks
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class MediaParts:
    """What gives files out, takes them in piece by piece, and deletes them."""

    def __init__(self, wiring: Wiring) -> None:
        self.deletion = wiring.ends.media_deletion
        self.links = MediaLinks(
            secret=bytes(wiring.signing_key.seed), database=wiring.database, clock_ms=clock_ms
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.MEDIA_DELETION] = self.deletion
        app[keys.MEDIA_LINKS] = self.links
