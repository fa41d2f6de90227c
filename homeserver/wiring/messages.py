"""The messages of the Conversations API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.direct_list import DirectList
from homeserver.services.conversations.folding import Folding
from homeserver.services.conversations.forwarding import Forwarding
from homeserver.services.conversations.media_notes import MediaNotes
from homeserver.services.conversations.message_changes import MessageChanges
from homeserver.services.conversations.messages import Messages
from homeserver.services.conversations.newest_pages import NewestPages
from homeserver.services.conversations.read_marks import ReadMarks
from homeserver.services.conversations.rendered import Rendered
from homeserver.services.conversations.sending import Sending
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class MessageParts:
    """Sending messages, and reading them."""

    def __init__(
        self, wiring: Wiring, direct: Direct, direct_list: DirectList, folding: Folding
    ) -> None:
        self.rendered = Rendered(wiring.log)
        self.sending = Sending(
            rooms=wiring.rooms,
            store=wiring.store,
            direct=direct,
            peers=direct_list,
            media=MediaNotes(wiring.database),
            rendered=self.rendered,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        reading = wiring.reading
        self.folding = folding
        self.messages = Messages(
            database=wiring.database,
            store=wiring.store,
            timeline=reading.timeline,
            folding=self.folding,
        )
        self.newest_pages = NewestPages(
            database=wiring.database,
            timeline=reading.timeline,
            visibility=reading.visibility,
            folding=self.folding,
        )
        self.changes = MessageChanges(
            database=wiring.database,
            store=wiring.store,
            rooms=wiring.rooms,
            timeline=reading.timeline,
            messages=self.messages,
            folding=self.folding,
            sending=self.sending,
            hidden_events=reading.hidden_events,
            rate_limits=wiring.rate_limits,
        )
        self.forwarding = Forwarding(
            messages=self.messages, changes=self.changes, sending=self.sending
        )
        self.read_marks = ReadMarks(
            receipts=wiring.device_parts.receipts,
            account_data=wiring.account_data,
            messages=self.messages,
            sending=self.sending,
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.SENDING] = self.sending
        app[keys.MESSAGES] = self.messages
        app[keys.NEWEST_PAGES] = self.newest_pages
        app[keys.MESSAGE_CHANGES] = self.changes
        app[keys.FORWARDING] = self.forwarding
        app[keys.READ_MARKS] = self.read_marks
