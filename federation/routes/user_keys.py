"""Keys of our users' devices.  Spec: server-server API, end-to-end encryption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from aiohttp import web

from federation.routes.base import FederationRoutes
from federation.server import CONTENT, ORIGIN
from homeserver.app_keys import CONSENT_ACCESS, END_TO_END_KEYS, RATE_LIMITS
from homeserver.errors import LimitExceeded
from homeserver.services.key_checks import parse_claims, parse_query
from homeserver.web import json_response

routes = FederationRoutes()

T = TypeVar("T")


async def _permitted(request: web.Request, by_user: Mapping[str, T]) -> dict[str, T]:
    """What is asked of those users whom this instance may look up; others are as unknown."""
    access, origin = request.app[CONSENT_ACCESS], request[ORIGIN]
    return {
        user_id: wanted
        for user_id, wanted in by_user.items()
        if await access.may_look_up(user_id, by=origin)
    }


def _may_claim(request: web.Request, user_id: str) -> bool:
    """Whether an instance has not taken too many of a user's keys, which others need, too."""
    try:
        request.app[RATE_LIMITS].check("key_claim", f"{request[ORIGIN]} {user_id}")
    except LimitExceeded:
        return False
    return True


@routes.post("/v1/user/keys/query")
async def query_user_encryption_keys(request: web.Request) -> web.Response:
    """The identity keys of local users.  Spec: ``POST /user/keys/query``."""
    wanted = await _permitted(request, parse_query(request[CONTENT]))
    keys = await request.app[END_TO_END_KEYS].query_local(wanted)
    return json_response(
        {
            "device_keys": keys.device_keys,
            "master_keys": keys.master_keys,
            "self_signing_keys": keys.self_signing_keys,
        }
    )


@routes.post("/v1/user/keys/claim")
async def claim_user_encryption_keys(request: web.Request) -> web.Response:
    """Take one-time keys of local devices.  Spec: ``POST /user/keys/claim``."""
    claims = await _permitted(request, parse_claims(request[CONTENT]))
    too_often = {user_id for user_id in claims if not _may_claim(request, user_id)}
    claimed = await request.app[END_TO_END_KEYS].claim_local(claims, fallback_for=too_often)
    return json_response({"one_time_keys": claimed})
