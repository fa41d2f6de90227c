"""What is sent later: the schedule, the worker that looks after it, delayed events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.services.caretaker import Caretaker
from homeserver.services.scheduling.delayed_events import DelayedEvents, DelayedEventSender
from homeserver.services.scheduling.scheduler import ScheduleLimits, Scheduler
from homeserver.storage.scheduled import EVENT
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class Scheduling:
    """The schedule.  It has a worker of its own: a delayed event must not wait for anything else
    that falls due."""

    def __init__(self, wiring: Wiring) -> None:
        limits = wiring.config.scheduling
        self.worker = Caretaker(clock_ms=clock_ms)
        self.scheduler = Scheduler(
            database=wiring.database,
            limits=ScheduleLimits(
                limits.max_delay_ms, limits.max_per_user, limits.keep_finished_ms
            ),
            wake=self.worker.wake,
            clock_ms=clock_ms,
        )
        self.scheduler.may_act = wiring.standing.require_active
        self.worker.add(self.scheduler)
        self.scheduler.senders[EVENT] = DelayedEventSender(
            rooms=wiring.rooms,
            invites=wiring.membership,
            aliases=wiring.directory,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        self.delayed_events = DelayedEvents(
            database=wiring.database,
            scheduler=self.scheduler,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        wiring.account_deletion.also(self.scheduler.forget)

    async def start(self) -> None:
        """Begin with what fell due while the server was down."""
        await self.scheduler.start()
        await self.worker.start()

    async def close(self) -> None:
        """Stop the worker, and let what is being sent end."""
        await self.worker.close()
        await self.scheduler.close()
