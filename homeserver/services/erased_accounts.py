"""Accounts whose content was erased, and from when on newcomers get their events redacted.

Spec: client-server API, ``POST /account/deactivate``: who joins a room after the erasure is served
redacted copies of the account's events; who saw them before goes on seeing them.
"""

from __future__ import annotations

from homeserver.protocol.events import Event
from homeserver.storage import account_deletion as storage
from homeserver.storage.database import Database


class ErasedAccounts:
    """User ID -> the log's position at the erasure, in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.positions: dict[str, int] = {}
        """Changed in place: whoever reads may keep it."""

    async def refresh(self) -> None:
        """Read which accounts are erased."""
        self.positions.update(await storage.get_erased(self._database))

    def position(self, event: Event) -> int | None:
        """When the sender was erased, if that concerns the event: it is no state of the room."""
        return self.positions.get(event.sender) if is_personal(event) else None

    async def is_hidden_from_server(self, event: Event, server: str) -> bool:
        """Whether an instance came too late to be served an event whole."""
        position = self.position(event)
        return position is not None and not await storage.server_was_joined(
            self._database, event.room_id, server, position
        )


def is_personal(event: Event) -> bool:
    """Whether an event is its sender's own: a message, or what they said of themselves.

    A room's name, rules and powers are the room's, whoever set them.
    """
    return event.state_key is None or (
        event.type == "m.room.member" and event.state_key == event.sender
    )
