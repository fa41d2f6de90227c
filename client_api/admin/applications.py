"""Applications of the Conversations API, and their tokens.  See ``docs/api/applications.md``."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from client_api.conversations.keys import API_TOKENS, APPLICATIONS
from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.services.conversations.applications import Application, Changes, NewApplication
from homeserver.services.conversations.scopes import SCOPES
from homeserver.services.conversations.shapes.applications import (
    application_info,
    to_json,
    token_info,
)
from homeserver.services.conversations.shapes.times import parse_time
from homeserver.web import json_response, optional, read_json, required

routes = AdminRoutes()


@routes.post("/applications")
async def create_application(request: web.Request) -> web.Response:
    """Make an application."""
    actor = await require_admin(request)
    body = await read_json(request)
    scopes = _texts(body, "scopes")
    new = NewApplication(
        name=required(body, "name", str),
        user_patterns=_texts(body, "user_patterns") or (),
        scopes=scopes if scopes is not None else tuple(SCOPES),
        may_create_users=bool(optional(body, "may_create_users", bool, False)),
        bot=optional(body, "bot", str),
    )
    made = await request.app[APPLICATIONS].create(new, actor=actor)
    return json_response(_shown(made))


@routes.get("/applications")
async def list_applications(request: web.Request) -> web.Response:
    """All applications, the oldest first."""
    await require_admin(request)
    applications = await request.app[APPLICATIONS].list_all()
    return json_response({"applications": [_shown(application) for application in applications]})


@routes.get("/applications/{application_id}")
async def get_application(request: web.Request) -> web.Response:
    """An application and its tokens."""
    await require_admin(request)
    application = await _application(request)
    tokens = await request.app[API_TOKENS].list_of(application_id=application.application_id)
    shown = [to_json(token_info(token)) for token in tokens]
    return json_response({**_shown(application), "tokens": shown})


@routes.put("/applications/{application_id}")
async def change_application(request: web.Request) -> web.Response:
    """Change what is named of an application."""
    await require_admin(request)
    body = await read_json(request)
    changes = Changes(
        name=optional(body, "name", str),
        user_patterns=_texts(body, "user_patterns"),
        scopes=_texts(body, "scopes"),
        may_create_users=optional(body, "may_create_users", bool),
    )
    application_id = request.match_info["application_id"]
    changed = await request.app[APPLICATIONS].change(application_id, changes)
    return json_response(_shown(changed))


@routes.delete("/applications/{application_id}")
async def delete_application(request: web.Request) -> web.Response:
    """Delete an application, its tokens and webhooks; its users' accounts stay."""
    await require_admin(request)
    await request.app[APPLICATIONS].delete(request.match_info["application_id"])
    return json_response({})


@routes.post("/applications/{application_id}/tokens")
async def create_token(request: web.Request) -> web.Response:
    """Make a token of an application: shown this once."""
    actor = await require_admin(request)
    application = await _application(request)
    body = await read_json(request)
    expires_at = optional(body, "expires_at", str)
    text, token = await request.app[API_TOKENS].create(
        application_id=application.application_id,
        name=required(body, "name", str),
        scopes=_texts(body, "scopes") or application.row.scopes,
        at_most=application.row.scopes,
        created_by=actor,
        expires_at=parse_time(expires_at, "expires_at") if expires_at is not None else None,
    )
    return json_response({"token": text, "info": to_json(token_info(token))})


@routes.delete("/applications/{application_id}/tokens/{token_id}")
async def revoke_token(request: web.Request) -> web.Response:
    """Revoke a token of an application's, at once."""
    await require_admin(request)
    info = request.match_info
    await request.app[API_TOKENS].revoke(info["token_id"], application_id=info["application_id"])
    return json_response({})


async def _application(request: web.Request) -> Application:
    return await request.app[APPLICATIONS].get(request.match_info["application_id"])


def _shown(application: Application) -> dict[str, Any]:
    shown = to_json(application_info(application.row))
    assert isinstance(shown, dict)
    return {**shown, "created_by": application.row.created_by}


def _texts(body: JsonObject, name: str) -> list[str] | None:
    given = optional(body, name, list)
    if given is not None and not all(isinstance(text, str) for text in given):
        raise InvalidParam(f"'{name}' must be a list of texts")
    return given
