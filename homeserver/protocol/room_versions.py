"""Room versions: one row of named behaviours each.

Ask ``version.restricted_join_rule``, never ``version >= 8``.  Spec: room versions 1 to 12.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace


class EventIdFormat(Enum):
    """How an event gets its ID."""

    ASSIGNED = "assigned"  # v1, v2: `$opaque:server`, chosen by the sender
    HASH_BASE64 = "hash_base64"  # v3: `$` + unpadded base64 of the reference hash
    HASH_URLSAFE = "hash_urlsafe"  # v4 on: `$` + unpadded URL-safe base64


class StateResolution(Enum):
    """Which algorithm resolves a fork of the room's state."""

    V1 = "v1"
    V2 = "v2"
    V2_1 = "v2.1"


class RoomVersion(Struct, frozen=True):
    """The behaviours in which room versions differ, named after what they switch on."""

    identifier: str
    event_id_format: EventIdFormat = EventIdFormat.ASSIGNED
    state_resolution: StateResolution = StateResolution.V1
    # v3: redactions are authorised on arrival of the redacted event, not by the auth rules
    redaction_auth_rule: bool = True
    # v5: a signature counts only if the key was valid at origin_server_ts
    enforce_key_validity: bool = False
    # v6: floats and integers beyond 2**53 - 1 are refused; `notifications` power is checked;
    # `m.room.aliases` lost its auth and redaction rules
    strict_canonical_json: bool = False
    limit_notifications_power_levels: bool = False
    aliases_auth_rule: bool = True
    # v7
    knock_join_rule: bool = False
    # v8, and v9's redaction fix (join_authorised_via_users_server survives)
    restricted_join_rule: bool = False
    restricted_join_rule_fix: bool = False
    # v10
    knock_restricted_join_rule: bool = False
    integer_power_levels: bool = False
    # v11: `creator` left m.room.create's content, `redacts` moved into content
    implicit_room_creator: bool = False
    updated_redaction_rules: bool = False
    # v12: the room ID is the create event's hash, creators outrank every power level,
    # and the create event is no longer cited in auth_events
    room_id_is_create_hash: bool = False
    privileged_creators: bool = False


V1 = RoomVersion("1")
V2 = replace(V1, identifier="2", state_resolution=StateResolution.V2)
V3 = replace(
    V2, identifier="3", event_id_format=EventIdFormat.HASH_BASE64, redaction_auth_rule=False
)
V4 = replace(V3, identifier="4", event_id_format=EventIdFormat.HASH_URLSAFE)
V5 = replace(V4, identifier="5", enforce_key_validity=True)
V6 = replace(
    V5,
    identifier="6",
    strict_canonical_json=True,
    limit_notifications_power_levels=True,
    aliases_auth_rule=False,
)
V7 = replace(V6, identifier="7", knock_join_rule=True)
V8 = replace(V7, identifier="8", restricted_join_rule=True)
V9 = replace(V8, identifier="9", restricted_join_rule_fix=True)
V10 = replace(V9, identifier="10", knock_restricted_join_rule=True, integer_power_levels=True)
V11 = replace(V10, identifier="11", implicit_room_creator=True, updated_redaction_rules=True)
V12 = replace(
    V11,
    identifier="12",
    state_resolution=StateResolution.V2_1,
    room_id_is_create_hash=True,
    privileged_creators=True,
)

ROOM_VERSIONS: dict[str, RoomVersion] = {
    version.identifier: version for version in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12)
}
