"""What services need of other instances and that is one question and one answer."""

from __future__ import annotations

from federation.client import FederationClient
from federation.errors import FederationFailure
from homeserver.errors import PeerFailed
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import RoomAlias, UserId
from homeserver.services.public_rooms import DirectoryQuery


class RemoteQueries:
    """Aliases, directories and profiles of other instances."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def resolve_alias(self, alias: RoomAlias) -> tuple[str, list[str]]:
        """A remote alias's room ID, and instances that know the room."""
        answer = await self._get(
            alias.server_name, "/_matrix/federation/v1/query/directory", {"room_alias": alias}
        )
        room_id, servers = answer.get("room_id"), answer.get("servers")
        if not isinstance(room_id, str):
            raise PeerFailed(f"{alias.server_name} sent no room ID for the alias")
        known = [s for s in servers if isinstance(s, str)] if isinstance(servers, list) else []
        return room_id, list(dict.fromkeys([*known, alias.server_name]))

    async def public_rooms(self, server_name: str, query: DirectoryQuery) -> JsonObject:
        """A page of another instance's directory."""
        body: JsonObject = {"limit": query.limit}
        search: JsonObject = {}
        if query.since is not None:
            body["since"] = query.since
        if query.search_term is not None:
            search["generic_search_term"] = query.search_term
        if query.room_types is not None:
            search["room_types"] = list(query.room_types)
        if search:
            body["filter"] = search
        if query.all_networks:
            body["include_all_networks"] = True
        if query.network_id is not None:
            body["third_party_instance_id"] = query.network_id
        try:
            return await self._client.post(
                server_name, "/_matrix/federation/v1/publicRooms", body=body
            )
        except FederationFailure as error:
            raise error.to_matrix_error() from error

    async def fetch(self, user_id: UserId) -> JsonObject:
        """A remote user's profile."""
        return await self._get(
            user_id.server_name, "/_matrix/federation/v1/query/profile", {"user_id": user_id}
        )

    async def _get(self, server_name: str, path: str, query: dict[str, str]) -> JsonObject:
        try:
            return await self._client.get(server_name, path, query=query)
        except FederationFailure as error:
            raise error.to_matrix_error() from error
