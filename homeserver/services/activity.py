"""What a committed event says of its sender besides its content: they are active, and no longer
typing."""

from __future__ import annotations

from typing import Protocol

from homeserver.protocol.identifiers import server_name_of
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice


class Typists(Protocol):
    """Who is typing."""

    def user_left(self, room_id: str, user_id: str) -> None:
        """They are not typing any more."""


class Presences(Protocol):
    """Who is online."""

    def active(self, user_id: str) -> None:
        """A local user did something."""


class Activity:
    """Listens to the log."""

    def __init__(self, *, server_name: str, typing: Typists, presence: Presences) -> None:
        self._server_name = server_name
        self._typing = typing
        self._presence = presence

    def on_notice(self, notice: Notice) -> None:
        """Senders of messages have stopped typing, and so have those who left."""
        for _, record in notice.records:
            if not isinstance(record, EventRecord) or not record.visible:
                continue
            event = record.event
            if event.type == "m.room.member":
                if event.membership != "join":
                    self._typing.user_left(event.room_id, event.state_key or "")
                continue
            self._typing.user_left(event.room_id, event.sender)
            if server_name_of(event.sender) == self._server_name:
                self._presence.active(event.sender)
