"""What of a room's state goes into the room that replaces it, and how it has to change for that.

Pure functions of the old state.  Spec: client-server API, room upgrades, server behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from homeserver.protocol.events import Event, JsonObject, StateKey
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.protocol.power_levels import LEVEL_KEYS, parse_level
from homeserver.protocol.room_versions import RoomVersion

POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")
CANONICAL_ALIAS: StateKey = ("m.room.canonical_alias", "")
TOMBSTONE: StateKey = ("m.room.tombstone", "")
ENCRYPTION: StateKey = ("m.room.encryption", "")
SPACE_CHILD = "m.space.child"
# As they are, in this order; the rest is made to fit.
TRANSFERRED: tuple[StateKey, ...] = (
    ("m.room.history_visibility", ""),
    ("m.room.guest_access", ""),
    ENCRYPTION,  # what was redacted, too: an encrypted room does not become a plain one
    ("m.room.server_acl", ""),
    ("m.room.name", ""),
    ("m.room.topic", ""),
    ("m.room.avatar", ""),
    ("m.room.retention", ""),
)
CREATE_KEYS = ("type", "m.federate")
LEVELS_BY_NAME = ("events", "users", "notifications")  # of ``m.room.power_levels``
TOP_LEVEL = 100
TOMBSTONE_LEVEL = 150  # where creators stand above all levels
MODERATOR = 50
LARGEST_LEVEL = 2**53 - 1


def create_content(
    old: Event, creator: str, version: RoomVersion, additional: Sequence[str], last_event_id: str
) -> JsonObject:
    """The content of the new room's create event.

    ``last_event_id``: the last known event of the old room, which versions whose room ID is the
    create event's hash leave out.
    """
    predecessor: JsonObject = {"room_id": old.room_id}
    if not version.room_id_is_create_hash:
        predecessor["event_id"] = last_event_id
    content: JsonObject = {key: old.content[key] for key in CREATE_KEYS if key in old.content}
    content |= {"room_version": version.identifier, "predecessor": predecessor}
    if not version.implicit_room_creator:
        content["creator"] = creator
    if version.privileged_creators and additional:
        content["additional_creators"] = list(dict.fromkeys(additional))
    return content


def join_rules(content: Mapping[str, Any], version: RoomVersion) -> JsonObject:
    """Join rules that the version knows: one that it does not becomes the next stricter one."""
    rule = content.get("join_rule")
    known = {
        "knock": version.knock_join_rule,
        "restricted": version.restricted_join_rule,
        "knock_restricted": version.knock_restricted_join_rule,
    }
    if rule == "knock_restricted" and not known["knock_restricted"]:
        rule = "restricted"
    if rule in known and not known[rule]:
        return {"join_rule": "invite"}
    return {**content, "join_rule": rule}


def children(events: Iterable[Event]) -> list[Event]:
    """The rooms that a space names; those that were taken out are left out."""
    return [e for e in events if isinstance(e.content.get("via"), list) and e.content["via"]]


# ---------------------------------------------------------------- power levels


class CarriedLevels:
    """The old room's power levels, for the new one."""

    def __init__(
        self,
        content: Mapping[str, Any],
        *,
        old: RoomVersion,
        new: RoomVersion,
        old_creators: Iterable[str],
        new_creators: Iterable[str],
        upgrader: str,
    ) -> None:
        self._new = new
        self._upgrader = upgrader
        self.content = _normalised(content, old)
        users: dict[str, int] = self.content["users"]
        if new.privileged_creators:
            for user_id in new_creators:  # the auth rules want them left out
                users.pop(user_id, None)
            events: dict[str, int] = self.content["events"]
            # Spec: it must be above ``state_default``, as in any room of this version.
            lowest = max(TOMBSTONE_LEVEL, self.content.get("state_default", MODERATOR) + 1)
            events["m.room.tombstone"] = max(events.get("m.room.tombstone", 0), lowest)
        elif old.privileged_creators:
            top = self._top()
            users.update(dict.fromkeys(old_creators, top))

    def _top(self) -> int:
        """The highest level that is asked for or given."""
        levels: list[int] = [self.content[key] for key in LEVEL_KEYS if key in self.content]
        levels += [*self.content["events"].values(), *self.content["users"].values()]
        return max([TOP_LEVEL, *levels])

    @property
    def first(self) -> JsonObject:
        """With which the room is made: who upgrades it may set all of its state."""
        if self._new.privileged_creators:
            return self.content
        own = self.content["users"].get(self._upgrader, self.content.get("users_default", 0))
        top = self._top()
        if own >= top:
            return self.content
        return {**self.content, "users": {**self.content["users"], self._upgrader: top}}

    @property
    def last(self) -> JsonObject | None:
        """What replaces :attr:`first` in the end, where who upgrades has less power than that."""
        return self.content if self.first != self.content else None


def _normalised(content: Mapping[str, Any], version: RoomVersion) -> JsonObject:
    """Levels as integers, which every version takes; what is none, or of nobody, is left out.

    A level that the specification does not name is one all the same, such as ``historical``.
    """

    def level(value: Any) -> int | None:
        parsed = parse_level(value, version)
        return parsed if parsed is not None and abs(parsed) <= LARGEST_LEVEL else None

    def levels(value: Any) -> dict[str, int]:
        pairs = value.items() if isinstance(value, dict) else ()
        return {name: parsed for name, v in pairs if (parsed := level(v)) is not None}

    found = {key: level(value) for key, value in content.items() if key not in LEVELS_BY_NAME}
    result: JsonObject = {key: value for key, value in found.items() if value is not None}
    result["events"] = levels(content.get("events"))
    users = levels(content.get("users"))
    result["users"] = {name: value for name, value in users.items() if _is_user(name)}
    if isinstance(content.get("notifications"), dict):
        result["notifications"] = levels(content["notifications"])
    return result


def _is_user(text: str) -> bool:
    try:
        UserId.parse(text)
    except InvalidIdentifier:
        return False
    return True


def silenced(content: Mapping[str, Any], version: RoomVersion) -> JsonObject | None:
    """The old room's power levels with which nobody but its moderators writes or invites.

    None: they are so already.  Spec: room upgrades, step 6.
    """
    usual = parse_level(content.get("users_default"), version) or 0
    least = max(MODERATOR, usual + 1)
    raised = {
        key: least
        for key in ("events_default", "invite")
        if (parse_level(content.get(key), version) or 0) < least
    }
    return {**content, **raised} if raised else None


# ---------------------------------------------------------------- aliases


def split_alias(
    content: Mapping[str, Any], moved: Iterable[str]
) -> tuple[JsonObject | None, JsonObject | None]:
    """The canonical alias of the new room, and what is left of the old one's.

    ``moved``: the aliases that lead to the new room now.  None: nothing is to be sent.
    """
    mine = set(moved)
    named = content.get("alt_aliases")
    others = [alias for alias in named if isinstance(alias, str)] if isinstance(named, list) else []
    main = content.get("alias")
    new: JsonObject = {"alias": main} if main in mine else {}
    old: JsonObject = {"alias": main} if main is not None and main not in mine else {}
    if [alias for alias in others if alias in mine]:
        new["alt_aliases"] = [alias for alias in others if alias in mine]
    if [alias for alias in others if alias not in mine]:
        old["alt_aliases"] = [alias for alias in others if alias not in mine]
    return (new, old) if new else (None, None)
