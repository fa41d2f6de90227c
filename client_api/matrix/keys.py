"""Keys for end-to-end encryption.  Spec: client-server API, key management, cross-signing."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import authenticate_interactively, require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import (
    APPROVALS,
    CROSS_SIGNING,
    DEVICE_LISTS,
    END_TO_END_KEYS,
    OAUTH_TOKENS,
)
from homeserver.errors import InvalidParam, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.services.end_to_end_keys import DEFAULT_TIMEOUT_SECONDS
from homeserver.services.key_checks import parse_claims, parse_query
from homeserver.services.oauth.approvals import OLDER_STAGE as OLDER_OAUTH_STAGE
from homeserver.services.oauth.approvals import STAGE as OAUTH_STAGE
from homeserver.services.requester import Requester
from homeserver.services.sync_token import parse_position
from homeserver.web import json_response, optional, read_json

routes = ClientRoutes()


def require_device(requester: Requester) -> str:
    """The caller's device.  Raises :class:`InvalidParam` for a token that belongs to none."""
    if requester.device_id is None:
        raise InvalidParam("This needs an access token that belongs to a device")
    return requester.device_id


def _timeout_seconds(body: JsonObject) -> float:
    timeout_ms = optional(body, "timeout", int)
    return DEFAULT_TIMEOUT_SECONDS if timeout_ms is None else max(timeout_ms, 0) / 1000


def _position(request: web.Request, key: str) -> int:
    token = request.query.get(key)
    if token is None:
        raise MissingParam(f"'{key}' is required")
    return parse_position(token, key)


@routes.post("/keys/upload")
async def upload_keys(request: web.Request) -> web.Response:
    """Publish the device's keys.  Spec: ``POST /keys/upload``."""
    requester = await require_user(request)
    body = await read_json(request)
    counts = await request.app[END_TO_END_KEYS].upload(
        requester.user_id,
        require_device(requester),
        device_keys=optional(body, "device_keys", dict),
        one_time_keys=optional(body, "one_time_keys", dict) or {},
        fallback_keys=optional(body, "fallback_keys", dict) or {},
    )
    return json_response({"one_time_key_counts": counts})


@routes.post("/keys/query")
async def query_keys(request: web.Request) -> web.Response:
    """Identity keys of users.  Spec: ``POST /keys/query``."""
    requester = await require_user(request)
    body = await read_json(request)
    result = await request.app[END_TO_END_KEYS].query(
        requester.user_id, parse_query(body), _timeout_seconds(body)
    )
    return json_response(
        {
            "device_keys": result.keys.device_keys,
            "master_keys": result.keys.master_keys,
            "self_signing_keys": result.keys.self_signing_keys,
            "user_signing_keys": result.keys.user_signing_keys,
            "failures": result.failures,
        }
    )


@routes.post("/keys/claim")
async def claim_keys(request: web.Request) -> web.Response:
    """Take one-time keys.  Spec: ``POST /keys/claim``."""
    await require_user(request)
    body = await read_json(request)
    result = await request.app[END_TO_END_KEYS].claim(parse_claims(body), _timeout_seconds(body))
    return json_response({"one_time_keys": result.one_time_keys, "failures": result.failures})


@routes.get("/keys/changes")
async def get_keys_changes(request: web.Request) -> web.Response:
    """Whose keys changed between two syncs.  Spec: ``GET /keys/changes``."""
    requester = await require_user(request)
    changes = await request.app[DEVICE_LISTS].changes_since(
        requester.user_id, _position(request, "from"), _position(request, "to")
    )
    return json_response({"changed": changes.changed, "left": changes.left})


@routes.post("/keys/device_signing/upload")
async def upload_cross_signing_keys(request: web.Request) -> web.Response:
    """Publish cross-signing keys.  Spec: ``POST /keys/device_signing/upload``."""
    requester = await require_user(request)
    body = await read_json(request)
    service = request.app[CROSS_SIGNING]
    for key in ("master_key", "self_signing_key", "user_signing_key"):
        optional(body, key, dict)
    if await service.needs_authentication(requester.user_id, body):
        await _authenticate_reset(request, body, requester)
    await service.upload(requester.user_id, body)
    return json_response({})


async def _authenticate_reset(request: web.Request, body: JsonObject, requester: Requester) -> None:
    """By the account page for devices of the OAuth 2.0 API.  Spec: OAuth authentication."""
    device_id, tokens = requester.device_id, request.app[OAUTH_TOKENS]
    if device_id is None or not await tokens.uses_oauth(requester.user_id, device_id):
        await authenticate_interactively(request, body, requester)
        return
    approvals = request.app[APPROVALS]
    if not await approvals.take(requester.user_id, device_id):
        await authenticate_interactively(
            request,
            body,
            requester,
            flows=((OAUTH_STAGE,), (OLDER_OAUTH_STAGE,)),
            params=approvals.params(device_id),
        )


@routes.post("/keys/signatures/upload")
async def upload_cross_signing_signatures(request: web.Request) -> web.Response:
    """Publish signatures on keys.  Spec: ``POST /keys/signatures/upload``."""
    requester = await require_user(request)
    body = await read_json(request)
    failures = await request.app[CROSS_SIGNING].upload_signatures(requester.user_id, body)
    return json_response({"failures": failures})
