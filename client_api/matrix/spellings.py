"""What clients call by the names from before it was part of the specification.

Each spelling was found in a client: matrix-js-sdk, the Android and iOS SDKs of Element, nheko,
matrix-rust-sdk (ruma), mautrix.  The stable names are the modules' own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from aiohttp import web

STABLE = re.compile(r"/_matrix/client/(?:v1|v3)(/.*)")
PREFIX = "/_matrix/client/unstable"

PLAIN = (
    "/account/3pid",  # Android: bind, unbind, delete, add
    "/delete_devices",
    "/devices",
    "/keys/",  # Android and iOS; matrix-js-sdk: device_signing/upload
    "/rooms/{room_id}/relations/",  # Android, commet
    "/room_keys/",  # Android, iOS
    "/sendToDevice/",
    "/thirdparty/",  # iOS
)
"""Beginnings of what is called directly beneath ``unstable``."""

NAMED = {
    "org.matrix.msc2285": ("/rooms/{room_id}/read_markers", "/rooms/{room_id}/receipt/"),
    "org.matrix.msc2432": ("/rooms/{room_id}/aliases",),
    "org.matrix.msc2858": ("/login/sso/redirect/",),
    "org.matrix.msc2965": ("/auth_metadata",),
    "org.matrix.msc3030": ("/rooms/{room_id}/timestamp_to_event",),
    "org.matrix.msc3856": ("/rooms/{room_id}/threads",),
    "org.matrix.msc3916": ("/media/",),
    "org.matrix.msc4151": ("/rooms/{room_id}/report",),
    "org.matrix.msc4260": ("/users/{user_id}/report",),
    "uk.tcpip.msc4133": ("/profile/",),
    "uk.timedout.msc4323": ("/admin/lock/", "/admin/suspend/"),
    "xyz.amorgan.knock": ("/knock/",),
}
"""Beginnings of what is called beneath the name of the proposal that it came from."""


def unstable_spellings(stable: Iterable[web.RouteDef]) -> Iterator[web.RouteDef]:
    """The routes of the unstable spellings of what is there, as far as they are not there."""
    definitions = list(stable)
    there = {(definition.method, definition.path) for definition in definitions}
    for definition in definitions:
        found = STABLE.fullmatch(definition.path)
        for path in _spellings(found[1]) if found is not None else ():
            if (definition.method, path) not in there:
                there.add((definition.method, path))
                yield web.route(definition.method, path, definition.handler)


def _spellings(path: str) -> Iterator[str]:
    if path.startswith(PLAIN):
        yield PREFIX + path
    for name, beginnings in NAMED.items():
        if path.startswith(beginnings):
            yield f"{PREFIX}/{name}{path}"
