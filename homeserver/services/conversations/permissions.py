"""Roles and permissions of conversations, as the power levels of rooms, and back.

A role is a range of power levels.  Ordinary members stand at ``users_default``; admins at 50 or
more; owners at 100 or more, in room version 12 at 150 or more, and its creators, who are above all
levels.  Where ``users_default`` is high, the others move up with it, so that the three never
coincide.  A permission belongs to the lowest role that has it.

Spec: client-server API, ``m.room.power_levels``; room version 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from homeserver.protocol.events import JsonObject
from homeserver.protocol.power_levels import Level, PowerLevels, parse_level
from homeserver.protocol.room_versions import RoomVersion
from homeserver.services.conversations.shapes.conversations import Permission, Permissions, Role

ADMIN_LEVEL = 50
OWNER_LEVEL = 100
OWNER_LEVEL_BELOW_CREATORS = 150

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
# What is sent to say something, and what is sent in answer, which everybody may in a conversation
# where only some may say something: deleting one's own messages is among it.
SAID = (
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.poll.start",
    "org.matrix.msc3381.poll.start",
    "m.call.invite",
)
ANSWERS = (
    "m.reaction",
    "m.room.redaction",
    "m.poll.response",
    "org.matrix.msc3381.poll.response",
    "dev.comity.rsvp",
)
SETTINGS = ("m.room.name", "m.room.topic", "m.room.avatar")
ADMINISTRATION = (
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.encryption",
)
LEVEL_OF: dict[Permission, str] = {"invite": "invite", "remove": "kick", "moderate": "ban"}


class CannotBe(ValueError):
    """Roles or permissions that there cannot be; the text says why."""


class Standing:
    """Who may do what in a room."""

    def __init__(
        self,
        content: Mapping[str, Any] | None,
        creators: frozenset[str],
        version: RoomVersion,
        *,
        encrypted: bool = False,
    ) -> None:
        """``content``: of ``m.room.power_levels``; None if the room has none."""
        self._content = dict(content) if content is not None else None
        self._creators = creators
        self._version = version
        self._encrypted = encrypted
        self._levels = PowerLevels(self._content, creators, version)
        default = parse_level((self._content or {}).get("users_default"), version)
        owner = OWNER_LEVEL_BELOW_CREATORS if version.privileged_creators else OWNER_LEVEL
        self.member_level = default if default is not None else 0
        self.admin_level = max(ADMIN_LEVEL, self.member_level + 1)
        self.owner_level = max(owner, self.admin_level + 1)

    # ------------------------------------------------------------ reading

    def level(self, user_id: str) -> Level:
        """Somebody's power level."""
        return self._levels.user(user_id)

    def role(self, user_id: str) -> Role:
        """Somebody's role."""
        level = self.level(user_id)
        if level >= self.owner_level:
            return "owner"
        return "admin" if level >= self.admin_level else "member"

    def required(self, permission: Permission) -> Level:
        """The power level that a permission takes: of all that belongs to it the highest."""
        levels = self._levels
        if permission == "send":
            kind = "m.room.encrypted" if self._encrypted else "m.room.message"
            return levels.required_for_event(kind, is_state=False)
        if permission == "delete_messages":
            return max(levels.redact, levels.required_for_event("m.room.redaction", is_state=False))
        if permission in LEVEL_OF:
            return {"invite": levels.invite, "remove": levels.kick, "moderate": levels.ban}[
                permission
            ]
        kinds = SETTINGS if permission == "change_settings" else ADMINISTRATION
        return max(levels.required_for_event(kind, is_state=True) for kind in kinds)

    def permissions(self) -> Permissions:
        """The lowest role that has each permission."""
        return Permissions(**{name: self._role_for(self.required(name)) for name in PERMISSIONS})

    def effective(self, user_id: str) -> list[Permission]:
        """What somebody may do: by their own power level, which may lie within a role's range."""
        level = self.level(user_id)
        return [name for name in PERMISSIONS if level >= self.required(name)]

    def owners(self, among: Iterable[str]) -> list[str]:
        """Those who are owners."""
        return [user_id for user_id in among if self.role(user_id) == "owner"]

    @property
    def ownership_is_fixed(self) -> bool:
        """Whether who made the room keeps their power: from room version 12 on."""
        return self._version.privileged_creators

    @property
    def elevated(self) -> Mapping[str, Level]:
        """Those who are more than members, with their power levels."""
        users = (self._content or {}).get("users")
        named = set(users) if isinstance(users, dict) else set()
        return {
            user_id: self.level(user_id)
            for user_id in named | self._creators
            if self.level(user_id) >= self.admin_level
        }

    def _role_for(self, level: Level) -> Role:
        if level <= self.member_level:
            return "member"
        return "admin" if level <= self.admin_level else "owner"

    # ------------------------------------------------------------ changing

    def with_permissions(self, changes: Mapping[Permission, Role]) -> JsonObject:
        """The power levels' content that gives permissions to these roles and those above.

        Raises :class:`CannotBe` where nobody could ever change it back.
        """
        content = self._whole_content()
        if "owner" in changes.values() and not self._has_owner():
            raise CannotBe("There is no owner here to whom that could be left")
        if changes.get("administer") == "member":
            raise CannotBe("'administer' is for admins or owners: members cannot appoint anybody")
        events = self._entries("events")
        for permission, role in changes.items():
            level = self._level_of(role)
            if permission == "send":
                self._let_send(content, events, level)
            elif permission == "delete_messages":
                content["redact"] = level
                if self._event_level(events, content, "m.room.redaction") > level:
                    events["m.room.redaction"] = level
            elif permission in LEVEL_OF:
                content[LEVEL_OF[permission]] = level
            else:
                kinds = SETTINGS if permission == "change_settings" else ADMINISTRATION
                events.update(dict.fromkeys(kinds, level))
        content["events"] = events
        return content

    def with_role(self, user_id: str, role: Role) -> JsonObject:
        """The power levels' content that gives somebody a role.  Raises :class:`CannotBe`."""
        if self._version.privileged_creators and user_id in self._creators:
            raise CannotBe("Whoever made this conversation stays its owner")
        content = self._whole_content()
        users = self._entries("users") or dict(content["users"])
        users.pop(user_id, None)
        if role != "member":
            users[user_id] = self._level_of(role)
        content["users"] = users
        return content

    def handed_over(self, owner: str, successor: str) -> JsonObject:
        """The power levels' content that makes somebody the owner, and the owner an admin.

        Raises :class:`CannotBe` where the owner's power cannot be given up.
        """
        if self.ownership_is_fixed:
            raise CannotBe("Whoever made this conversation stays its owner")
        level = self.level(owner)
        if level < self.owner_level:
            raise CannotBe("Only an owner can hand the conversation over")
        content = self.with_role(owner, "admin")
        content["users"][successor] = int(max(level, self.level(successor)))
        return content

    def _whole_content(self) -> JsonObject:
        """A copy of the content; where there is none, one that says what was so by default."""
        if self._content is not None:
            return {**self._content, "users": self._entries("users")}
        users: dict[str, Any] = {}
        if not self._version.privileged_creators:
            users = dict.fromkeys(self._creators, OWNER_LEVEL)
        return {"users": users, "state_default": ADMIN_LEVEL}

    def _entries(self, name: str) -> dict[str, Any]:
        value = (self._content or {}).get(name)
        return dict(value) if isinstance(value, dict) else {}

    def _level_of(self, role: Role) -> int:
        return {"member": self.member_level, "admin": self.admin_level, "owner": self.owner_level}[
            role
        ]

    def _let_send(self, content: JsonObject, events: dict[str, Any], level: int) -> None:
        """Set who may say something; answers stay open to all."""
        content["events_default"] = level
        for kind in (*SAID, *ANSWERS):
            events.pop(kind, None)
        if level > self.member_level:
            events.update(dict.fromkeys(ANSWERS, self.member_level))

    def _event_level(self, events: Mapping[str, Any], content: JsonObject, kind: str) -> int:
        level = parse_level(events.get(kind, content.get("events_default")), self._version)
        return level if level is not None else 0

    def _has_owner(self) -> bool:
        if self._version.privileged_creators:
            return True
        return any(level >= self.owner_level for level in self.elevated.values())


def group_levels(owner: str, permissions: Mapping[Permission, Role], version: RoomVersion) -> Any:
    """The first power levels of a group: the API's defaults, and what its owner wants instead."""
    users = {} if version.privileged_creators else {owner: OWNER_LEVEL}
    standing = Standing(
        {
            "users": users,
            "users_default": 0,
            "events_default": 0,
            "state_default": ADMIN_LEVEL,
            "events": {
                "m.room.canonical_alias": ADMIN_LEVEL,
                "m.room.server_acl": OWNER_LEVEL,
                "m.room.tombstone": OWNER_LEVEL_BELOW_CREATORS
                if version.privileged_creators
                else OWNER_LEVEL,
            },
        },
        frozenset({owner}),
        version,
    )
    wanted = {name: getattr(DEFAULT_PERMISSIONS, name) for name in PERMISSIONS}
    return standing.with_permissions({**wanted, **permissions})


DEFAULT_PERMISSIONS = Permissions()
