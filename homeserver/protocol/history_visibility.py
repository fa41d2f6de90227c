"""History visibility: who may see an event.

Spec: client-server API, room history visibility; server-server API, retrieving events.
"""

from __future__ import annotations

from collections.abc import Iterable

WORLD_READABLE = "world_readable"
SHARED = "shared"
INVITED = "invited"
JOINED = "joined"
VISIBILITIES = frozenset({WORLD_READABLE, SHARED, INVITED, JOINED})


def visibility_of(content: object) -> str:
    """The setting in an ``m.room.history_visibility`` event; ``shared`` where there is none."""
    value = content.get("history_visibility") if isinstance(content, dict) else None
    return value if isinstance(value, str) and value in VISIBILITIES else SHARED


def user_may_see(visibility: str, membership: str, *, joined_later: bool) -> bool:
    """Whether a user may see an event.

    ``visibility`` and ``membership`` are as they were at the event; for the event that changes
    one of them, ask with both values and take the more generous answer.  ``joined_later``: the
    user joined at some time after it.
    """
    if visibility == WORLD_READABLE or membership == "join":
        return True
    if visibility == SHARED:
        return joined_later
    return visibility == INVITED and membership == "invite"


def server_may_see(visibility: str, memberships: Iterable[str], *, in_room: bool) -> bool:
    """Whether another instance may see an event: whether one of its users may.

    ``memberships`` of its users at the event; ``in_room``: some of them are in the room now.
    """
    if visibility == WORLD_READABLE or (visibility == SHARED and in_room):
        return True
    allowed = {"join", "invite"} if visibility == INVITED else {"join"}
    return any(membership in allowed for membership in memberships)
