"""Backup of room keys, encrypted by the client.

Spec: client-server API, server-side key backups.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeGuard

import orjson
from msgspec import Struct

from homeserver.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotFound, TooLarge
from homeserver.protocol.events import JsonObject
from homeserver.services.values import MAX_INTEGER, is_object, is_text
from homeserver.storage import key_backup as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.key_backup import Backup, BackupKey

MAX_BACKUPS = 100  # of one user
MAX_KEYS = 1_000_000  # in one backup
MAX_SESSION_DATA_BYTES = 65_536
MAX_AUTH_DATA_BYTES = 65_536
KEYS_AT_ONCE = 2_000
VERSION_DIGITS = 18


class WrongVersion(MatrixError):
    """Keys go into the current backup alone."""

    errcode, status = "M_WRONG_ROOM_KEYS_VERSION", 403

    def __init__(self, current: int) -> None:
        super().__init__("That is not the current backup", current_version=str(current))


class BackupState(Struct, frozen=True):
    """What a client is told after a change: ``etag`` is another one after each."""

    etag: str
    count: int


class KeyBackupService:
    """Keeps backups of room keys."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    # ------------------------------------------------------------ versions

    async def create(self, user_id: str, algorithm: str, auth_data: JsonObject) -> str:
        """Make a backup, which is the current one from now on; its version.

        Raises :class:`InvalidParam`, :class:`TooLarge`.
        """
        _check_about(algorithm, auth_data)
        async with self._database.transaction() as connection:
            await storage.lock_owner(connection, user_id)
            if await storage.count_backups(connection, user_id) >= MAX_BACKUPS:
                raise InvalidParam(f"You have {MAX_BACKUPS} backups: delete an old one first")
            return str(await storage.create_backup(connection, user_id, algorithm, auth_data))

    async def get(self, user_id: str, version: str | None) -> Backup:
        """A backup, or the current one.  Raises :class:`NotFound`."""
        if version is None:
            current = await storage.get_current_backup(self._database, user_id)
            if current is None:
                raise NotFound("No current backup version")
            return current
        return await self._get(self._database, user_id, version)

    async def update(
        self, user_id: str, version: str, algorithm: str, auth_data: JsonObject
    ) -> None:
        """Set a backup's ``auth_data``.

        Raises :class:`NotFound`, and :class:`InvalidParam` for another algorithm than it has.
        """
        _check_about(algorithm, auth_data)
        async with self._database.transaction() as connection:
            await storage.lock_owner(connection, user_id)
            backup = await self._get(connection, user_id, version)
            if backup.algorithm != algorithm:
                raise InvalidParam("Algorithm does not match")
            await storage.set_auth_data(connection, user_id, backup.version, auth_data)

    async def delete(self, user_id: str, version: str) -> None:
        """Delete a backup with its keys; one that was deleted before is no error.

        Raises :class:`NotFound` for a version that there never was.
        """
        number = _number(version)
        async with self._database.transaction() as connection:
            if not 0 < number <= await storage.lock_owner(connection, user_id):
                raise _unknown()
            await storage.delete_backup(connection, user_id, number)

    async def _get(self, db: Any, user_id: str, version: str) -> Backup:
        backup = await storage.get_backup(db, user_id, _number(version))
        if backup is None:
            raise _unknown()
        return backup

    # ------------------------------------------------------------ keys

    async def put_keys(self, user_id: str, version: str, rooms: Mapping[str, Any]) -> BackupState:
        """Store keys, ``{room ID: {"sessions": {session ID: key}}}``, in the current backup.

        Of two keys for a session one stays, as the spec says.  Raises :class:`BadJson`,
        :class:`NotFound`, :class:`WrongVersion`, :class:`TooLarge`.
        """
        keys = parse_rooms(rooms)
        async with self._database.transaction() as connection:
            await storage.lock_owner(connection, user_id)
            backup = await self._get(connection, user_id, version)
            current = await storage.get_current_backup(connection, user_id)
            if current is not None and current.version != backup.version:
                raise WrongVersion(current.version)
            await storage.put_keys(connection, user_id, backup.version, keys)
            state = await self._state(connection, user_id, version)
            if state.count > MAX_KEYS:
                raise TooLarge(f"A backup can have at most {MAX_KEYS} keys")
            return state

    async def get_key(self, user_id: str, version: str, room_id: str, session_id: str) -> BackupKey:
        """One key.  Raises :class:`NotFound`."""
        backup = await self._get(self._database, user_id, version)
        key = await storage.get_key(self._database, user_id, backup.version, room_id, session_id)
        if key is None:
            raise NotFound("There is no such key in this backup")
        return key

    async def get_keys(
        self, user_id: str, version: str, room_id: str | None = None
    ) -> AsyncIterator[list[BackupKey]]:
        """All keys, or those of a room, in the order of rooms, some at a time.

        Raises :class:`NotFound` before there is anything.
        """
        backup = await self._get(self._database, user_id, version)
        return self._pages(user_id, backup.version, room_id)

    async def _pages(
        self, user_id: str, version: int, room_id: str | None
    ) -> AsyncIterator[list[BackupKey]]:
        after = ("", "")
        while keys := await storage.get_keys(
            self._database, user_id, version, room_id=room_id, after=after, limit=KEYS_AT_ONCE
        ):
            yield keys
            if len(keys) < KEYS_AT_ONCE:
                return
            after = (keys[-1].room_id, keys[-1].session_id)

    async def delete_keys(
        self,
        user_id: str,
        version: str,
        room_id: str | None = None,
        session_id: str | None = None,
    ) -> BackupState:
        """Delete keys: all, of a room, of a session.  Raises :class:`NotFound`."""
        async with self._database.transaction() as connection:
            await storage.lock_owner(connection, user_id)
            backup = await self._get(connection, user_id, version)
            await storage.delete_keys(connection, user_id, backup.version, room_id, session_id)
            return await self._state(connection, user_id, version)

    async def _state(self, connection: Connection, user_id: str, version: str) -> BackupState:
        backup = await self._get(connection, user_id, version)
        return BackupState(str(backup.etag), backup.key_count)


# ---------------------------------------------------------------- what clients send


def parse_rooms(rooms: Mapping[str, Any]) -> list[BackupKey]:
    """The keys of an upload.  Raises :class:`BadJson`, :class:`InvalidParam`, :class:`TooLarge`."""
    keys = []
    for room_id, room in rooms.items():
        if not is_text(room_id) or not room_id.startswith("!"):
            raise InvalidParam("'rooms' must be keyed by room ID")
        sessions = room.get("sessions") if is_object(room) else None
        if not is_object(sessions):
            raise BadJson("Each room needs 'sessions', an object keyed by session ID")
        keys += [_parse_key(room_id, session_id, key) for session_id, key in sessions.items()]
    return keys


def _parse_key(room_id: str, session_id: str, key: Any) -> BackupKey:
    if not is_text(session_id):
        raise InvalidParam("A session ID has between 1 and 255 characters")
    if not is_object(key):
        raise BadJson("Each key must be an object")
    index, forwarded = key.get("first_message_index"), key.get("forwarded_count")
    verified, data = key.get("is_verified"), key.get("session_data")
    if not _is_count(index) or not _is_count(forwarded):
        raise BadJson("'first_message_index' and 'forwarded_count' must be integers from 0")
    if not isinstance(verified, bool) or not is_object(data):
        raise BadJson("'is_verified' must be true or false, 'session_data' an object")
    if len(orjson.dumps(data)) > MAX_SESSION_DATA_BYTES:
        raise TooLarge(f"'session_data' may have at most {MAX_SESSION_DATA_BYTES} bytes")
    return BackupKey(room_id, session_id, index, forwarded, verified, data)


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _check_about(algorithm: str, auth_data: JsonObject) -> None:
    if not is_text(algorithm):
        raise InvalidParam("'algorithm' must name an algorithm")
    if len(orjson.dumps(auth_data)) > MAX_AUTH_DATA_BYTES:
        raise TooLarge(f"'auth_data' may have at most {MAX_AUTH_DATA_BYTES} bytes")


def _number(version: str) -> int:
    """The number that a version is.  Raises :class:`NotFound`: there are no others."""
    if not version:
        raise MissingParam("'version' is required")
    if not (version.isascii() and version.isdigit() and len(version) <= VERSION_DIGITS):
        raise _unknown()
    if version.startswith("0"):
        raise _unknown()
    return int(version)


def _unknown() -> NotFound:
    return NotFound("Unknown backup version")
