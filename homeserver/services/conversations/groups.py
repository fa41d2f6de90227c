"""Groups: making them, changing what they are called and how one gets in, handing them over.

They are made in room version 11.  In version 12 whoever makes a room stays above all others for
ever: a group could never be handed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.conversations.access import (
    Access,
    require_above,
    standing_of,
)
from homeserver.services.conversations.direct import ENCRYPTION as MEGOLM
from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.inviting import Inviting
from homeserver.services.conversations.permissions import CannotBe, Standing, group_levels
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.room_cards import (
    AVATAR,
    ENCRYPTION,
    HISTORY_VISIBILITY,
    HISTORY_VISIBILITY_OF,
    JOIN_RULE_OF,
    JOIN_RULES,
    NAME,
    POWER_LEVELS,
    TOPIC,
)
from homeserver.services.conversations.shapes.conversations import (
    ConversationChange,
    NewConversation,
    Permission,
    PermissionsChange,
    Role,
)
from homeserver.services.conversations.shapes.media import media_uri
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.creation import InitialState, RoomCreation, RoomRequest
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Draft, Rooms

GROUP_VERSION = "11"
SETTINGS_FIELDS = ("name", "description", "avatar")
ADMINISTERED_FIELDS = ("history", "join", "encrypted", "permissions")


class MemberProfiles(Protocol):
    """What goes into member events."""

    async def member_fields(self, user_id: UserId) -> JsonObject:
        """``displayname`` and ``avatar_url``, those that are set."""


class Groups:
    """Makes and changes conversations."""

    def __init__(
        self,
        *,
        access: Access,
        rooms: Rooms,
        creation: RoomCreation,
        profiles: MemberProfiles,
        direct: Direct,
        inviting: Inviting,
    ) -> None:
        self._access = access
        self._rooms = rooms
        self._creation = creation
        self._profiles = profiles
        self._direct = direct
        self._inviting = inviting

    # ------------------------------------------------------------ making

    async def make(self, owner: UserId, new: NewConversation) -> tuple[str, bool]:
        """A conversation's ID, and whether it was made just now, not found.

        Raises :class:`InvalidParam`, and for direct ones what
        :meth:`~homeserver.services.conversations.direct.Direct.find_or_make` raises.
        """
        if new.kind == "group":
            return await self._make_group(owner, new), True
        _check_plain(new)
        if new.kind == "self":
            return await self._direct.find_or_make_notes(owner)
        if new.peer is None:
            raise InvalidParam("A direct conversation needs a 'peer'")
        peer = parse_person(new.peer, "peer")
        return await self._direct.find_or_make(owner, peer, encrypted=new.encrypted)

    async def _make_group(self, owner: UserId, new: NewConversation) -> str:
        if new.peer is not None:
            raise InvalidParam("'peer' is for direct conversations: name 'members'")
        people = parse_people(new.members, "members", without=owner)
        version = ROOM_VERSIONS[GROUP_VERSION]
        wanted = _permissions(new.permissions) if new.permissions is not None else {}
        request = RoomRequest(
            version=GROUP_VERSION,
            preset="private_chat",
            name=new.name,
            topic=new.description or None,
            initial_state=_initial_state(new),
            power_levels=_possible(lambda: group_levels(owner, wanted, version)),
        )
        room_id = await self._creation.create(
            owner, request, await self._profiles.member_fields(owner)
        )
        await self._inviting.invite(owner, room_id, people)
        return room_id

    # ------------------------------------------------------------ changing

    async def change(self, user_id: UserId, room_id: str, change: ConversationChange) -> None:
        """Change a conversation: everything is checked before anything is sent.

        Raises :class:`NotFound`, :class:`Problem`, :class:`Forbidden`.
        """
        permissions: list[Permission] = []
        if any(getattr(change, name) is not UNSET for name in SETTINGS_FIELDS):
            permissions.append("change_settings")
        if any(getattr(change, name) is not UNSET for name in ADMINISTERED_FIELDS):
            permissions.append("administer")
        async with self._access.lock(room_id):
            room = await self._access.allowed(user_id, room_id, *permissions)
            for kind, content in self._changes(room, change):
                await self._rooms.send_state(room_id, Draft(user_id, kind, content, ""))

    def _changes(
        self, room: LiveRoom, change: ConversationChange
    ) -> Sequence[tuple[str, JsonObject]]:
        found: list[tuple[str, JsonObject]] = []
        if change.name is not UNSET:
            found.append((NAME, {"name": change.name} if change.name is not None else {}))
        if change.description is not UNSET:
            found.append((TOPIC, topic(change.description)))
        if change.avatar is not UNSET:
            found.append((AVATAR, avatar(change.avatar)))
        if change.history is not UNSET:
            found.append((HISTORY_VISIBILITY, history(change.history)))
        if change.join is not UNSET:
            found.append((JOIN_RULES, {"join_rule": JOIN_RULE_OF[change.join]}))
        if change.encrypted is True and not room.encrypted:
            found.append((ENCRYPTION, MEGOLM))
        elif change.encrypted is False and room.encrypted:
            raise Problem("cannot_be_undone", "Encryption cannot be switched off", status=409)
        given = change.permissions
        if not isinstance(given, UnsetType):
            wanted = _permissions(given)
            levels = _possible(lambda: standing_of(room).with_permissions(wanted))
            found.append((POWER_LEVELS, levels))
        return found

    # ------------------------------------------------------------ roles

    async def set_role(self, user_id: UserId, room_id: str, target: UserId, role: Role) -> None:
        """Make a member an admin, or an admin a member.

        Raises :class:`NotFound`, :class:`Problem`, :class:`Forbidden`.
        """
        async with self._access.lock(room_id):
            room = await self._access.allowed(user_id, room_id, "administer")
            standing = standing_of(room)
            if room.membership(target) not in ("join", "invite"):
                raise Problem("not_a_member", "That person is not in this conversation", status=409)
            if standing.role(target) == role:
                return
            if target == user_id and _is_only_owner(room, standing, user_id):
                raise must_hand_over()
            require_above(standing, user_id, target)
            levels = _possible(lambda: standing.with_role(target, role), code="ownership_fixed")
            await self._set_levels(user_id, room_id, levels)

    async def hand_over(self, owner: UserId, room_id: str, successor: UserId) -> None:
        """Make a member the owner; who was it is an admin from then on.

        Raises :class:`NotFound`; :class:`Problem` ``ownership_fixed`` in rooms of version 12.
        """
        async with self._access.lock(room_id):
            room = await self._access.room(owner, room_id)
            standing = standing_of(room)
            if standing.role(owner) != "owner":
                raise Problem(
                    "forbidden", "Only an owner can hand the conversation over", status=403
                )
            if not room.is_joined(successor):
                raise Problem("not_a_member", "That person is not in this conversation", status=409)
            if successor == owner:
                return
            levels = _possible(
                lambda: standing.handed_over(owner, successor), code="ownership_fixed"
            )
            await self._set_levels(owner, room_id, levels)

    async def _set_levels(self, user_id: UserId, room_id: str, levels: JsonObject) -> None:
        await self._rooms.send_state(room_id, Draft(user_id, POWER_LEVELS, levels, ""))

    async def check_departure(self, user_id: UserId, room_id: str) -> None:
        """Raise :class:`Problem` ``owner_must_hand_over`` for the last owner of a group in which
        others stay; where ownership is fixed, they may go."""
        room = await self._rooms.find(room_id)
        if room is None or not room.is_joined(user_id) or room.joined_count <= 1:
            return
        standing = standing_of(room)
        if not standing.ownership_is_fixed and _is_only_owner(room, standing, user_id):
            raise must_hand_over()


def must_hand_over() -> Problem:
    """The answer to an owner who would leave a group without one."""
    return Problem(
        "owner_must_hand_over", "Hand the conversation over to somebody first", status=409
    )


def _is_only_owner(room: LiveRoom, standing: Standing, user_id: str) -> bool:
    owners = [owner for owner in standing.elevated if standing.role(owner) == "owner"]
    return user_id in owners and not any(
        room.is_joined(owner) for owner in owners if owner != user_id
    )


def parse_people(texts: Sequence[str], name: str, *, without: str) -> list[UserId]:
    """The people that are named, each once, but for oneself.  Raises :class:`InvalidParam`."""
    people = dict.fromkeys(parse_person(text, name) for text in texts)
    return [person for person in people if person != without]


def topic(description: str | None) -> JsonObject:
    """The content of ``m.room.topic``.  Spec: ``m.topic``, v1.15."""
    if not description:
        return {}
    return {"topic": description, "m.topic": {"m.text": [{"body": description}]}}


def avatar(identifier: str | None) -> JsonObject:
    """The content of ``m.room.avatar``.  Raises :class:`InvalidParam`."""
    return {"url": media_uri(identifier, "avatar")} if identifier is not None else {}


def history(value: str) -> JsonObject:
    """The content of ``m.room.history_visibility``."""
    return {"history_visibility": HISTORY_VISIBILITY_OF[value]}


def _initial_state(new: NewConversation) -> list[InitialState]:
    state = [
        InitialState(JOIN_RULES, "", {"join_rule": JOIN_RULE_OF[new.join]}),
        InitialState(HISTORY_VISIBILITY, "", history(new.history)),
    ]
    if new.avatar is not None:
        state.append(InitialState(AVATAR, "", avatar(new.avatar)))
    if new.encrypted:
        state.append(InitialState(ENCRYPTION, "", MEGOLM))
    return state


def _check_plain(new: NewConversation) -> None:
    plain = NewConversation(kind=new.kind, peer=new.peer, encrypted=new.encrypted)
    if new != plain:
        raise InvalidParam("Name, members, permissions and the like are for groups")


def _permissions(change: PermissionsChange) -> Mapping[Permission, Role]:
    given: Mapping[Any, Any] = asdict(change)
    return {name: role for name, role in given.items() if role is not UNSET}


def _possible(make: Any, *, code: str = "impossible_permissions") -> JsonObject:
    """What a change makes, or :class:`Problem` where it cannot be."""
    try:
        levels: JsonObject = make()
    except CannotBe as error:
        status = 422 if code == "impossible_permissions" else 409
        raise Problem(code, str(error), status=status) from error
    return levels
