"""Files that content policy withholds until a moderator decides."""

from __future__ import annotations

from aiohttp import hdrs, web
from msgspec.structs import asdict

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import MEDIA_GATE
from homeserver.errors import NotFound
from homeserver.media_headers import SECURITY_HEADERS
from homeserver.media_responses import serve_blob
from homeserver.protocol.events import JsonObject
from homeserver.protocol.media_uris import MediaUri, parse_media_uri
from homeserver.storage.media_facts import MediaVerdict
from homeserver.web import json_response, query_int

routes = AdminRoutes()

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1_000
FILE = "/moderation/held_media/{origin}/{media_id}"


def _json(verdict: MediaVerdict) -> JsonObject:
    found = asdict(verdict) | {"sha256": verdict.sha256.hex()}
    del found["policy"]
    return {key: value for key, value in found.items() if value is not None}


def _media(request: web.Request) -> MediaUri:
    path = f"{request.match_info['origin']}/{request.match_info['media_id']}"
    media = parse_media_uri(f"mxc://{path}")
    if media is None:
        raise NotFound("No such file waits for a moderator")
    return media


@routes.get("/moderation/held_media")
async def get_held_media(request: web.Request) -> web.Response:
    """Files that wait, the oldest first: ``from`` (a time in ms), ``limit``."""
    await require_admin(request)
    held = await request.app[MEDIA_GATE].withheld(
        query_int(request, "from", 0),
        query_int(request, "limit", DEFAULT_LIMIT, least=1, most=LARGEST_LIMIT),
    )
    return json_response({"media": [_json(verdict) for verdict in held]})


@routes.get(FILE)
async def get_held_file(request: web.Request) -> web.StreamResponse:
    """A file that waits, for the moderator to look at."""
    await require_admin(request)
    blob = await request.app[MEDIA_GATE].held_file(*_media(request))
    headers = {
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.CONTENT_DISPOSITION: "attachment",
        hdrs.CACHE_CONTROL: "no-store",
        **SECURITY_HEADERS,
    }
    return await serve_blob(request, blob, headers)


@routes.post(FILE + "/{action:release|refuse}")
async def decide_held_media(request: web.Request) -> web.Response:
    """Let a file be downloaded, or refuse it for good."""
    moderator = await require_admin(request)
    gate = request.app[MEDIA_GATE]
    decide = gate.release if request.match_info["action"] == "release" else gate.refuse
    await decide(*_media(request), moderator)
    return json_response({})
