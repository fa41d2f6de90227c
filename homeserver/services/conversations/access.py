"""Who may do what in a conversation: asked before anything is sent, so that the refusal is plain.

The auth rules have the last word: they are asked when the event is built.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.power_levels import creators
from homeserver.services.conversations.permissions import Standing
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.conversations import Permission
from homeserver.services.live_room import CREATE, POWER_LEVELS, LiveRoom
from homeserver.services.rooms import Rooms
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database

SAYS: dict[Permission, str] = {
    "send": "send messages",
    "invite": "invite people",
    "remove": "remove members",
    "change_settings": "change the settings",
    "delete_messages": "delete others' messages",
    "moderate": "ban members",
    "administer": "administer the conversation",
}


class Access:
    """Looks up conversations for those who want to do something in them."""

    def __init__(self, *, database: Database, rooms: Rooms) -> None:
        self._database = database
        self._rooms = rooms
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def room(self, user_id: str, room_id: str) -> LiveRoom:
        """A conversation that the user is in.

        Raises :class:`NotFound`, or, where they know of it, :class:`Problem` ``not_a_member``.
        """
        room = await self._rooms.find(room_id)
        if room is not None and room.is_joined(user_id):
            return room
        row = await storage.get_membership(self._database, room_id, user_id)
        if row is None or row.forgotten:
            raise NotFound("There is no such conversation")
        raise Problem("not_a_member", "You are not in this conversation", status=403)

    async def allowed(self, user_id: str, room_id: str, *permissions: Permission) -> LiveRoom:
        """A conversation in which the user has these permissions.

        Raises what :meth:`room` raises, and :class:`Problem` ``forbidden``.
        """
        room = await self.room(user_id, room_id)
        require(standing_of(room), user_id, *permissions)
        return room

    def lock(self, room_id: str) -> asyncio.Lock:
        """Held while something is changed that was read before."""
        return self._locks.setdefault(room_id, asyncio.Lock())


def standing_of(room: LiveRoom) -> Standing:
    """Who may do what in a room, now."""
    event = room.event(POWER_LEVELS)
    content: JsonObject | None = event.content if event is not None else None
    return Standing(content, creators(room.event(CREATE)), room.version, encrypted=room.encrypted)


def require(standing: Standing, user_id: str, *permissions: Permission) -> None:
    """Raise :class:`Problem` ``forbidden`` for a permission that somebody lacks."""
    has = standing.effective(user_id)
    for permission in permissions:
        if permission not in has:
            raise Problem(
                "forbidden",
                f"You may not {SAYS[permission]} here",
                status=403,
                permission=permission,
            )


def require_above(standing: Standing, user_id: str, target: str) -> None:
    """Raise :class:`Problem` ``forbidden`` for somebody who stands as high as oneself."""
    if user_id != target and standing.level(target) >= standing.level(user_id):
        raise Problem("forbidden", "That person stands as high here as you do", status=403)
