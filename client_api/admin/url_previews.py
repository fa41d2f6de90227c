"""Previews of what links lead to: how many are kept, and having some forgotten."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from homeserver.app_keys import URL_PREVIEWS
from homeserver.services.conversations.shapes.base import Input

api = AdminApi("URL previews", "What links in messages lead to, as clients are shown it.")


class Kept(msgspec.Struct, kw_only=True, frozen=True):
    """How much is kept."""

    enabled: bool
    previews: int
    picture_bytes: int


class Forgotten(msgspec.Struct, kw_only=True, frozen=True):
    """How many previews were forgotten."""

    previews: int


class What(Input, kw_only=True, frozen=True):
    """What is to be forgotten."""

    what: Annotated[
        str, Meta(min_length=1, max_length=2048, description="a host, for all of it, or a URL")
    ]


@api.get("/url_previews")
async def get_url_previews(call: AdminCall) -> Kept:
    """How much is kept of what links led to."""
    previews = call.app[URL_PREVIEWS]
    totals = await previews.cache.totals()
    return Kept(enabled=previews.enabled, previews=totals.previews, picture_bytes=totals.bytes)


@api.post("/url_previews/forget")
async def forget_url_previews(call: AdminCall[What]) -> Forgotten:
    """Forget what a host, or one URL, led to; it is looked at anew when a client asks."""
    return Forgotten(previews=await call.app[URL_PREVIEWS].forget(call.body.what))
