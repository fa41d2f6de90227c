"""Our media for other instances.  Spec: server-server API, content repository."""

from __future__ import annotations

import secrets

from aiohttp import hdrs, web

from federation.routes.base import FederationRoutes
from homeserver.app_keys import MEDIA
from homeserver.media_headers import media_headers
from homeserver.media_responses import break_off, open_blob, read_chunk
from homeserver.services.media import DEFAULT_WAIT_MS, MediaFile
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.thumbnails import ThumbnailSpec
from homeserver.web import query_bool, query_int

routes = FederationRoutes()


async def _find(request: web.Request) -> MediaFile:
    service = request.app[MEDIA]
    return await service.find(
        service.server_name,
        request.match_info["media_id"],
        timeout_ms=query_int(request, "timeout_ms", DEFAULT_WAIT_MS),
    )


@routes.get("/v1/media/download/{media_id}")
async def get_content(request: web.Request) -> web.StreamResponse:
    """A file uploaded here.  Spec: ``GET /media/download/{mediaId}``."""
    media = await _find(request)
    headers = media_headers(media.row.content_type, media.row.upload_name)
    return await _multipart(request, media.blob, headers)


@routes.get("/v1/media/thumbnail/{media_id}")
async def get_content_thumbnail(request: web.Request) -> web.StreamResponse:
    """A thumbnail of an image uploaded here.  Spec: ``GET /media/thumbnail/{mediaId}``."""
    spec = ThumbnailSpec.parse(
        query_int(request, "width", 0),
        query_int(request, "height", 0),
        request.query.get("method", "scale"),
        query_bool(request, "animated"),
    )
    media = await _find(request)
    thumbnail = await request.app[MEDIA].thumbnail(media, spec)
    headers = media_headers(thumbnail.content_type, thumbnail.file_name)
    return await _multipart(request, thumbnail.blob, headers)


async def _multipart(
    request: web.Request, blob: MediaBlob, headers: dict[str, str]
) -> web.StreamResponse:
    """Two parts: the metadata, an empty object, and the file."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        f"--{boundary}\r\nContent-Type: {headers[hdrs.CONTENT_TYPE]}\r\n"
        f"Content-Disposition: {headers[hdrs.CONTENT_DISPOSITION]}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    file, size = await open_blob(blob)
    with file:
        response = web.StreamResponse()
        response.headers[hdrs.CONTENT_TYPE] = f"multipart/mixed; boundary={boundary}"
        response.content_length = len(head) + size + len(tail)
        await response.prepare(request)
        await response.write(head)
        try:
            while chunk := await read_chunk(blob, file):
                await response.write(chunk)
        except BaseException:
            break_off(request)
            raise
        await response.write(tail)
    await response.write_eof()
    return response
