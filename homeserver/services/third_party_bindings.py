"""What identity servers are told of our users' addresses, at their users' wish.

Spec: client-server API, ``POST /account/3pid/bind``, ``/unbind``, notes on identity servers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import UserId
from homeserver.storage import third_party_ids as storage
from homeserver.storage.database import Database
from homeserver.storage.third_party_ids import Binding

logger = structlog.get_logger(__name__)


class ServerNotTrusted(MatrixError):
    """The admin does not allow that identity server."""

    errcode, status = "M_SERVER_NOT_TRUSTED", 403

    def __init__(self) -> None:
        super().__init__("This server does not use that identity server")


@dataclass(frozen=True, slots=True)
class BindRequest:
    """A validation at an identity server that is to become a binding."""

    id_server: str
    id_access_token: str = field(repr=False)
    sid: str
    client_secret: str = field(repr=False)


class IdentityServers(Protocol):
    """What bindings need of identity servers; ``federation`` provides it."""

    def allows(self, name: str) -> bool:
        """Whether an identity server may be asked."""

    async def bind(self, request: BindRequest, user_id: str) -> tuple[str, str]:
        """Bind what was validated there; its medium and address.  Raises MatrixError."""

    async def unbind(self, name: str, medium: str, address: str, user_id: str) -> None:
        """Have a binding removed.  Raises MatrixError."""


class ThirdPartyBindings:
    """Binds addresses at identity servers, and unbinds them."""

    def __init__(
        self, *, database: Database, servers: IdentityServers, clock_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._servers = servers
        self._clock_ms = clock_ms

    async def bind(self, user_id: UserId, request: BindRequest) -> None:
        """Bind an address that its owner validated at an identity server.

        Raises: :class:`ServerNotTrusted`, :class:`~homeserver.errors.PeerFailed`, and what the
        identity server says.
        """
        if not self._servers.allows(request.id_server):
            raise ServerNotTrusted()
        medium, address = await self._servers.bind(request, user_id)
        binding = Binding(medium, address, request.id_server)
        await storage.insert_binding(self._database, user_id, binding, self._clock_ms())

    async def unbind(
        self, user_id: str, medium: str, address: str, id_server: str | None = None
    ) -> bool:
        """Unbind an address, where it was bound or at the server that is named.

        False if that is nowhere, or a server did not do it.
        """
        bindings = await storage.get_bindings(self._database, user_id, medium, address)
        if id_server is not None:
            bindings = [Binding(medium, address, id_server)]
        return bool(bindings) and await self._unbind(user_id, bindings)

    async def unbind_all(self, user_id: str) -> bool:
        """Unbind all of a user's addresses.  True if none is left."""
        return await self._unbind(user_id, await storage.get_bindings(self._database, user_id))

    async def unbind_at(self, user_id: str, id_server: str) -> bool:
        """Unbind the addresses of a user's account at one identity server, be they known to be
        bound there or not.  False if it did not do it."""
        known = await storage.get_ids(self._database, user_id)
        return await self._unbind(
            user_id, [Binding(entry.medium, entry.address, id_server) for entry in known]
        )

    async def _unbind(self, user_id: str, bindings: list[Binding]) -> bool:
        complete = True
        for binding in bindings:
            if not self._servers.allows(binding.id_server):
                complete = False
                continue
            try:
                await self._servers.unbind(
                    binding.id_server, binding.medium, binding.address, user_id
                )
            except MatrixError as error:
                logger.warning("not unbound", id_server=binding.id_server, reason=error.text)
                complete = False
            else:
                await storage.delete_binding(self._database, user_id, binding)
        return complete
