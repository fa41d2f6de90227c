"""Files: looking at them, deletion."""

from __future__ import annotations

import time
from typing import Annotated, Any

from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import ListQuery, page
from client_api.matrix import parsing
from homeserver.app_keys import ACCOUNTS, CONFIG, DATABASE, MEDIA_REMOVAL
from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.media_uris import MediaUri, parse_media_uri
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.storage import admin_media as storage
from homeserver.storage.admin_jobs import Job
from homeserver.storage.admin_media import Media

api = AdminApi("Media", "Files that were uploaded here, and copies of other servers' files.")

FILE = "/media/{server_name}/{media_id}"
Time = Annotated[int, Meta(ge=0, le=2**53 - 1, description="ms")]


class Uploads(Input, kw_only=True, frozen=True):
    """Which uploads go: all from before a time, or those of a user, or both."""

    before: Time | None = None
    user_id: Annotated[str, Meta(max_length=255)] | None = None


class Cache(Input, kw_only=True, frozen=True):
    """Which copies go: those that nobody has used since a time."""

    unused_since: Time


@api.get(FILE)
async def get_media(call: AdminCall) -> Media:
    """What is known of a file."""
    return await media_of(call)


@api.delete(FILE)
async def delete_media(call: AdminCall) -> None:
    """Delete a file, whatever refers to it.  Another server's may be fetched again."""
    media = await media_of(call)
    if media.quarantined_by is not None:
        raise InvalidParam("The file is quarantined, and kept so that it cannot come back")
    await call.app[MEDIA_REMOVAL].delete(MediaUri(media.origin, media.media_id))


@api.get("/users/{user_id}/media")
async def list_user_media(call: AdminCall[None, ListQuery]) -> Page[Media]:
    """What a user has uploaded."""
    query, user_id = call.query, call.user_id()
    await call.app[ACCOUNTS].get(user_id)
    after = parse_cursor(query.cursor, str)[0] if query.cursor is not None else ""
    found = await storage.get_media_of(call.app[DATABASE], user_id, after=after, limit=query.limit)
    return page(found, query.limit, lambda media: make_cursor(media.media_id))


@api.post("/media/delete")
async def delete_uploads(call: AdminCall[Uploads]) -> Job:
    """Delete what was uploaded here, whatever refers to it; what is quarantined stays."""
    body = call.body
    if body.before is None and body.user_id is None:
        raise InvalidParam("Say 'before', 'user_id', or both")
    user_id = parsing.user_id(body.user_id) if body.user_id is not None else None
    if user_id is not None and user_id.server_name != call.app[CONFIG].server_name:
        raise InvalidParam("That user is not of this server")
    now = time.time_ns() // 1_000_000
    return await call.app[MEDIA_REMOVAL].delete_uploads(
        user_id=user_id, before_ms=body.before if body.before is not None else now, by=call.actor
    )


@api.post("/media/purge_cache")
async def purge_media_cache(call: AdminCall[Cache]) -> Job:
    """Delete copies of other servers' files; they are fetched again when somebody wants them."""
    return await call.app[MEDIA_REMOVAL].purge_cache(
        before_ms=call.body.unused_since, by=call.actor
    )


def uri_of(call: AdminCall[Any, Any]) -> MediaUri:
    """Which file the path names.  Raises :class:`NotFound`."""
    uri = parse_media_uri(f"mxc://{call.path('server_name')}/{call.path('media_id')}")
    if uri is None:
        raise NotFound("There is no such file here")
    return uri


async def media_of(call: AdminCall[Any, Any]) -> Media:
    """What is known of the file that the path names.  Raises :class:`NotFound`."""
    found = await storage.get_media(call.app[DATABASE], uri_of(call))
    if found is None:
        raise NotFound("There is no such file here")
    return found
