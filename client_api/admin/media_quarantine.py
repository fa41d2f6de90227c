"""Files that nobody may have, and those that a quarantine of many spares."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import ListQuery, page
from client_api.admin.media import FILE, media_of, uri_of
from homeserver.app_keys import CONFIG, DATABASE
from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.storage import admin_media
from homeserver.storage import media_quarantine as storage
from homeserver.storage.admin_media import Media
from homeserver.storage.media_quarantine import Doing, QuarantinedContent, QuarantinedUri

api = AdminApi("Quarantine", "Files that nobody may have, here or not, and by their content.")

CONTENT = "/quarantined_content/{sha256}"
MOST_FILES = 500
SHA256 = re.compile(r"[0-9a-f]{64}")


class Changed(msgspec.Struct, kw_only=True, frozen=True):
    """How many files were changed."""

    files: int


class ContentFiles(msgspec.Struct, kw_only=True, frozen=True):
    """Files here that have a content: the first of them, in the order of their addresses."""

    files: list[Media]


class Quarantine(msgspec.Struct, kw_only=True, frozen=True):
    """Whether anybody may have a file; ``file``: what is known of it, if it is here."""

    quarantined: bool
    file: Media | None


@api.put(FILE + "/quarantine")
async def quarantine_media(call: AdminCall) -> Quarantine:
    """Let nobody have a file, nor its content from elsewhere.

    Another server's need not be here: it is not fetched then.
    """
    uri, database = uri_of(call), call.app[DATABASE]
    media = await admin_media.get_media(database, uri)
    if media is None and uri.origin == call.app[CONFIG].server_name:
        raise NotFound("There is no such file here")
    if media is not None and media.protected_by is not None:
        raise InvalidParam("The file is protected from quarantine")
    await storage.quarantine_file(database, uri, _doing(call))
    return await _quarantine(call, uri)


@api.delete(FILE + "/quarantine")
async def release_media(call: AdminCall) -> Quarantine:
    """Let people have a file again, and its content."""
    uri = uri_of(call)
    await storage.release_file(call.app[DATABASE], uri)
    return await _quarantine(call, uri)


@api.put(FILE + "/protection")
async def protect_media(call: AdminCall) -> Media:
    """Have a file spared when all files of a user or a room are quarantined, or its content is."""
    media = await media_of(call)
    if media.quarantined_by is not None:
        raise InvalidParam("The file is quarantined: release it first")
    await storage.set_protected(call.app[DATABASE], uri_of(call), call.actor)
    return await media_of(call)


@api.delete(FILE + "/protection")
async def unprotect_media(call: AdminCall) -> Media:
    """Protect a file no longer."""
    await media_of(call)
    await storage.set_protected(call.app[DATABASE], uri_of(call), None)
    return await media_of(call)


@api.put("/users/{user_id}/media/quarantine")
async def quarantine_user_media(call: AdminCall) -> Changed:
    """Let nobody have what a user has uploaded up to now, nor its content from elsewhere."""
    user_id, database = call.user_id(), call.app[DATABASE]
    return Changed(files=await storage.quarantine_of_user(database, user_id, _doing(call)))


@api.delete("/users/{user_id}/media/quarantine")
async def release_user_media(call: AdminCall) -> Changed:
    """Let people have a user's files again."""
    return Changed(files=await storage.release_of_user(call.app[DATABASE], call.user_id()))


@api.put("/rooms/{room_id}/media/quarantine")
async def quarantine_room_media(call: AdminCall) -> Changed:
    """Let nobody have the files to which unencrypted messages of a room refer, be they here yet or
    not."""
    files = await storage.quarantine_of_room(
        call.app[DATABASE],
        call.room_id(),
        _doing(call),
        server_name=call.app[CONFIG].server_name,
    )
    return Changed(files=files)


@api.delete("/rooms/{room_id}/media/quarantine")
async def release_room_media(call: AdminCall) -> Changed:
    """Let people have the files of a room again."""
    return Changed(files=await storage.release_of_room(call.app[DATABASE], call.room_id()))


@api.get("/quarantined_content")
async def list_quarantined_content(call: AdminCall[None, ListQuery]) -> Page[QuarantinedContent]:
    """Content that nobody may have, in the order of its SHA-256."""
    query = call.query
    after = parse_cursor(query.cursor, str)[0] if query.cursor is not None else ""
    if after and not SHA256.fullmatch(after):
        raise InvalidParam("That cursor is of another list")
    found = await storage.get_quarantined_content(call.app[DATABASE], after, query.limit)
    return page(found, query.limit, lambda content: make_cursor(content.sha256))


@api.get(CONTENT)
async def get_content_files(call: AdminCall) -> ContentFiles:
    """Which files here have a content, be it quarantined or not; at most 500."""
    database, sha256 = call.app[DATABASE], _sha256(call)
    return ContentFiles(files=await admin_media.get_media_with(database, sha256, MOST_FILES))


@api.put(CONTENT)
async def quarantine_content(call: AdminCall) -> None:
    """Let nobody have a content, whoever has sent it or will; nothing of it need be here."""
    if not await storage.quarantine_content(call.app[DATABASE], _sha256(call), _doing(call)):
        raise InvalidParam("A file with that content is protected from quarantine")


@api.delete(CONTENT)
async def release_content(call: AdminCall) -> None:
    """Let people have a content again, and all files that have it."""
    if not await storage.release_content(call.app[DATABASE], _sha256(call)):
        raise NotFound("That content is not quarantined")


@api.get("/quarantined_uris")
async def list_quarantined_uris(call: AdminCall[None, ListQuery]) -> Page[QuarantinedUri]:
    """Files that were not here when they were quarantined, in the order of their addresses."""
    query = call.query
    after = ("", "")
    if query.cursor is not None:
        origin, media_id = parse_cursor(query.cursor, str, str)
        after = (origin, media_id)
    found = await storage.get_quarantined_uris(call.app[DATABASE], after, query.limit)
    return page(found, query.limit, lambda uri: make_cursor(uri.origin, uri.media_id))


def _doing(call: AdminCall[Any, Any]) -> Doing:
    return Doing(call.actor, time.time_ns() // 1_000_000)


def _sha256(call: AdminCall[Any, Any]) -> bytes:
    text = call.path("sha256").lower()
    if not SHA256.fullmatch(text):
        raise InvalidParam("A SHA-256 has 64 hexadecimal digits")
    return bytes.fromhex(text)


async def _quarantine(call: AdminCall[Any, Any], uri: MediaUri) -> Quarantine:
    database = call.app[DATABASE]
    file = await admin_media.get_media(database, uri)
    if file is not None:
        return Quarantine(quarantined=file.quarantined_by is not None, file=file)
    quarantined = await storage.is_quarantined(database, *uri)
    return Quarantine(quarantined=quarantined, file=None)
