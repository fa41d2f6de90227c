"""Resumable uploads: tus 1.0.0, which has clients for every platform."""

from __future__ import annotations

from typing import cast

from aiohttp import hdrs, web

from client_api.conversations import tus
from client_api.conversations.answers import json_answer
from client_api.conversations.api import Api, Call
from client_api.conversations.idempotency import once
from client_api.conversations.keys import UPLOADS
from client_api.conversations.rest.media import CHUNK_BYTES, SCOPE, describe
from homeserver.app_keys import CONFIG, DATABASE, MEDIA
from homeserver.services.conversations.problems import Problem, problem_json
from homeserver.services.conversations.shapes.base import Shape
from homeserver.services.conversations.shapes.media import SEPARATOR, Media
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.uploads import NewUpload, refusal
from homeserver.storage import media as storage
from homeserver.storage.uploads import DONE, REFUSED, UploadRow

BASE = "/uploads"
ONE = BASE + "/{upload_id}"
NAMES = ("filename", "name")
TYPES = ("filetype", "type", "contentType")

api = Api(
    "Uploads",
    "Files that go on where they broke off: the tus resumable upload protocol 1.0 "
    "(https://tus.io/protocols/resumable-upload).",
)


class Upload(Shape, frozen=True, kw_only=True):
    """An upload: `receiving`, `done` (then `media` is the file), or `refused` (then `problem`)."""

    id: str
    state: str
    offset: int  # bytes that have arrived
    length: int | None
    name: str | None
    mime_type: str | None
    expires_at: str
    media: Media | None = None
    problem: dict[str, str | int] | None = None


def _media_id(call: Call, row: UploadRow) -> str:
    return f"{call.app[CONFIG].server_name}{SEPARATOR}{row.upload_id}"


def _headers(call: Call, row: UploadRow, offset: int) -> dict[str, str]:
    """What is told of an upload in every answer."""
    headers = {tus.OFFSET: str(offset), hdrs.CACHE_CONTROL: "no-store"}
    if row.state == DONE:
        headers[tus.MEDIA_ID] = _media_id(call, row)
    else:
        headers[tus.EXPIRES] = tus.http_date(row.expires_at)
    return headers


async def _describe(call: Call, row: UploadRow) -> Upload:
    media = None
    if row.state == DONE:
        stored = await storage.get_media(
            call.app[DATABASE], call.app[CONFIG].server_name, row.upload_id
        )
        media = await describe(call.app, stored) if stored is not None else None
    refused = refusal(row.code or "", row.reason or "") if row.state == REFUSED else None
    return Upload(
        id=row.upload_id,
        state=row.state,
        offset=row.received,
        length=row.length,
        name=row.name,
        mime_type=row.content_type,
        expires_at=rfc3339(row.expires_at),
        media=media,
        problem=problem_json(refused) if refused is not None else None,
    )


@api.raw("OPTIONS", BASE, scope=None, media_type="", status=204)
async def discover_uploads(call: Call) -> web.StreamResponse:
    """Tell which version and extensions of tus are spoken, and how large a file may be."""
    return _discovery(call)


@api.raw("OPTIONS", ONE, scope=None, media_type="", status=204)
async def discover_upload(call: Call) -> web.StreamResponse:
    """Tell the same of one upload."""
    return _discovery(call)


def _discovery(call: Call) -> web.StreamResponse:
    return web.Response(status=204, headers=tus.discovery(call.app[MEDIA].max_upload_bytes))


@api.post(BASE, scope=SCOPE, status=201, idempotent=False, takes=tus.CONTENT_TYPE)
async def create_upload(call: Call) -> Upload:
    """Begin an upload, perhaps with its first bytes.

    `Upload-Length` says how large it is, `Upload-Metadata` its `filename` and `filetype`. The
    answer's `Location` is where the bytes go.
    """
    tus.check_version(call.request)
    key = call.idempotency_key
    if key is None:
        return cast("Upload", await _create(call))
    said = [call.request.headers.get(name, "") for name in (tus.LENGTH, tus.METADATA, tus.CONCAT)]
    answer = await once(
        call.request, call.caller.owner, key, lambda: _create(call), content="|".join(said).encode()
    )
    return cast("Upload", answer)


async def _create(call: Call) -> web.StreamResponse:
    request, uploads = call.request, call.app[UPLOADS]
    metadata = tus.metadata_of(request.headers.get(tus.METADATA))
    partial, parts = tus.concat_of(request)
    if parts is not None and tus.LENGTH in request.headers:
        raise Problem("invalid_parameter", f"What is joined needs no '{tus.LENGTH}'")
    has_body = parts is None and request.headers.get(hdrs.CONTENT_TYPE) == tus.CONTENT_TYPE
    checksum = tus.checksum_of(request) if has_body else None
    row = await uploads.create(
        call.user_id,
        NewUpload(
            length=tus.content_length(request) if parts is None else None,
            metadata=request.headers.get(tus.METADATA),
            name=_first(metadata, NAMES),
            content_type=_first(metadata, TYPES),
            partial=partial,
            parts=parts,
        ),
    )
    if has_body and request.can_read_body:
        chunks = request.content.iter_chunked(CHUNK_BYTES)
        row = await uploads.append(call.user_id, row.upload_id, 0, chunks, checksum=checksum)
    answer = json_answer(await _describe(call, row), status=201)
    answer.headers.update(_headers(call, row, row.received))
    base = call.app[CONFIG].public_base_url
    answer.headers[hdrs.LOCATION] = f"{base}/api/v1{BASE}/{row.upload_id}"
    return answer


def _first(metadata: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((metadata[name] for name in names if metadata.get(name)), None)


@api.get(ONE, scope=SCOPE)
async def get_upload(call: Call) -> Upload:
    """Read how far an upload has come, and which file it has become.

    HEAD is how tus clients ask: it answers in headers, and ends other requests that send.
    """
    if call.request.method == hdrs.METH_HEAD:
        return cast("Upload", await _head(call))
    row = await call.app[UPLOADS].get(call.user_id, call.path("upload_id"))
    return await _describe(call, row)


async def _head(call: Call) -> web.StreamResponse:
    tus.check_version(call.request)
    row, offset = await call.app[UPLOADS].look(call.user_id, call.path("upload_id"))
    headers = _headers(call, row, offset)
    if row.length is not None:
        headers[tus.LENGTH] = str(row.length)
    else:
        headers[tus.DEFER_LENGTH] = "1"
    if row.metadata is not None:
        headers[tus.METADATA] = row.metadata
    if row.partial:
        headers[tus.CONCAT] = "partial"
    if row.parts is not None:
        urls = " ".join(f"/api/v1{BASE}/{part}" for part in row.parts)
        headers[tus.CONCAT] = f"final;{urls}"
    return web.Response(status=200, headers=headers)


@api.raw("PATCH", ONE, scope=SCOPE, media_type="", takes=tus.CONTENT_TYPE, status=204)
async def append_to_upload(call: Call) -> web.StreamResponse:
    """Go on with an upload, at `Upload-Offset`.

    What arrives is kept, also when the connection breaks. After the last bytes `Comity-Media-Id`
    is the file's ID; what content policy refuses is a problem then.
    """
    return await _append(call)


async def _append(call: Call) -> web.StreamResponse:
    request = call.request
    tus.check_version(request)
    tus.check_body_type(request)
    offset = tus.number(request, tus.OFFSET)
    if offset is None:
        raise Problem("invalid_parameter", f"'{tus.OFFSET}' is missing")
    row = await call.app[UPLOADS].append(
        call.user_id,
        call.path("upload_id"),
        offset,
        request.content.iter_chunked(CHUNK_BYTES),
        checksum=tus.checksum_of(request),
        length=tus.number(request, tus.LENGTH),
    )
    return web.Response(status=204, headers=_headers(call, row, row.received))


@api.raw("DELETE", ONE, scope=SCOPE, media_type="", status=204)
async def delete_upload(call: Call) -> web.StreamResponse:
    """Forget an upload and what has arrived; the file that it has become stays."""
    return await _delete(call)


async def _delete(call: Call) -> web.StreamResponse:
    tus.check_version(call.request)
    await call.app[UPLOADS].delete(call.user_id, call.path("upload_id"))
    return web.Response(status=204)


@api.raw("POST", ONE, scope=SCOPE, media_type="", takes=tus.CONTENT_TYPE, status=204)
async def post_to_upload(call: Call) -> web.StreamResponse:
    """Do what `X-HTTP-Method-Override` names, for clients that cannot send PATCH or DELETE."""
    method = tus.method_of(call.request)
    if method == hdrs.METH_PATCH:
        return await _append(call)
    if method == hdrs.METH_DELETE:
        return await _delete(call)
    if method == hdrs.METH_HEAD:
        return await _head(call)
    raise Problem("invalid_parameter", f"'{tus.OVERRIDE}' must be PATCH, DELETE or HEAD")


api.definitions[:] = [
    web.route(route.method, route.path, tus.in_tus(route.handler)) for route in api.definitions
]
