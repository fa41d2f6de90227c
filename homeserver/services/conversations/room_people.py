"""People as a room shows them: by the names and pictures of their member events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.client_events import shown_event
from homeserver.services.conversations.reading import as_dict, as_text
from homeserver.services.conversations.shapes.media import media_id
from homeserver.services.conversations.shapes.people import Person, address
from homeserver.services.event_store import EventStore
from homeserver.storage import conversations as storage
from homeserver.storage.conversations import MemberEvent
from homeserver.storage.database import Database

Pair = tuple[str, str]  # room ID, user ID


class RoomPeople:
    """Reads people of many rooms at once."""

    def __init__(self, *, server_name: str, database: Database, store: EventStore) -> None:
        self._server_name = server_name
        self._database = database
        self._store = store

    async def get(self, pairs: Collection[Pair]) -> dict[Pair, Person]:
        """Those people, each in a room; two queries at most."""
        if not pairs:
            return {}
        wanted = list(dict.fromkeys(pairs))
        rows = await storage.get_member_events(self._database, wanted)
        contents = await self.contents(rows.values())
        return {pair: self.person(pair[1], contents.get(pair, {})) for pair in wanted}

    async def contents(self, members: Iterable[MemberEvent]) -> dict[Pair, Mapping[str, Any]]:
        """What member events say."""
        listed = list(members)
        events = await self._store.get_many(row.event_id for row in listed if row.event_id)
        return {
            (row.room_id, row.user_id): shown_event(events[row.event_id]).content
            for row in listed
            if row.event_id in events
        }

    def person(
        self, user_id: str, content: Mapping[str, Any], *, with_avatar: bool = True
    ) -> Person:
        """Somebody as a member event's content shows them."""
        return Person(
            address=address(user_id),
            name=as_text(content.get("displayname")),
            avatar=media_id(content.get("avatar_url")) if with_avatar else None,
            is_local=server_name_of(user_id) == self._server_name,
        )

    def stripped_person(
        self, user_id: str, state: Iterable[JsonObject] | None, *, with_avatar: bool
    ) -> Person:
        """Somebody as stripped state shows them."""
        for event in state or ():
            if event.get("type") == "m.room.member" and event.get("state_key") == user_id:
                content = as_dict(event.get("content"))
                return self.person(user_id, content, with_avatar=with_avatar)
        return self.person(user_id, {})
