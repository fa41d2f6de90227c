"""Push rules.  Spec: client-server API, push rules API.

``global`` is the only scope there is.
"""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import PUSH_RULES
from homeserver.errors import MissingParam, NotFound
from homeserver.web import json_response, read_json, required

routes = ClientRoutes()

RULE = "/pushrules/global/{kind}/{rule_id}"


def _rule(request: web.Request) -> tuple[str, str]:
    return request.match_info["kind"], request.match_info["rule_id"]


@routes.get("/pushrules/")
@routes.get("/pushrules")
async def get_push_rules(request: web.Request) -> web.Response:
    """All rulesets of the user."""
    requester = await require_user(request)
    return json_response({"global": request.app[PUSH_RULES].ruleset(requester.user_id)})


@routes.get("/pushrules/global/")
@routes.get("/pushrules/global")
async def get_push_rules_global(request: web.Request) -> web.Response:
    """All rules of the user."""
    requester = await require_user(request)
    return json_response(request.app[PUSH_RULES].ruleset(requester.user_id))


@routes.get("/pushrules/global/{kind}/")
@routes.get("/pushrules/global/{kind}")
async def get_push_rules_of_kind(request: web.Request) -> web.Response:
    """All rules of a kind.  Not in the spec any more; older clients ask for it."""
    requester = await require_user(request)
    rules = request.app[PUSH_RULES].ruleset(requester.user_id).get(request.match_info["kind"])
    if rules is None:
        raise NotFound("There is no such kind of push rule")
    return json_response(rules)


@routes.get(RULE)
async def get_push_rule(request: web.Request) -> web.Response:
    """One rule."""
    requester = await require_user(request)
    return json_response(request.app[PUSH_RULES].rule(requester.user_id, *_rule(request)))


@routes.put(RULE)
async def set_push_rule(request: web.Request) -> web.Response:
    """Add a rule of one's own, or change it."""
    requester = await require_user(request)
    body = await read_json(request)
    required(body, "actions", list)

    await request.app[PUSH_RULES].put(
        requester.user_id,
        *_rule(request),
        body,
        before=request.query.get("before"),
        after=request.query.get("after"),
    )
    return json_response({})


@routes.delete(RULE)
async def delete_push_rule(request: web.Request) -> web.Response:
    """Remove a rule of one's own."""
    requester = await require_user(request)
    await request.app[PUSH_RULES].delete(requester.user_id, *_rule(request))
    return json_response({})


@routes.get(f"{RULE}/enabled")
async def is_push_rule_enabled(request: web.Request) -> web.Response:
    """Whether a rule is on."""
    requester = await require_user(request)
    rule = request.app[PUSH_RULES].rule(requester.user_id, *_rule(request))
    return json_response({"enabled": rule["enabled"]})


@routes.put(f"{RULE}/enabled")
async def set_push_rule_enabled(request: web.Request) -> web.Response:
    """Switch a rule on or off."""
    requester = await require_user(request)
    enabled = required(await read_json(request), "enabled", bool)
    await request.app[PUSH_RULES].set_enabled(requester.user_id, *_rule(request), enabled)
    return json_response({})


@routes.get(f"{RULE}/actions")
async def get_push_rule_actions(request: web.Request) -> web.Response:
    """What a rule does."""
    requester = await require_user(request)
    rule = request.app[PUSH_RULES].rule(requester.user_id, *_rule(request))
    return json_response({"actions": rule["actions"]})


@routes.put(f"{RULE}/actions")
async def set_push_rule_actions(request: web.Request) -> web.Response:
    """Change what a rule does."""
    requester = await require_user(request)
    body = await read_json(request)
    if "actions" not in body:
        raise MissingParam("'actions' is required")

    await request.app[PUSH_RULES].set_actions(requester.user_id, *_rule(request), body["actions"])
    return json_response({})
