"""What users of blocked instances asked of ours is withdrawn: for many globs at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from homeserver.protocol.glob_index import GlobIndex
from homeserver.protocol.server_names import host_of
from homeserver.storage import message_requests as storage
from homeserver.storage.database import Database


class Requests(Protocol):
    """Message requests."""

    async def server_blocked(self, server: str) -> None:
        """Withdraw an instance's pending requests from sight."""


class ServerSweep:
    """Implements :class:`homeserver.services.server_blocks.RequestSweeper`.

    Invites need no sweeping: they are hidden while their sender's instance is blocked.
    """

    def __init__(self, *, database: Database, requests: Requests) -> None:
        self._database = database
        self._requests = requests

    async def servers_blocked(self, servers: Collection[str]) -> None:
        """Withdraw the requests of instances that any of the globs names."""
        index = GlobIndex((glob, True) for glob in servers)
        for name in await storage.get_pending_servers(self._database):
            if index.find(name.lower()) or index.find(host_of(name.lower())):
                await self._requests.server_blocked(name)
