"""Finding messages: the index, and who looks into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver import app_keys
from homeserver.services.conversations.search import Search
from homeserver.services.search.indexer import MessageIndexer
from homeserver.services.search.matrix_search import MatrixSearch
from homeserver.services.search.search import MessageSearch
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring
    from homeserver.wiring.conversation_parts import ConversationParts
    from homeserver.wiring.messages import MessageParts


class FindingParts:
    """Search, for the Conversations API and for Matrix clients."""

    def __init__(
        self, wiring: Wiring, conversations: ConversationParts, messages: MessageParts
    ) -> None:
        self.indexer = MessageIndexer(
            database=wiring.database, log=wiring.log, store=wiring.store, clock_ms=clock_ms
        )
        self.message_search = MessageSearch(
            database=wiring.database,
            store=wiring.store,
            visibility=wiring.reading.visibility,
            reader_filter=wiring.reading.hidden_events,
        )
        self.matrix_search = MatrixSearch(
            search=self.message_search,
            timeline=wiring.reading.timeline,
            states=wiring.reading.timeline_state,
        )
        self.search = Search(
            search=self.message_search,
            folding=messages.folding,
            views=conversations.views,
            direct_list=conversations.direct_list,
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.SEARCH] = self.search
        app[app_keys.MATRIX_SEARCH] = self.matrix_search

    async def start(self) -> None:
        """Begin to index."""
        await self.indexer.follower.start()

    async def close(self) -> None:
        """Stop indexing."""
        await self.indexer.follower.close()
