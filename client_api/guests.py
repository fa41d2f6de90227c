"""What guests may call.  Spec: client-server API, guest access, client behaviour.

Beside what the spec lists: what its own clients call before anything else (filters, capabilities),
logging out, and what callers without an access token may do, too.
"""

from __future__ import annotations

import re
from functools import lru_cache

from aiohttp import web

from homeserver.errors import GuestForbidden

_VERSION = re.compile(r"/_matrix/client/(?:r0|v1|v3|unstable(?:/[^/]+)?)(?=/)")
_PARAMETER = re.compile(r"\{[^}]*\}")
_ALLOWED = frozenset(
    {
        # retrieving events and media
        "GET /rooms/{}/state",
        "GET /rooms/{}/context/{}",
        "GET /rooms/{}/event/{}",
        "GET /rooms/{}/state/{}/{}",
        "GET /rooms/{}/state/{}",
        "GET /rooms/{}/messages",
        "GET /rooms/{}/members",
        "GET /rooms/{}/initialSync",
        "GET /sync",
        "GET /events",
        "GET /media/download/{}/{}",
        "GET /media/download/{}/{}/{}",
        "GET /media/thumbnail/{}/{}",
        # sending
        "POST /rooms/{}/join",
        "POST /join/{}",
        "POST /rooms/{}/leave",
        "PUT /rooms/{}/send/{}/{}",
        "PUT /rooms/{}/state/{}/{}",
        "PUT /rooms/{}/state/{}",
        "PUT /sendToDevice/{}/{}",
        # one's own account
        "GET /profile/{}",
        "GET /profile/{}/{}",
        "PUT /profile/{}/displayname",
        "DELETE /profile/{}/displayname",
        "GET /devices",
        "GET /devices/{}",
        "PUT /devices/{}",
        "GET /account/whoami",
        "POST /logout",
        "POST /logout/all",
        "GET /capabilities",
        "POST /user/{}/filter",
        "GET /user/{}/filter/{}",
        # end-to-end encryption
        "POST /keys/upload",
        "POST /keys/query",
        "POST /keys/claim",
        # what others call without an access token
        "GET /publicRooms",
        "GET /room_summary/{}",
    }
)


def require_guest_route(request: web.Request) -> None:
    """Raise :class:`GuestForbidden` unless guests may call this."""
    resource = request.match_info.route.resource
    canonical = resource.canonical if resource is not None else ""
    method = "GET" if request.method == "HEAD" else request.method
    if not _allows(method, canonical, request.match_info.get("key_name", "")):
        raise GuestForbidden("Guests may not do that: make an account first")


@lru_cache(maxsize=1_000)
def _allows(method: str, canonical: str, key: str) -> bool:
    path, versions = _VERSION.subn("", canonical, count=1)
    if not versions:
        return False
    path = _PARAMETER.sub("{}", path)
    if path == "/profile/{}/{}" and method != "GET":
        path = f"/profile/{{}}/{key}"
    return f"{method} {path}".rstrip("/") in _ALLOWED
