"""What an API token may be good for.

Each operation of the API names the scope that it takes.  A device's access token has them all; an
API token has those that it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeserver.errors import InvalidParam

SESSION = "session"
"""What no API token is good for: only somebody who has logged in may do it."""

USERS_MANAGE = "users:manage"
WEBHOOKS = "webhooks"

SCOPES = {
    "calls": "ring, answer, decline and end calls; TURN credentials",
    "consent": "what the user agreed to, and requests: read, grant, revoke, accept, decline, block",
    "conversations:read": "conversations and their members",
    "conversations:write": "make and change conversations, invite and remove members",
    "devices": "the user's devices: list them, sign them out",
    "keys": "devices' keys of end-to-end encryption",
    "media": "upload and download files",
    "messages:read": "messages, their status, drafts, search and updates",
    "messages:write": "send, edit, react, delete, mark as read",
    "people:read": "profiles and contacts",
    "people:write": "change the user's profile and contacts",
    "presence": "who is online; say whether the user is",
    USERS_MANAGE: "an application's own users: make and end accounts, log them in",
    WEBHOOKS: "register webhooks in both directions, read their log",
}
APPLICATIONS_ONLY = frozenset({USERS_MANAGE})


def parse_scopes(given: Iterable[str], *, at_most: Iterable[str] | None = None) -> list[str]:
    """The scopes that a token is to have, in order, each once.

    ``at_most``: what its maker can give away.  Raises :class:`InvalidParam`.
    """
    wanted = frozenset(given)
    if not wanted:
        raise InvalidParam("'scopes' must name at least one scope")
    for scope in sorted(wanted - SCOPES.keys()):
        raise InvalidParam(f"There is no scope '{scope}'; there are {', '.join(SCOPES)}")
    beyond = sorted(wanted - frozenset(at_most)) if at_most is not None else []
    if beyond:
        raise InvalidParam(f"The scope '{beyond[0]}' cannot be given here")
    return sorted(wanted)
