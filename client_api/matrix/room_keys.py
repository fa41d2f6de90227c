"""Backup of room keys.  Spec: client-server API, server-side key backups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import orjson
from aiohttp import web

from client_api.auth import require_user
from client_api.matrix.parsing import path_room_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import KEY_BACKUP
from homeserver.errors import InvalidParam, MissingParam
from homeserver.services.key_backup import KEYS_AT_ONCE, BackupState
from homeserver.storage.key_backup import Backup, BackupKey
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()
SPELLINGS = ("r0", "v3", "unstable")  # clients called it before it was part of the spec


def _query_version(request: web.Request) -> str:
    version = request.query.get("version")
    if not version:
        raise MissingParam("'version' is required")
    return version


def _encode_state(state: BackupState) -> web.Response:
    return json_response({"etag": state.etag, "count": state.count})


# ---------------------------------------------------------------- versions


def _encode_backup(backup: Backup) -> web.Response:
    return json_response(
        {
            "algorithm": backup.algorithm,
            "auth_data": backup.auth_data,
            "count": backup.key_count,
            "etag": str(backup.etag),
            "version": str(backup.version),
        }
    )


@routes.post("/room_keys/version", versions=SPELLINGS)
async def post_room_keys_version(request: web.Request) -> web.Response:
    """Make a backup."""
    requester = await require_user(request)
    body = await read_json(request)

    version = await request.app[KEY_BACKUP].create(
        requester.user_id, required(body, "algorithm", str), required(body, "auth_data", dict)
    )
    return json_response({"version": version})


@routes.get("/room_keys/version", versions=SPELLINGS)
async def get_room_keys_version_current(request: web.Request) -> web.Response:
    """The current backup."""
    requester = await require_user(request)
    return _encode_backup(await request.app[KEY_BACKUP].get(requester.user_id, None))


@routes.get("/room_keys/version/{version}", versions=SPELLINGS)
async def get_room_keys_version(request: web.Request) -> web.Response:
    """One backup."""
    requester = await require_user(request)
    version = request.match_info["version"]
    return _encode_backup(await request.app[KEY_BACKUP].get(requester.user_id, version))


@routes.put("/room_keys/version/{version}", versions=SPELLINGS)
async def put_room_keys_version(request: web.Request) -> web.Response:
    """Change the ``auth_data`` of a backup."""
    requester = await require_user(request)
    body = await read_json(request)
    version = request.match_info["version"]
    if optional(body, "version", str, version) != version:
        raise InvalidParam("Version does not match")

    await request.app[KEY_BACKUP].update(
        requester.user_id,
        version,
        required(body, "algorithm", str),
        required(body, "auth_data", dict),
    )
    return json_response({})


@routes.delete("/room_keys/version/{version}", versions=SPELLINGS)
async def delete_room_keys_version(request: web.Request) -> web.Response:
    """Delete a backup."""
    requester = await require_user(request)
    await request.app[KEY_BACKUP].delete(requester.user_id, request.match_info["version"])
    return json_response({})


# ---------------------------------------------------------------- putting keys


async def _put(request: web.Request, user_id: str, rooms: dict[str, Any]) -> web.Response:
    return _encode_state(
        await request.app[KEY_BACKUP].put_keys(user_id, _query_version(request), rooms)
    )


@routes.put("/room_keys/keys", versions=SPELLINGS)
async def put_room_keys(request: web.Request) -> web.Response:
    """Back up keys of rooms."""
    requester = await require_user(request)
    body = await read_json(request)
    return await _put(request, requester.user_id, required(body, "rooms", dict))


@routes.put("/room_keys/keys/{room_id}", versions=SPELLINGS)
async def put_room_keys_by_room_id(request: web.Request) -> web.Response:
    """Back up keys of a room."""
    requester = await require_user(request)
    body = await read_json(request)
    return await _put(request, requester.user_id, {path_room_id(request): body})


@routes.put("/room_keys/keys/{room_id}/{session_id}", versions=SPELLINGS)
async def put_room_key_by_session_id(request: web.Request) -> web.Response:
    """Back up one key."""
    requester = await require_user(request)
    body = await read_json(request)
    sessions = {request.match_info["session_id"]: body}
    return await _put(request, requester.user_id, {path_room_id(request): {"sessions": sessions}})


# ---------------------------------------------------------------- getting keys


def _encode_key(key: BackupKey) -> dict[str, Any]:
    return {
        "first_message_index": key.first_message_index,
        "forwarded_count": key.forwarded_count,
        "is_verified": key.is_verified,
        "session_data": key.session_data,
    }


def _room_parts(keys: list[BackupKey]) -> list[tuple[str, str]]:
    """``(room ID, the inside of its ``sessions``)``, in order."""
    parts = []
    for room_id, theirs in groupby(keys, key=lambda key: key.room_id):
        sessions = orjson.dumps({key.session_id: _encode_key(key) for key in theirs})
        parts.append((room_id, sessions[1:-1].decode()))
    return parts


async def _pieces(pages: AsyncIterator[list[BackupKey]]) -> AsyncIterator[bytes]:
    """``{"rooms": ...}`` in pieces, one for a page of keys: a room may go on in the next."""
    room_open: str | None = None
    yield b'{"rooms":{'
    async for keys in pages:
        piece = []
        for room_id, sessions in _room_parts(keys):
            if room_id == room_open:
                piece.append("," + sessions)
                continue
            piece.append("}}," if room_open is not None else "")
            piece.append(orjson.dumps(room_id).decode() + ':{"sessions":{' + sessions)
            room_open = room_id
        yield "".join(piece).encode()
    yield b"}}}}" if room_open is not None else b"}}"


@routes.get("/room_keys/keys", versions=SPELLINGS)
async def get_room_keys(request: web.Request) -> web.StreamResponse:
    """All keys of a backup; many are sent while they are read."""
    requester = await require_user(request)
    service = request.app[KEY_BACKUP]
    version = _query_version(request)
    backup = await service.get(requester.user_id, version)
    pieces = _pieces(await service.get_keys(requester.user_id, version))
    if backup.key_count < KEYS_AT_ONCE:
        body = b"".join([piece async for piece in pieces])
        return web.Response(body=body, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


@routes.get("/room_keys/keys/{room_id}", versions=SPELLINGS)
async def get_room_keys_by_room_id(request: web.Request) -> web.Response:
    """The keys of a room."""
    requester = await require_user(request)
    pages = await request.app[KEY_BACKUP].get_keys(
        requester.user_id, _query_version(request), path_room_id(request)
    )
    sessions = {key.session_id: _encode_key(key) async for page in pages for key in page}
    return json_response({"sessions": sessions})


@routes.get("/room_keys/keys/{room_id}/{session_id}", versions=SPELLINGS)
async def get_room_key_by_session_id(request: web.Request) -> web.Response:
    """One key."""
    requester = await require_user(request)
    key = await request.app[KEY_BACKUP].get_key(
        requester.user_id,
        _query_version(request),
        path_room_id(request),
        request.match_info["session_id"],
    )
    return json_response(_encode_key(key))


# ---------------------------------------------------------------- deleting keys


@routes.delete("/room_keys/keys", versions=SPELLINGS)
async def delete_room_keys(request: web.Request) -> web.Response:
    """Delete all keys of a backup."""
    requester = await require_user(request)
    version = _query_version(request)
    return _encode_state(await request.app[KEY_BACKUP].delete_keys(requester.user_id, version))


@routes.delete("/room_keys/keys/{room_id}", versions=SPELLINGS)
async def delete_room_keys_by_room_id(request: web.Request) -> web.Response:
    """Delete the keys of a room."""
    requester = await require_user(request)
    return _encode_state(
        await request.app[KEY_BACKUP].delete_keys(
            requester.user_id, _query_version(request), path_room_id(request)
        )
    )


@routes.delete("/room_keys/keys/{room_id}/{session_id}", versions=SPELLINGS)
async def delete_room_key_by_session_id(request: web.Request) -> web.Response:
    """Delete one key."""
    requester = await require_user(request)
    return _encode_state(
        await request.app[KEY_BACKUP].delete_keys(
            requester.user_id,
            _query_version(request),
            path_room_id(request),
            request.match_info["session_id"],
        )
    )
