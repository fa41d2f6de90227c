"""The parts of the Conversations API, and where its handlers find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.folding import Folding
from homeserver.services.conversations.idempotency import Idempotency
from homeserver.wiring.applications import ApplicationParts
from homeserver.wiring.basics import clock_ms
from homeserver.wiring.calls import CallParts
from homeserver.wiring.conversation_parts import ConversationParts
from homeserver.wiring.delivery import DeliveryParts
from homeserver.wiring.feed import FeedParts
from homeserver.wiring.finding import FindingParts
from homeserver.wiring.media import MediaParts
from homeserver.wiring.messages import MessageParts
from homeserver.wiring.people import PeopleParts

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class Conversations:
    """Everything that only the Conversations API needs; built last."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring, database = wiring, wiring.database
        self.idempotency = Idempotency(
            secret=bytes(wiring.signing_key.seed), database=database, clock_ms=clock_ms
        )
        wiring.ends.caretaker.add(self.idempotency)
        direct_list = wiring.upgrade_parts.direct_list
        self.people = PeopleParts(wiring, direct_list)
        folding = Folding(database=database, store=wiring.store, rooms=wiring.rooms)
        self.conversation_parts = ConversationParts(wiring, direct_list, folding)
        self.direct = self.conversation_parts.direct
        self.message_parts = MessageParts(wiring, self.direct, direct_list, folding)
        self.feed_parts = FeedParts(wiring)
        self.people.follow(self.feed_parts.feed)
        self.delivery_parts = DeliveryParts(
            wiring, self.message_parts.sending, self.feed_parts.feed
        )
        self.message_parts.folding.statuses = self.delivery_parts.statuses
        self.application_parts = ApplicationParts(
            wiring, self.feed_parts, self.conversation_parts.access, self.message_parts.sending
        )
        self.media_parts = MediaParts(wiring)
        self.finding = FindingParts(wiring, self.conversation_parts, self.message_parts)
        self.call_parts = CallParts(wiring, self.message_parts, self.finding)

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.IDEMPOTENCY] = self.idempotency
        self.people.provide(app)
        self.media_parts.provide(app)
        self.conversation_parts.provide(app)
        self.feed_parts.provide(app, self._wiring, self.message_parts)
        self.delivery_parts.provide(app)
        self.message_parts.provide(app)
        self.application_parts.provide(app)
        self.finding.provide(app)
        self.call_parts.provide(app)

    async def start(self) -> None:
        """Start what runs in the background."""
        self.feed_parts.start()
        await self.application_parts.start()
        await self.conversation_parts.start()
        await self.finding.start()

    def stop_waiting(self) -> None:
        """End what clients keep open, so that the listeners can close."""
        self.feed_parts.stop_waiting()

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self.call_parts.close()
        await self.finding.close()
        await self.application_parts.close()
        await self.delivery_parts.close()
        await self.people.close()
        await self.feed_parts.close()
        await self.conversation_parts.close()
        await self.media_parts.close()
