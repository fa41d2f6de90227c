"""Signing keys: ours, and those of others for which we are asked.  Unsigned requests will do.

Spec: server-server API, retrieving server keys.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from federation.app_keys import NOTARY
from federation.notary import KeyQuery
from homeserver.app_keys import RATE_LIMITS
from homeserver.callers import caller_key
from homeserver.errors import BadJson, TooLarge
from homeserver.web import json_response, query_int, read_json, required

routes = web.RouteTableDef()

MAX_SERVERS = 100
MAX_KEYS = 100


@routes.get("/_matrix/key/v2/server")
@routes.get("/_matrix/key/v2/server/{key_id}")
async def get_server_key(request: web.Request) -> web.Response:
    """Our own keys.  Spec: ``GET /_matrix/key/v2/server``; a key ID is accepted and ignored."""
    return json_response(request.app[NOTARY].own_document())


@routes.get("/_matrix/key/v2/query/{server_name}")
async def perspectives_key_query(request: web.Request) -> web.Response:
    """Another server's keys, signed by us too.  Spec: ``GET /_matrix/key/v2/query``."""
    least = query_int(request, "minimum_valid_until_ts", 0)
    server_name = request.match_info["server_name"]
    notary = request.app[NOTARY]
    _count(request, 1)
    found = await notary.query({server_name: KeyQuery({}, least)})
    return json_response({"server_keys": found})


@routes.post("/_matrix/key/v2/query")
async def bulk_perspectives_key_query(request: web.Request) -> web.Response:
    """Several servers' keys.  Spec: ``POST /_matrix/key/v2/query``."""
    wanted = required(await read_json(request), "server_keys", dict)
    if len(wanted) > MAX_SERVERS:
        raise TooLarge(f"Keys of at most {MAX_SERVERS} servers can be asked for at once")
    _count(request, len(wanted))
    queries = {server_name: _query(entry) for server_name, entry in wanted.items()}
    return json_response({"server_keys": await request.app[NOTARY].query(queries)})


def _count(request: web.Request, servers: int) -> None:
    """Whoever asks need not say who they are, and may make us ask others.  So it is counted."""
    request.app[RATE_LIMITS].check("key_query", caller_key(request), 1 + servers)


def _query(entry: Any) -> KeyQuery:
    if not isinstance(entry, dict) or len(entry) > MAX_KEYS:
        raise BadJson(f"'server_keys' must map server names to objects of up to {MAX_KEYS} keys")
    keys = {}
    for key_id, criterion in entry.items():
        least = criterion.get("minimum_valid_until_ts", 0) if isinstance(criterion, dict) else None
        if not isinstance(least, int) or isinstance(least, bool):
            raise BadJson("'minimum_valid_until_ts' must be an integer")
        keys[key_id] = least
    return KeyQuery(keys)
