"""How far messages have come, what is sent later, drafts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.cancelling import Cancelling
from homeserver.services.conversations.delivery import DeliveryStatuses
from homeserver.services.conversations.drafts import Drafts
from homeserver.services.conversations.scheduled import MessageSender, ScheduledMessages
from homeserver.services.conversations.sending import Sending
from homeserver.storage.scheduled import MESSAGE
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class DeliveryParts:
    """What the Conversations API says of messages on their way."""

    def __init__(self, wiring: Wiring, sending: Sending) -> None:
        database, outbox = wiring.database, wiring.transport.outbox
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

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.CANCELLING] = self.cancelling
        app[keys.DELIVERY] = self.statuses
        app[keys.DRAFTS] = self.drafts
        app[keys.SCHEDULED_MESSAGES] = self.scheduled
