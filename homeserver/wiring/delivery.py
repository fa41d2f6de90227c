"""How far messages have come, what is sent later, drafts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.cancelling import Cancelling
from homeserver.services.conversations.delivery import DeliveryStatuses
from homeserver.services.conversations.delivery_updates import DeliveryUpdates
from homeserver.services.conversations.drafts import Drafts
from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.scheduled import MessageSender, ScheduledMessages
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.shapes.updates import MessageStatus
from homeserver.services.daily import DailyPruning
from homeserver.storage.delivery import delete_old_refusals
from homeserver.storage.scheduled import MESSAGE
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring

REFUSALS_KEPT_MS = 90 * 24 * 3_600_000


class LiveSenders:
    """The feed, for those who have news of a user's own messages."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def awaits(self, user_id: str) -> bool:
        """Whether a user is told live, or is about to be."""
        return self._feed.awaits(user_id)

    def publish(self, user_id: str, update: MessageStatus) -> None:
        """Tell a user."""
        self._feed.send(Routed(Update(update), users=(user_id,)))


class DeliveryParts:
    """What the Conversations API says of messages on their way."""

    def __init__(self, wiring: Wiring, sending: Sending, feed: Feed) -> None:
        database, outbox = wiring.database, wiring.transport.outbox
        self._updates(wiring, feed)
        wiring.ends.caretaker.add(
            DailyPruning(
                delete_old_refusals,
                kept_ms=REFUSALS_KEPT_MS,
                database=database,
                clock_ms=clock_ms,
            )
        )
        self.statuses = DeliveryStatuses(
            server_name=wiring.config.server_name,
            database=database,
            store=wiring.store,
            rooms=wiring.rooms,
            progress=wiring.device_parts.progress,
            instances=outbox,
            audience=wiring.consent,
            clock_ms=clock_ms,
        )
        self.cancelling = Cancelling(
            database=database,
            statuses=self.statuses,
            rooms=wiring.rooms,
            contents=wiring.ends.deletion,
            instances=outbox,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        scheduler = wiring.scheduling.scheduler
        scheduler.senders[MESSAGE] = MessageSender(
            sending=sending, rooms=wiring.rooms, clock_ms=clock_ms
        )
        self.scheduled = ScheduledMessages(
            database=database,
            scheduler=scheduler,
            sending=sending,
            store=wiring.store,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        self.drafts = Drafts(
            database=database,
            account_data=wiring.account_data,
            rooms=wiring.rooms,
            clock_ms=clock_ms,
        )

    def _updates(self, wiring: Wiring, feed: Feed) -> None:
        self.updates = updates = DeliveryUpdates(
            server_name=wiring.config.server_name,
            log=wiring.log,
            live_rooms=wiring.live_rooms,
            audience=wiring.consent,
            updates=LiveSenders(feed),
            clock_ms=clock_ms,
        )
        wiring.device_parts.progress.subscribe(updates.device_reached)
        wiring.device_parts.delivery_notices.arrived = updates.remote_reached
        wiring.transport.outbox.arrivals = updates.instance_reached
        wiring.transport.outbox.refusals = updates.instance_refused
        wiring.transport.health.silenced = updates.instance_failing

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self.updates.close()

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.CANCELLING] = self.cancelling
        app[keys.DELIVERY] = self.statuses
        app[keys.DRAFTS] = self.drafts
        app[keys.SCHEDULED_MESSAGES] = self.scheduled
