"""Drafts: what somebody has begun to write, for all their devices.

A draft is the conversation's account data ``dev.comity.draft``; empty account data is none.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from homeserver.errors import NotFound, TooLarge
from homeserver.protocol.events import JsonObject
from homeserver.services.account_data import AccountDataService
from homeserver.services.conversations.contents import invalid
from homeserver.services.conversations.shapes.messages import MAX_CUSTOM_BYTES
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.scheduled import Draft, NewDraft, PageQuery
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.rooms import Rooms
from homeserver.storage import account_data as storage
from homeserver.storage.database import Database

DRAFT = "dev.comity.draft"
KEPT = frozenset(NewDraft.__struct_fields__)
MAX_BYTES = 65_536
MEMBERSHIPS = ("join", "invite", "knock")


class Drafts:
    """Keeps drafts."""

    def __init__(
        self,
        *,
        database: Database,
        account_data: AccountDataService,
        rooms: Rooms,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._account_data = account_data
        self._rooms = rooms
        self._clock_ms = clock_ms

    async def get(self, user_id: str, room_id: str) -> Draft:
        """The draft in a conversation.  Raises :class:`NotFound`."""
        content = await self._account_data.get(user_id, DRAFT, room_id=room_id)
        draft = draft_of(room_id, content or {})
        if draft is None:
            raise NotFound("There is no draft in this conversation")
        return draft

    async def page(self, user_id: str, query: PageQuery) -> Page[Draft]:
        """All drafts, the last changed first."""
        before = parse_cursor(query.cursor, int)[0] if query.cursor else None
        rows = await storage.get_drafts(self._database, user_id, before, query.limit + 1)
        more, rows = len(rows) > query.limit, rows[: query.limit]
        drafts = [draft_of(row.room_id, row.content) for row in rows]
        return Page(
            items=[draft for draft in drafts if draft is not None],
            next=make_cursor(rows[-1].position) if more else None,
        )

    async def put(self, user_id: str, room_id: str, new: NewDraft) -> Draft:
        """Keep a draft in the place of what there was.

        Raises :class:`NotFound` for conversations that the user has nothing to do with,
        :class:`Problem`, :class:`TooLarge`.
        """
        room = await self._rooms.find(room_id)
        if room is None or room.membership(user_id) not in MEMBERSHIPS:
            raise NotFound("There is no such conversation, or you are not in it")
        if new == NewDraft():
            raise invalid("text", "The draft is empty: delete it")
        if new.custom is not None and len(msgspec.json.encode(new.custom)) > MAX_CUSTOM_BYTES:
            raise TooLarge(f"'custom' may have at most {MAX_CUSTOM_BYTES} bytes")
        defaults = msgspec.to_builtins(NewDraft())
        content: JsonObject = {
            key: value for key, value in msgspec.to_builtins(new).items() if value != defaults[key]
        }
        if len(msgspec.json.encode(content)) > MAX_BYTES:
            raise TooLarge(f"A draft may have at most {MAX_BYTES} bytes")
        content["updated_at"] = self._clock_ms()
        await self._account_data.put(user_id, DRAFT, content, room_id=room_id)
        draft = draft_of(room_id, content)
        assert draft is not None
        return draft

    async def delete(self, user_id: str, room_id: str) -> None:
        """Forget the draft in a conversation, if there is one."""
        if await self._account_data.get(user_id, DRAFT, room_id=room_id):
            await self._account_data.put(user_id, DRAFT, {}, room_id=room_id)


def draft_of(room_id: str, content: JsonObject) -> Draft | None:
    """Account data as a draft; None for what is none: any client can write there."""
    known = {key: value for key, value in content.items() if key in KEPT}
    try:
        new = msgspec.convert(known, NewDraft)
    except msgspec.ValidationError:
        return None
    if new == NewDraft():
        return None
    updated_at = content.get("updated_at")
    return Draft(
        conversation_id=room_id,
        updated_at=rfc3339(updated_at if type(updated_at) is int else 0),
        **{name: getattr(new, name) for name in new.__struct_fields__},
    )
