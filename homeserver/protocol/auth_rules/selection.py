"""Which state events authorise an event.  Spec: server-server API, auth events selection."""

from __future__ import annotations

from typing import Any

from homeserver.protocol.events import StateKey
from homeserver.protocol.room_versions import RoomVersion

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")


def auth_event_keys(
    event_type: str,
    state_key: str | None,
    sender: str,
    content: dict[str, Any],
    version: RoomVersion,
) -> set[StateKey]:
    """The keys of the state events that an event is to cite as auth events."""
    if event_type == "m.room.create":
        return set()
    keys = {POWER_LEVELS, ("m.room.member", sender)}
    if not version.room_id_is_create_hash:
        keys.add(CREATE)
    if event_type == "m.room.member" and state_key is not None:
        keys |= _member_keys(state_key, content, version)
    return keys


def _member_keys(state_key: str, content: dict[str, Any], version: RoomVersion) -> set[StateKey]:
    keys: set[StateKey] = {("m.room.member", state_key)}
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        keys.add(JOIN_RULES)
    if membership == "invite":
        invite = content.get("third_party_invite")
        signed = invite.get("signed") if isinstance(invite, dict) else None
        token = signed.get("token") if isinstance(signed, dict) else None
        if isinstance(token, str):
            keys.add(("m.room.third_party_invite", token))
    authorised = content.get("join_authorised_via_users_server")
    if membership == "join" and version.restricted_join_rule and isinstance(authorised, str):
        keys.add(("m.room.member", authorised))
    return keys
