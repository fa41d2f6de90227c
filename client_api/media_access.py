"""Who may have which file, and files as answers: the same for every API that gives out media."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs, web

from homeserver.app_keys import CONSENT_ACCESS, MEDIA, MESSAGE_VIEWS
from homeserver.errors import TooLarge
from homeserver.media_headers import SECURITY_HEADERS, media_headers
from homeserver.media_responses import serve_blob
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.media import DEFAULT_WAIT_MS, MediaFile
from homeserver.services.requester import Requester
from homeserver.services.thumbnails import ThumbnailSpec

AUTHENTICATED_CACHING: dict[str, str] = {hdrs.CACHE_CONTROL: "private, max-age=86400, immutable"}
NO_CACHING: dict[str, str] = {hdrs.CACHE_CONTROL: "no-store"}


async def check_length(request: web.Request, uploader: str) -> None:
    """Refuse an upload that says itself that it is too large, before reading it.

    Raises :class:`TooLarge`, :class:`~homeserver.services.media_limits.QuotaExceeded`.
    """
    limits, length = request.app[MEDIA].limits, request.content_length
    if length is None:
        return
    usage = await limits.require_room(uploader)
    most = usage.allowance.max_upload_bytes
    if length > most:
        raise TooLarge(f"A file may have at most {most} bytes")
    if length > usage.room:
        raise limits.bytes_exceeded(usage)


async def find_media(
    app: web.Application,
    requester: Requester | None,
    uri: MediaUri,
    *,
    whole: bool,
    timeout_ms: int = DEFAULT_WAIT_MS,
    allow_remote: bool = True,
) -> MediaFile:
    """A file, if the reader may have it; ``requester`` None: somebody without a token.

    What may be viewed once, the reader's consent, and content policy are asked.  ``whole``: the
    reader gets the file itself, so they have seen what may be viewed once.  Raises what
    :meth:`~homeserver.services.media.MediaService.find` raises, :class:`~homeserver.errors.
    NotFound` for what was seen, and :class:`~homeserver.errors.ConsentNotGiven`.
    """
    service, access = app[MEDIA], app[CONSENT_ACCESS]
    reader = requester.user_id if requester is not None else None
    local = uri.origin == service.server_name
    await app[MESSAGE_VIEWS].check_download(requester, uri)
    if reader is not None and not local:
        await access.check_download(reader, *uri, None)  # before it is fetched
    media = await service.find(
        *uri, timeout_ms=timeout_ms, allow_remote=allow_remote, reader=reader
    )
    if reader is not None and local and media.row.uploader is not None:
        await access.check_download(reader, *uri, media.row.uploader)
    if whole:
        await app[MESSAGE_VIEWS].downloaded(requester, uri)
    return media


async def content_answer(
    request: web.Request, media: MediaFile, name: str | None
) -> web.StreamResponse:
    """A file, or the part of it that is asked for."""
    headers = {**media_headers(media.row.content_type, name), **_caching(request, media)}
    return await serve_blob(request, media.blob, headers)


async def thumbnail_answer(
    request: web.Request, media: MediaFile, spec: ThumbnailSpec
) -> web.StreamResponse:
    """A thumbnail.  Raises what :meth:`~homeserver.services.media.MediaService.thumbnail` does."""
    thumbnail = await request.app[MEDIA].thumbnail(media, spec)
    headers = {
        hdrs.CONTENT_TYPE: thumbnail.content_type,
        hdrs.CONTENT_DISPOSITION: f'inline; filename="{thumbnail.file_name}"',
        **SECURITY_HEADERS,
        **_caching(request, media),
    }
    return await serve_blob(request, thumbnail.blob, headers)


def _caching(request: web.Request, media: MediaFile) -> Mapping[str, str]:
    """Whether the client may keep a copy: not of what is to be viewed once."""
    uri = MediaUri(media.row.origin, media.row.media_id)
    return NO_CACHING if request.app[MESSAGE_VIEWS].is_once(uri) else AUTHENTICATED_CACHING
