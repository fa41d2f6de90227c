"""What services need of other instances' queues.  ``federation/outbox.py`` provides it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Connection


class EduQueue(Protocol):
    """Queues of EDUs, one per destination."""

    async def queue_edu(
        self,
        destinations: Collection[str],
        edu_type: str,
        content: JsonObject,
        coalesce_key: str | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Queue an EDU durably, inside the transaction of ``connection`` if there is one."""

    def queue_ephemeral(
        self, destinations: Collection[str], edu_type: str, content: JsonObject, key: str
    ) -> None:
        """Queue an EDU in memory; a later one of the same key replaces it."""


class RoomServers(Protocol):
    """Where a room's members are."""

    async def joined_servers(self, room_id: str) -> Collection[str]:
        """The other instances with a joined member."""

    async def is_joined(self, room_id: str, user_id: str) -> bool:
        """Whether a user, ours or another instance's, is joined."""
