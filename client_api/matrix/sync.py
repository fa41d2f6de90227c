"""``GET /sync``.  Spec: client-server API, syncing."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.long_polls import Waiting
from client_api.routing import ClientRoutes
from homeserver.app_keys import FILTERS, SYNC
from homeserver.errors import InvalidParam
from homeserver.protocol.filters import EMPTY_FILTER
from homeserver.services.sync import SyncRequest
from homeserver.services.sync_token import SyncToken
from homeserver.web import query_bool, query_int

routes = ClientRoutes()

LONGEST_TIMEOUT_MS = 300_000
UNSTABLE = "org.matrix.msc4222."  # how clients ask that were made before v1.16
PRESENCES = ("online", "offline", "unavailable")


@routes.get("/sync")
async def sync(request: web.Request) -> web.Response:
    """What is new since the token; waits for it up to the timeout."""
    requester = await require_user(request)
    query = request.query
    since, filter_text = query.get("since"), query.get("filter")
    set_presence = query.get("set_presence", "online")
    if set_presence not in PRESENCES:
        raise InvalidParam("'set_presence' must be online, offline or unavailable")
    after = query_bool(request, "use_state_after")
    with Waiting(request, requester) as poll:
        answer = await request.app[SYNC].sync(
            SyncRequest(
                requester,
                since=SyncToken.parse(since) if since else None,
                filter=await request.app[FILTERS].resolve(requester.user_id, filter_text)
                if filter_text
                else EMPTY_FILTER,
                timeout_ms=query_int(request, "timeout", 0, most=LONGEST_TIMEOUT_MS),
                full_state=query_bool(request, "full_state"),
                use_state_after=after or query_bool(request, f"{UNSTABLE}use_state_after"),
                state_after_name="state_after" if after else f"{UNSTABLE}state_after",
                set_presence=set_presence,
                is_gone=poll.is_over,
            )
        )
    return web.Response(body=answer, content_type="application/json")
