"""What instances say of users' presence a moment before we know that these share a room with ours.

An instance may tell of a user as soon as it has let one of ours in, while that room is still being
taken in here.  So it is kept for some minutes, and looked at again when somebody comes into a room.
"""

from __future__ import annotations

from collections import OrderedDict

from homeserver.protocol.events import JsonObject

KEPT_MS = 300_000
MOST_KEPT = 1_000


class Strangers:
    """Keeps the last entry of each."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[int, JsonObject]] = OrderedDict()
        self._look = False

    def put(self, user_id: str, entry: JsonObject, now: int) -> None:
        """Keep an entry.  ``now`` in ms."""
        self._entries.pop(user_id, None)
        self._entries[user_id] = (now + KEPT_MS, entry)
        self._look = True  # who has come while it was found out that they are strangers
        if len(self._entries) > MOST_KEPT:
            self._entries.popitem(last=False)

    def somebody_came(self) -> None:
        """Somebody came into a room: they may be strangers no longer."""
        self._look = bool(self._entries)

    def to_look_at(self, now: int) -> list[str]:
        """Who may be no stranger any more.  ``now`` in ms."""
        while self._entries and next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)
        if not self._look:
            return []
        self._look = False
        return list(self._entries)

    def take(self, user_id: str) -> JsonObject | None:
        """What was said of somebody who is no stranger."""
        found = self._entries.pop(user_id, None)
        return found[1] if found is not None else None
