"""Server ACLs of rooms, changed in many rooms at once by whoever here may do so.

What a room's ACL says otherwise stays.  Nothing is sent that would shut out this instance, or that
is too large for an event.  Spec: client-server API, server access control lists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct, field

from homeserver.errors import InvalidParam, MatrixError
from homeserver.protocol.canonical import NotCanonical, encode_canonical_json
from homeserver.protocol.events import JsonObject
from homeserver.protocol.server_names import ServerAcl, host_of
from homeserver.services.live_room import JOIN_RULES, SERVER_ACL, LiveRoom
from homeserver.services.rooms import Draft, Rooms
from homeserver.storage import room_acls as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

TYPE = "m.room.server_acl"
# An event has at most 65,536 bytes; signatures, hashes and references need some of them.
MAX_CONTENT_BYTES = 60_000
EVERYONE: JsonObject = {"allow": ["*"], "deny": [], "allow_ip_literals": True}


class AclChange(Struct, frozen=True):
    """What changes about a room's ACL, and who would send it; or why it cannot be."""

    room_id: str
    sender: str = ""
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    content: JsonObject = field(default_factory=dict)
    problem: str = ""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class RoomAcls:
    """Plans and sends changes of rooms' server ACLs."""

    def __init__(self, *, server_name: str, database: Database, rooms: Rooms) -> None:
        self._server_name = server_name
        self._database = database
        self._rooms = rooms

    async def rooms_made_here(self) -> list[str]:
        """The rooms that users of this instance made and are in."""
        return await storage.get_rooms_made_here(self._database, self._server_name)

    async def is_open(self, room_id: str) -> bool:
        """Whether people can come to a room without being invited."""
        room = await self._rooms.find(room_id)
        return room is not None and room.content(JOIN_RULES).get("join_rule") != "invite"

    async def plan(
        self, room_id: str, *, deny: Collection[str] = (), undeny: Collection[str] = ()
    ) -> AclChange:
        """What would change in a room if these globs were denied, and those no longer."""
        room = await self._rooms.find(room_id)
        if room is None or not room.joined_local:
            return AclChange(room_id, problem="nobody of this server is in that room")
        content, added, removed = edited_acl(
            room.content(SERVER_ACL) if SERVER_ACL in room.state else None, deny, undeny
        )
        sender = self._empowered(room)
        change = AclChange(room_id, sender, added, removed, content)
        return AclChange(
            room_id, sender, added, removed, content, self._problem(change) if change else ""
        )

    def _empowered(self, room: LiveRoom) -> str:
        """The most powerful of our users who may set the ACL; empty if nobody may."""
        levels = room.power_levels
        best = max(sorted(room.joined_local), key=levels.user)
        return best if levels.user(best) >= levels.required_for_event(TYPE, True) else ""

    def _problem(self, change: AclChange) -> str:
        if not change.sender:
            return "nobody of this server may set the ACL there"
        if not ServerAcl(change.content).allows(self._server_name):
            return "the ACL would shut out this server itself"
        try:
            size = len(encode_canonical_json(change.content))
        except NotCanonical:
            return "the room's present ACL cannot be sent again: it is no canonical JSON"
        if size > MAX_CONTENT_BYTES:
            return f"the ACL would have {size} bytes, more than {MAX_CONTENT_BYTES}"
        return ""

    async def send(self, change: AclChange) -> str:
        """Send a planned change; the event's ID.

        Raises: :class:`MatrixError` if there was a problem, or the room has moved on.
        """
        if change.problem:
            raise MatrixError(change.problem)
        # The admin's will, not the sender's: neither policy nor consent is asked.
        sent = await self._rooms.send(
            change.room_id, Draft(change.sender, TYPE, change.content, ""), gated=False
        )
        logger.info(
            "acl changed",
            room_id=change.room_id,
            sender=change.sender,
            added=len(change.added),
            removed=len(change.removed),
        )
        return sent.event.event_id


def edited_acl(
    acl: Mapping[str, Any] | None, deny: Collection[str], undeny: Collection[str]
) -> tuple[JsonObject, list[str], list[str]]:
    """An ACL with more denied and less; what was added to, and taken from, ``deny``.

    A room without an ACL gets one that lets everybody else in.
    """
    content: JsonObject = {**(acl if acl is not None else EVERYONE)}
    value = content.get("deny")
    denied = [glob for glob in value if isinstance(glob, str)] if isinstance(value, list) else []
    known = {glob.lower() for glob in denied}
    wanted = dict.fromkeys(glob.lower() for glob in deny)
    unwanted = {glob.lower() for glob in undeny} - wanted.keys()
    added = [glob for glob in wanted if glob not in known]
    removed = [glob for glob in denied if glob.lower() in unwanted]
    content["deny"] = [glob for glob in denied if glob.lower() not in unwanted] + added
    return content, added, removed


def check_acl_glob(glob: str) -> str:
    """A glob for an ACL: in lower case, without a port, which ACLs do not know.

    Raises: :class:`InvalidParam`.
    """
    text = glob.strip().lower()
    if not text or len(text) > 255 or not text.isprintable() or " " in text:
        raise InvalidParam(f"'{glob[:100]}' is not a server name or a glob over them")
    return host_of(text)
