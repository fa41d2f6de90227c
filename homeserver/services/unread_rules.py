"""Which readers an event counts as unread for, as rooms ask when they take in an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from homeserver.protocol.events import Event, JsonObject
from homeserver.services.live_room import LiveRoom
from homeserver.storage.event_records import Notification


class UnreadRules(Protocol):
    """Which readers an event counts as unread for."""

    async def prepare(self, room: LiveRoom, content: JsonObject) -> None:
        """Bring into memory what that takes for an event of this content."""

    def notifications(self, room: LiveRoom, event: Event) -> Sequence[Notification]:
        """One per distinct ruleset that it notifies, and one per user it singles out."""
