"""An application service of a Comity, and people on other servers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp.test_utils import TestServer

from tests.harness import (
    Comity,
    Homeserver,
    MatrixRefused,
    RawClient,
    World,
    eventually,
    raw_session,
)
from tests.harness.comity import executable
from tests.integration.appservice_world import AS_TOKEN, Service, registration

_serial = itertools.count(1)


@dataclass
class Bridged:
    """A Comity with an application service, whose users' requests may leave it or may not."""

    server: Comity
    service: Service
    session: aiohttp.ClientSession
    others: dict[str, Homeserver]

    async def person(self, kind: str) -> RawClient:
        """Somebody on another server."""
        client = RawClient(self.session, self.others[kind].client_url)
        await client.register(f"bob{next(_serial)}")
        return client

    async def call(self, method: str, *path: str, user: str, body: Any = None) -> dict[str, Any]:
        """A request of the application service as one of its users."""
        client = RawClient(self.session, self.server.client_url)
        client.access_token = AS_TOKEN
        return await client.call(method, *path, body=body, query={"user_id": user})

    async def make(self, user_id: str) -> int:
        """Answer to a question for a user: they exist, and now have an account."""
        localpart = user_id[1:].partition(":")[0]
        body = {
            "type": "m.login.application_service",
            "username": localpart,
            "inhibit_login": True,
        }
        sender = f"@bridgebot:{self.server.server_name}"
        await self.call("POST", "register", user=sender, body=body)
        return 200

    def told(self, room_id: str) -> list[dict[str, Any]]:
        """What it was told of a room."""
        return [event for event in self.service.told() if event["room_id"] == room_id]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bridged(world: World) -> AsyncIterator[Bridged]:
    """The servers, and the application service."""
    service = Service()
    service.server = TestServer(service.app())
    await service.server.start_server()
    names = {"users": [{"exclusive": True, "regex": "@_irc_.*"}]}
    file = world.directory / "bridge.yaml"
    file.write_text(yaml.safe_dump(registration(service.url, namespaces=names)))
    overrides = {
        "app_services": [{"file": str(file), "exempt_from_consent": True}],
        "consent": {"cross_instance": "opt_in"},
    }
    server = world.comity("bridged", overrides=overrides)
    others = {"comity": world.comity("beyond"), "synapse": world.synapse("beyond2")}
    for each in (server, *others.values()):
        await each.start_async()
    async with raw_session() as session:
        world_of = Bridged(server, service, session, others)
        service.on_user = world_of.make
        yield world_of
    for each in (server, *others.values()):
        await each.stop_async()
    await service.server.close()


@pytest.mark.parametrize("kind", ["comity", "synapse"])
async def test_somebody_elsewhere_invites_a_ghost_and_both_talk(
    bridged: Bridged, kind: str
) -> None:
    bob = await bridged.person(kind)
    ghost = f"@_irc_{kind}:{bridged.server.server_name}"
    room_id = await bob.create_room(name="From elsewhere")

    await bob.invite(room_id, ghost)
    await bridged.service.until(lambda: bridged.told(room_id))
    (invite,) = bridged.told(room_id)
    await bridged.call("POST", "join", room_id, user=ghost)
    await bob.send(room_id, "can you hear me?")
    body = {"msgtype": "m.text", "body": "I can"}
    await bridged.call(
        "PUT", "rooms", room_id, "send", "m.room.message", "1", user=ghost, body=body
    )
    await bridged.service.until(lambda: len(_texts(bridged.told(room_id))) == 2)

    state = {e["type"]: e["content"] for e in invite["unsigned"]["invite_room_state"]}
    assert (invite["state_key"], invite["content"]["membership"]) == (ghost, "invite")
    assert state["m.room.name"] == {"name": "From elsewhere"}
    assert sorted(_texts(bridged.told(room_id))) == ["I can", "can you hear me?"]

    async def heard() -> bool:
        return "I can" in _texts(await bob.history(room_id))

    await eventually(heard, "the ghost's message arrives")


async def test_only_the_services_own_users_are_exempt_from_the_consent_of_people(
    bridged: Bridged,
) -> None:
    bob = await bridged.person("comity")
    carol = RawClient(bridged.session, bridged.server.client_url)
    await carol.register(f"carol{next(_serial)}")
    sender = f"@bridgebot:{bridged.server.server_name}"
    room_id = await carol.create_room()

    made = await bridged.call("POST", "createRoom", user=sender, body={"invite": [bob.user_id]})
    with pytest.raises(MatrixRefused) as refused:
        await carol.invite(room_id, bob.user_id)

    assert made["room_id"]
    assert refused.value.body["errcode"] == "M_CONSENT_NOT_GIVEN"


async def test_the_command_line_shows_how_services_fare(bridged: Bridged) -> None:
    sender = f"@bridgebot:{bridged.server.server_name}"
    made = await bridged.call("POST", "createRoom", user=sender, body={})
    await bridged.service.until(lambda: bridged.told(made["room_id"]))

    listed = await _comity(bridged.server, "list")
    pinged = await _comity(bridged.server, "ping", "bridge")
    skipped = await _comity(bridged.server, "skip", "bridge")
    unknown = await _comity(bridged.server, "ping", "nobody")

    heads, row = listed.splitlines()
    assert heads.split() == ["ID", "SENDER", "URL", "ACCEPTED", "LAG", "STATE"]
    assert row.split()[:3] == ["bridge", sender, bridged.service.url]
    assert row.split()[-1] == "good"
    assert "bridge answered in" in pinged
    assert skipped == "bridge is told what happens from now on\n"
    assert "There is no application service of that ID" in unknown


async def _comity(server: Comity, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(executable()),
        "appservice",
        *arguments,
        "--config",
        str(server.config_file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


def _texts(events: list[dict[str, Any]]) -> list[str]:
    return [e["content"]["body"] for e in events if "body" in e["content"]]
