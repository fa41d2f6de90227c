"""The feed of the Conversations API: what happens, live and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.feed.judging import Judge
from homeserver.services.conversations.feed.looking import Looking
from homeserver.services.conversations.feed.replay import Replay

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class FeedParts:
    """The feed, after all that it follows."""

    def __init__(self, wiring: Wiring) -> None:
        reading, database, log = wiring.reading, wiring.database, wiring.log
        judge = Judge(
            reader_filter=reading.hidden_events,
            audience=wiring.consent,
            invites=wiring.consent_parts.requests,
            views=reading.visibility,
        )
        looking = Looking(database=database, store=wiring.store, erased=wiring.erased.positions)
        self.replay = Replay(
            database=database,
            log=log,
            recent=reading.recent,
            rooms=reading.rooms_of_users,
            views=reading.visibility,
            judge=judge,
            looking=looking,
        )
        self.feed = Feed(
            log=log,
            store=wiring.store,
            rooms=reading.rooms_of_users,
            judge=judge,
            looking=looking,
            replay=self.replay,
        )

    def start(self) -> None:
        """Begin at the log's position, once the log has started."""
        self.replay.start()
        self.feed.start()

    async def close(self) -> None:
        """Stop."""
        await self.feed.close()
