"""The authorisation rules of room versions 1 to 12.

Spec: room versions, authorisation rules; server-server API, auth events selection.  The rules are
numbered as in version 12; where a version differs, the comment says so.  Verdicts are values.
"""

from __future__ import annotations

from homeserver.protocol.auth_rules.rules import check_auth, check_auth_events
from homeserver.protocol.auth_rules.selection import auth_event_keys
from homeserver.protocol.auth_rules.verdict import ALLOWED, Allowed, Rejected, Verdict

__all__ = [
    "ALLOWED",
    "Allowed",
    "Rejected",
    "Verdict",
    "auth_event_keys",
    "check_auth",
    "check_auth_events",
]
