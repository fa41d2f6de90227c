"""The server as a whole: figures, what admins did, the reference of this API."""

from __future__ import annotations

import importlib
from typing import Annotated

from aiohttp import web
from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import ListQuery, Text, page
from client_api.admin.routing import PREFIX
from client_api.conversations.answers import tagged_answer
from homeserver.app_keys import CONFIG, DATABASE, STATISTICS
from homeserver.services.conversations.shapes.pages import (
    MOST_INTEGER,
    Page,
    make_cursor,
    parse_cursor,
)
from homeserver.storage import admin_audit
from homeserver.storage.admin_audit import AuditEntry
from homeserver.storage.admin_statistics import Statistics

api = AdminApi("Server", "Figures about the server, and what its admins did.")


class AuditQuery(ListQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which entries are wanted."""

    actor: Annotated[Text, Meta(description="Whose deeds")] | None = None
    action: Annotated[Text, Meta(description="An operation's name")] | None = None
    target: Annotated[Text, Meta(description="A part of the path")] | None = None


@api.get("/statistics")
async def get_statistics(call: AdminCall) -> Statistics:
    """How many users, rooms, events and files there are; a minute old at most."""
    return await call.app[STATISTICS].get()


@api.get("/audit")
async def list_audit_entries(call: AdminCall[None, AuditQuery]) -> Page[AuditEntry]:
    """What admins changed, the newest first.

    Passwords are not kept.
    """
    query = call.query
    before = parse_cursor(query.cursor, int)[0] if query.cursor is not None else MOST_INTEGER
    entries = await admin_audit.get_entries(
        call.app[DATABASE],
        before=before,
        actor=query.actor,
        action=query.action,
        target=query.target,
        limit=query.limit,
    )
    return page(entries, query.limit, lambda entry: make_cursor(entry.audit_id))


async def get_openapi(request: web.Request) -> web.StreamResponse:
    """The OpenAPI document of this API, for anybody: it tells nothing of this server."""
    # Later, since it looks at all modules, this one among them.
    document = importlib.import_module("client_api.admin.openapi").document
    return tagged_answer(request, document(request.app[CONFIG].public_base_url))


api.definitions.append(web.get(f"{PREFIX}/openapi.json", get_openapi))
