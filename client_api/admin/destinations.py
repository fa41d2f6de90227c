"""Other servers: how sending to them goes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import Flag, ListQuery, Text, page
from homeserver.app_keys import DESTINATIONS
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.storage.admin_destinations import Destination

api = AdminApi("Federation", "Other servers, and what waits for them.")


class DestinationQuery(ListQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which servers are wanted."""

    search: Annotated[Text, Meta(description="A part of the name")] | None = None
    failing: Flag | None = None


@api.get("/federation/destinations")
async def list_destinations(call: AdminCall[None, DestinationQuery]) -> Page[Destination]:
    """Servers to which something was sent: since when they fail, when they are tried again."""
    query = call.query
    found = await call.app[DESTINATIONS].page(
        after=parse_cursor(query.cursor, str)[0] if query.cursor is not None else "",
        search=query.search,
        failing=query.failing,
        limit=query.limit,
    )
    return page(found, query.limit, lambda one: make_cursor(one.server_name))


@api.get("/federation/destinations/{server_name}")
async def get_destination(call: AdminCall) -> Destination:
    """One server."""
    return await call.app[DESTINATIONS].get(call.path("server_name"))


@api.post("/federation/destinations/{server_name}/retry")
async def retry_destination(call: AdminCall) -> None:
    """Try a server that does not answer at once; the next wait stays as long as it was."""
    await call.app[DESTINATIONS].retry(call.path("server_name"))


@api.post("/federation/destinations/{server_name}/reset")
async def reset_destination(call: AdminCall) -> Destination:
    """Forget that a server failed, and try it at once; what waits for it still does."""
    name = call.path("server_name")
    await call.app[DESTINATIONS].reset(name)
    return await call.app[DESTINATIONS].get(name)
