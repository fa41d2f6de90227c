"""What users said of a room holds for the room that replaces it: tags, direct chats, push rules.

Spec: client-server API, room upgrades: "when a user joins the new room, the server should
automatically transfer/replicate some of the user's personalized settings".
"""

from __future__ import annotations

from typing import Any, Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import CREATE
from homeserver.services.room_tags import RoomTags
from homeserver.services.rooms import Rooms
from homeserver.services.upgrades.carried import TOMBSTONE
from homeserver.storage import timed_mutes
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

SERVER_NOTICE = "m.server_notice"
CONDITIONAL = ("override", "underride")
ROOM = "room"
OWN = "."  # how the names of default rules begin


class DirectRooms(Protocol):
    """Users' ``m.direct``."""

    async def peers_by_room(self, owner: str) -> dict[str, str]:
        """Room ID -> with whom it is direct."""

    async def add(self, owner: str, peer: str, room_id: str) -> None:
        """A room is direct with somebody from now on."""


class PushRules(Protocol):
    """Users' push rules."""

    def ruleset(self, user_id: str) -> dict[str, list[JsonObject]]:
        """All rules of a user by kind."""

    async def put(
        self,
        user_id: str,
        kind: str,
        rule_id: str,
        body: JsonObject,
        *,
        before: str | None,
        after: str | None,
    ) -> None:
        """Add a rule of the user's own, or change it."""

    async def set_enabled(self, user_id: str, kind: str, rule_id: str, enabled: bool) -> None:
        """Switch a rule on or off."""


class RoomBelongings:
    """Carries what users said of a room over to its replacement."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        tags: RoomTags,
        direct: DirectRooms,
        push_rules: PushRules,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._store = store
        self._tags = tags
        self._direct = direct
        self._push_rules = push_rules

    async def joined(self, user_id: str, room_id: str) -> None:
        """A local user has joined a room: if it replaces one, carry over what they said of that.

        Both rooms must say so: whoever makes a room may name any other as its predecessor.
        """
        room = await self._rooms.find(room_id)
        predecessor = room.content(CREATE).get("predecessor") if room is not None else None
        old_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
        old = await self._rooms.find(old_id) if isinstance(old_id, str) else None
        if old is None:
            return
        await old.load_events(self._store, (TOMBSTONE,))
        if old.content(TOMBSTONE).get("replacement_room") == room_id:
            await self.carry(user_id, old.room_id, room_id)

    async def carry(self, user_id: str, old_id: str, new_id: str) -> None:
        """What a user said of the old room holds for the new one, unless they said other."""
        try:
            if not await self._tags.get(user_id, new_id):
                for tag, about in (await self._tags.get(user_id, old_id)).items():
                    if tag != SERVER_NOTICE:
                        await self._tags.put(user_id, new_id, tag, about)
            peer = (await self._direct.peers_by_room(user_id)).get(old_id)
            if peer is not None:
                await self._direct.add(user_id, peer, new_id)
            until = (await timed_mutes.get_mutes(self._database, user_id)).get(old_id)
            if until is not None:  # first: a mute that ends must not become one that does not
                await timed_mutes.set_mute(self._database, user_id, new_id, until)
            await self._carry_rules(user_id, old_id, new_id)
        except MatrixError as error:  # a limit of the user's own: the room is theirs all the same
            logger.info("not carried over", room_id=new_id, reason=error.text)

    async def _carry_rules(self, user_id: str, old_id: str, new_id: str) -> None:
        ruleset = self._push_rules.ruleset(user_id)
        known = {(kind, rule["rule_id"]) for kind, rules in ruleset.items() for rule in rules}
        for kind in (ROOM, *CONDITIONAL):
            for rule in ruleset.get(kind, ()):
                rule_id = rule["rule_id"].replace(old_id, new_id)
                if rule_id == rule["rule_id"]:
                    rule_id = f"{rule_id}.{new_id}" if _names(rule, old_id) else rule_id
                if (kind, rule_id) in known or rule["rule_id"].startswith(OWN):
                    continue
                body: JsonObject = {"actions": rule["actions"]}
                if kind != ROOM:
                    body["conditions"] = _renamed(rule["conditions"], old_id, new_id)
                await self._push_rules.put(user_id, kind, rule_id, body, before=None, after=None)
                if not rule.get("enabled", True):
                    await self._push_rules.set_enabled(user_id, kind, rule_id, False)


def _names(rule: JsonObject, room_id: str) -> bool:
    """Whether a condition of a rule asks for a room."""
    return any(_is_of_room(condition, room_id) for condition in rule.get("conditions") or ())


def _is_of_room(condition: JsonObject, room_id: str) -> bool:
    asked = (condition.get("kind"), condition.get("key"), condition.get("pattern"))
    return asked == ("event_match", "room_id", room_id)


def _renamed(conditions: list[Any], old_id: str, new_id: str) -> list[Any]:
    return [{**c, "pattern": new_id} if _is_of_room(c, old_id) else c for c in conditions]
