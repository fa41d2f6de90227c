"""Finding people.  Spec: client-server API, user directory."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import PEOPLE_SEARCH, RATE_LIMITS
from homeserver.errors import InvalidParam
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()

DEFAULT_LIMIT = 10
LARGEST_LIMIT = 100


@routes.post("/user_directory/search")
async def search_user_directory(request: web.Request) -> web.Response:
    """Find users by the beginnings of words of their names or IDs."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("people_search", requester.user_id)
    body = await read_json(request)
    term = required(body, "search_term", str)
    limit = optional(body, "limit", int, DEFAULT_LIMIT) or DEFAULT_LIMIT
    if limit < 1:
        raise InvalidParam("'limit' must be at least 1")

    found = await request.app[PEOPLE_SEARCH].search(
        requester.user_id, term, limit=min(limit, LARGEST_LIMIT)
    )
    results = [
        {
            "user_id": person.user_id,
            **({"display_name": person.name} if person.name else {}),
            **({"avatar_url": person.avatar_url} if person.avatar_url else {}),
        }
        for person in found.people
    ]
    return json_response({"results": results, "limited": found.next is not None})
