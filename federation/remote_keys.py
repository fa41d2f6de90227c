"""Keys and device lists of other instances' users.

Spec: server-server API, device management, end-to-end encryption.
"""

from __future__ import annotations

from federation.client import FederationClient
from federation.errors import FederationFailure
from federation.paths import path_of
from homeserver.errors import PeerFailed
from homeserver.protocol.events import JsonObject


class RemoteKeysClient:
    """Implements :class:`homeserver.services.remote_devices.RemoteKeys`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def user_devices(
        self, server_name: str, user_id: str, timeout_seconds: float
    ) -> JsonObject:
        """A user's device list, with its ``stream_id``.  Raises :class:`PeerFailed`."""
        try:
            return await self._client.get(
                server_name,
                path_of("v1/user/devices", user_id),
                timeout_seconds=timeout_seconds,
            )
        except FederationFailure as error:
            raise PeerFailed(f"{server_name} did not give the device list") from error

    async def query_keys(
        self, server_name: str, device_keys: dict[str, list[str]], timeout_seconds: float
    ) -> JsonObject:
        """Identity keys of some users.  Raises :class:`PeerFailed`."""
        return await self._post(
            server_name, "user/keys/query", {"device_keys": device_keys}, timeout_seconds
        )

    async def claim_keys(
        self,
        server_name: str,
        one_time_keys: dict[str, dict[str, str]],
        timeout_seconds: float,
    ) -> JsonObject:
        """One-time keys of some devices.  Raises :class:`PeerFailed`."""
        return await self._post(
            server_name, "user/keys/claim", {"one_time_keys": one_time_keys}, timeout_seconds
        )

    async def _post(
        self, server_name: str, path: str, body: JsonObject, timeout_seconds: float
    ) -> JsonObject:
        try:
            return await self._client.post(
                server_name, path_of(f"v1/{path}"), body=body, timeout_seconds=timeout_seconds
            )
        except FederationFailure as error:
            raise PeerFailed(f"{server_name} did not answer") from error
