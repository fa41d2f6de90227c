"""The messages of the Conversations API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.direct_list import DirectList
from homeserver.services.conversations.media_notes import MediaNotes
from homeserver.services.conversations.rendered import Rendered
from homeserver.services.conversations.sending import Sending
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class MessageParts:
    """Sending messages, and reading them."""

    def __init__(self, wiring: Wiring, direct: Direct, direct_list: DirectList) -> None:
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
