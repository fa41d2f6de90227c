"""Tags by which users sort their rooms.  Spec: client-server API, room tagging."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.services.account_data import AccountDataService

TAG = "m.tag"
MAX_TAG_BYTES = 255
MOST_TAGS = 100


class RoomTags:
    """Reads and changes the tags of rooms, which are account data; one change at a time."""

    def __init__(self, account_data: AccountDataService) -> None:
        self._account_data = account_data
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, user_id: str, room_id: str) -> dict[str, JsonObject]:
        """A room's tags, with what the user says of each."""
        content = await self._account_data.get(user_id, TAG, room_id=room_id) or {}
        tags = content.get("tags")
        if not isinstance(tags, dict):
            return {}  # whoever writes account data may write anything
        return {tag: about for tag, about in tags.items() if isinstance(about, dict)}

    async def put(
        self, user_id: str, room_id: str, tag: str, about: JsonObject | None = None
    ) -> None:
        """Add a tag, or say something else of it; None: what was said of it stays.

        Raises :class:`InvalidParam` for an impossible name, and for more than :data:`MOST_TAGS`.
        """
        if not tag or "\0" in tag or len(tag.encode()) > MAX_TAG_BYTES:
            raise InvalidParam(f"A tag has between 1 and {MAX_TAG_BYTES} bytes")
        async with self._lock(user_id):
            tags = await self.get(user_id, room_id)
            if tag not in tags and len(tags) >= MOST_TAGS:
                raise InvalidParam(f"A room can have at most {MOST_TAGS} tags")
            wanted = tags.get(tag, {}) if about is None else about
            if tag not in tags or tags[tag] != wanted:
                await self._set(user_id, room_id, {**tags, tag: wanted})

    async def delete(self, user_id: str, room_id: str, tag: str) -> None:
        """Take a tag away, if the room has it."""
        async with self._lock(user_id):
            tags = await self.get(user_id, room_id)
            if tags.pop(tag, None) is not None:
                await self._set(user_id, room_id, tags)

    async def _set(self, user_id: str, room_id: str, tags: dict[str, JsonObject]) -> None:
        await self._account_data.put_managed(user_id, TAG, {"tags": tags}, room_id=room_id)

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())
