"""The redaction algorithm: what remains of an event when its content is taken back.

Spec: room versions 1, 6, 8, 9 and 11, redactions.  What remains is also what signatures and the
reference hash cover, so this is on the way of every event.

``unsigned`` is in no version's list of keys that stay, so it goes; a server that serves a redacted
event adds its own (``redacted_because``).
"""

from __future__ import annotations

from typing import Any

from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersion

KEPT_KEYS_V11 = frozenset(
    (
        "auth_events",
        "content",
        "depth",
        "event_id",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "signatures",
        "state_key",
        "type",
    )
)
KEPT_KEYS_V1 = KEPT_KEYS_V11 | {"membership", "origin", "prev_state"}

NOTHING: frozenset[str] = frozenset()
MEMBER_V1 = frozenset(("membership",))
MEMBER_V9 = frozenset(("membership", "join_authorised_via_users_server"))
CREATE_V1 = frozenset(("creator",))
JOIN_RULES_V1 = frozenset(("join_rule",))
JOIN_RULES_V8 = frozenset(("join_rule", "allow"))
POWER_LEVELS_V1 = frozenset(
    (
        "ban",
        "events",
        "events_default",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
    )
)
POWER_LEVELS_V11 = POWER_LEVELS_V1 | {"invite"}
HISTORY_VISIBILITY = frozenset(("history_visibility",))
ALIASES_V1 = frozenset(("aliases",))
REDACTION_V11 = frozenset(("redacts",))


def redact(pdu: JsonObject, room_version: RoomVersion) -> JsonObject:
    """A copy of a PDU that has only its essential keys; the PDU is left as it is.

    Values that stay are shared with the original, not copied.
    """
    kept_keys = KEPT_KEYS_V11 if room_version.updated_redaction_rules else KEPT_KEYS_V1
    redacted = {key: value for key, value in pdu.items() if key in kept_keys}
    if "content" in redacted:
        redacted["content"] = redact_content(pdu.get("type"), redacted["content"], room_version)
    return redacted


def redact_content(event_type: Any, content: Any, room_version: RoomVersion) -> JsonObject:
    """What remains of an event's content."""
    if not isinstance(content, dict):
        return {}
    kept_keys = _kept_content_keys(event_type, room_version)
    if kept_keys is None:
        return content
    redacted = {key: content[key] for key in kept_keys if key in content}
    if event_type == "m.room.member" and room_version.updated_redaction_rules:
        # v11: of third_party_invite, the key signed stays.  Where it has none, Synapse and ruma
        # keep an empty object, and the hash must be theirs.
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            redacted["third_party_invite"] = {
                key: value for key, value in invite.items() if key == "signed"
            }
    return redacted


def _kept_content_keys(event_type: Any, version: RoomVersion) -> frozenset[str] | None:
    """The keys of the content that stay; None: all of them."""
    match event_type:
        case "m.room.member":
            # v9: join_authorised_via_users_server stays
            return MEMBER_V9 if version.restricted_join_rule_fix else MEMBER_V1
        case "m.room.create":
            # v11: all keys stay
            return None if version.updated_redaction_rules else CREATE_V1
        case "m.room.join_rules":
            # v8: allow stays
            return JOIN_RULES_V8 if version.restricted_join_rule else JOIN_RULES_V1
        case "m.room.power_levels":
            # v11: invite stays
            return POWER_LEVELS_V11 if version.updated_redaction_rules else POWER_LEVELS_V1
        case "m.room.history_visibility":
            return HISTORY_VISIBILITY
        case "m.room.aliases":
            # v6: aliases lost its meaning
            return ALIASES_V1 if version.aliases_auth_rule else NOTHING
        case "m.room.redaction":
            # v11: redacts is in the content, and stays
            return REDACTION_V11 if version.updated_redaction_rules else NOTHING
        case _:
            return NOTHING
