"""Other instances, as admins see them: how sending to them goes, and trying again."""

from __future__ import annotations

from typing import Protocol

from homeserver.errors import Forbidden, NotFound
from homeserver.storage import admin_destinations as storage
from homeserver.storage.admin_destinations import Destination
from homeserver.storage.database import Database


class Sending(Protocol):
    """What admins order of the outbox; ``federation/outbox.py`` provides it."""

    def try_now(self, server_name: str) -> None:
        """Do not wait any longer until an instance is tried again."""

    async def reset(self, server_name: str) -> None:
        """Treat an instance as if it had never failed."""

    def may_send_to(self, server_name: str) -> bool:
        """Whether anything may be sent to an instance at all."""


class Destinations:
    """Shows other instances, and has them tried again."""

    def __init__(self, *, database: Database, sending: Sending) -> None:
        self._database = database
        self._sending = sending

    async def page(
        self, *, after: str, search: str | None, failing: bool | None, limit: int
    ) -> list[Destination]:
        """Instances in the order of their names."""
        return await storage.get_destinations(
            self._database, after=after, search=search, failing=failing, limit=limit
        )

    async def get(self, server_name: str) -> Destination:
        """One instance.  Raises :class:`NotFound`."""
        found = await storage.get_destination(self._database, server_name)
        if found is None:
            raise NotFound("Nothing was ever sent to that server")
        return found

    async def retry(self, server_name: str) -> None:
        """Try an instance at once.  Raises :class:`NotFound`, :class:`Forbidden`."""
        await self._check(server_name)
        self._sending.try_now(server_name)

    async def reset(self, server_name: str) -> None:
        """Forget that an instance failed, and try it at once.  Raises as :meth:`retry`."""
        await self._check(server_name)
        await self._sending.reset(server_name)

    async def _check(self, server_name: str) -> None:
        await self.get(server_name)
        if not self._sending.may_send_to(server_name):
            raise Forbidden("Nothing may be sent to that server: it is blocked")
