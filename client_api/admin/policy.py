"""The rules of content policy, and the audit trail.  See ``docs/policy.md``."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec.structs import asdict

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import DATABASE, POLICY, RULE_FILE
from homeserver.config import ConfigError
from homeserver.errors import InvalidParam, MatrixError
from homeserver.services.policy.engine import RuleCount
from homeserver.storage.policy import END_OF_TRAIL, VerdictPlace, get_verdict_page
from homeserver.web import json_response

routes = AdminRoutes()

MOST_VERDICTS = 1_000


@routes.post("/policy/reload")
async def reload_rules(request: web.Request) -> web.Response:
    """Read the rules of the configuration file again.

    400 with ``problems`` if the file cannot be used: then the rules stay as they were.
    """
    await require_admin(request)
    try:
        count = await request.app[RULE_FILE].reload()
    except ConfigError as error:
        raise MatrixError(
            "The rules stay as they were: " + "; ".join(error.problems),
            errcode="M_INVALID_PARAM",
            problems=error.problems,
        ) from error
    return json_response({"rules": count})


@routes.get("/policy/rules")
async def list_rules(request: web.Request) -> web.Response:
    """The rules in force, and how often each matched since the server started."""
    await require_admin(request)
    return json_response({"rules": [_shown(entry) for entry in request.app[POLICY].rules()]})


def _shown(entry: RuleCount) -> dict[str, Any]:
    rule = entry.rule
    return {
        "name": rule.name,
        "action": rule.action,
        "mode": rule.mode,
        "for_seconds": rule.duration_seconds,
        "looks_at": sorted(rule.keys),
        "matched": entry.matched,
    }


@routes.get("/policy/verdicts")
async def list_verdicts(request: web.Request) -> web.Response:
    """The audit trail, the newest first, a page at a time.

    Filters: ``rule``, ``origin``, ``since`` (ms).  ``limit`` (100), ``from`` (``next_batch``).
    """
    await require_admin(request)
    limit = _number(request, "limit", 100, 1, MOST_VERDICTS)
    await request.app[POLICY].trail.flush()
    page = await get_verdict_page(
        request.app[DATABASE],
        rule=_text(request, "rule"),
        origin=_text(request, "origin"),
        since=_number(request, "since", 0, 0, 2**63 - 1),
        before=_place(request.query.get("from")),
        limit=limit,
    )
    answer: dict[str, Any] = {"verdicts": [asdict(row) for _, row in page]}
    if len(page) == limit:
        last = page[-1][0]
        answer["next_batch"] = f"{last.created_at}_{last.verdict_id}"
    return json_response(answer)


def _text(request: web.Request, name: str) -> str | None:
    value = request.query.get(name)
    if value is not None and "\0" in value:
        raise InvalidParam(f"'{name}' must be a text")
    return value


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise InvalidParam(f"'{name}' must be a whole number from {least} to {most}")
    return max(least, min(int(text), most))


def _place(token: str | None) -> VerdictPlace:
    if token is None:
        return END_OF_TRAIL
    created_at, _, verdict_id = token.partition("_")
    for part in (created_at, verdict_id):
        if not part.isascii() or not part.isdigit() or int(part) > 2**63 - 1:
            raise InvalidParam("'from' must be a next_batch of this endpoint")
    return VerdictPlace(int(created_at), int(verdict_id))
