"""The first page of several conversations at once: as many statements as for one."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.services.conversations.folding import Folding
from homeserver.services.conversations.messages import NEWER, OLDER
from homeserver.services.conversations.rendering import FOLDED, SHOWN_STATE
from homeserver.services.conversations.shapes.messages import Message, MessagePage
from homeserver.services.conversations.shapes.pages import make_cursor
from homeserver.services.timeline import Timeline
from homeserver.services.visibility import Reader, Visibility, Withheld
from homeserver.storage import messages as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

SPARE = 20  # more than are asked for: some may not be for this reader


class NewestPages:
    """Reads the newest messages of conversations."""

    def __init__(
        self, *, database: Database, timeline: Timeline, visibility: Visibility, folding: Folding
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._visibility = visibility
        self._folding = folding

    async def get(
        self, user_id: str, room_ids: Collection[str], limit: int
    ) -> dict[str, MessagePage]:
        """Room ID -> its newest messages that the user may see, the newest first.

        Only of rooms that they are in: others are left out.
        """
        views = await self._visibility.readers(room_ids, user_id)
        readers = {r: reader for r, reader in views.items() if reader.membership == "join"}
        if not readers:
            return {}
        withheld = await self._timeline.withheld(user_id)
        ends = {room_id: self._timeline.end(reader) for room_id, reader in readers.items()}
        asked = limit + SPARE
        newest = await storage.get_newest(self._database, ends, asked, FOLDED, SHOWN_STATE)
        shown = {
            room_id: [s for s in found if _shows(s, readers[room_id], withheld)]
            for room_id, found in newest.items()
        }
        pages = {room_id: found[:limit] for room_id, found in shown.items()}
        wanted = [stored for page in pages.values() for stored in page]
        folded = await self._folding.fold(wanted, readers, withheld)
        by_id = {message.id: message for message in folded}
        return {
            room_id: self._page(
                [by_id[stored.event.event_id] for stored in page],
                _next(page, shown[room_id], newest[room_id], asked),
                ends[room_id],
            )
            for room_id, page in pages.items()
        }

    def _page(self, items: list[Message], following: int | None, end: int) -> MessagePage:
        return MessagePage(
            items=items,
            next=make_cursor(OLDER, following) if following is not None else None,
            previous=make_cursor(NEWER, end),
        )


def _shows(stored: StoredEvent, reader: Reader, withheld: Withheld) -> bool:
    return stored.shown and not withheld.hides(stored.event) and reader.may_see(stored)


def _next(
    page: list[StoredEvent], shown: list[StoredEvent], newest: list[StoredEvent], asked: int
) -> int | None:
    """The place from which older messages follow; None at the beginning."""
    if len(shown) > len(page):
        return page[-1].order - 1
    return newest[-1].order - 1 if len(newest) == asked else None
