"""Files: upload in one go, read, thumbnails, links, delete.  Resumable: :mod:`.uploads`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, cast

import msgspec
from aiohttp import hdrs, web

from client_api.conversations.answers import json_answer
from client_api.conversations.api import Api, Call
from client_api.conversations.idempotency import once
from client_api.conversations.keys import MEDIA_DELETION, MEDIA_LINKS
from client_api.media_access import check_length, content_answer, find_media, thumbnail_answer
from homeserver.app_keys import CONFIG, MEDIA, MEDIA_GATE
from homeserver.errors import Forbidden
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.base import Input, Shape
from homeserver.services.conversations.shapes.media import (
    SEPARATOR,
    Media,
    media_url,
    parse_media_id,
    thumbnail_url,
)
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.media_limits import QuotaExceeded
from homeserver.services.requester import Requester
from homeserver.services.thumbnails import CONTENT_TYPES, ThumbnailSpec
from homeserver.storage.media import MediaRow

CHUNK_BYTES = 65_536
ANY_TYPE = "application/octet-stream"
SCOPE = "media"
DEFAULT_LINK_SECONDS = 300
LONGEST_LINK_SECONDS = 3_600
LINKS = "/media-links/{token}"

api = Api("Media", "Files: pictures, videos, audio, anything.")


class NewFile(Input, frozen=True, kw_only=True):
    """What a file is called."""

    name: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class Size(Input, frozen=True, kw_only=True):
    """Which thumbnail: of so many pixels at least; ``crop``: in this ratio."""

    width: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    height: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    method: Literal["scale", "crop"] = "scale"
    animated: bool = False


class Download(Input, frozen=True, kw_only=True):
    """How to give a file out: ``name`` stands in the place of its own."""

    name: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class NewLink(Input, frozen=True, kw_only=True):
    """For how many seconds the link is to be good."""

    valid_for: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_LINK_SECONDS)] = DEFAULT_LINK_SECONDS


class Link(Shape, frozen=True, kw_only=True):
    """Addresses that need no token; a thumbnail's takes ``width`` and ``height``."""

    url: str
    thumbnail_url: str | None
    expires_at: str


@contextmanager
def policy_problems() -> Iterator[None]:
    """Tell what content policy refuses, and what exceeds a quota, by codes of their own."""
    try:
        yield
    except QuotaExceeded as error:
        raise Problem("quota_exceeded", error.text, status=403) from error
    except Forbidden as error:
        raise Problem("policy_refused", error.text, status=403) from error


async def describe(app: web.Application, row: MediaRow) -> Media:
    """A file as the API tells of it; an image's size is found out if it is not known yet."""
    identifier = f"{row.origin}{SEPARATOR}{row.media_id}"
    width = height = None
    has_thumbnail = False
    if row.content_type.startswith("image/"):
        for facts in await app[MEDIA_GATE].facts_of([MediaUri(row.origin, row.media_id)]):
            width, height = facts.width, facts.height
            has_thumbnail = facts.mime_type in CONTENT_TYPES.values()
    return Media(
        id=identifier,
        url=media_url(identifier),
        thumbnail_url=thumbnail_url(identifier) if has_thumbnail else None,
        name=row.upload_name,
        mime_type=row.content_type,
        size=row.size_bytes,
        width=width,
        height=height,
    )


# ---------------------------------------------------------------- taking in


@api.post("/media", scope=SCOPE, status=201, idempotent=False, takes=ANY_TYPE)
async def upload_media(call: Call[None, NewFile]) -> Media:
    """Upload a file.

    The body is the file, `Content-Type` its type, `name` what it is called. Large files go better
    through `/uploads`: what has arrived is kept when the connection breaks.
    """
    request, media = call.request, call.app[MEDIA]
    key = call.idempotency_key
    media.limits.admit(call.user_id)
    with policy_problems():
        await check_length(request, call.user_id)
        row = await media.receive(
            call.user_id,
            request.content.iter_chunked(CHUNK_BYTES),
            request.headers.get(hdrs.CONTENT_TYPE),
            call.query.name,
        )

    async def keep() -> web.StreamResponse:
        with policy_problems():
            await media.keep(row)
        return json_answer(await describe(call.app, row), status=201)

    if key is None:
        return cast("Media", await keep())
    try:
        answer = await once(request, call.caller.owner, key, keep, content=row.sha256)
    finally:
        await media.discard(row)  # if it was not kept
    return cast("Media", answer)


# ---------------------------------------------------------------- giving out


@api.get("/media/{media_id}", scope=SCOPE)
async def get_media(call: Call) -> Media:
    """Read what is known of a file.

    A file of another instance is fetched from there first.
    """
    uri = parse_media_id(call.path("media_id"))
    with policy_problems():
        media = await find_media(call.app, call.requester, uri, whole=False)
    return await describe(call.app, media.row)


async def _content(
    call: Call[None, Download], requester: Requester, uri: MediaUri
) -> web.StreamResponse:
    whole = call.request.method == hdrs.METH_GET
    with policy_problems():
        media = await find_media(call.app, requester, uri, whole=whole)
    return await content_answer(call.request, media, call.query.name or media.row.upload_name)


async def _thumbnail(
    call: Call[None, Size], requester: Requester, uri: MediaUri
) -> web.StreamResponse:
    size = call.query
    spec = ThumbnailSpec.parse(size.width, size.height, size.method, size.animated)
    with policy_problems():
        media = await find_media(call.app, requester, uri, whole=False)
    return await thumbnail_answer(call.request, media, spec)


@api.raw("GET", "/media/{media_id}/content", scope=SCOPE, media_type="*/*")
async def download_media(call: Call[None, Download]) -> web.StreamResponse:
    """Download a file.

    Ranges and `If-None-Match` are answered as HTTP has them.
    """
    return await _content(call, call.requester, parse_media_id(call.path("media_id")))


@api.raw("GET", "/media/{media_id}/thumbnail", scope=SCOPE, media_type="image/*")
async def get_thumbnail(call: Call[None, Size]) -> web.StreamResponse:
    """Read a thumbnail of an image.

    It is never smaller than asked for, unless the image is.
    """
    return await _thumbnail(call, call.requester, parse_media_id(call.path("media_id")))


# ---------------------------------------------------------------- links


@api.post("/media/{media_id}/link", scope=SCOPE, idempotent=False)
async def link_media(call: Call[NewLink]) -> Link:
    """Make an address that needs no token, for a short time.

    For `<img>` and `<video>` in a browser. Who has it may read the file as the caller may, until it
    expires or the caller's device signs out.
    """
    uri = parse_media_id(call.path("media_id"))
    with policy_problems():
        media = await find_media(call.app, call.requester, uri, whole=False)
    token, expires_at = call.app[MEDIA_LINKS].make(call.requester, uri, call.body.valid_for * 1000)
    url = f"{call.app[CONFIG].public_base_url}/api/v1/media-links/{token}"
    described = await describe(call.app, media.row)
    return Link(
        url=url,
        thumbnail_url=f"{url}/thumbnail" if described.thumbnail_url else None,
        expires_at=rfc3339(expires_at),
    )


@api.raw("GET", LINKS, scope=None, media_type="*/*")
async def download_linked_media(call: Call[None, Download]) -> web.StreamResponse:
    """Download the file of a link."""
    link = await call.app[MEDIA_LINKS].open(call.path("token"))
    return await _content(call, link.requester, link.uri)


@api.raw("GET", LINKS + "/thumbnail", scope=None, media_type="image/*")
async def get_linked_thumbnail(call: Call[None, Size]) -> web.StreamResponse:
    """Read a thumbnail of the image of a link."""
    link = await call.app[MEDIA_LINKS].open(call.path("token"))
    return await _thumbnail(call, link.requester, link.uri)


# ---------------------------------------------------------------- deleting


@api.delete("/media/{media_id}", scope=SCOPE)
async def delete_media(call: Call) -> None:
    """Delete a file of the caller's.

    Not if a message refers to it, or it is an avatar or the like: `media_in_use`.
    """
    uri = parse_media_id(call.path("media_id"))
    if not await call.app[MEDIA_DELETION].delete_own(uri, call.user_id):
        raise Problem("media_in_use", "A message or an avatar refers to this file", status=409)
