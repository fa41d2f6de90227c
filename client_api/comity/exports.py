"""The caller's data, all of it, as a file to download.  See ``docs/accounts.md``."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import hdrs, web

from client_api.auth import require_user
from client_api.comity.routing import PREFIX, ComityRoutes
from homeserver.app_keys import EXPORTS, RATE_LIMITS
from homeserver.protocol.events import JsonObject
from homeserver.storage.exports import READY, Export
from homeserver.web import json_response, read_json

routes = ComityRoutes()


def _shown(export: Export) -> JsonObject:
    shown: JsonObject = {
        "id": export.export_id,
        "state": export.state,
        "requested_at": export.requested_at,
    }
    if export.finished_at is not None:
        shown["finished_at"] = export.finished_at
    if export.state == READY:
        shown["expires_at"] = export.expires_at
        shown["size_bytes"] = export.size_bytes
        shown["download"] = f"{PREFIX}/export/{export.export_id}"
    return shown


@routes.post("/export")
async def request_export(request: web.Request) -> web.Response:
    """Have all one's data put together; the answer is the export, as it stands."""
    requester = await require_user(request)
    await read_json(request, optional=True)
    exports = request.app[EXPORTS]
    if not await exports.is_busy(requester.user_id):
        request.app[RATE_LIMITS].check("export", requester.user_id)
    return json_response(_shown(await exports.request(requester.user_id)))


@routes.get("/export")
async def get_exports(request: web.Request) -> web.Response:
    """The caller's exports, the newest first."""
    requester = await require_user(request)
    mine = await request.app[EXPORTS].mine(requester.user_id)
    return json_response({"exports": [_shown(export) for export in mine]})


@routes.get("/export/{id}")
async def download_export(request: web.Request) -> web.StreamResponse:
    """The file: a ZIP.  Parts of it may be asked for (``Range``)."""
    requester = await require_user(request)
    export, path = await request.app[EXPORTS].file(requester.user_id, request.match_info["id"])
    day = datetime.fromtimestamp((export.finished_at or 0) / 1000, UTC).strftime("%Y-%m-%d")
    return web.FileResponse(
        path,
        headers={
            hdrs.CONTENT_TYPE: "application/zip",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="comity-export-{day}.zip"',
            hdrs.CACHE_CONTROL: "private, no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
