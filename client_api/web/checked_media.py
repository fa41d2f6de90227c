"""Files for the external checks that are asked about them, by signed addresses.

See ``docs/external-checks.md``; nobody else has such an address, and each is good for two minutes.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from homeserver.app_keys import CHECK_LINKS
from homeserver.media_headers import SECURITY_HEADERS
from homeserver.media_responses import serve_blob
from homeserver.services.external_checks.links import PATH

routes = web.RouteTableDef()


@routes.get(PATH + "/{name}")
async def get_checked_media(request: web.Request) -> web.StreamResponse:
    """The file that a check is asked about."""
    query = request.query
    blob = request.app[CHECK_LINKS].open(
        request.match_info["name"], query.get("expires", ""), query.get("mac", "")
    )
    headers = {
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.CONTENT_DISPOSITION: "attachment",
        hdrs.CACHE_CONTROL: "no-store",
        **SECURITY_HEADERS,
    }
    return await serve_blob(request, blob, headers)
