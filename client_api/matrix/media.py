"""The content repository.  Spec: client-server API, content repository.

The endpoints beneath ``/_matrix/media`` that need no token serve what was uploaded here, and
nothing of other instances; or nothing at all, once they are frozen.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from client_api.auth import require_active, require_user
from client_api.media_access import check_length, content_answer, find_media, thumbnail_answer
from client_api.routing import V1, ClientRoutes
from homeserver.app_keys import MEDIA
from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.media import DEFAULT_WAIT_MS, MediaFile
from homeserver.services.requester import Requester
from homeserver.services.thumbnails import ThumbnailSpec
from homeserver.web import Handler, json_response, query_bool, query_int

routes = ClientRoutes()

MEDIA_PREFIX = "/_matrix/media"
LEGACY_VERSIONS = ("r0", "v1", "v3")
CHUNK_BYTES = 65_536


def _media(method: str, path: str, handler: Handler, versions: tuple[str, ...]) -> None:
    for version in versions:
        routes.definitions.append(web.route(method, f"{MEDIA_PREFIX}/{version}{path}", handler))


# ---------------------------------------------------------------- taking in


async def create_content(request: web.Request) -> web.Response:
    """Give out a media ID.  Spec: ``POST /media/v1/create``."""
    requester = await require_active(request)
    pending = await request.app[MEDIA].create(requester.user_id)
    return json_response(
        {
            "content_uri": _mxc(request, pending.media_id),
            "unused_expires_at": pending.expires_at,
        }
    )


async def upload_content(request: web.Request) -> web.Response:
    """Store a file.  Spec: ``POST /media/v3/upload``."""
    requester = await require_active(request)
    request.app[MEDIA].limits.admit(requester.user_id)
    await check_length(request, requester.user_id)
    media_id = await request.app[MEDIA].upload(
        requester.user_id,
        request.content.iter_chunked(CHUNK_BYTES),
        request.headers.get(hdrs.CONTENT_TYPE),
        request.query.get("filename"),
    )
    return json_response({"content_uri": _mxc(request, media_id)})


async def upload_content_to_mxc(request: web.Request) -> web.Response:
    """Store a file under an ID given out.  Spec: ``PUT /media/v3/upload/{server}/{mediaId}``."""
    requester = await require_active(request)
    if request.match_info["server_name"] != request.app[MEDIA].server_name:
        raise Forbidden("That media ID is of another server")
    request.app[MEDIA].limits.admit(requester.user_id)
    await check_length(request, requester.user_id)
    await request.app[MEDIA].upload_to(
        request.match_info["media_id"],
        requester.user_id,
        request.content.iter_chunked(CHUNK_BYTES),
        request.headers.get(hdrs.CONTENT_TYPE),
        request.query.get("filename"),
    )
    return json_response({})


def _mxc(request: web.Request, media_id: str) -> str:
    return f"mxc://{request.app[MEDIA].server_name}/{media_id}"


_media("POST", "/create", create_content, ("v1",))
_media("POST", "/upload", upload_content, LEGACY_VERSIONS)
_media("PUT", "/upload/{server_name}/{media_id}", upload_content_to_mxc, ("v3",))


# ---------------------------------------------------------------- giving out


async def _find(request: web.Request, requester: Requester | None, *, whole: bool) -> MediaFile:
    """The file that a reader asks for; one without a token (None) gets only what is of here."""
    uri = MediaUri(request.match_info["server_name"], request.match_info["media_id"])
    service = request.app[MEDIA]
    if requester is None and (
        uri.origin != service.server_name or not service.unauthenticated_downloads
    ):
        raise NotFound("This media is only for those who log in: use /_matrix/client/v1/media")
    return await find_media(
        request.app,
        requester,
        uri,
        whole=whole,
        timeout_ms=query_int(request, "timeout_ms", DEFAULT_WAIT_MS),
        allow_remote=query_bool(request, "allow_remote", True),
    )


async def _download(request: web.Request, requester: Requester | None) -> web.StreamResponse:
    media = await _find(request, requester, whole=request.method == hdrs.METH_GET)
    name = request.match_info.get("file_name", media.row.upload_name)
    return await content_answer(request, media, name)


async def _thumbnail(request: web.Request, requester: Requester | None) -> web.StreamResponse:
    spec = ThumbnailSpec.parse(
        query_int(request, "width", 0),
        query_int(request, "height", 0),
        request.query.get("method", "scale"),
        query_bool(request, "animated"),
    )
    media = await _find(request, requester, whole=False)
    return await thumbnail_answer(request, media, spec)


@routes.get("/media/download/{server_name}/{media_id}", versions=V1)
@routes.get("/media/download/{server_name}/{media_id}/{file_name}", versions=V1)
async def get_content_authed(request: web.Request) -> web.StreamResponse:
    """Download a file.  Spec: ``GET /client/v1/media/download/{serverName}/{mediaId}``."""
    return await _download(request, await require_user(request))


@routes.get("/media/thumbnail/{server_name}/{media_id}", versions=V1)
async def get_content_thumbnail_authed(request: web.Request) -> web.StreamResponse:
    """A thumbnail.  Spec: ``GET /client/v1/media/thumbnail/{serverName}/{mediaId}``."""
    return await _thumbnail(request, await require_user(request))


@routes.get("/media/config", versions=V1)
async def get_config_authed(request: web.Request) -> web.Response:
    """How large a file the caller may upload.  Spec: ``GET /client/v1/media/config``."""
    requester = await require_user(request)
    usage = await request.app[MEDIA].limits.usage(requester.user_id)
    return json_response({"m.upload.size": usage.allowance.largest})


async def get_content(request: web.Request) -> web.StreamResponse:
    """Download without a token.  Spec: ``GET /media/v3/download/{serverName}/{mediaId}``."""
    return await _download(request, None)


async def get_content_thumbnail(request: web.Request) -> web.StreamResponse:
    """A thumbnail without a token.  Spec: ``GET /media/v3/thumbnail/{serverName}/{mediaId}``."""
    return await _thumbnail(request, None)


_media("GET", "/download/{server_name}/{media_id}", get_content, LEGACY_VERSIONS)
_media("GET", "/download/{server_name}/{media_id}/{file_name}", get_content, LEGACY_VERSIONS)
_media("GET", "/thumbnail/{server_name}/{media_id}", get_content_thumbnail, LEGACY_VERSIONS)
_media("GET", "/config", get_config_authed, LEGACY_VERSIONS)
