"""One user's presence, and how it moves: pure, the time is an argument.

Spec: client-server API, presence: last active ago, and idle timeout; MSC3026, busy.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct, field

from homeserver.protocol.events import JsonObject

ONLINE = "online"
UNAVAILABLE = "unavailable"
OFFLINE = "offline"
BUSY = "busy"
STATES = (ONLINE, UNAVAILABLE, OFFLINE, BUSY)

# MSC3026.  Who does not know it takes a busy user for unavailable.
BUSY_SPELLING = "org.matrix.msc3026.busy"

CURRENTLY_ACTIVE_MS = 60_000  # since the last action
IDLE_MS = 300_000  # since the last action: unavailable
ABSENT_MS = 30_000  # since the last sync: offline
REMOTE_SILENT_MS = 1_800_000  # since the last EDU: offline
MAX_STATUS = 1_000


class Remembered(Protocol):
    """A user's presence as last stored."""

    @property
    def status_msg(self) -> str | None:
        """The text beside it."""

    @property
    def last_active_at(self) -> int:
        """In ms."""


class UserPresence(Struct):
    """How a user is, as of the last change.  Methods say whether there is news for others."""

    user_id: str
    local: bool
    presence: str = OFFLINE
    status_msg: str | None = None
    last_active_at: int = 0  # ms
    currently_active: bool = False
    recalled: bool = False  # whether what is on disk was looked at
    syncs: int = 0  # under way
    seen_at: int = 0  # ms; the end of the last sync, or the last EDU
    version: int = 0
    told: frozenset[str] = frozenset()  # the instances that know
    told_at: int = 0  # ms
    profile: JsonObject = field(default_factory=dict)  # since it changed: name and avatar

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten."""
        return self.presence == OFFLINE and self.syncs == 0

    def content(self, now: int) -> JsonObject:
        """The content of an ``m.presence`` event."""
        content: JsonObject = {"presence": self.presence}
        if self.presence == BUSY:
            content = {"presence": UNAVAILABLE, BUSY_SPELLING: True}
        if self.last_active_at:
            content["last_active_ago"] = max(0, now - self.last_active_at)
        if self.presence == ONLINE:
            content["currently_active"] = self.currently_active
        if self.status_msg is not None:
            content["status_msg"] = self.status_msg
        return content

    def event_content(self, now: int) -> JsonObject:
        """The same as clients are sent it: with the name and the avatar, if they have changed.

        Spec: client-server API, events on change of profile information.
        """
        return {**self.profile, **self.content(now)}

    def recall(self, row: Remembered | None) -> None:
        """Take in what is on disk of them."""
        if row is not None:
            self.status_msg = row.status_msg
            self.last_active_at = max(self.last_active_at, row.last_active_at)
        self.recalled = True

    def set(self, presence: str, status_msg: str | None, now: int) -> bool:
        """The user says so."""
        changed = self._move(presence) or self.status_msg != status_msg
        self.status_msg = status_msg
        self.recalled = True
        if presence == ONLINE:
            changed = self._activate(now) or changed
        return changed

    def set_text(self, status_msg: str | None) -> bool:
        """The user changes the text alone."""
        changed = self.status_msg != status_msg
        self.status_msg = status_msg
        self.recalled = True
        return changed

    def sync_began(self, set_presence: str, now: int) -> bool:
        """A sync brings the user online, or, if it says so, makes them unavailable.

        Who is busy stays so.
        """
        if set_presence == UNAVAILABLE and self.presence != BUSY:
            return self._move(UNAVAILABLE)
        if self.presence != OFFLINE:
            return False
        self._activate(now)
        return self._move(ONLINE)

    def act(self, now: int) -> bool:
        """The user did something: an idle one is online again."""
        changed = self._move(ONLINE) if self.presence == UNAVAILABLE else False
        return (self._activate(now) or changed) if self.presence == ONLINE else changed

    def hear(self, entry: JsonObject, now: int) -> bool:
        """Their instance says so: an entry of an ``m.presence`` EDU."""
        before = (self.presence, self.status_msg, self.currently_active)
        self.recalled = True
        status_msg = entry.get("status_msg")
        self.presence = entry["presence"]
        if self.presence == UNAVAILABLE and entry.get(BUSY_SPELLING) is True:
            self.presence = BUSY
        self.status_msg = (
            status_msg.replace("\0", "")[:MAX_STATUS] if status_msg is not None else None
        )
        self.currently_active = entry.get("currently_active") is True
        self.last_active_at = max(0, now - max(0, entry.get("last_active_ago", 0)))
        self.seen_at = now
        return before != (self.presence, self.status_msg, self.currently_active)

    def pass_time(self, now: int) -> bool:
        """What the time that has passed makes of it."""
        if not self.local:
            return self._move(OFFLINE) if now - self.seen_at > REMOTE_SILENT_MS else False
        if self.syncs == 0 and now - self.seen_at > ABSENT_MS:
            return self._move(OFFLINE)
        if self.presence == ONLINE and now - self.last_active_at > IDLE_MS:
            return self._move(UNAVAILABLE)
        if self.currently_active and now - self.last_active_at > CURRENTLY_ACTIVE_MS:
            self.currently_active = False
            return True
        return False

    def _move(self, presence: str) -> bool:
        changed = self.presence != presence
        self.presence = presence
        if presence != ONLINE:
            self.currently_active = False
        return changed

    def _activate(self, now: int) -> bool:
        self.last_active_at = now
        changed = not self.currently_active
        self.currently_active = True
        return changed
