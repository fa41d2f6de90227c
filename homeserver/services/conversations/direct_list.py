"""Which conversations are direct, as each user's clients keep it: ``m.direct``.

Who accepts an invitation to a direct conversation through the API has no client to note it.

Spec: client-server API, direct messaging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol
from weakref import WeakValueDictionary

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.account_data import AccountDataService
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.rooms import is_direct_invite

M_DIRECT = "m.direct"

Change = Callable[[dict[str, Any]], dict[str, Any]]


def rooms_with(content: Mapping[str, Any] | None, peer: str) -> list[str]:
    """The rooms that are direct with somebody, in the order in which they were named."""
    rooms = (content or {}).get(peer)
    found = rooms if isinstance(rooms, list) else []
    return [room_id for room_id in found if isinstance(room_id, str)]


def peers_by_room(content: Mapping[str, Any] | None) -> dict[str, str]:
    """Room ID -> with whom it is direct.  Clients write what they like: only texts count."""
    return {
        room_id: peer
        for peer, rooms in (content or {}).items()
        if peer.startswith("@") and isinstance(rooms, list)
        for room_id in rooms
        if isinstance(room_id, str)
    }


class DirectList:
    """Reads and changes users' ``m.direct``; changes of one user's go one after the other."""

    def __init__(self, account_data: AccountDataService) -> None:
        self._account_data = account_data
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def rooms_with(self, owner: str, peer: str) -> list[str]:
        """The rooms that are direct with somebody."""
        return rooms_with(await self._account_data.get(owner, M_DIRECT), peer)

    async def peers_by_room(self, owner: str) -> dict[str, str]:
        """Room ID -> with whom it is direct."""
        return peers_by_room(await self._account_data.get(owner, M_DIRECT))

    async def add(self, owner: str, peer: str, room_id: str) -> None:
        """A room is direct with somebody from now on."""

        def change(content: dict[str, Any]) -> dict[str, Any]:
            rooms = rooms_with(content, peer)
            return content if room_id in rooms else {**content, peer: [*rooms, room_id]}

        await self._change(owner, change)

    async def remove(self, owner: str, room_id: str) -> None:
        """A room is not direct any longer, or is gone."""

        def change(content: dict[str, Any]) -> dict[str, Any]:
            kept = {
                peer: [room for room in rooms if room != room_id] if isinstance(rooms, list) else []
                for peer, rooms in content.items()
            }
            return {peer: rooms for peer, rooms in kept.items() if rooms}

        if room_id in await self.peers_by_room(owner):
            await self._change(owner, change)

    async def _change(self, owner: str, change: Change) -> None:
        lock = self._locks.setdefault(owner, asyncio.Lock())
        async with lock:
            before: JsonObject = await self._account_data.get(owner, M_DIRECT) or {}
            after = change(dict(before))
            if after != before:
                await self._account_data.put_managed(owner, M_DIRECT, after)


class Joins(Protocol):
    """The way into a room."""

    async def join(self, user_id: UserId, room_id: str, *, servers: Iterable[str] = ()) -> None:
        """Join a local user to a room."""


class Invitations:
    """Accepts invitations, and notes those to direct conversations."""

    def __init__(self, *, database: Database, membership: Joins, direct_list: DirectList) -> None:
        self._database = database
        self._membership = membership
        self._direct_list = direct_list

    async def join(self, user_id: UserId, room_id: str, *, servers: Iterable[str] = ()) -> None:
        """Join a room.  Raises what joining raises."""
        row = await storage.get_membership(self._database, room_id, user_id)
        await self._membership.join(user_id, room_id, servers=servers)
        if row is not None and row.membership == "invite" and is_direct_invite(row, user_id):
            await self._direct_list.add(user_id, row.sender, room_id)
