"""How much a user may upload, and has uploaded."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from client_api.admin.api import AdminApi, AdminCall
from homeserver.app_keys import ACCOUNTS, DATABASE, MEDIA
from homeserver.services.conversations.shapes.base import Input
from homeserver.storage import media_limits as storage
from homeserver.storage.media_limits import UNLIMITED, UsageRow

api = AdminApi("Media limits", "How much single users may upload.")

PATH = "/users/{user_id}/media/limits"
Limit = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class OwnLimits(Input, kw_only=True, frozen=True):
    """A user's own limits: null is none; what is left out is as configured."""

    quota_bytes: Limit | UnsetType | None = UNSET
    max_files: Limit | UnsetType | None = UNSET
    max_upload_bytes: Limit | UnsetType = UNSET


class Limits(msgspec.Struct, kw_only=True, frozen=True):
    """What a user has uploaded, what they may (null: any number), and what of that is their own."""

    files: int
    bytes: int
    quota_bytes: int | None
    max_files: int | None
    max_upload_bytes: int
    own: OwnLimits


@api.get(PATH)
async def get_media_limits(call: AdminCall) -> Limits:
    """How much a user has uploaded, and may."""
    return await _limits(call, await _user(call))


@api.put(PATH)
async def set_media_limits(call: AdminCall[OwnLimits]) -> Limits:
    """Give a user limits of their own, in the place of those they had.

    They hold from the next upload on; nothing is deleted.
    """
    user_id, body = await _user(call), call.body
    await storage.put_limits(
        call.app[DATABASE],
        user_id,
        quota_bytes=_stored(body.quota_bytes),
        max_files=_stored(body.max_files),
        max_upload_bytes=_stored(body.max_upload_bytes),
        by=call.actor,
        now=time.time_ns() // 1_000_000,
    )
    return await _limits(call, user_id)


@api.delete(PATH)
async def reset_media_limits(call: AdminCall) -> Limits:
    """Let the configured limits hold for a user."""
    user_id = await _user(call)
    await storage.delete_limits(call.app[DATABASE], user_id)
    return await _limits(call, user_id)


async def _user(call: AdminCall[Any, Any]) -> str:
    """Whom the path names.  Raises 404 for nobody."""
    user_id = call.user_id()
    await call.app[ACCOUNTS].get(user_id)
    return user_id


async def _limits(call: AdminCall[Any, Any], user_id: str) -> Limits:
    row = await storage.get_usage(call.app[DATABASE], user_id)
    usage = call.app[MEDIA].limits.usage_by(user_id, row)
    allowance = usage.allowance
    return Limits(
        files=usage.files,
        bytes=usage.bytes,
        quota_bytes=allowance.quota_bytes,
        max_files=allowance.max_files,
        max_upload_bytes=allowance.max_upload_bytes,
        own=_own(row),
    )


def _own(row: UsageRow) -> OwnLimits:
    largest = row.max_upload_bytes
    return OwnLimits(
        quota_bytes=_shown(row.quota_bytes),
        max_files=_shown(row.max_files),
        max_upload_bytes=UNSET if largest is None else largest,
    )


def _stored(limit: int | UnsetType | None) -> int | None:
    if limit is UNSET:
        return None
    return UNLIMITED if limit is None else limit


def _shown(limit: int | None) -> int | UnsetType | None:
    if limit is None:
        return UNSET
    return None if limit == UNLIMITED else limit
