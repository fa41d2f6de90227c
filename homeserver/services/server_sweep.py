"""What users of a blocked instance asked of ours goes: requests at once, invites behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.glob_index import GlobIndex
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.protocol.server_names import host_of
from homeserver.storage import message_requests as request_storage
from homeserver.storage import server_blocks as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

MOST_INVITES = 10_000


class Requests(Protocol):
    """Message requests."""

    async def server_blocked(self, server_name: str) -> None:
        """Withdraw an instance's pending requests from sight."""


class Departures(Protocol):
    """Leaving rooms."""

    async def leave(self, user_id: UserId, room_id: str) -> None:
        """Leave a room, or reject an invite."""


class ServerSweep:
    """Implements :class:`homeserver.services.server_blocks.RequestSweeper`."""

    def __init__(self, *, database: Database, requests: Requests, departures: Departures) -> None:
        self._database = database
        self._requests = requests
        self._departures = departures
        self._tasks: set[asyncio.Task[None]] = set()

    async def servers_blocked(self, servers: Collection[str]) -> None:
        """Withdraw requests of instances that any of the globs names; begin to reject invites."""
        index = GlobIndex((glob, True) for glob in servers)

        def blocked(name: str) -> bool:
            name = name.lower()
            return bool(index.find(name) or index.find(host_of(name)))

        for name in await request_storage.get_pending_servers(self._database):
            if blocked(name):
                await self._requests.server_blocked(name)
        invites = await storage.get_invites_from_elsewhere(self._database, MOST_INVITES)
        doomed = [
            (user_id, room_id)
            for user_id, room_id, sender in invites
            if blocked(server_name_of(sender))
        ]
        if doomed:
            task = asyncio.create_task(self._reject(doomed), name="invites of a blocked server")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reject(self, invites: Collection[tuple[str, str]]) -> None:
        logger.info("rejecting the invites of a blocked instance", count=len(invites))
        for user_id, room_id in invites:
            try:
                await self._departures.leave(UserId(user_id), room_id)
            except MatrixError as error:
                logger.info("invite not rejected", room_id=room_id, reason=error.text)
            except Exception:
                logger.exception("invite not rejected", room_id=room_id)

    async def close(self) -> None:
        """Stop; the invites that are left stay."""
        for task in set(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
