"""What only admins use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.admin_jobs import AdminJobs
from homeserver.services.daily import DailyPruning
from homeserver.services.destinations import Destinations
from homeserver.services.media_removal import MediaRemoval
from homeserver.services.room_deletion import RoomDeletion
from homeserver.services.room_figures import RoomFigures
from homeserver.services.statistics import StatisticsService
from homeserver.storage.admin_jobs import delete_old_jobs
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring

JOBS_KEPT_MS = 90 * 24 * 3_600_000


class AdministrationParts:
    """Figures, and jobs in the background."""

    def __init__(self, wiring: Wiring) -> None:
        database, ends = wiring.database, wiring.ends
        self._wiring = wiring
        self.statistics = StatisticsService(database=database, clock_ms=clock_ms)
        self.jobs = AdminJobs(database=database, wake=ends.admin_caretaker.wake, clock_ms=clock_ms)
        self.figures = RoomFigures(
            database=database,
            store=wiring.store,
            states=wiring.states,
            wake=ends.caretaker.wake,
            clock_ms=clock_ms,
        )
        self.room_deletion = RoomDeletion(
            database=database,
            jobs=self.jobs,
            contents=wiring.ends.deletion,
            departures=wiring.membership,
            events=wiring.store,
            clock_ms=clock_ms,
        )
        self.media_removal = MediaRemoval(
            server_name=wiring.config.server_name,
            database=database,
            jobs=self.jobs,
            files=wiring.ends.media_deletion,
        )
        self.destinations = Destinations(database=database, sending=wiring.transport.outbox)
        pruning = DailyPruning(
            delete_old_jobs, kept_ms=JOBS_KEPT_MS, database=database, clock_ms=clock_ms
        )
        ends.caretaker.add(self.figures, pruning)
        ends.admin_caretaker.add(self.jobs)

    def provide(self, app: web.Application) -> None:
        """Put them under their keys."""
        app[app_keys.STATISTICS] = self.statistics
        app[app_keys.EVENT_STORE] = self._wiring.store
        app[app_keys.ADMIN_JOBS] = self.jobs
        app[app_keys.DESTINATIONS] = self.destinations
        app[app_keys.MEDIA_REMOVAL] = self.media_removal
        app[app_keys.ROOM_BLOCKS] = self._wiring.room_blocks
        app[app_keys.ROOM_DELETION] = self.room_deletion
        app[app_keys.ROOM_FIGURES] = self.figures
