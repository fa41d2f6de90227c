"""Policy lists: what they say, what a draft would change, apply or discard it; import and export.

A list is named by the room as it is configured, or by its import's name.  See
``docs/policy-lists.md``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiohttp import web
from msgspec.structs import asdict

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import POLICY_LISTS, POLICY_PREVIEWS
from homeserver.errors import InvalidParam, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.services.policy_lists.files import read_list, write_list
from homeserver.services.policy_lists.policy_list import PolicyList
from homeserver.services.policy_lists.preview import Preview
from homeserver.storage.policy_lists import EntryRow
from homeserver.web import json_response, optional, query_int, read_json, required, string_list

routes = AdminRoutes()

MOST_ENTRIES = 1_000
STATES = ("in_effect", "draft", "declined")


@routes.get("/policy/lists")
async def list_lists(request: web.Request) -> web.Response:
    """All lists, and how much of each is in effect or waits."""
    await require_admin(request)
    found = request.app[POLICY_LISTS].all()
    return json_response({"lists": [_summary(policy_list) for policy_list in found]})


@routes.get("/policy/lists/entries")
async def list_entries(request: web.Request) -> web.Response:
    """The entries of ``?list=``; ``?state=``: in_effect, draft or declined; ``?from=``."""
    await require_admin(request)
    policy_list = _named(request)
    state = request.query.get("state", "in_effect")
    if state not in STATES:
        raise InvalidParam(f"'state' must be one of {', '.join(STATES)}")
    entries = [entry for entry in policy_list.entries.values() if _is(entry, state)]
    entries.sort(key=lambda entry: entry.key)
    start = query_int(request, "from", 0)
    page = entries[start : start + MOST_ENTRIES]
    answer: JsonObject = {
        "entries": [{**asdict(e), "action": policy_list.action_of(e)} for e in page],
        "total": len(entries),
    }
    if start + len(page) < len(entries):
        answer["next"] = start + len(page)
    return json_response(answer)


@routes.get("/policy/lists/preview")
async def preview_draft(request: web.Request) -> web.Response:
    """What the draft of ``?list=`` would change."""
    await require_admin(request)
    preview = await request.app[POLICY_PREVIEWS].preview(_named(request))
    return json_response(_shown(preview))


@routes.post("/policy/lists/apply")
async def apply_draft(request: web.Request) -> web.Response:
    """Bring a draft into effect, or the ``entities`` of it."""
    actor = await require_admin(request)
    body = await read_json(request)
    count = await request.app[POLICY_LISTS].apply(
        required(body, "list", str),
        actor=actor,
        draft_id=optional(body, "draft_id", str),
        entities=_entities(body),
    )
    return json_response({"applied": count})


@routes.post("/policy/lists/discard")
async def discard_draft(request: web.Request) -> web.Response:
    """Decline a draft, or the ``entities`` of it."""
    actor = await require_admin(request)
    body = await read_json(request)
    count = await request.app[POLICY_LISTS].discard(
        required(body, "list", str),
        actor=actor,
        draft_id=optional(body, "draft_id", str),
        entities=_entities(body),
    )
    return json_response({"discarded": count})


@routes.post("/policy/lists/import")
async def import_list(request: web.Request) -> web.Response:
    """Take a CSV file as the draft of a list; what it would change."""
    actor = await require_admin(request)
    body = await read_json(request)
    name, text = required(body, "name", str), required(body, "csv", str)
    wanted = read_list(text, allow=optional(body, "allow", bool, False) or False)
    policy_list = await request.app[POLICY_LISTS].import_list(name, wanted, actor=actor)
    preview = await request.app[POLICY_PREVIEWS].preview(policy_list)
    return json_response(_shown(preview))


@routes.get("/policy/lists/export")
async def export_list(request: web.Request) -> web.Response:
    """What of ``?list=`` is in effect, as CSV."""
    await require_admin(request)
    return json_response({"csv": write_list(_named(request))})


@routes.delete("/policy/lists")
async def remove_list(request: web.Request) -> web.Response:
    """Forget the imported list ``?list=``."""
    actor = await require_admin(request)
    await request.app[POLICY_LISTS].remove(_named(request).row.name, actor=actor)
    return json_response({})


def _named(request: web.Request) -> PolicyList:
    name = request.query.get("list")
    if not name:
        raise MissingParam("'list' is required")
    return request.app[POLICY_LISTS].get(name)


def _entities(body: JsonObject) -> Collection[str] | None:
    return set(string_list(body, "entities")) if body.get("entities") is not None else None


def _is(entry: EntryRow, state: str) -> bool:
    if state == "in_effect":
        return entry.applied
    return entry.in_draft if state == "draft" else entry.declined


def _summary(policy_list: PolicyList) -> dict[str, Any]:
    row, settings = policy_list.row, policy_list.settings
    draft = policy_list.draft()
    added = sum(entry.wanted for entry in draft)
    return {
        "name": row.name,
        "imported": row.imported,
        "room_id": row.room_id,
        "title": row.title,
        "action": None if row.imported else settings.action,
        "approve": settings.approve,
        "kinds": sorted(settings.kinds),
        "acl": settings.acl,
        "problem": row.problem,
        "read_at": row.read_at,
        "applied_at": row.applied_at,
        "in_effect": sum(1 for _ in policy_list.in_effect()),
        "draft": {"added": added, "removed": len(draft) - added},
        "declined": sum(entry.declined for entry in policy_list.entries.values()),
    }


def _shown(preview: Preview) -> dict[str, Any]:
    return {
        "draft_id": preview.draft_id,
        "added": preview.added,
        "removed": preview.removed,
        "total": asdict(preview.total),
        "omitted": preview.omitted,
        "entries": [
            {
                "change": "add" if item.entry.wanted else "remove",
                "kind": item.entry.kind,
                "entity": item.entry.entity,
                "action": item.action,
                "reason": item.entry.reason,
                "warning": item.warning,
                **asdict(item.impact),
            }
            for item in preview.consequences
        ],
    }
