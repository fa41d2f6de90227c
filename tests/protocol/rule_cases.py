"""The room versions in which a rule holds, what is cited, and what a room allows."""

from __future__ import annotations

from homeserver.protocol.auth_rules import Allowed, check_auth, check_auth_events
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.protocol.room_builder import BOB, CAROL, Room

ALL = list(ROOM_VERSIONS)
BEFORE_12 = ALL[:-1]
BEFORE_11 = ALL[:10]
SINCE_11 = ALL[10:]
BEFORE_10 = ALL[:9]
SINCE_10 = ALL[9:]
BEFORE_8 = ALL[:7]
SINCE_8 = ALL[7:]
BEFORE_7 = ALL[:6]
SINCE_7 = ALL[6:]
BEFORE_6 = ALL[:5]
SINCE_6 = ALL[5:]
MEMBER, LEVELS, RULES = "m.room.member", "m.room.power_levels", "m.room.join_rules"
CREATE_KEY: StateKey = ("m.room.create", "")
LEVELS_KEY: StateKey = (LEVELS, "")
RULES_KEY: StateKey = (RULES, "")


def since(version: int) -> list[str]:
    return ALL[version - 1 :]


def before(version: int) -> list[str]:
    return ALL[: version - 1]


def allowed(room: Room, event: Event) -> bool:
    return isinstance(check_auth(event, room.state), Allowed)


def cited(room: Room, event: Event, *auths: Event, rejected: tuple[str, ...] = ()) -> bool:
    return isinstance(check_auth_events(event, auths, rejected), Allowed)


def with_moderator(version: str, level: int = 50) -> Room:
    """Carol moderates, Bob is a member."""
    room = Room(version).with_member(CAROL, "join").with_member(BOB, "join")
    return room.with_levels(users={CAROL: level})


def member_key(user_id: str) -> StateKey:
    return MEMBER, user_id
