"""This instance as another one sees it: for ``comity doctor``."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp

from federation.connections import Connections
from federation.discovery import Discovery
from federation.errors import FederationFailure
from federation.ip_ranges import AddressGuard
from federation.resolver import DnsFailure, Resolver
from federation.well_known import WellKnown
from homeserver.config import Config
from homeserver.errors import MatrixError
from homeserver.protocol.signing import parse_signing_key_file

TIMEOUT_SECONDS = 15.0


class OutsideView:
    """Resolves the server's own name and asks what it finds there; use it as a context manager.

    What is wrong is raised as a :class:`MatrixError` whose text says what to mend.
    """

    def __init__(self, config: Config) -> None:
        settings = config.federation
        # the admin's own network may well be private: that is for the other side to refuse
        guard = AddressGuard(allow_private_networks=True)
        self._config = config
        self._resolver = Resolver(private_zones=settings.private_zones, guard=guard)
        self._connections = Connections(
            resolver=self._resolver, guard=guard, extra_ca_file=settings.extra_ca_file
        )
        self._discovery = Discovery(
            resolver=self._resolver, well_known=WellKnown(self._connections)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connections.close()
        await self._resolver.close()

    async def where(self) -> str:
        """Where other servers would look for this one, and the addresses that they find."""
        name = self._config.server_name
        try:
            destination = await self._discovery.resolve(name)
            addresses = await self._resolver.addresses(destination.host.strip("[]"))
        except (FederationFailure, DnsFailure, OSError) as error:
            raise MatrixError(
                f"{name} leads nowhere ({error}): give it an address in DNS, or serve "
                f"https://{name}/.well-known/matrix/server"
            ) from error
        return f"{name} leads to {destination.host}:{destination.port}, {', '.join(addresses)}"

    async def published_key(self) -> str:
        """Whether the server that answers there is this one: by its key."""
        name = self._config.server_name
        destination = await self._discovery.resolve(name)
        url = f"https://{destination.host}:{destination.port}/_matrix/key/v2/server"
        try:
            async with self._connections.session.get(
                url,
                headers={"Host": destination.host_header},
                server_hostname=destination.tls_name,
                timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS),
            ) as response:
                answer = await response.json(content_type=None)
        except aiohttp.ClientConnectorCertificateError as error:
            raise MatrixError(
                f"the certificate at {url} is not one for {destination.tls_name}: {error}"
            ) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise MatrixError(
                f"{url} does not answer ({error}): start the server, open the port, or correct "
                "listen.federation and well_known_server"
            ) from error
        return self._compare(name, url, answer)

    def _compare(self, name: str, url: str, answer: object) -> str:
        named = answer.get("server_name") if isinstance(answer, dict) else None
        if named != name:
            raise MatrixError(f"{url} is the server of {named!r}, not of {name!r}")
        text = self._config.signing_key_file.read_text("utf-8")
        key_id = parse_signing_key_file(text)[0].key_id
        keys = answer.get("verify_keys", {}) if isinstance(answer, dict) else {}
        if key_id not in keys:
            raise MatrixError(
                f"{url} publishes other keys than {self._config.signing_key_file}: restart the "
                "server, or put the right key file back"
            )
        return f"{url} answers as {name}, with the key {key_id}"
