"""What only admins use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.statistics import StatisticsService
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class AdministrationParts:
    """Figures about the server."""

    def __init__(self, wiring: Wiring) -> None:
        self.statistics = StatisticsService(database=wiring.database, clock_ms=clock_ms)

    def provide(self, app: web.Application) -> None:
        """Put them under their keys."""
        app[app_keys.STATISTICS] = self.statistics
