"""How the servers find each other: the tests pass for the right reason."""

import ssl
from typing import Any

import aiohttp
import pytest

from tests.harness import World, raw_session

from .conftest import Pair


async def test_discovery_went_through_well_known(pair: Pair, world: World) -> None:
    """Each server asked for the other's delegation; no other way leads to its port."""
    if not world.network.has_names:
        pytest.skip("no port 443 without root: the servers are called localhost:PORT")
    room_id = await pair.alice.create_room("12")

    await pair.alice.invite(room_id, pair.bob)

    for server in pair.servers:
        assert world.network.well_known_requests(server.server_name) > 0


async def test_comity_serves_its_own_delegation(pair: Pair, world: World) -> None:
    """Both listeners of a Comity answer both well-known documents."""
    trust = ssl.create_default_context(cafile=str(world.network.authority_file))
    for server in pair.servers:
        if server.kind != "comity":
            continue
        identity = server.identity
        host = identity.delegation.rpartition(":")[0]
        secure = f"https://{identity.address}:{identity.federation_port}"
        async with raw_session() as session:
            for base in (server.client_url, secure):
                tls: dict[str, Any] = (
                    {"ssl": trust, "server_hostname": host} if base == secure else {}
                )
                delegation = await _get(session, f"{base}/.well-known/matrix/server", **tls)
                client = await _get(session, f"{base}/.well-known/matrix/client", **tls)

                assert delegation == {"m.server": identity.delegation}
                assert client["m.homeserver"]["base_url"].startswith("http")


async def _get(session: aiohttp.ClientSession, url: str, **options: Any) -> dict[str, Any]:
    async with session.get(url, **options) as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer
