"""Accounts whose content was erased, and from when on newcomers get their events redacted.

Spec: client-server API, ``POST /account/deactivate``: who joins a room after the erasure is served
redacted copies of the account's events; who saw them before goes on seeing them.
"""

from __future__ import annotations

from homeserver.protocol.events import Event
from homeserver.protocol.identifiers import server_name_of
from homeserver.storage import account_deletion as storage
from homeserver.storage.database import Database

NOBODY: frozenset[str] = frozenset()


class ErasedAccounts:
    """User ID -> the log's position at the erasure, in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.positions: dict[str, int] = {}
        """Changed in place: whoever reads may keep it."""

    async def refresh(self) -> None:
        """Read which accounts are erased."""
        self.positions.update(await storage.get_erased(self._database))

    async def hidden_from_server(self, room_id: str, server: str) -> frozenset[str]:
        """The erased users whose personal events an instance, which came too late to a room, gets
        redacted.  Costs nothing where nobody was erased."""
        if not self.positions:
            return NOBODY
        joined = await storage.get_first_join(self._database, room_id, server)
        return frozenset(
            user_id
            for user_id, position in self.positions.items()
            if (joined is None or joined > position) and server_name_of(user_id) != server
        )


def is_personal(event: Event) -> bool:
    """Whether an event is its sender's own: a message, or what they said of themselves.

    A room's name, rules and powers are the room's, whoever set them.
    """
    return event.state_key is None or (
        event.type == "m.room.member" and event.state_key == event.sender
    )
