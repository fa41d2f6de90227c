"""Who is online, as the API's JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from homeserver.services.conversations.shapes.base import Input, Shape
from homeserver.services.conversations.shapes.people import MAX_STATUS_LENGTH, address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.presence_state import BUSY, OFFLINE, ONLINE, UNAVAILABLE, UserPresence

MOST_AT_ONCE = 500
State = Literal["online", "away", "busy", "offline"]

STATE_OF: dict[str, State] = {
    ONLINE: "online",
    UNAVAILABLE: "away",
    BUSY: "busy",
    OFFLINE: "offline",
}
PRESENCE_OF = {state: presence for presence, state in STATE_OF.items()}


class Presence(Shape, frozen=True, kw_only=True):
    """How somebody is.  Who may not be seen is offline, and was never seen."""

    address: str
    state: State = "offline"
    text: str | None = None
    active_now: bool = False
    last_seen_at: str | None = None


class NewPresence(Input, frozen=True, kw_only=True):
    """How the caller is.  A text that is not named stays."""

    state: State
    text: Annotated[str, Meta(max_length=MAX_STATUS_LENGTH)] | UnsetType | None = UNSET


class PresenceQuery(Input, frozen=True, kw_only=True):
    """Whose presence is asked for."""

    people: Annotated[
        list[Annotated[str, Meta(max_length=255)]], Meta(min_length=1, max_length=MOST_AT_ONCE)
    ]


class Presences(Shape, frozen=True, kw_only=True):
    """How the people are who were asked for, in their order."""

    items: list[Presence]


class OnlineCount(Shape, frozen=True, kw_only=True):
    """How many people of this instance are here.  ``total``: in all three states."""

    total: int
    online: int
    away: int
    busy: int


def presence_shown(user_id: str, user: UserPresence | None) -> Presence:
    """A user's presence; None where the reader may not see it."""
    if user is None:
        return Presence(address=address(user_id))
    return Presence(
        address=address(user_id),
        state=STATE_OF[user.presence],
        text=user.status_msg,
        active_now=user.currently_active,
        last_seen_at=rfc3339(user.last_active_at) if user.last_active_at else None,
    )
