"""Profiles.  Spec: client-server API, profiles."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson
import structlog

from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.storage import profiles as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

DISPLAY_NAME, AVATAR_URL, TIME_ZONE = "displayname", "avatar_url", "m.tz"
MEMBER_FIELDS = (DISPLAY_NAME, AVATAR_URL)
MAX_PROFILE_BYTES = 64 * 1024
MAX_KEY_BYTES = 255
MAX_DISPLAY_NAME_LENGTH = 256
MAX_AVATAR_URL_LENGTH = 1000
CONCURRENT_ROOMS = 16

# Appendices, common namespaced identifier grammar; beside it the spec's three own fields.
CUSTOM_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", re.ASCII)


class ProfileTooLarge(MatrixError):
    """The profile would exceed 64 KiB."""

    errcode, status = "M_PROFILE_TOO_LARGE", 400


class KeyTooLarge(MatrixError):
    """The name of a profile field exceeds 255 bytes."""

    errcode, status = "M_KEY_TOO_LARGE", 400


class RemoteProfiles(Protocol):
    """What profiles need of other instances; ``federation`` provides it."""

    async def fetch(self, user_id: UserId) -> JsonObject:
        """A user's profile from their instance.  Raises: :class:`NotFound`, and more."""


class MemberEvents(Protocol):
    """What profiles need of rooms."""

    async def joined_rooms(self, user_id: UserId) -> Sequence[str]:
        """The rooms to which a local user is joined."""

    async def update_member(self, user_id: UserId, room_id: str, fields: JsonObject) -> None:
        """Send a member event with these fields in the place of the present ones."""


class ProfileService:
    """Reads everybody's profile and changes those of local users."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        remote: RemoteProfiles,
        members: MemberEvents,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._remote = remote
        self._members = members
        self.may_act: Callable[[str], None] = lambda _user_id: None
        """Raises for a user who changes nothing now."""
        self.on_changed: Callable[[str, JsonObject], None] = lambda _user_id, _fields: None
        """Told of a local user's new name or avatar."""

    # ------------------------------------------------------------ reading

    async def get(self, user_id: UserId) -> JsonObject:
        """Anybody's profile.  Raises: :class:`NotFound`."""
        if user_id.server_name != self._server_name:
            return await self._remote.fetch(user_id)
        return await self.get_local(user_id)

    async def get_local(self, user_id: UserId) -> JsonObject:
        """A local user's profile.  Raises: :class:`NotFound`."""
        fields = await storage.get_profile(self._database, user_id)
        if fields is None:
            raise NotFound("There is no such user")
        return fields

    async def get_field(self, user_id: UserId, key: str) -> Any:
        """One field of anybody's profile.  Raises: :class:`NotFound`."""
        fields = await self.get(user_id)
        if key not in fields:
            raise NotFound("The user's profile has no such field")
        return fields[key]

    async def member_fields(self, user_id: UserId) -> JsonObject:
        """What of a local user's profile goes into their member events."""
        fields = await storage.get_profile(self._database, user_id) or {}
        return _member_fields(fields)

    # ------------------------------------------------------------ changing

    async def set_field(self, user_id: UserId, key: str, value: Any) -> None:
        """Set a field of a local user's profile.  No name and no avatar: the field goes.

        Raises: :class:`InvalidParam`, :class:`KeyTooLarge`, :class:`ProfileTooLarge`.
        """
        self.may_act(user_id)
        check_key(key)
        if key in MEMBER_FIELDS and value in ("", None):
            await self.delete_field(user_id, key)
            return
        if len(orjson.dumps(value)) > MAX_PROFILE_BYTES:
            raise too_large()
        check_value(key, value)
        async with self._database.transaction() as connection:
            fields = await storage.lock_profile(connection, user_id)
            before = _member_fields(fields)
            fields[key] = value
            if len(orjson.dumps(fields)) > MAX_PROFILE_BYTES:
                raise too_large()
            await storage.set_profile(connection, user_id, fields)
        await self._propagate(user_id, before, _member_fields(fields))

    async def delete_field(self, user_id: UserId, key: str) -> None:
        """Remove a field from a local user's profile, if it is there."""
        self.may_act(user_id)
        check_key(key)
        async with self._database.transaction() as connection:
            fields = await storage.lock_profile(connection, user_id)
            before = _member_fields(fields)
            if key not in fields:
                return
            del fields[key]
            await storage.set_profile(connection, user_id, fields)
        await self._propagate(user_id, before, _member_fields(fields))

    async def _propagate(self, user_id: UserId, before: JsonObject, after: JsonObject) -> None:
        """Tell the user's rooms.  Spec: events on change of profile information."""
        if before == after:
            return
        self.on_changed(user_id, after)
        slots = asyncio.Semaphore(CONCURRENT_ROOMS)

        async def update(room_id: str) -> None:
            async with slots:
                try:
                    await self._members.update_member(user_id, room_id, after)
                except MatrixError as error:
                    logger.warning("profile not propagated", room_id=room_id, reason=error.text)

        rooms = await self._members.joined_rooms(user_id)
        await asyncio.gather(*(update(room_id) for room_id in rooms))


def too_large() -> ProfileTooLarge:
    """The answer to what no profile can hold."""
    return ProfileTooLarge("A profile has at most 64 KiB")


def _member_fields(fields: JsonObject) -> JsonObject:
    return {key: fields[key] for key in MEMBER_FIELDS if key in fields}


def check_key(key: str) -> None:
    """Refuse a field's name that breaks the grammar."""
    if len(key.encode()) > MAX_KEY_BYTES:
        raise KeyTooLarge(f"The name of a profile field has at most {MAX_KEY_BYTES} bytes")
    if key not in (*MEMBER_FIELDS, TIME_ZONE) and CUSTOM_KEY.fullmatch(key) is None:
        raise InvalidParam("A profile field is named like org.example.field, in lower case")


def check_value(key: str, value: Any) -> None:
    """Refuse a value that the field cannot have."""
    if key in (*MEMBER_FIELDS, TIME_ZONE) and not isinstance(value, str):
        raise InvalidParam(f"'{key}' must be a string")
    if key == DISPLAY_NAME and len(value) > MAX_DISPLAY_NAME_LENGTH:
        raise InvalidParam(f"A display name has at most {MAX_DISPLAY_NAME_LENGTH} characters")
    if key == AVATAR_URL and not value.startswith("mxc://"):
        raise InvalidParam("An avatar must be an mxc:// URI: upload the picture first")
    if key == AVATAR_URL and len(value) > MAX_AVATAR_URL_LENGTH:
        raise InvalidParam(f"An avatar's URI has at most {MAX_AVATAR_URL_LENGTH} characters")
    if b"\\u0000" in orjson.dumps(value):
        raise InvalidParam("A profile cannot hold the character U+0000")
