"""The server-default push rules.

Spec: client-server API v1.19, push notifications, predefined rules.
"""

from __future__ import annotations

from typing import Any

from homeserver.protocol.json_types import JsonObject

KINDS = ("override", "content", "room", "sender", "underride")
MASTER = ".m.rule.master"
# Stands for the ID of the user whose rules they are.
USER_ID_PLACE = "[the user's Matrix ID]"

NOTIFY = "notify"
HIGHLIGHT: JsonObject = {"set_tweak": "highlight"}


def _sound(name: str) -> JsonObject:
    return {"set_tweak": "sound", "value": name}


def _match(key: str, pattern: str) -> JsonObject:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _rule(
    rule_id: str, conditions: list[JsonObject], actions: list[Any], *, enabled: bool = True
) -> JsonObject:
    return {
        "rule_id": rule_id,
        "default": True,
        "enabled": enabled,
        "conditions": conditions,
        "actions": actions,
    }


def _in_rooms_of_two(event_type: str) -> list[JsonObject]:
    return [{"kind": "room_member_count", "is": "2"}, _match("type", event_type)]


OVERRIDE = (
    _rule(MASTER, [], [], enabled=False),
    _rule(".m.rule.suppress_notices", [_match("content.msgtype", "m.notice")], []),
    _rule(
        ".m.rule.invite_for_me",
        [
            _match("type", "m.room.member"),
            _match("content.membership", "invite"),
            _match("state_key", USER_ID_PLACE),
        ],
        [NOTIFY, _sound("default")],
    ),
    _rule(".m.rule.member_event", [_match("type", "m.room.member")], []),
    _rule(
        ".m.rule.is_user_mention",
        [
            {
                "kind": "event_property_contains",
                "key": "content.m\\.mentions.user_ids",
                "value": USER_ID_PLACE,
            }
        ],
        [NOTIFY, _sound("default"), HIGHLIGHT],
    ),
    _rule(
        ".m.rule.is_room_mention",
        [
            {"kind": "event_property_is", "key": "content.m\\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        [NOTIFY, HIGHLIGHT],
    ),
    _rule(
        ".m.rule.tombstone",
        [_match("type", "m.room.tombstone"), _match("state_key", "")],
        [NOTIFY, HIGHLIGHT],
    ),
    _rule(".m.rule.reaction", [_match("type", "m.reaction")], []),
    _rule(
        ".m.rule.room.server_acl",
        [_match("type", "m.room.server_acl"), _match("state_key", "")],
        [],
    ),
    _rule(
        ".m.rule.suppress_edits",
        [
            {
                "kind": "event_property_is",
                "key": "content.m\\.relates_to.rel_type",
                "value": "m.replace",
            }
        ],
        [],
    ),
)

UNDERRIDE = (
    _rule(".m.rule.call", [_match("type", "m.call.invite")], [NOTIFY, _sound("ring")]),
    _rule(
        ".m.rule.encrypted_room_one_to_one",
        _in_rooms_of_two("m.room.encrypted"),
        [NOTIFY, _sound("default")],
    ),
    _rule(
        ".m.rule.room_one_to_one",
        _in_rooms_of_two("m.room.message"),
        [NOTIFY, _sound("default")],
    ),
    _rule(".m.rule.message", [_match("type", "m.room.message")], [NOTIFY]),
    _rule(".m.rule.encrypted", [_match("type", "m.room.encrypted")], [NOTIFY]),
)

DEFAULT_RULES: dict[str, tuple[JsonObject, ...]] = {
    "override": OVERRIDE,
    "content": (),
    "room": (),
    "sender": (),
    "underride": UNDERRIDE,
}
