"""Files of media as HTTP answers, read piece by piece, however they lie on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BufferedReader

from aiohttp import hdrs, web

from homeserver.errors import NotFound
from homeserver.services.media_blobs import MediaBlob, damaged, size_of
from homeserver.services.media_threads import in_media_thread
from homeserver.services.sealing.errors import DamagedFile

CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def open_blob(blob: MediaBlob) -> tuple[BufferedReader, int]:
    """A file and its size in bytes.

    Raises :class:`NotFound`, :class:`~homeserver.services.media_blobs.MediaDamaged`.
    """

    def opened() -> tuple[BufferedReader, int]:
        file = blob.open()
        return file, size_of(file)

    try:
        return await in_media_thread(opened)
    except FileNotFoundError:
        raise NotFound("There is no such media here") from None
    except DamagedFile as error:
        raise damaged(blob, error) from error


async def read_chunk(blob: MediaBlob, file: BufferedReader, most: int = CHUNK_BYTES) -> bytes:
    """The next bytes of a file; none at its end.

    Raises :class:`~homeserver.services.media_blobs.MediaDamaged`.
    """
    try:
        return await in_media_thread(file.read, most)
    except DamagedFile as error:
        raise damaged(blob, error) from error


def break_off(request: web.Request) -> None:
    """End the connection: what was sent is not the whole, and the reader must not think so."""
    if request.transport is not None:
        request.transport.abort()


async def serve_blob(
    request: web.Request, blob: MediaBlob, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer GET or HEAD with a file, or a part of it.

    Spec: RFC 9110, sections 13 and 14; several ranges at once are answered with the whole.
    Raises what :func:`open_blob` raises.
    """
    file, size = await open_blob(blob)
    try:
        return await _serve(request, blob, file, size, headers)
    finally:
        await in_media_thread(file.close)


async def _serve(
    request: web.Request,
    blob: MediaBlob,
    file: BufferedReader,
    size: int,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    tag = blob.tag
    response = web.StreamResponse(headers={**headers, hdrs.ETAG: f'"{tag}"'})
    response.headers[hdrs.ACCEPT_RANGES] = "bytes"
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        response.set_status(304)
        return await _send(request, response, blob, file, 0)
    if request.if_match and not any(t.value in (tag, "*") for t in request.if_match):
        response.set_status(412)
        response.content_length = 0
        return await _send(request, response, blob, file, 0)
    start, length = 0, size
    wanted = _wanted(request, tag, size)
    if wanted is not None:
        start, length = wanted
        if start >= size or length <= 0:
            response.set_status(416)
            response.headers[hdrs.CONTENT_RANGE] = f"bytes */{size}"
            response.content_length = 0
            return await _send(request, response, blob, file, 0)
        response.set_status(206)
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{start + length - 1}/{size}"
    response.content_length = length
    file.seek(start)
    return await _send(request, response, blob, file, length)


def _wanted(request: web.Request, tag: str, size: int) -> tuple[int, int] | None:
    """Which part is asked for: where it starts, and its length; None: the whole."""
    found = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, ""))
    if found is None or (not found[1] and not found[2]):
        return None
    condition = request.headers.get(hdrs.IF_RANGE)
    if condition is not None and condition.strip() != f'"{tag}"':
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return size - length, length
    start = int(found[1])
    end = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < start:
        return None  # no valid range: as if there were none
    return start, end - start + 1


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    blob: MediaBlob,
    file: BufferedReader,
    length: int,
) -> web.StreamResponse:
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        length = 0
    try:
        while length > 0:
            chunk = await read_chunk(blob, file, min(CHUNK_BYTES, length))
            if not chunk:
                raise ConnectionError("The file is shorter than it was")
            await response.write(chunk)
            length -= len(chunk)
    except BaseException:
        break_off(request)
        raise
    await response.write_eof()
    return response
