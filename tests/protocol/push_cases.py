"""Messages, rooms and readers for push rules."""

from __future__ import annotations

from typing import Any

from homeserver.protocol.push_conditions import compile_condition
from homeserver.protocol.push_rules import Actions, PushEvent, RoomPushContext, UserPushContext
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.protocol.sample_events import BOB, make_event

V11 = ROOM_VERSIONS["11"]
V12 = ROOM_VERSIONS["12"]
GROUP = RoomPushContext(member_count=5)
PAIR = RoomPushContext(member_count=2)
BOBS = UserPushContext(BOB, "Bob B.")
NOTIFY = Actions(("notify",))
LOUD = {"set_tweak": "sound", "value": "default"}
HIGHLIGHT = {"set_tweak": "highlight"}


def push_event(**changes: Any) -> PushEvent:
    """A message of Alice's."""
    return PushEvent(make_event(V11, **changes))


def says(body: Any, **extra: Any) -> PushEvent:
    """A message of Alice's with a text."""
    return push_event(content={"msgtype": "m.text", "body": body, **extra})


def condition_matches(
    condition: Any,
    event: PushEvent,
    room: RoomPushContext = GROUP,
    user: UserPushContext = BOBS,
) -> bool:
    """Whether a condition holds."""
    return compile_condition(condition)(event, room, user)
