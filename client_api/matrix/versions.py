"""Which versions of the spec are spoken here.  Spec: client-server API, API versions."""

from __future__ import annotations

from aiohttp import web

from client_api.routing import ClientRoutes
from homeserver.web import json_response

routes = ClientRoutes()

VERSIONS = [f"v1.{minor}" for minor in range(1, 20)]
# Clients look for these by their names from before they were part of the spec.
UNSTABLE_FEATURES = {
    "org.matrix.e2e_cross_signing": True,
    "dev.comity.message_ends": True,  # dev.comity.expires, dev.comity.view_once
    "org.matrix.msc1763": True,  # retention
    "org.matrix.msc3814": True,  # dehydrated devices
    "org.matrix.msc3881": True,  # pushers switched on and off from other devices
    "org.matrix.msc4140": True,  # delayed events
    "org.matrix.msc4140.stable": True,
    "org.matrix.simplified_msc3575": True,  # sliding sync (MSC4186), as clients know it
    "org.matrix.msc4538": True,  # its to-device extension
    "org.matrix.msc4543": True,  # its encryption extension
    "org.matrix.msc4222": True,  # state_after in /sync
    "im.nheko.summary": True,  # room summaries, MSC3266
    "org.matrix.msc3266": True,
    "org.matrix.msc3827.stable": True,  # room types in the directory
    "uk.half-shot.msc2666.query_mutual_rooms": True,
    "uk.half-shot.msc2666.query_mutual_rooms.stable": True,
    "uk.tcpip.msc4133": True,  # profile fields
    "uk.tcpip.msc4133.stable": True,
}


async def get_versions(_request: web.Request) -> web.Response:
    """The versions of the spec, all since v1.1: clients refuse servers that omit the old ones."""
    return json_response({"versions": VERSIONS, "unstable_features": UNSTABLE_FEATURES})


routes.definitions.append(web.get("/_matrix/client/versions", get_versions))
