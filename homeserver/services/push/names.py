"""What a notification calls a room and the people in it.

Spec: client-server API, calculating the display name for a room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from homeserver.protocol.events import JsonObject
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.push.audience import LiveRoomSource
from homeserver.services.sync_summary import RoomSummary
from homeserver.storage.rooms import MembershipRow

NAME = ("m.room.name", "")
ALIAS = ("m.room.canonical_alias", "")
MEMBER = "m.room.member"


class Summaries(Protocol):
    """Whom rooms are named after."""

    async def get(self, room_id: str) -> RoomSummary:
        """A room's summary."""


class InvitedRooms(Protocol):
    """Where a user is invited."""

    @property
    def invited(self) -> Mapping[str, MembershipRow]:
        """Room ID -> the invite."""


class RoomsOf(Protocol):
    """The rooms of users."""

    async def get(self, user_id: str) -> InvitedRooms:
        """A user's rooms."""


class Names:
    """Reads names from the rooms' state; of a room that one is only invited to, from the invite."""

    def __init__(
        self, *, rooms: LiveRoomSource, store: EventStore, summaries: Summaries, users: RoomsOf
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._summaries = summaries
        self._users = users

    async def room(self, room_id: str, reader: str) -> tuple[str | None, str | None]:
        """A room's name for a reader, and its alias."""
        invite = (await self._users.get(reader)).invited.get(room_id)
        if invite is not None:
            name = _stripped(invite, *NAME).get("name")
            alias = _text(_stripped(invite, *ALIAS).get("alias"))
            return _text(name) or alias, alias
        room = await self._rooms.get(room_id)
        if room is None:
            return None, None
        await room.load_events(self._store, (NAME, ALIAS))
        alias = _text(room.content(ALIAS).get("alias"))
        name = _text(room.content(NAME).get("name")) or alias
        return name or await self._after_members(room, reader), alias

    async def _after_members(self, room: LiveRoom, reader: str) -> str | None:
        summary = await self._summaries.get(room.room_id)
        heroes = summary.heroes(reader)
        if not heroes:
            return None
        await room.load_events(self._store, [(MEMBER, hero) for hero in heroes])
        names = [_text(room.content((MEMBER, hero)).get("displayname")) or hero for hero in heroes]
        others = summary.joined + summary.invited - 1 - len(names)
        if others > 0:
            return f"{', '.join(names)} and {others} more"
        if len(names) == 1:
            return names[0]
        return f"{', '.join(names[:-1])} and {names[-1]}"

    async def member(self, room_id: str, user_id: str, reader: str) -> str | None:
        """A member's display name in a room; None if they have none."""
        invite = (await self._users.get(reader)).invited.get(room_id)
        if invite is not None:
            return _text(_stripped(invite, MEMBER, user_id).get("displayname"))
        room = await self._rooms.get(room_id)
        if room is None:
            return None
        await room.load_events(self._store, [(MEMBER, user_id)])
        return _text(room.content((MEMBER, user_id)).get("displayname"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _stripped(invite: MembershipRow, kind: str, state_key: str) -> JsonObject:
    for event in invite.stripped_state or ():
        if event.get("type") == kind and event.get("state_key") == state_key:
            content: Any = event.get("content")
            return content if isinstance(content, dict) else {}
    return {}
