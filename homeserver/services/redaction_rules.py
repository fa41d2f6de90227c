"""Which redactions take effect.  Spec: room versions 3 on, handling redactions."""

from __future__ import annotations

from homeserver.protocol.events import Event
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.live_room import LiveRoom


def may_redact(room: LiveRoom, redaction: Event, target: Event) -> bool:
    """Whether a redaction that the auth rules let into a room takes effect."""
    if target.room_id != redaction.room_id:
        return False  # the auth rules of v1 and v2 do not look at that
    if redaction.room_version.redaction_auth_rule:
        return True  # v1, v2: the auth rules have decided
    levels = room.power_levels
    if levels.user(redaction.sender) >= levels.redact:
        return True
    return server_name_of(target.sender) == server_name_of(redaction.sender)
