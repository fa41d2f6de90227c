"""The rooms that this instance is in: their summaries, their children, who may see them.

Spec: client-server API, ``GET /rooms/{roomId}/hierarchy``, which rooms are returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from homeserver.protocol.events import JsonObject
from homeserver.protocol.history_visibility import WORLD_READABLE
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.event_store import EventStore
from homeserver.services.invites_shown import plainly_shown
from homeserver.services.live_room import CREATE, HISTORY_VISIBILITY, JOIN_RULES, LiveRoom
from homeserver.services.rooms import Rooms
from homeserver.services.spaces.summary import (
    KNOCKED_AT,
    MEGOLM,
    MOST_CHILDREN,
    RESTRICTED,
    SPACE,
    SPACE_CHILD,
    Child,
    allowed_room_ids,
    child_of,
)
from homeserver.services.visibility import InviteFilter
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.rooms import MembershipRow

ENCRYPTION = ("m.room.encryption", "")


class RoomDescriptions(Protocol):
    """What the directory says of a room."""

    async def summary(self, room: LiveRoom) -> JsonObject:
        """A room as the directory shows it."""


class LocalRooms:
    """Summaries of rooms with members of ours."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        descriptions: RoomDescriptions,
        invites: InviteFilter,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._store = store
        self._descriptions = descriptions
        self._invites = invites

    async def find(self, room_id: str) -> LiveRoom | None:
        """A room whose present state we have: somebody of ours is in it."""
        room = await self._rooms.find(room_id)
        return room if room is not None and room.joined_local else None

    async def summary(self, room: LiveRoom) -> JsonObject:
        """A room's summary, without its children.  Spec: ``RoomSummary``."""
        summary = {
            **await self._descriptions.summary(room),
            "room_version": room.version.identifier,
        }
        if room.content(JOIN_RULES).get("join_rule") in RESTRICTED:
            summary["allowed_room_ids"] = allowed_room_ids(room.content(JOIN_RULES))
        await room.load_events(self._store, (ENCRYPTION,))
        if room.content(ENCRYPTION).get("algorithm") == MEGOLM:
            summary["encryption"] = MEGOLM
        return summary

    async def children(self, room: LiveRoom) -> Sequence[Child]:
        """The rooms that a space names, in their order; none if the room is no space."""
        if room.content(CREATE).get("type") != SPACE:
            return ()
        keys = [key for key in room.state if key[0] == SPACE_CHILD][:MOST_CHILDREN]
        await room.load_events(self._store, keys)
        events = room.state_events(keys).values()
        children = [child for event in events if (child := child_of(event)) is not None]
        return sorted(children, key=lambda child: child.place)

    # ------------------------------------------------------------ who may see a room

    async def may_see(self, room: LiveRoom, user_id: str) -> bool:
        """Whether a user is in a room, or may join, knock at or read it."""
        membership = await self.known_membership(room, user_id)
        if membership in ("join", "invite"):
            return True
        if membership == "ban":
            return False
        return open_to_all(room) or await self._lets_in(
            room, lambda other: other.is_joined(user_id)
        )

    async def known_membership(self, room: LiveRoom, user_id: str) -> str:
        """A user's membership as they know of it: an invite that is not shown to them is none."""
        membership = room.membership(user_id)
        if membership != "invite":
            return membership
        row = await storage.get_membership(self._database, room.room_id, user_id)
        shown = row is not None and await self.shows_invite(user_id, row)
        return "invite" if shown else "leave"

    async def shows_invite(self, user_id: str, row: MembershipRow) -> bool:
        """Whether a user is shown an invite with all it says."""
        return bool(await self.shown_invites(user_id, [row]))

    async def shown_invites(self, user_id: str, rows: Sequence[MembershipRow]) -> set[str]:
        """The rooms of those invites that a user is shown with all they say."""
        found = {row.room_id: row for row in rows if row.membership == "invite"}
        return await plainly_shown(self._invites, user_id, found) if found else set()

    async def server_may_see(self, room: LiveRoom, server_name: str) -> bool:
        """Whether some user of another instance may."""
        if not room.allows_server(server_name):
            return False
        if server_name in room.hosts or open_to_all(room):
            return True
        if any(
            membership == "invite" and server_name_of(user_id) == server_name
            for user_id, membership in room.memberships.items()
        ):
            return True
        return await self._lets_in(room, lambda other: server_name in other.hosts)

    async def in_any(self, room_ids: Sequence[str], user_id: str) -> bool:
        """Whether a user is in one of some rooms, as far as is known here."""
        for room_id in room_ids:
            room = await self._rooms.find(room_id)
            if room is not None and room.is_joined(user_id):
                return True
        return False

    async def _lets_in(self, room: LiveRoom, has: Callable[[LiveRoom], bool]) -> bool:
        """Whether a restricted join rule names a room that somebody is in."""
        rules = room.content(JOIN_RULES)
        if not room.version.restricted_join_rule or rules.get("join_rule") not in RESTRICTED:
            return False
        for room_id in allowed_room_ids(rules):
            other = await self._rooms.find(room_id)
            if other is not None and has(other):
                return True
        return False


def open_to_all(room: LiveRoom) -> bool:
    """Whether anybody may join, knock at or read a room."""
    rule, version = room.content(JOIN_RULES).get("join_rule"), room.version
    if rule == "public":
        return True
    if rule in KNOCKED_AT:
        knows = version.knock_join_rule if rule == "knock" else version.knock_restricted_join_rule
        if knows:
            return True
    return room.content(HISTORY_VISIBILITY).get("history_visibility") == WORLD_READABLE


def with_children(summary: Mapping[str, object], children: Sequence[Child]) -> JsonObject:
    """A summary as the hierarchy shows it."""
    return {**summary, "children_state": [child.event for child in children]}
